"""Which time the stream covered: the last moment known, and the gap that is open now."""

from __future__ import annotations

import threading
import time
from typing import Any

from producer.messages import ON_PURPOSE, event, now
from producer.record import created_ms
from producer.recovery import Damage
from producer.store import Store

# X's stream has no older posts (backfill_minutes is 5 at most): an odd id must not make a gap of
# years, which somebody would pay to fill.
_LATEST = 300_000_000
# Two clocks that differ by less are taken for right.
_CLOCKS_AGREE = 5_000_000
# X tells its time in whole seconds (the Date header): it may be so much later.
_DATE = 1_000_000
DAMAGED = "state_damaged"
# BigQuery's times end there, and Python's; its integers and X's ids end here.
_YEAR_10000, _INT64 = 253_402_300_800_000_000, 1 << 63


class Coverage:
    """Opens a gap when the stream ends and closes it with the first byte after.

    Its state() is kept in the store with the posts that prove it, so that a start after a kill
    knows from when on nothing was covered. Moments are microseconds since 1970; a gap whose begin
    is not known, since the store was damaged, has None.
    """

    def __init__(self, store: Store | None, producer: str) -> None:
        self._store = store
        self._producer = producer
        # Held over state() and its keeping: an older state must not be kept after a newer one.
        self.lock = threading.RLock()
        self._opened = time.monotonic()
        self._seen: float | None = None  # by the monotonic clock, in this process
        self._by_x: int | None = None  # what X's time alone says of `until`
        self._x_is_ahead = 0.0  # of the monotonic clock, microseconds; 0 where X told no time
        self.until: int | None = None
        self.last_id: int | None = None
        self.gap: dict[str, Any] | None = None
        if store is None:
            return
        if store.read("coverage", self._restore) is None and not store.fresh:
            self.damaged(store.take_damage() or Damage(None, {"damage": "no coverage is kept"}))
        elif damage := store.take_damage():
            self.damaged(damage)
        elif self.gap is None and self.until is not None:
            self.gap = {"from": self.until, "reason": "killed", "last_id": self.last_id}
        self.save()

    def look(self) -> None:
        """Open a gap for what the store has lost meanwhile, if it has."""
        with self.lock:
            if self._store is not None and (damage := self._store.take_damage()):
                self.damaged(damage)
                self.save()

    def met(self, x_time: float) -> None:
        """Take X's own time, seconds since 1970: where ours is wrong, it counts from then on."""
        self._x_is_ahead = (x_time - time.monotonic()) * 1e6

    def covered(self, at: int, post_id: int | None = None) -> None:
        """Note a post that was read, or a sign of life of a stream that had none to send.

        A post covers the time until it was made, not until it was read: what was made in between
        was still on its way, and is in the gap if the stream ends now. A sign of life covers what
        has passed since the one before: a clock that is ahead would cover time still to come.
        """
        seen, self._seen = self._seen, time.monotonic()
        at = self.right(at)
        if post_id is not None:
            self.until = self._by_x = made_at(at, post_id, self._by_x)
            self.last_id = post_id
        elif seen is None or self.until is None:
            # By our clock, where X's is not behind it: the next post is not bound by it.
            self.until = min(at, self._by_date()) if self._x_is_ahead else at
        else:
            passed = int((self._seen - seen) * 1e6)
            self.until = max(self.until, min(at, self.until + passed))
            if self._by_x is not None:
                self._by_x = max(self._by_x, min(at, self._by_x + passed))

    def ended(self, reason: str, detail: dict[str, Any] | None = None) -> None:
        """Open a gap at the last covered moment; while one is open, count one more failure."""
        with self.lock:
            if self.gap is None:
                if self.until is None:
                    return  # nothing was ever covered: no gap, the start
                self._open(self.until, reason, detail)
            elif reason not in ON_PURPOSE:
                failures = self.gap.setdefault("failures", {})
                failures[reason] = failures.get(reason, 0) + 1
        self.save()

    def damaged(self, damage: Damage) -> None:
        """Open a gap for what was lost with a damaged store, or make the open one as long."""
        with self.lock:
            begins = [damage.since] if self.gap is None else [damage.since, self.gap["from"]]
            known = [begin for begin in begins if begin is not None]
            since = min(known) if len(known) == len(begins) else None
            self._open(since, DAMAGED, damage.detail)

    def resumed(self, at: int, post_id: int | None, backfill_minutes: int) -> dict[str, Any] | None:
        """Close the open gap at the first byte; return its event, if there was one."""
        at = self.right(at)
        with self.lock:
            gap, self.gap = self.gap, None
        if gap is None:
            return None
        detail = dict(gap.get("detail") or {})
        if gap.get("failures"):
            detail["failed_connects"] = gap["failures"]
        if backfill_minutes:
            detail["backfill_minutes"] = backfill_minutes
        begin, end = gap["from"], at
        made = created_ms(post_id) * 1_000 if post_id is not None else at
        if begin is not None:
            passed = int((time.monotonic() - self._opened) * 1e6)
            if at < begin + passed:
                # The clock was set back: what passed by the other clock, and X's time, are later.
                end = max(begin + passed, min(made, begin + passed + _LATEST))
            elif at > made + _LATEST:
                # The clock is ahead: a gap that ends in the future would be paid for.
                end = max(begin + passed, made)
        # What is missing was made before the first post, though our clock may be behind.
        if end < made <= end + _LATEST:
            end = made
        if post_id is None and self._x_is_ahead and at < (by_x := self._by_date()):
            end = max(end, by_x + _DATE)
        return event(
            "gap",
            self._producer,
            at=at,
            gap_from=begin,
            gap_to=end,
            reason=gap["reason"],
            last_id_before=gap["last_id"],
            first_id_after=post_id,
            detail=detail or None,
        )

    def state(self) -> dict[str, Any]:
        """Return what the store keeps."""
        with self.lock:
            gap = None if self.gap is None else dict(self.gap)
            return {"until": self.until, "last_id": self.last_id, "gap": gap}

    def save(self) -> None:
        """Keep it by itself, where no posts go with it."""
        with self.lock:
            if self._store is not None:
                self._store.append(states={"coverage": self.state()})

    def _by_date(self) -> int:
        return int(self._x_is_ahead + time.monotonic() * 1e6)

    def right(self, at: int) -> int:
        """Return a moment of our clock; X's present time where ours is wrong."""
        by_x = self._by_date()
        return by_x if self._x_is_ahead and abs(at - by_x) > _CLOCKS_AGREE else at

    def _open(self, since: int | None, reason: str, detail: dict[str, Any] | None) -> None:
        self.gap = {"from": since, "reason": reason, "last_id": self.last_id}
        if detail:
            self.gap["detail"] = detail
        self._opened = time.monotonic()

    def _restore(self, kept: dict[str, Any]) -> bool:
        until, last_id, gap = kept["until"], kept["last_id"], kept["gap"]
        for number, most in (
            (until, _YEAR_10000), (gap and gap["from"], _YEAR_10000),
            (last_id, _INT64), (gap and gap["last_id"], _INT64),
        ):  # fmt: skip
            if number is not None and (type(number) is not int or not 0 <= number < most):
                raise ValueError(f"{number!r} is no moment or id")
        if gap is not None and not (
            isinstance(gap["reason"], str)
            and all(isinstance(gap.get(name, {}), dict) for name in ("detail", "failures"))
        ):
            raise TypeError("no gap")
        if until is not None and until > now() and last_id is not None:
            # The clock was ahead and is set back: X's own time is the better one.
            until = min(until, created_ms(last_id) * 1_000)
        self.until, self.last_id, self.gap = until, last_id, gap
        self._by_x = until
        return True


def made_at(at: int, post_id: int, before: int | None = None) -> int:
    """Return the moment that a post covers which was read at `at`, microseconds since 1970.

    Where a moment is known to be covered `before`, X's time alone counts: a clock that is ahead
    would have the next gap begin in the future, where nobody looks for what is missing now.
    """
    return min(at, max(created_ms(post_id) * 1_000, at - _LATEST if before is None else before))
