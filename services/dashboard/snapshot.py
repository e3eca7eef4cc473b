"""Everything the page shows, asked at once, kept for all viewers, and kept through a fault."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import queries
import spend
import state
from queries import Bucket, Carried, Count, LetterMark, ListedPost, StreamGap, Totals
from spend import Month
from state import StreamState
from warehouse import REFRESH_BYTES, Query, Reads, ViewReader, WarehouseError
from window import Window

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

# Of what a refresh may bill, the state line's part; it reads a day whatever the viewer chose.
STATE_BYTES = REFRESH_BYTES // 4
VIEW_BYTES = REFRESH_BYTES - STATE_BYTES
# Asking takes this share of the time at most: behind a slow warehouse the page renews less often.
_BUSY_SHARE = 1 / 4
# Views that are kept: each is a span and a choice of rules.
_VIEWS = 50


@dataclass(frozen=True)
class Condition:
    """The state of the whole stream and its spend.

    Attributes:
        told_since: the first event known, None without one: since when a reader is at work.
        taken: when it was asked, UTC.
    """

    state: StreamState
    month: Month
    told_since: datetime | None
    reads: Reads
    taken: datetime


@dataclass(frozen=True)
class Snapshot:
    """The answers for one window.

    Attributes:
        rankings: languages, rules, hashtags and authors, by kind.
        offered: tags of all rules that brought posts in the window's time, whatever is chosen.
        taken: when it was asked, UTC; the window's end.
    """

    window: Window
    totals: Totals
    timeline: Sequence[Bucket]
    rankings: dict[str, Sequence[Count]]
    gaps: Sequence[StreamGap]
    dead_letters: Sequence[LetterMark]
    posts: Sequence[ListedPost]
    offered: Sequence[str]
    reads: Reads
    taken: datetime


def condition(reader: ViewReader, now: datetime) -> Condition:
    """Ask how the stream is.

    Raises:
        WarehouseError: a query failed.
    """
    wanted = state.pulses(now), state.life(now)
    reads, (found, events) = reader.ask(wanted, STATE_BYTES, "state")
    since = events[0].at if events else None
    return Condition(state.judge(found, events, now), spend.month(events, now), since, reads, now)


def take(reader: ViewReader, window: Window) -> Snapshot:
    """Ask everything about a window.

    Raises:
        WarehouseError: one of the queries failed, or all of them would bill too much.
    """
    wanted: list[Query[Any]] = [
        queries.totals(window),
        queries.timeline(window),
        queries.rankings(window),
        queries.gaps(window),
        queries.dead_letters(window),
        queries.latest_posts(window),
    ]
    if window.rules:
        wanted.append(queries.rules(window))
    # Which rules are chosen does not change how much is read, but that some are adds a query.
    reads, answers = reader.ask(wanted, VIEW_BYTES, window.span)
    ranked = _by_kind(answers[2])
    offered: Sequence[Count] = answers[6] if window.rules else ranked.get("rule", [])
    return Snapshot(
        window=window,
        totals=answers[0][0],
        timeline=answers[1],
        rankings={kind: counts[: queries.TOP] for kind, counts in ranked.items()},
        gaps=answers[3],
        dead_letters=answers[4],
        posts=answers[5],
        offered=sorted(count.name for count in offered),
        reads=reads,
        taken=window.until,
    )


def _by_kind(found: Sequence[Carried]) -> dict[str, list[Count]]:
    ranked: dict[str, list[Count]] = {}
    for one in found:
        name = one.handle or one.name if one.kind == "author" else one.name
        ranked.setdefault(one.kind, []).append(Count(name, one.posts))
    return ranked


@dataclass
class _Slot(Generic[Value]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Value | None = None
    fault: str = ""
    again_at: float = 0.0


class Kept(Generic[Key, Value]):
    """The last good answer to each question, asked again when it is old, once for all viewers.

    Args:
        ask: gives the answer.
        fresh: seconds for which an answer to this question serves.
    """

    def __init__(self, ask: Callable[[Key], Value], fresh: Callable[[Key], float]) -> None:
        self._ask, self._fresh = ask, fresh
        self._slots: OrderedDict[Key, _Slot[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, key: Key) -> tuple[Value | None, str]:
        """The last good answer, None before there is one, and why it is not today's, or ""."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            if len(self._slots) > _VIEWS:
                self._slots.popitem(last=False)
        with slot.lock:
            started = time.monotonic()
            if started >= slot.again_at:
                try:
                    slot.value, slot.fault = self._ask(key), ""
                except WarehouseError as error:
                    slot.fault = str(error)
                ended = time.monotonic()
                # A viewer's own timer may come a moment early.
                rest = max(0.9 * self._fresh(key), (ended - started) / _BUSY_SHARE)
                slot.again_at = started + rest
            return slot.value, slot.fault


class Desk:
    """What all viewers of the page share: the condition of the stream, and each view.

    Args:
        every: seconds between two refreshes of a page.
    """

    def __init__(self, reader: ViewReader, every: float) -> None:
        self.reader, self.every = reader, every
        self._condition: Kept[str, Condition] = Kept(
            lambda _: condition(reader, datetime.now(UTC)), lambda _: every
        )
        self._views: Kept[tuple[timedelta, tuple[str, ...]], Snapshot] = Kept(
            lambda view: take(reader, Window.last(view[0], datetime.now(UTC), view[1])),
            lambda view: self.fresh(view[0]),
        )

    def fresh(self, span: timedelta) -> float:
        """Seconds for which the figures of this span serve: those of a month change slowly."""
        return max(self.every, min(span.total_seconds() / 1000, 600.0))

    def condition(self) -> tuple[Condition | None, str]:
        """See Kept.look()."""
        return self._condition.look("")

    def view(self, span: timedelta, rules: Sequence[str]) -> tuple[Snapshot | None, str]:
        """See Kept.look()."""
        return self._views.look((span, tuple(sorted(rules))))
