"""Injects the faults of the stream into a connection: lines that are no posts, and its ends."""

import asyncio
import time
from typing import Any

import orjson

from local.x.connection import StreamConnection
from local.x.ledger import Ledger
from local.x.pace import Pace
from local.x.problems import TYPE
from local.x.projection import Projection
from local.x.settings import Settings
from local.x.timeline import SyntheticPost, Timeline
from local.x.wire import Wire

CONTROL = ("unknown_message", "error_payload", "null_data", "array")
"""Kinds whose lines carry no post."""
POISON = ("malformed", "truncated", "not_json", "huge_line")
"""Kinds whose lines a reader must set aside: each is listed at /_standin/poison."""


def _disconnect(disconnect_type: str) -> bytes:
    """Return X's message before it ends a connection (schema OperationalDisconnectProblem)."""
    return orjson.dumps(
        {
            "errors": [
                {
                    "title": "operational-disconnect",
                    "disconnect_type": disconnect_type,
                    "detail": "This stream has been disconnected for operational reasons.",
                    "type": TYPE + "operational-disconnect",
                }
            ]
        }
    )


def _control(kind: str, number: int) -> bytes:
    """Return a message inside the stream that is no post."""
    error = {
        "title": "Internal Server Error",
        "detail": f"Something went wrong ({number}). The stream goes on.",
        "type": "about:blank",
        "status": 500,
    }
    messages: dict[str, object] = {
        "error_payload": {"errors": [error]},
        "null_data": {"data": None, "errors": [error]},
        "array": [error],
        "unknown_message": {"system": {"type": "not_yet_documented", "sequence": number}},
    }
    return orjson.dumps(messages[kind])


def _poison(kind: str, line: bytes, size: int) -> bytes:
    """Return a line that cannot become a row, made from a post's line so that each one differs."""
    if kind == "truncated":
        # Between characters, so that it can be listed as text.
        return line[: len(line) * 2 // 3].decode(errors="ignore").encode()
    if kind == "malformed":
        return line.replace(b'"id":', b'"id"', 1)
    if kind == "not_json":
        return b"<html><body>502 Bad Gateway " + line[16:35].strip(b'":') + b"</body></html>"
    return _padded(line, size)


def _unusual(kind: str, line: bytes, size: int) -> bytes:
    """Return a whole post's line in an unusual form."""
    if kind == "half_emoji":
        return line.replace(b'"text":"', b'"text":"\\ud83d ', 1)
    body = orjson.loads(line)
    if kind == "no_matching_rules":
        del body["matching_rules"]
    elif kind == "untagged_rule":
        body["matching_rules"] = [{"id": rule["id"]} for rule in body["matching_rules"]]
    else:
        return _padded(line, size)
    return orjson.dumps(body)


def _padded(line: bytes, size: int) -> bytes:
    body = orjson.loads(line)
    body["data"]["text"] += " " + "x" * max(0, size - len(line) - 1)
    return orjson.dumps(body)


_PATIENCE = 5.0  # seconds for the reader to take what was written before its connection is ended


class Injection:
    """Carries out one fault at a time; see `faults.KINDS` for what there is."""

    def __init__(self, settings: Settings, timeline: Timeline, pace: Pace, ledger: Ledger) -> None:
        self._settings = settings
        self._timeline = timeline
        self._pace = pace
        self._ledger = ledger

    async def disconnect(self, wire: Wire, disconnect_type: str, linger: float = 0.0) -> None:
        """Write X's message and the end of the body; the caller then ends the connection.

        linger: seconds for which the connection stays with keep-alives only, as X's does at times.
        """
        wire.write(_disconnect(disconnect_type) + b"\r\n")
        end = time.monotonic() + linger
        while time.monotonic() < end and wire.alive:
            await asyncio.sleep(min(self._settings.keep_alive, end - time.monotonic()))
            wire.write(b"\r\n")
        wire.finish()
        await wire.drained(_PATIENCE)

    async def inject(
        self,
        fault: dict[str, Any],
        connection: StreamConnection,
        wire: Wire,
        projection: Projection,
    ) -> bool:
        """Inject one fault of the stream; False when the connection is to end with it."""
        kind = fault["kind"]
        if kind == "stall":
            end = time.monotonic() + fault["seconds"]
            while time.monotonic() < end and wire.alive:
                await asyncio.sleep(0.02)
        elif kind == "slow_reader":
            self._settings.slow_reader = float(fault["seconds"])
        elif kind == "stale":
            connection.hold = float(fault["seconds"])
        elif kind in ("close", "reset", "cut", "disconnect"):
            connection.disconnect_reason = kind
            await self._end(fault, wire, projection)
            return False
        else:
            self._write(fault, wire, projection)
        return wire.alive

    async def _end(self, fault: dict[str, Any], wire: Wire, projection: Projection) -> None:
        """End the connection in the fault's way, after all that was delivered has arrived."""
        kind = fault["kind"]
        if kind == "disconnect":
            await self.disconnect(wire, fault["disconnect_type"], fault["linger"])
            return
        await wire.drained(_PATIENCE)
        if kind == "reset":
            wire.reset()
        elif kind == "close":
            wire.finish()
        else:
            for post in self._undelivered(1):
                line = self._timeline.line(post, projection)
                wire.write(line[: len(line) // 2], broken=True)
        await wire.drained(_PATIENCE)

    def _undelivered(self, count: int) -> list[SyntheticPost]:
        """Make posts that will not arrive whole: they stand in the timeline, and are missed."""
        posts = [post for post in (self._timeline.make() for _ in range(count)) if post]
        self._ledger.missed += [post.id for post in posts]
        return posts

    def _write(self, fault: dict[str, Any], wire: Wire, projection: Projection) -> None:
        """Write lines that are no posts, or posts in an unusual way."""
        kind, count, size = fault["kind"], int(fault.get("count", 1)), int(fault.get("bytes", 0))
        if kind in CONTROL:
            for number in range(count):
                wire.write(_control(kind, number) + b"\r\n")
        elif kind in POISON and fault.get("poison", True):
            for post in self._undelivered(count):
                line = _poison(kind, self._timeline.line(post, projection), size)
                self._ledger.poison.append(line)
                wire.write(line + b"\r\n")
        else:
            posts = self._ledger.latest(count) if kind == "duplicate" else self._pace.make(count)
            lines = [self._timeline.line(post, projection) for post in posts]
            if kind == "reorder":
                posts, lines = posts[::-1], lines[::-1]
            elif kind != "duplicate":
                lines = [_unusual(kind, line, size) for line in lines]
            wire.deliver(posts, lines)
