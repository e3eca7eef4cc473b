"""Posts on standard output, for a person with a bearer token and no cloud yet."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from producer.intake import classify
from producer.log import OncePerMinute
from producer.outbox import Outbox

log = logging.getLogger(__name__)


class Terminal:
    """Prints each post as X sent it, a line each, and passes all on to the outbox if there is one
    (reader.Sink).

    Args:
        on_closed: called when nobody reads standard output any more (head, a closed pager).
    """

    def __init__(self, outbox: Outbox | None, on_closed: Callable[[], None]) -> None:
        self._outbox = outbox
        self._on_closed = on_closed
        self._closed = False
        self._once = OncePerMinute(log)

    def read(self, line: bytes) -> int | dict[str, Any] | None:
        """Take a line of the stream."""
        read = self._outbox.read(line) if self._outbox else classify(line)
        if isinstance(read, int):
            self._show(line)
        elif self._outbox is None:
            said = line[:500].decode("utf-8", "replace")
            self._once.log(logging.WARNING, "no_post", f"No post: {said}")
        return read

    def event(self, row: dict[str, Any]) -> None:
        """Take an event."""
        if self._outbox is not None:
            self._outbox.event(row)

    def may_read(self) -> bool:
        """Whether X may be connected."""
        return self._outbox is None or self._outbox.may_read()

    def blocked(self) -> str | None:
        """The reason to disconnect now."""
        return None if self._outbox is None else self._outbox.blocked()

    def _show(self, line: bytes) -> None:
        if self._closed:
            return
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except OSError:  # BrokenPipeError above all
            self._closed = True
            self._on_closed()
