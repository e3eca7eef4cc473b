"""Evaluates `infra/` without Pulumi's engine, and applies the graph to the stand-ins."""
