"""What is done with each thing that the stream carries (stream.LineHandler)."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from producer.budget import Budget
from producer.coverage import Coverage
from producer.events import BUDGET, event, now
from producer.intake import control_reason
from producer.settings import Settings
from producer.stats import Stats

log = logging.getLogger(__name__)

_ID = re.compile(rb'"id"\s*:\s*"(\d{1,19})"')


class Sink(Protocol):
    """Where lines go: to Pub/Sub (intake.Intake), to a terminal, or both."""

    def read(self, line: bytes) -> Any:
        """Take a line; return the control message (a dict), the post's id (int), or None."""

    def event(self, row: dict[str, Any]) -> None:
        """Take an event."""

    def may_read(self) -> bool:
        """Whether there is room for more."""

    def blocked(self) -> str | None:
        """The reason to disconnect now (STALLED, FULL or DISK), if there is one."""


class Receiver:
    """Counts, passes on to the sink, and says when to leave.

    Attributes:
        ever_connected: whether X has accepted a connection in this process.
        control: X's name for what it said about this connection, if it did.
        truncated_line: what is known of the line within which this connection ended.

    Args:
        interrupt: called with the reason when the connection must end now.
    """

    def __init__(
        self,
        sink: Sink,
        budget: Budget,
        coverage: Coverage,
        stats: Stats,
        settings: Settings,
        interrupt: Callable[[str], None],
    ) -> None:
        self._sink = sink
        self._budget = budget
        self._coverage = coverage
        self._stats = stats
        self._settings = settings
        self._interrupt = interrupt
        self.ever_connected = False
        self.begin()

    def begin(self) -> None:
        """Forget the last connection."""
        self.control: str | None = None
        self.truncated_line: dict[str, Any] | None = None

    def connected(self) -> None:
        """X accepted the connection."""
        self.ever_connected = True
        self._stats.state = "streaming"
        self._stats.last_byte = time.time()
        log.info("Connected to the stream with %d rule(s)", self._stats.rules)
        self._sink.event(
            event("connected", self._settings.instance, detail={"rules": self._stats.rules})
        )
        if reason := self._sink.blocked():
            self._interrupt(reason)

    def received(self, count: int) -> None:
        """Bytes came."""
        self._stats.bytes += count
        self._stats.last_byte = time.time()

    def line(self, line: bytes) -> None:
        """A line with data came."""
        read = self._sink.read(line)
        if isinstance(read, dict):
            # It says nothing about the posts: a gap neither ends nor begins with it.
            self.control = control_reason(read)
            return
        at = now()
        if read is not None:
            self._stats.posts += 1
        # A line that could not be used was charged all the same.
        if self._budget.count():
            self._interrupt(BUDGET)
        if self._coverage.gap is not None:
            self._close_gap(at, read)
        if read is not None:
            self._coverage.covered(at, read)
        if reason := self._sink.blocked():
            self._interrupt(reason)

    def keep_alive(self) -> None:
        """A blank line came."""
        self._stats.keep_alives += 1
        at = now()
        if self._coverage.gap is not None:
            self._close_gap(at, None)
        self._coverage.covered(at)

    def oversize(self, start: bytes, length: int) -> None:
        """A line came that is longer than anything of X's; its start is kept."""
        log.error("A line of %d bytes: its first %d are kept", length, len(start))
        self.line(start)

    def truncated(self, part: bytes) -> None:
        """The connection ended within this line: a post if only its end is missing, else noted in
        the gap, which is where its time belongs.
        """
        try:
            orjson.loads(part)
        except orjson.JSONDecodeError:
            found = _ID.search(part)
            self.truncated_line = {"bytes": len(part), "id": found[1].decode() if found else None}
        else:
            self.line(part)

    def _close_gap(self, at: int, post_id: int | None) -> None:
        row = self._coverage.resumed(at, post_id, self._settings.backfill_minutes)
        if row is not None:
            self._sink.event(row)
