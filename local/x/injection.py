"""Injects the faults of the stream into a connection: lines that are no posts, and its ends."""

import asyncio
import time
from typing import Any

import orjson

from local.x.pace import Pace
from local.x.problems import TYPE
from local.x.projection import Projection
from local.x.state import XState
from local.x.timeline import SyntheticPost
from local.x.wire import Wire

ENDS = ("close", "reset", "cut", "disconnect")
"""Kinds that end the connection."""
CONTROL = ("unknown_message", "error_payload", "null_data", "array")
"""Kinds whose lines carry no post."""
POISON = ("malformed", "truncated", "not_json", "huge_line")
"""Kinds whose lines a reader must set aside: each is listed at /_standin/poison."""


def _message(fault: dict[str, Any], number: int = 0) -> bytes:
    """Return a line inside the stream that is no post; the number tells it from others."""
    error = {
        "title": "Internal Server Error",
        "detail": f"Something went wrong ({number}). The stream goes on.",
        "type": "about:blank",
        "status": 500,
    }
    last_word = {  # schema OperationalDisconnectProblem
        "title": "operational-disconnect",
        "disconnect_type": fault.get("disconnect_type"),
        "detail": "This stream has been disconnected for operational reasons.",
        "type": TYPE + "operational-disconnect",
    }
    messages: dict[str, object] = {
        "disconnect": {"errors": [last_word]},
        "error_payload": {"errors": [error]},
        "null_data": {"data": None, "errors": [error]},
        "array": [error],
        "unknown_message": {"system": {"type": "not_yet_documented", "sequence": number}},
    }
    return orjson.dumps(messages[fault["kind"]]) + b"\r\n"


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


class Injection:
    """Carries out one fault at a time; see `faults.KINDS` for what there is."""

    def __init__(self, state: XState, pace: Pace) -> None:
        self._state = state
        self._pace = pace

    async def inject(self, fault: dict[str, Any], wire: Wire, projection: Projection) -> bool:
        """Inject one fault of the stream; False when the connection is to end with it.

        It ends after all that was delivered has arrived.
        """
        kind = fault["kind"]
        if kind == "stall":
            await self._wait(fault["seconds"], wire)
        elif kind not in ENDS:
            self._write(fault, wire, projection)
        else:
            await wire.drained()
            await self._end(fault, wire, projection)
            await wire.drained()
        return kind not in ENDS

    async def _end(self, fault: dict[str, Any], wire: Wire, projection: Projection) -> None:
        kind = fault["kind"]
        if kind == "reset":
            wire.reset()
        elif kind == "cut":
            for post in self._undelivered(1):
                line = self._state.timeline.line(post, projection)
                wire.write(line[: len(line) // 2], broken=True)
        else:
            if kind == "disconnect":
                wire.write(_message(fault))
                await self._wait(fault["linger"], wire, self._state.settings.keep_alive)
            wire.finish()

    async def _wait(self, seconds: float, wire: Wire, keep_alive: float = 0.0) -> None:
        """Send nothing, or keep-alives only, as X does at times after its last word."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and wire.alive:
            await asyncio.sleep(min(keep_alive or 0.02, left))
            if keep_alive:
                wire.write(b"\r\n")

    def _undelivered(self, count: int) -> list[SyntheticPost]:
        """Make posts that will not arrive whole: they stand in the timeline, and are missed."""
        posts = [post for post in (self._state.timeline.make() for _ in range(count)) if post]
        self._state.ledger.missed += [post.id for post in posts]
        return posts

    def _write(self, fault: dict[str, Any], wire: Wire, projection: Projection) -> None:
        """Write lines that are no posts, or posts in an unusual way."""
        kind, count, size = fault["kind"], int(fault.get("count", 1)), int(fault.get("bytes", 0))
        ledger, timeline = self._state.ledger, self._state.timeline
        if kind in CONTROL:
            for number in range(count):
                wire.write(_message(fault, number))
        elif kind in POISON and fault.get("poison", True):
            for post in self._undelivered(count):
                line = _poison(kind, timeline.line(post, projection), size)
                ledger.poison.append(line)
                wire.write(line + b"\r\n")
        else:
            again = kind == "duplicate"
            posts = list(ledger.recent)[-count:] if again else self._pace.make(count)
            lines = [timeline.line(post, projection) for post in posts]
            if kind == "reorder":
                posts, lines = posts[::-1], lines[::-1]
            elif not again:
                lines = [_unusual(kind, line, size) for line in lines]
            wire.deliver(posts, lines)
