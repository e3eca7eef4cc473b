"""Runs what the graph declares as processes of this machine, and keeps them running."""
