"""Injects the faults of the stream into a connection."""

import asyncio
import time
from typing import Any

from local.x import fault_lines
from local.x.connection import StreamConnection
from local.x.ledger import Ledger
from local.x.pace import Pace
from local.x.projection import Projection
from local.x.settings import Settings
from local.x.timeline import SyntheticPost, Timeline
from local.x.wire import Wire

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
        wire.write(fault_lines.disconnect(disconnect_type) + b"\r\n")
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
        if kind in fault_lines.CONTROL:
            for number in range(count):
                wire.write(fault_lines.control(kind, number) + b"\r\n")
        elif kind in fault_lines.POISON and fault.get("poison", True):
            for post in self._undelivered(count):
                line = fault_lines.poison(kind, self._timeline.line(post, projection), size)
                self._ledger.poison.append(line)
                wire.write(line + b"\r\n")
        else:
            posts = self._ledger.latest(count) if kind == "duplicate" else self._pace.make(count)
            lines = [self._timeline.line(post, projection) for post in posts]
            if kind == "reorder":
                posts, lines = posts[::-1], lines[::-1]
            elif kind != "duplicate":
                lines = [fault_lines.unusual(kind, line, size) for line in lines]
            wire.deliver(posts, lines)
