"""Is it all right? The state line and the month's spend, from the reader's events and its posts.

Both are about the whole stream, whatever time and rules a viewer has chosen.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from google.cloud.bigquery import ScalarQueryParameter

from queries import bar
from warehouse import Query
from window import Window, duration, utc

Tone = Literal["good", "wait", "bad", "idle"]

PRICE = 0.005
"""Dollars a post (docs.x.com/x-api/getting-started/pricing)."""

# The reader writes its usage each ten minutes: after two of them missed it is not well.
SILENT = timedelta(minutes=25)
# Silence that is normal: X's own delay and ours twice over, and twenty times the usual distance of
# two posts, which chance exceeds once in 500 million (e to the power of -20).
_SLACK, _DELAYS, _DISTANCES = timedelta(seconds=2), 2, 20
# While it catches up, the delay is no measure of what is normal.
_LONGEST_DELAY_MS = 30_000
_LIFE = {
    "started", "connected", "disconnected", "publish_stalled", "budget_paused", "budget_resumed",
    "stopped",
}  # fmt: skip
# What the reader itself writes; the sink and the commands have kinds of their own.
_READERS = _LIFE | {"usage", "budget_warning", "control_message", "rules_changed", "gap"}


@dataclass(frozen=True)
class Pulse:
    """The stream's posts of ten minutes; created_at's first and last, and the last read, written.

    Attributes:
        oldest, newest: created_at (UTC, no zone).
        read, written: the latest ingested_at and inserted_at.
        delay_ms: from created_at to the row, 99th percentile.
    """

    posts: int
    oldest: datetime
    newest: datetime
    read: datetime
    written: datetime | None
    delay_ms: int | None


@dataclass(frozen=True)
class StreamEvent:
    """A row of stream_events: the first or last of its kind on a day. A kind may be unknown here.

    Attributes:
        detail: JSON text of an object, or of anything else.
    """

    kind: str
    at: datetime
    reason: str | None = None
    gap_from: datetime | None = None
    posts_used: int | None = None
    post_budget: int | None = None
    detail: str | None = None

    def about(self, name: str) -> Any:
        """A member of `detail`, None where there is none."""
        try:
            content = json.loads(self.detail or "null")
        except ValueError:
            return None
        return content.get(name) if isinstance(content, dict) else None


@dataclass(frozen=True)
class StreamState:
    """The state line: a word, a sentence, and how it is meant.

    Attributes:
        missing_since: since when nothing is read, where that is known.
    """

    tone: Tone
    word: str
    says: str
    missing_since: datetime | None = None
    reason: str = ""


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


def pulses(now: datetime) -> Query[Pulse]:
    """The posts of the last 24 hours that the stream brought, by ten minutes, in order."""
    day = Window(now - timedelta(days=1), now)
    return Query(
        "Signs of life",
        "SELECT COUNT(*) AS posts, MIN(created_at) AS oldest, MAX(created_at) AS newest,\n"
        "  MAX(ingested_at) AS `read`, MAX(inserted_at) AS written,\n"
        "  APPROX_QUANTILES(DATETIME_DIFF(DATETIME(inserted_at), created_at, MILLISECOND), 100)"
        "[OFFSET(99)] AS delay_ms\n"
        "FROM `{dataset}.tweets_latest`\n"
        "WHERE created_at >= @since AND created_at < @until\n"
        "  AND COALESCE(source, 'stream') = 'stream'\n"
        f"GROUP BY {bar('TIMESTAMP(created_at)')} ORDER BY oldest",
        (*day.posts()[:2], ScalarQueryParameter("bucket", "INT64", 600)),
        Pulse,
    )


def life(now: datetime) -> Query[StreamEvent]:
    """The first and the last event of each kind on each day of 62, in order: two months' spend."""
    days = Window(now - timedelta(days=62), now)

    def number(order: str) -> str:
        return (
            "ROW_NUMBER() OVER (PARTITION BY kind, TIMESTAMP_TRUNC(event.at, DAY) "
            f"ORDER BY event.at{order}, event_id{order}) = 1"
        )

    return Query(
        "Events of the reader",
        "SELECT kind, event.at AS `at`, reason, gap_from, posts_used, post_budget,\n"
        "  TO_JSON_STRING(detail) AS detail\n"
        "FROM `{dataset}.stream_events_latest` AS event\n"
        "WHERE event.at >= @since AND event.at < @until\n"
        f"QUALIFY {number('')}\n  OR {number(' DESC')}\n"
        "ORDER BY event.at, event_id",
        days.events(),
        StreamEvent,
    )


def judge(found: Sequence[Pulse], events: Sequence[StreamEvent], now: datetime) -> StreamState:
    """Say what the stream does at `now`; `found` and `events` in the queries' order."""
    told = [event for event in events if event.kind in _LIFE]
    last = told[-1] if told else None
    pulse = found[-1] if found else None
    if last is None and pulse is None:
        return StreamState("idle", "Nothing yet", "no reader has written here in the last 62 days.")
    # A post that was read later proves more than an event.
    if last is not None and last.kind != "connected" and not (pulse and pulse.read > last.at):
        return _not_reading(told, now)
    connected = last.at if last is not None and last.kind == "connected" else None
    words = [event.at for event in events if event.kind in _READERS]
    heard = max([*words, *([pulse.read] if pulse else [])])
    if pulse is None:
        if now - heard > SILENT:
            return _lost(heard, now)
        since = f"connected since {clock(connected, now)}" if connected else "the reader is there"
        return StreamState("idle", "No posts match", f"{since}, no post in the last day.")
    return _by_age(found, connected, heard, now)


