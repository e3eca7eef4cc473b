"""The state line, the month's spend, and what is kept through a fault: no BigQuery, no browser."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

import snapshot
import spend
from queries import Totals
from snapshot import Kept
from state import Pulse, StreamEvent, judge
from warehouse import MINIMUM_BYTES, Settings, ViewReader, WarehouseError
from window import Window, duration, utc

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1),
)  # fmt: skip


def pulse(newest: timedelta, every: timedelta = 2 * SECOND, late: timedelta = SECOND) -> Pulse:
    """Ten minutes of posts, the newest so long ago, each in its row `late` after it was made."""
    last = NOW - newest
    return Pulse(
        posts=int(timedelta(minutes=10) / every) + 1,
        oldest=utc(last - 10 * MINUTE),
        newest=utc(last),
        read=last + late / 2,
        written=last + late,
        delay_ms=int(late.total_seconds() * 1000),
    )


def told(kind: str, ago: timedelta, **columns: Any) -> StreamEvent:
    """An event so long ago."""
    return StreamEvent(kind, NOW - ago, **columns)


def quiet(ago: timedelta, since: timedelta) -> StreamEvent:
    """The reader's word that its stream brings nothing since a moment so long ago."""
    return told("quiet", ago, detail=f'{{"since": "{NOW - since:%FT%TZ}"}}')


def counted(*posts: int, **detail: int) -> list[StreamEvent]:
    """The reader's counts of posts, each ten minutes, the last 4 minutes ago."""
    return [
        told("usage", (4 + 10 * n) * MINUTE, posts_used=used, detail=json.dumps(detail))
        for n, used in enumerate(reversed(posts))
    ]


STARTED = told("started", 3 * DAY)
CONNECTED = told("connected", 2 * DAY)


