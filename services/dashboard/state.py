"""Is it all right? The state line, from the reader's events and its posts.

It is about the whole stream, whatever time and rules a viewer has chosen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from queries import bar
from warehouse import Query
from window import Window, duration, utc

Tone = Literal["good", "wait", "bad", "idle"]

# The reader writes its usage each ten minutes: after two of them missed it is not well.
SILENT = timedelta(minutes=25)
# Silence that is normal: X's own delay and ours twice over, and twenty times the usual distance of
# two posts, which chance exceeds once in 500 million (e to the power of -20).
_SLACK, _DELAYS, _DISTANCES = timedelta(seconds=2), 2, 20
# The reader says that an open stream brings nothing after 20 s; until its word could be here,
# nobody knows who is behind.
_UNKNOWN = timedelta(seconds=40)
# The reader compares X's rules each ten minutes: another's would be back by then.
_CONTESTED = timedelta(minutes=12)
# While it catches up, the delay is no measure of what is normal.
_LONGEST_DELAY_MS = 30_000
# Counts of posts of an hour, one each ten minutes: what another program bought before is over.
_USAGES = 7
_LIFE = {
    "started", "connected", "disconnected", "publish_stalled", "budget_paused", "budget_resumed",
    "stopped",
}  # fmt: skip
# What the reader itself writes; the sink and the commands have kinds of their own.
_QUIET, _TAKEN_OVER = "quiet", "rules_taken_over"
_READERS = _LIFE | {
    "usage", "budget_warning", "control_message", "rules_changed", "gap", _QUIET, _TAKEN_OVER,
}  # fmt: skip


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
        {**day.times, "bucket": 600},
        Pulse,
    )


def life(now: datetime) -> Query[StreamEvent]:
    """The first and the last event of each kind on each day of 62, in order: two months' spend.

    Of the last hour each usage, which tells of posts that are in no row yet.
    """
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
        "  OR kind = 'usage' AND event.at >= TIMESTAMP_SUB(@until, INTERVAL 1 HOUR)\n"
        "ORDER BY event.at, event_id",
        days.events,
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
    said = {event.kind: event for event in events if event.kind in _READERS}
    heard = max([*(event.at for event in said.values()), *([pulse.read] if pulse else [])])
    if pulse is not None:
        state = _by_age(found, connected, said.get(_QUIET), heard, now)
    elif now - heard > SILENT:
        return _lost(heard, now)
    else:
        since = f"connected since {clock(connected, now)}" if connected else "the reader is there"
        state = StreamState("idle", "No posts match", f"{since}, no post in the last day.")
    if state.tone == "idle":
        state = _unless_posts_are_counted(state, events, pulse.read if pulse else None)
    taken = said.get(_TAKEN_OVER)
    if state.tone in ("good", "idle") and taken and now - taken.at < _CONTESTED:
        says = (
            "another script set its rules on this X app; ours were put back at "
            f"{clock(taken.at, now)}. Give it an app of its own."
        )
        return StreamState("wait", "Foreign rules", says)
    return state


def _not_reading(told: Sequence[StreamEvent], now: datetime) -> StreamState:
    last = told[-1]
    reads = [event.at for event in told if event.kind in ("connected", "budget_resumed")]
    since_then = [event for event in told if not reads or event.at > reads[-1]] or [last]
    pauses = [event for event in since_then if event.kind == "budget_paused"]
    if pauses and last.kind != "stopped":  # a reader that starts again stays paused
        return _paused(pauses[-1], now)
    since = since_then[0].gap_from or since_then[0].at
    reason = words(since_then[0].reason or last.kind)
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
    if pause.reason == "usage_unknown":
        says += ": no count of this month's posts can be trusted until X tells its own"
    elif pause.posts_used is not None and pause.post_budget:
        says += f": {pause.posts_used:,} of {pause.post_budget:,} posts used"
    elif pause.reason not in (None, "budget"):
        says += f": {words(pause.reason)}"
    if until and until < now - timedelta(minutes=2):
        return StreamState(
            "bad", "Paused", f"{says}; that time is over and it does not read.", pause.at, "budget"
        )
    return StreamState("wait", "Paused", f"{says}.", pause.at, "budget")


def _by_age(
    found: Sequence[Pulse],
    connected: datetime | None,
    quiet: StreamEvent | None,
    heard: datetime,
    now: datetime,
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
    read_all = _read_all(quiet, found)
    if read_all or (read_all is None and heard > newest + normal):
        says = f"{ago}; the reader is connected, heard of {duration(now - heard)} ago."
        return StreamState("idle", "No posts match", says)
    if silence < normal + _UNKNOWN:
        return StreamState("wait", "Late", f"{ago}, where {every}.")
    return StreamState(
        "bad", "Late", f"{ago}, where {every}: the reader, Pub/Sub or the sink is behind."
    )


def _unless_posts_are_counted(
    state: StreamState, events: Sequence[StreamEvent], last: datetime | None
) -> StreamState:
    """Late where posts were bought after the last row: an event says nothing of the posts' table.

    Two counts after it are needed: the first has what came just before it, too.
    """
    told = [
        event for event in events
        if event.kind == "usage" and event.posts_used is not None and (not last or event.at > last)
    ][-_USAGES:]  # fmt: skip
    more = (told[-1].posts_used or 0) - (told[0].posts_used or 0) if told else 0
    if more <= 0:
        return state
    says = f"{state.says.removesuffix('.')}, but {more:,} posts were counted since"
    # The count is X's or the reader's own, the larger: X counts what others of the project buy.
    if told[-1].posts_used == told[-1].about("x_posts"):
        says += " by X: another program bought them, or Pub/Sub or the sink is behind."
        return StreamState("wait", "Late", says)
    return StreamState("bad", "Late", f"{says}: Pub/Sub or the sink is behind.")


def _read_all(quiet: StreamEvent | None, found: Sequence[Pulse]) -> bool | None:
    """Whether the last post before the reader's silence is in the table; None: it tells of none."""
    last = max(pulse.read for pulse in found)
    since = _moment(quiet.about("since")) if quiet is not None and quiet.at > last else None
    return None if since is None else since <= last + timedelta(seconds=1)


def _lost(heard: datetime, now: datetime) -> StreamState:
    silent = duration(now - heard)
    return StreamState(
        "bad", "Down", f"since {clock(heard, now)}, {silent}: no sign of the reader.", heard,
        "no sign of the reader",
    )  # fmt: skip


def words(reason: str | None) -> str:
    """A reason as people write it."""
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
