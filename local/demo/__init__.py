"""The whole pipeline on this machine, from the program that deploys it; on a screen, or broken."""

DEMO: dict[str, object] = {
    "gcp:project": "local-demo",
    "tweets:xBearerToken": "synthetic-token-of-the-demo",
    "tweets:postBudget": 0,
    "tweets:image": "",
}
"""Over a stack's own configuration: the account that a person would have to bring.

Synthetic posts cost nothing, so no budget stops the demo; --config sets one to see it at work.
"""