@pytest.mark.parametrize(
    ("found", "events", "word", "says"),
    [
        ([pulse(3 * SECOND)], [STARTED, CONNECTED], "Live", "newest post 3 s ago"),
        # the stream is down and its gap event comes only once it is back
        (
            [pulse(40 * SECOND)],
            [STARTED, CONNECTED, told("disconnected", 39 * SECOND, reason="http_503",
                                      gap_from=NOW - 40 * SECOND)],
            "Down", "since 11:59:20, 40 s: http 503; the reader tries again.",
        ),
        # ... and at once, when the newest post is not old yet
        (
            [pulse(3 * SECOND)],
            [CONNECTED, told("disconnected", SECOND, reason="disconnected")],
            "Down", "since 11:59:59, 1 s: disconnected; the reader tries again.",
        ),
        ([pulse(5 * SECOND)], [CONNECTED, told("disconnected", MINUTE), told("connected", SECOND)],
         "Live", "newest post 5 s ago"),
        # a post that was read since says more than an event that has not come
        ([pulse(2 * SECOND)], [CONNECTED, told("disconnected", MINUTE)], "Live", "newest post"),
        (
            [pulse(HOUR)],
            [CONNECTED, told("budget_paused", HOUR - SECOND, reason="budget", posts_used=9990,
                             post_budget=10000, detail='{"until": "2026-12-01T00:00:00Z"}')],
            "Paused", "by the budget until 01 Dec 00:00: 9,990 of 10,000 posts used.",
        ),
        # a restart stays paused, and says no second time why
        ([], [told("budget_paused", HOUR, detail='{"until": "2026-12-01T00:00:00Z"}'),
              told("stopped", 9 * MINUTE), told("started", 8 * MINUTE)],
         "Paused", "by the budget until 01 Dec 00:00."),
        ([], [told("budget_paused", HOUR, reason="usage_unknown", detail="[1]")],
         "Paused", "by the budget: no count of this month's posts can be trusted until X tells"),
        ([], [told("budget_paused", 2 * DAY, detail='{"until": "2026-11-25T00:00:00Z"}')],
         "Paused", "that time is over and it does not read."),
        ([pulse(HOUR)], [CONNECTED, told("stopped", HOUR - SECOND)], "Down",
         "since 11:00:01, 59 min 59 s: the reader was stopped."),
        ([pulse(HOUR)], [CONNECTED, told("publish_stalled", 30 * MINUTE, reason="volume_full")],
         "Down", "since 11:30:00, 30 min: what was read can't be published (volume full)."),
        ([pulse(HOUR)], [CONNECTED, told("started", 30 * SECOND)], "Connecting", "no stream yet"),
        ([pulse(HOUR)], [CONNECTED, told("started", 5 * MINUTE)], "Down", "no stream yet"),
        # the sink refuses, or Pub/Sub does not push: no event can come either
        ([pulse(2 * MINUTE)], [CONNECTED], "Late",
         "newest post 2 min ago, where one comes every 2 s: the reader, Pub/Sub or the sink"),
        # the rules may match nothing: who is behind is not known before the reader could say that
        ([pulse(50 * SECOND)], [CONNECTED], "Late", "50 s ago, where one comes every 2 s."),
        ([pulse(50 * SECOND)], [CONNECTED, quiet(28 * SECOND, since=49 * SECOND)],
         "No posts match", "newest post 50 s ago; the reader is connected"),
        ([pulse(2 * MINUTE)], [CONNECTED, quiet(3 * MINUTE, since=4 * MINUTE)], "Late", "behind."),
        # ... and what it had read before is not here yet
        ([pulse(2 * MINUTE)], [CONNECTED, quiet(MINUTE, since=80 * SECOND)], "Late", "behind."),
        # another script's rules: what comes may not be what was asked for
        ([pulse(SECOND)], [CONNECTED, told("rules_taken_over", 5 * MINUTE)], "Foreign rules",
         "another script set its rules on this X app; ours were put back at 11:55:00."),
        ([pulse(SECOND)], [CONNECTED, told("rules_taken_over", HOUR)], "Live", "newest post"),
        ([pulse(HOUR)], [CONNECTED, told("rules_taken_over", 5 * MINUTE),
                         told("disconnected", MINUTE, reason="stalled")], "Down", "stalled"),
        # it writes again, and is behind
        ([pulse(5 * MINUTE, late=5 * MINUTE - SECOND)], [CONNECTED], "Late",
         "rows come 4 min 59 s after their posts."),
        # nothing at all any more, for longer than the reader is ever silent
        ([pulse(HOUR)], [CONNECTED], "Down", "no sign of the reader."),
        # a quiet rule set: the reader's usage comes the way a post would
        ([pulse(HOUR)], [CONNECTED, told("usage", 4 * MINUTE, posts_used=1)], "No posts match",
         "newest post 1 h ago; the reader is connected, heard of 4 min ago."),
        ([], [CONNECTED, told("usage", 4 * MINUTE, posts_used=1)], "No posts match",
         "connected since 24 Nov 12:00, no post in the last day."),
        ([], [CONNECTED], "Down", "since 24 Nov 12:00, 2 days: no sign of the reader."),
        # ... but what the reader counts is in no row: the sink refuses the posts, not the events
        ([pulse(HOUR)], [CONNECTED, *counted(500, 560, 620)], "Late",
         "heard of 4 min ago, but 120 posts were counted since: Pub/Sub or the sink is behind."),
        ([], [CONNECTED, *counted(500, 560)], "Late", "no post in the last day, but 60 posts"),
        # ... or others of the X project buy posts, which X alone counts
        ([pulse(HOUR)], [CONNECTED, *counted(500, 560, x_posts=560)], "Late",
         "60 posts were counted since by X: another program bought them, or Pub/Sub or the sink"),
        # ... a count is not the posts that were read before it, a new month's is smaller
        ([pulse(20 * MINUTE)], [CONNECTED, *counted(0, 500, 560, 560)], "No posts match", "heard"),
        ([pulse(HOUR)], [CONNECTED, *counted(500, 60)], "No posts match", "heard of 4 min ago."),
        # one post in 20 minutes is the pace of this rule set
        ([pulse(30 * MINUTE, every=5 * MINUTE)], [CONNECTED, told("usage", MINUTE, posts_used=1)],
         "Live", "newest post 30 min ago, one comes every 5 min."),
        ([], [], "Nothing yet", "no reader has written here"),
        ([pulse(3 * SECOND)], [told("a_kind_of_tomorrow", SECOND, detail="{broken")], "Live",
         "newest post 3 s ago"),
        # what the commands write says nothing of the reader
        ([pulse(HOUR)], [CONNECTED, told("backfilled", MINUTE)], "Down", "no sign of the reader."),
    ],
)  # fmt: skip
def test_state_is_what_the_events_and_the_posts_say(
    found: list[Pulse], events: list[StreamEvent], word: str, says: str
) -> None:
    """Live, late, paused, down, no posts match, nothing yet: in a word and a sentence."""
    line = judge(found, sorted(events, key=lambda event: event.at), NOW)
    assert (line.word, says in line.says) == (word, True), line.says


def test_down_is_a_gap_that_is_open() -> None:
    """What is missing now counts before its event comes."""
    events = [CONNECTED, told("disconnected", MINUTE, reason="stalled", gap_from=NOW - 2 * MINUTE)]
    line = judge([pulse(2 * MINUTE)], events, NOW)
    assert (line.missing_since, line.reason) == (NOW - 2 * MINUTE, "stalled")


def usage(day: int, posts: int, kind: str = "usage", reset: int = 1) -> StreamEvent:
    """X's count on a day of November 2026, at noon."""
    at = datetime(2026, 11, day, 12, tzinfo=UTC)
    detail = f'{{"cap_reset_day": {reset}}}'
    return StreamEvent(kind, at, posts_used=posts, post_budget=10_000, detail=detail)


def test_month_is_projected_at_the_pace_of_its_last_week() -> None:
    """1,000 posts a day make 4,500 more by the month's end, or the budget ends before."""
    month = spend.month([usage(10, 100), usage(22, 1_000), usage(26, 5_000)], NOW)
    assert (month.used, month.budget, month.projected) == (5_000, 10_000, 9_500)
    assert month.spent_on is None
    month = spend.month([usage(22, 2_000), usage(26, 8_000, "budget_warning")], NOW)
    assert month.projected == 14_750
    assert month.spent_on == NOW + DAY + 8 * HOUR


