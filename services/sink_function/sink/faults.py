"""What can go wrong with a message, by what Pub/Sub shall do about it."""

from __future__ import annotations

# What BigQuery refuses where it names no column that we know.
UNNAMED = frozenset({""})


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
    """The message can never become a row as it is: it goes to the dead letters.

    Attributes:
        reason: malformed_message, schema, too_large, row_rejected or partly_written.
        columns: columns that BigQuery refuses; UNNAMED where it names none.
    """

    def __init__(self, reason: str, detail: str, columns: frozenset[str] = frozenset()) -> None:
        super().__init__(detail)
        self.reason = reason
        self.columns = columns


class PassingError(Exception):
    """The message could not be written now: 503, and Pub/Sub sends it again."""
