"""What can go wrong with a message, by what Pub/Sub shall do about it."""

from __future__ import annotations


class RefusedError(Exception):
    """The request is not a Pub/Sub push that can be read: no message to keep, a 4xx answer.

    Attributes:
        status: HTTP status of the answer.
        reason: short code for logs.
    """

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


class PoisonError(Exception):
    """The message can never become a row: it goes to the dead letters.

    Attributes:
        reason: malformed_message, schema, too_large or row_rejected.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class PassingError(Exception):
    """The message could not be written now: 503, and Pub/Sub sends it again."""