def test_last_month_is_not_this_month() -> None:
    """On the day on which X counts anew, the last usage is the month before's."""
    at = datetime(2026, 11, 27, 0, 5, tzinfo=UTC)
    month = spend.month([usage(26, 9_800, reset=27)], at)
    assert (month.used, month.before) == (None, 9_800)
    assert (month.start, month.end) == (
        datetime(2026, 11, 27, tzinfo=UTC), datetime(2026, 12, 27, tzinfo=UTC),
    )  # fmt: skip
    assert spend.month([], at).used is None
    assert spend.month([usage(26, 7, reset=99)], NOW).start == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "now", "start", "end"),
    [
        (31, "2026-03-30", "2026-02-28", "2026-03-31"),
        (31, "2026-02-28", "2026-02-28", "2026-03-31"),
        (15, "2026-01-14", "2025-12-15", "2026-01-15"),
        (1, "2026-12-31", "2026-12-01", "2027-01-01"),
    ],
)
def test_months_of_every_length(day: int, now: str, start: str, end: str) -> None:
    """A billing month begins on X's day, or on the last of a shorter month."""
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    detail = f'{{"cap_reset_day": {day}}}'
    month = spend.month([StreamEvent("usage", at, posts_used=1, detail=detail)], at)
    assert (f"{month.start:%F}", f"{month.end:%F}") == (start, end)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (50, "50 s"), (7_500, "2 h 5 min"), (7_200, "2 h"), (90_000, "1 day 1 h"),
     (259_140, "2 days 23 h"), (59.7, "1 min"), (3_605, "1 h")],
)  # fmt: skip
def test_lengths_of_time_are_readable(seconds: float, words: str) -> None:
    """The two largest units, not 259,140 s."""
    assert duration(timedelta(seconds=seconds)) == words


def test_good_answers_outlive_a_fault_and_serve_all_viewers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One question a refresh whoever looks; through a fault the last good answer, and why."""
    clock, asked = SimpleNamespace(now=100.0), []

    def ask(key: str) -> str:
        asked.append(key)
        if len(asked) == 2:
            raise WarehouseError("BigQuery cannot be reached")
        return f"answer {len(asked)}"

    monkeypatch.setattr(snapshot, "time", SimpleNamespace(monotonic=lambda: clock.now))
    kept: Kept[str, str] = Kept(ask, lambda _: 60.0)
    assert [kept.look("a") for _ in range(3)] == [("answer 1", "")] * 3
    clock.now += 60
    assert kept.look("a") == ("answer 1", "BigQuery cannot be reached")
    assert kept.look("a") == ("answer 1", "BigQuery cannot be reached")
    assert len(asked) == 2
    clock.now += 60
    assert kept.look("a") == ("answer 3", "")
    for number in range(60):
        kept.look(f"view {number}")
    assert kept.look("a") == ("answer 64", "")  # the oldest views are forgotten


class Recorded(ViewReader):
    """Answers each dry run with a size, and notes what each query may bill."""

    def __init__(self, reads: int) -> None:
        super().__init__(Settings("p.d", "http://127.0.0.1:9"))
        self._reads, self.most, self.asked = reads, dict[str, int](), list[str]()

    def bytes_read(self, query: Any) -> int:
        """The size."""
        return self._reads

    def rows(self, query: Any, most: int = MINIMUM_BYTES) -> list[Any]:
        """Note the bound."""
        self.most[query.name] = most
        self.asked.append(query.name)
        return [Totals(0, 0, 0, 0, None, None, None, None)] if query.row is Totals else []


def test_one_bound_holds_for_a_whole_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all queries of a refresh may bill adds up to 1 GiB at most, state and view."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    reader = Recorded(reads=50 * 2**20)
    snapshot.condition(reader, NOW)
    snapshot.take(reader, Window.last(DAY, NOW))
    assert len(reader.most) == 8
    assert 0.99 * 2**30 < sum(reader.most.values()) <= 2**30


def test_viewers_of_one_view_share_its_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many look at a view within a refresh, each of its queries is asked once; the state
    of the stream is one for all views.
    """
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    reader = Recorded(reads=0)
    desk = snapshot.Desk(reader, 60)

    def viewer(rules: list[str]) -> None:
        desk.condition()
        desk.view(DAY, rules)

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(viewer, [["a", "b"], ["b", "a"]] * 8))
    assert len(reader.asked) == len(set(reader.asked)) == 9
    viewer([])
    assert len(reader.asked) == 9 + 6


def test_a_refresh_that_would_bill_more_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six queries of 200 MB are more than a view's 768 MB: a sentence, and nothing is billed."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    reader = Recorded(reads=200 * 2**20)
    with pytest.raises(WarehouseError, match=r"would bill 1\.17 GB, and it may bill 768\.0 MB"):
        snapshot.take(reader, Window.last(DAY, NOW))
    assert not reader.most