def _not_reading(told: Sequence[StreamEvent], now: datetime) -> StreamState:
    last = told[-1]
    reads = [event.at for event in told if event.kind in ("connected", "budget_resumed")]
    since_then = [event for event in told if not reads or event.at > reads[-1]] or [last]
    pauses = [event for event in since_then if event.kind == "budget_paused"]
    if pauses and last.kind != "stopped":  # a reader that starts again stays paused
        return _paused(pauses[-1], now)
    since = since_then[0].gap_from or since_then[0].at
    reason = _words(since_then[0].reason or last.kind)
    why = {
        "stopped": "the reader was stopped",
        "publish_stalled": f"what was read can't be published ({reason})",
        "started": "the reader has started and has no stream yet",
        "budget_resumed": "the budget allows reading again, and there is no stream yet",
    }.get(last.kind, f"{reason}; the reader tries again")
    if last.kind in ("started", "budget_resumed") and now - last.at < timedelta(minutes=1):
        return StreamState("wait", "Connecting", f"{why}.", since, reason)
    says = f"since {clock(since, now)}, {duration(now - since)}: {why}."
    return StreamState("bad", "Down", says, since, reason)


def _paused(pause: StreamEvent, now: datetime) -> StreamState:
    until = _moment(pause.about("until"))
    says = "by the budget"
    if until:
        says += f" until {clock(until, now)}"
    if pause.posts_used is not None and pause.post_budget:
        says += f": {pause.posts_used:,} of {pause.post_budget:,} posts used"
    elif pause.reason not in (None, "budget"):
        says += f": {_words(pause.reason)}"
    if until and until < now - timedelta(minutes=2):
        return StreamState(
            "bad", "Paused", f"{says}; that time is over and it does not read.", pause.at, "budget"
        )
    return StreamState("wait", "Paused", f"{says}.", pause.at, "budget")


def _by_age(
    found: Sequence[Pulse], connected: datetime | None, heard: datetime, now: datetime
) -> StreamState:
    newest = max(pulse.newest for pulse in found).replace(tzinfo=UTC)
    written = max((pulse.written for pulse in found if pulse.written), default=newest)
    age = max(now - newest, timedelta())
    hour = [pulse for pulse in found if pulse.newest >= utc(newest - timedelta(hours=1))]
    posts = sum(pulse.posts for pulse in hour)
    distance = (newest - hour[0].oldest.replace(tzinfo=UTC)) / max(posts - 1, 1)
    delay = timedelta(milliseconds=min(hour[-1].delay_ms or 0, _LONGEST_DELAY_MS))
    normal = _SLACK + _DELAYS * delay + _DISTANCES * distance
    ago = f"newest post {duration(age)} ago"
    every = f"one comes every {_pace(distance)}"
    # A connection that has just begun has had no time to bring one.
    silence = now - max(newest, connected or newest)
    if posts > 1 and silence <= normal:
        return StreamState("good", "Live", f"{ago}, {every}.")
    if now - written <= normal and age > normal:
        behind = duration(written - newest)
        return StreamState("wait", "Late", f"rows come {behind} after their posts.")
    if now - heard > SILENT:
        return _lost(heard, now)
    if posts <= 1:
        return StreamState("idle", "No posts match", f"{ago}; the reader is connected.")
    # A word of the reader that is younger than the silence has come the same way as a post would.
    if heard > newest + normal:
        says = f"{ago}; the reader is connected, heard of {duration(now - heard)} ago."
        return StreamState("idle", "No posts match", says)
    return StreamState(
        "bad", "Late", f"{ago}, where {every}: the reader, Pub/Sub or the sink is behind."
    )


def _lost(heard: datetime, now: datetime) -> StreamState:
    silent = duration(now - heard)
    return StreamState(
        "bad", "Down", f"since {clock(heard, now)}, {silent}: no sign of the reader.", heard,
        "no sign of the reader",
    )  # fmt: skip


def _words(reason: str | None) -> str:
    return (reason or "for a reason unknown").replace("_", " ")


def _pace(distance: timedelta) -> str:
    seconds = distance.total_seconds()
    return f"{seconds:.2g} s" if seconds < 10 else duration(distance)


def clock(moment: datetime, now: datetime) -> str:
    """A moment for people, UTC: the time, with the day where that is not today."""
    form = "%H:%M:%S" if moment.date() == now.date() else "%d %b %H:%M"
    return f"{moment.astimezone(UTC):{form}}"


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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

    def begin(year: int, number: int) -> datetime:
        year, number = year + (number - 1) // 12, (number - 1) % 12 + 1
        last = calendar.monthrange(year, number)[1]
        return datetime(year, number, min(day, last), tzinfo=UTC)

    now = now.astimezone(UTC)
    if begin(now.year, now.month) <= now:
        return begin(now.year, now.month), begin(now.year, now.month + 1)
    return begin(now.year, now.month - 1), begin(now.year, now.month)
