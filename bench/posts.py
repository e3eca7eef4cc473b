"""Synthetic posts of a wanted size, as lines of the stream, as messages and as push bodies."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import orjson

from local.x.posts import ActiveRule
from local.x.projection import KNOWN, Projection
from local.x.query import parse
from local.x.timeline import Timeline
from producer.fields import asked
from producer.messages import Message, post_message
from producer.record import to_record

RULES = [{"value": "데이터 OR bigquery", "tag": "data"}, {"value": "python OR cloud", "tag": "en"}]
KINDS = {"1 KB": (900, 1150), "2.5 KB": (2200, 2800)}
"""Name to least and largest bytes of a line. X's own lines for our fields are about 1 KB; 2.5 KB
is what all fields and expansions give."""
DISTINCT = 2000


def write_lines(kind: str, path: Path) -> int:
    """Write DISTINCT lines of a kind to a file, a line each; return their mean size in bytes."""
    low, high = KINDS[kind]
    rules = [
        ActiveRule(str(number), rule["value"], rule["tag"], parse(rule["value"]))
        for number, rule in enumerate(RULES, 1)
    ]
    timeline = Timeline(7, DISTINCT)
    timeline.use(rules)
    query = (
        asked("")
        if kind == "1 KB"
        else {name: ",".join(sorted(values)) for name, values in KNOWN.items()}
    )
    projection = Projection.of(query)
    lines: list[bytes] = []
    start = time.time() - 86_400
    while len(lines) < DISTINCT:
        post = timeline.make(start + len(lines) / 250)
        line = timeline.line(post, projection) if post else b""
        if low <= len(line) <= high:
            lines.append(line)
    path.write_bytes(b"\n".join(lines))
    return sum(map(len, lines)) // len(lines)


def messages(path: Path) -> list[Message]:
    """What our producer publishes for the lines of a file."""
    at = time.time_ns() // 1000
    return [
        post_message(to_record(orjson.loads(line), line.decode(), at))
        for line in path.read_bytes().split(b"\n")
    ]


def push_bodies(path: Path) -> list[bytes]:
    """Wrapped push bodies of those messages, as Pub/Sub sends them.

    https://cloud.google.com/pubsub/docs/push#receive_push
    """
    return [
        orjson.dumps(
            {
                "message": {
                    "data": base64.b64encode(message.data).decode(),
                    "attributes": message.attributes,
                    "messageId": str(number),
                    "message_id": str(number),
                    "publishTime": "2026-01-15T10:35:02.345Z",
                    "publish_time": "2026-01-15T10:35:02.345Z",
                },
                "subscription": "projects/bench/subscriptions/bench",
                "deliveryAttempt": 1,
            }
        )
        for number, message in enumerate(messages(path))
    ]
