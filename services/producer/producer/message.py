"""What goes to Pub/Sub: posts, events and dead letters as data and attributes.

The sink routes by the attribute `kind`; the command `tweets redrive` reads the dead letters'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

SCHEMA = "1"
# https://docs.cloud.google.com/pubsub/quotas#resource_limits
MAX_ATTRIBUTE = 1_024
# Of 10 MB a request: room for attributes and the topic's name.
MAX_DATA = 9_500_000
MAX_DETAIL = 1_000


class Message(NamedTuple):
    """One Pub/Sub message: data as bytes of JSON (a dead letter: as read), attributes as text."""

    data: bytes
    attributes: dict[str, str]


def post_message(record: Mapping[str, Any]) -> Message:
    """Return the message of a row made by record.to_record()."""
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


def event_message(event: Mapping[str, Any]) -> Message:
    """Return the message of an event row (events.py)."""
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
