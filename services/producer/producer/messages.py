"""What goes to Pub/Sub: posts, events and dead letters as data and attributes.

The sink routes by the attribute `kind`; the command `tweets redrive` reads the dead letters'. An
event is a row of stream_events: what happened to the stream, so that an analyst knows what is
incomplete and why. Its form is sink/schema/stream_events.json.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from producer.log import redact
from producer.record import timestamp

SCHEMA = "1"
# https://docs.cloud.google.com/pubsub/quotas#resource_limits
MAX_ATTRIBUTE = 1_024
# Of 10 MB a request: room for attributes and the topic's name.
MAX_DATA = 9_500_000
MAX_DETAIL = 1_000
# Which topic a message is for.
POSTS, LETTERS = 0, 1

# Our own reasons to disconnect; none of them is a failure of the stream.
SHUTDOWN, BUDGET, FULL, DISK = "shutdown", "budget", "volume_full", "disk_full"
ON_PURPOSE = frozenset({SHUTDOWN, BUDGET, FULL, DISK})
# X's reasons, in our words.
DISCONNECTED = "disconnected"
TAKEN_OVER = "rules_taken_over"


class Message(NamedTuple):
    """One Pub/Sub message: data as bytes of JSON (a dead letter: as read), attributes as text."""

    data: bytes
    attributes: dict[str, str]


class Entry(NamedTuple):
    """A message for the store.

    Attributes:
        topic: POSTS or LETTERS.
        made_at: the moment that it covers, microseconds since 1970.
    """

    topic: int
    message: Message
    made_at: int


def post_message(record: Mapping[str, Any]) -> Message:
    """Return the message of a record made by record.to_record()."""
    attributes = {
        "kind": "post",
        "id": str(record["id"]),
        "schema": SCHEMA,
        "lang": cut(record["lang"] or "und", MAX_ATTRIBUTE),
    }
    if tags := record["rule_tags"]:
        attributes["tags"] = cut(",".join(tags), MAX_ATTRIBUTE)
    # orjson reserves eight bytes for each character of the raw line: without a copy, a message that
    # waits holds 11 KB of the heap in place of 2, and takes longer to make (measured, bench/).
    return Message(memoryview(orjson.dumps(record)).tobytes(), attributes)


def now() -> int:
    """Return the time in microseconds since 1970, UTC: the unit of every moment in the producer."""
    return time.time_ns() // 1_000


def event(
    kind: str,
    producer: str,
    *,
    at: int | None = None,
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
        "event_id": str(uuid.uuid4()),
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
        "detail": None if detail is None else redact(orjson.dumps(detail).decode()),
        "producer": producer,
    }


def event_message(event: Mapping[str, Any]) -> Message:
    """Return the message of an event row made by event()."""
    return Message(
        orjson.dumps(event),
        {"kind": "event", "id": str(event["event_id"]), "schema": SCHEMA},
    )


def dead_letter(line: bytes, reason: str, detail: str, at: str) -> Message:
    """Return the dead letter of a line of the stream.

    Args:
        line: as read; cut at what one message can hold.
        reason: malformed_line or too_large.
        detail: for a person; cut at 1,000 bytes.
        at: when, RFC 3339 in UTC.
    """
    return Message(
        line[:MAX_DATA],
        {
            "kind": "line",
            "id": line_id(line),
            "schema": SCHEMA,
            "dead_letter_reason": reason,
            "dead_letter_detail": cut(detail, MAX_DETAIL),
            "dead_letter_source": "producer",
            "dead_letter_at": at,
        },
    )


def buried(
    line: bytes, reason: str, detail: str, at: int, producer: str, *, letters: bool
) -> list[Entry]:
    """Return what becomes of a line that cannot be used: its dead letter and its event.

    The first four are dead_letter()'s, but `at` in microseconds since 1970. Without a topic for
    dead `letters` the event has the line.
    """
    letter = dead_letter(line, reason, detail, timestamp(at))
    about: dict[str, Any] = {"reason": reason, "detail": detail, "bytes": len(line)}
    about["id"] = letter.attributes["id"]
    if not letters:
        about["line"] = line[:100_000].decode("utf-8", "replace")
    row = event("dead_letter", producer, at=at, reason=reason, detail=about)
    entries = [Entry(LETTERS, letter, at)] if letters else []
    return [*entries, Entry(POSTS, event_message(row), at)]


def line_id(line: bytes) -> str:
    """Return the name of a line that has no usable post id: 32 hex digits of its SHA-256."""
    return hashlib.sha256(line).hexdigest()[:32]


def cut(text: str, limit: int) -> str:
    """Return at most `limit` bytes of UTF-8, cut between characters."""
    if len(text) <= limit // 4 and text.isascii():
        return text
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[:limit].decode("utf-8", "ignore")
