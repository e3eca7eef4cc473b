"""Which time the stream covered: the last moment known, and the gap that is open now."""

from __future__ import annotations

import copy
import logging
import threading
from typing import Any

from producer.events import ON_PURPOSE, event
from producer.log import OncePerMinute
from producer.record import created_ms
from producer.state import StateDir

log = logging.getLogger(__name__)
_once = OncePerMinute(log)

_FILE = "coverage.json"
# X's stream has no older posts (backfill_minutes is 5 at most): an odd id must not make a gap of
# years, which somebody would pay to fill.
_LATEST = 300_000_000


class Coverage:
    """Opens a gap when the stream ends and closes it with the first byte after.

    Kept in STATE_DIR about each second, so that a start after a kill knows from when on nothing
    was covered (to the second, and never too late a moment). Moments are microseconds since 1970.
    """

    def __init__(self, state: StateDir | None, producer: str) -> None:
        self._state = state
        self._producer = producer
        self._lock = threading.Lock()
        kept = state.read(_FILE) if state else {}
        self.until: int | None = kept.get("until")
        self.last_id: int | None = kept.get("last_id")
        self.gap: dict[str, Any] | None = kept.get("gap")
        self._saved: dict[str, Any] = kept
        if self.gap is None and self.until is not None:
            self.gap = {"from": self.until, "reason": "killed", "last_id": self.last_id}

    def covered(self, at: int, post_id: int | None = None) -> None:
        """Note a post that was read, or a sign of life of a stream that had none to send.

        A post covers the time until it was made, not until it was read: what was made in between
        was still on its way, and is in the gap if the stream ends now.
        """
        if post_id is None:
            self.until = at
        else:
            self.until = min(at, max(created_ms(post_id) * 1_000, at - _LATEST))
            self.last_id = post_id

    def ended(self, reason: str, detail: dict[str, Any] | None = None) -> None:
        """Open a gap at the last covered moment; while one is open, count one more failure."""
        with self._lock:
            if self.gap is None:
                if self.until is None:
                    return  # nothing was ever covered: no gap, the start
                self.gap = {"from": self.until, "reason": reason, "last_id": self.last_id}
                if detail:
                    self.gap["detail"] = detail
            elif reason not in ON_PURPOSE:
                failures = self.gap.setdefault("failures", {})
                failures[reason] = failures.get(reason, 0) + 1
        self.save()

    def resumed(self, at: int, post_id: int | None, backfill_minutes: int) -> dict[str, Any] | None:
        """Close the open gap at the first byte; return its event, if there was one."""
        with self._lock:
            gap, self.gap = self.gap, None
        if gap is None:
            return None
        detail = dict(gap.get("detail") or {})
        if gap.get("failures"):
            detail["failed_connects"] = gap["failures"]
        if backfill_minutes:
            detail["backfill_minutes"] = backfill_minutes
        return event(
            "gap",
            self._producer,
            at=at,
            gap_from=gap["from"],
            gap_to=at,
            reason=gap["reason"],
            last_id_before=gap["last_id"],
            first_id_after=post_id,
            detail=detail or None,
        )

    def save(self) -> None:
        """Keep it in STATE_DIR if it changed."""
        if self._state is None:
            return
        with self._lock:
            current = {"until": self.until, "last_id": self.last_id, "gap": self.gap}
            if current == self._saved:
                return
            try:
                self._state.write(_FILE, current)
            except OSError as error:
                _once.log(
                    logging.ERROR,
                    "state_not_written",
                    f"STATE_DIR cannot be written ({error}): a gap after a kill would begin too "
                    "early",
                )
                return
            self._saved = copy.deepcopy(current)  # `failures` inside the gap goes on counting
