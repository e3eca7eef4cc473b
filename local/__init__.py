"""The stand-in cloud: the program of `infra/` on one machine, with synthetic posts."""
