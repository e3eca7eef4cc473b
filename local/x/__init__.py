"""A stand-in for the parts of X API v2 that the pipeline uses, with synthetic posts and faults.

In process: `with XServer(port=0, rate=100, seed=7) as server: server.url`. On its own:
`python -m local.x --port 8083 --rate 100`. Control under /_standin/ (see `control`).
"""

from local.x.server import XServer

__all__ = ["XServer"]
