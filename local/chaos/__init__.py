"""Breaks the local pipeline on a seeded schedule, and accounts for each post."""
