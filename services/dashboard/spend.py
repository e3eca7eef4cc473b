"""What X's billing month costs, from the reader's events of usage and budget."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from state import StreamEvent

PRICE = 0.005
"""Dollars a post (docs.x.com/x-api/getting-started/pricing)."""


@dataclass(frozen=True)
class Month:
    """The X billing month. Posts are X's count or ours, the larger; None without an event in it.

    Attributes:
        budget: posts allowed, None without a guard.
        start, end: of the billing month, UTC.
        projected: posts at the end of the month at the pace of its last seven days; None where
            less than an hour of it is known.
        before: posts of the month before, None where unknown.
    """

    used: int | None
    budget: int | None
    start: datetime
    end: datetime
    projected: int | None = None
    spent_on: datetime | None = None
    before: int | None = None


def month(events: Sequence[StreamEvent], now: datetime) -> Month:
    """What X's month has cost at `now`, from usage and budget events in order."""
    counted = [
        event for event in events
        if event.posts_used is not None
        and (event.kind == "usage" or event.kind.startswith("budget_"))
    ]  # fmt: skip
    days = [event.about("cap_reset_day") for event in counted]
    known = [day for day in days if isinstance(day, int) and 1 <= day <= 31]
    start, end = _period(now, known[-1] if known else 1)
    mine = [event for event in counted if event.at >= start]
    earlier = [event.posts_used for event in counted if event.at < start]
    before = earlier[-1] if earlier else None
    if not mine:
        return Month(None, None, start, end, before=before)
    last = mine[-1]
    used, budget = last.posts_used or 0, last.post_budget or None
    week = [event for event in mine if event.at >= last.at - timedelta(days=7)]
    length = last.at - week[0].at
    if length < timedelta(hours=1):
        return Month(used, budget, start, end, before=before)
    read = max(used - (week[0].posts_used or 0), 0)
    projected = used + round(read * ((end - last.at) / length))
    spent_on = None
    if budget and used < budget < projected:
        spent_on = last.at + length * ((budget - used) / read)
    return Month(used, budget, start, end, projected, spent_on, before)


def _period(now: datetime, day: int) -> tuple[datetime, datetime]:
    """The billing month around `now`: it begins on that day, or on a shorter month's last."""

    def begin(month: int) -> datetime:
        year, number = divmod(month, 12)
        last = calendar.monthrange(year, number + 1)[1]
        return datetime(year, number + 1, min(day, last), tzinfo=UTC)

    now = now.astimezone(UTC)
    month = now.year * 12 + now.month - 1
    month -= begin(month) > now
    return begin(month), begin(month + 1)
