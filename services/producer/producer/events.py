"""Rows of the table stream_events: what happened to the stream, so that an analyst knows what is
incomplete and why. Their form is sink/schema/stream_events.json.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from producer.record import timestamp

# Our own reasons to disconnect; none of them is a failure of the stream.
SHUTDOWN, BUDGET, STALLED, FULL, DISK = (
    "shutdown",
    "budget",
    "publish_stalled",
    "buffer_full",
    "disk_full",
)
ON_PURPOSE = frozenset({SHUTDOWN, BUDGET, STALLED, FULL, DISK})

# Lines that are sent again after a kill get the same id, so that stream_events_latest has one row.
_NAMESPACE = uuid.UUID("6f0a7c1e-2f5b-5d0e-9a52-5b7b7b1f1a77")


def now() -> int:
    """Return the time in microseconds since 1970, UTC: the unit of every moment in the producer."""
    return time.time_ns() // 1_000


def event_id(*parts: object) -> str:
    """Return the same UUID whenever it is asked for the same parts."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join(map(str, parts))))


def event(
    kind: str,
    producer: str,
    *,
    at: int | None = None,
    event_id: str | None = None,
    gap_from: int | None = None,
    gap_to: int | None = None,
    reason: str | None = None,
    last_id_before: int | None = None,
    first_id_after: int | None = None,
    posts_used: int | None = None,
    post_budget: int | None = None,
    detail: object = None,
) -> dict[str, Any]:
    """Return one row; moments are microseconds since 1970, `detail` is anything JSON can hold."""
    return {
        "event_id": event_id or str(uuid.uuid4()),
        "kind": kind,
        "at": timestamp(now() if at is None else at),
        "gap_from": None if gap_from is None else timestamp(gap_from),
        "gap_to": None if gap_to is None else timestamp(gap_to),
        "reason": reason,
        "last_id_before": last_id_before,
        "first_id_after": first_id_after,
        "posts_used": posts_used,
        "post_budget": post_budget,
        # insertAll takes a JSON column as text.
        "detail": None if detail is None else orjson.dumps(detail).decode(),
        "producer": producer,
    }
