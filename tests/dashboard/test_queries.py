"""What the page asks, against small known tables: time zones, midnight, rules, doubles."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

import charts
import panels
import queries
import snapshot
import state
from queries import Bucket, Count, LetterMark, StreamGap, Totals
from tests.dashboard.store import Store, event, post
from warehouse import ViewReader
from window import Window

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
SEOUL = timezone(timedelta(hours=9))


def around(moment: datetime, minutes: float = 5, rules: tuple[str, ...] = ()) -> Window:
    """The window of so many minutes on both sides."""
    half = timedelta(minutes=minutes)
    return Window(moment - half, moment + half, rules)


def ranked(warehouse: ViewReader, kind: str, window: Window) -> list[Count]:
    """The page's ranking of a kind."""
    return list(snapshot.take(warehouse, window).rankings.get(kind, []))


def test_last_window_ends_when_it_is_asked() -> None:
    """What is counted ends at the moment of asking, in UTC whatever the zone, not a tick later."""
    now = datetime(2026, 3, 1, 9, 0, 0, 100_000, tzinfo=SEOUL)
    window = Window.last(timedelta(hours=1), now, ["b", "a"])
    assert window == Window(now - timedelta(hours=1), now, ("a", "b"))
    assert window.posts["until"] == datetime(2026, 3, 1, 0, 0, 0, 100_000)


def test_bars_that_the_window_cuts_are_not_whole() -> None:
    """The last bar of a running stream is never finished; it is told apart, not drawn as a fall."""
    window = Window.last(timedelta(minutes=15), MIDNIGHT + timedelta(seconds=7))
    starts = [datetime(2026, 2, 28, 23, 45), datetime(2026, 2, 28, 23, 45, 10),
              datetime(2026, 2, 28, 23, 59, 50), datetime(2026, 3, 1)]  # fmt: skip
    assert [window.holds(start) for start in starts] == [False, True, True, False]
    bars = charts.posts_over_time([Bucket(s, 5, None, None) for s in starts], [], [], window)
    spec = bars.to_dict()
    drawn = spec["datasets"][spec["layer"][2]["data"]["name"]]
    assert [bar["counted"] == "whole" for bar in drawn] == [False, True, True, False]


def test_window_holds_its_start_and_not_its_end(store: Store, warehouse: ViewReader) -> None:
    """[since, until): neighbouring windows share no post and lose none."""
    store.posts(*(post(n, MIDNIGHT + timedelta(minutes=n - 1)) for n in (1, 2, 3)))
    asked = Window(MIDNIGHT, MIDNIGHT + timedelta(minutes=2))
    assert [row.id for row in warehouse.rows(queries.latest_posts(asked))] == [2, 1]


def test_window_in_another_zone_is_the_same_question(store: Store, warehouse: ViewReader) -> None:
    """Nine o'clock in Seoul is midnight UTC: the same posts and the same bars."""
    store.posts(post(1, MIDNIGHT - timedelta(seconds=1)), post(2, MIDNIGHT))
    utc = around(MIDNIGHT)
    seoul = Window(utc.since.astimezone(SEOUL), utc.until.astimezone(SEOUL))
    bars = warehouse.rows(queries.timeline(seoul))
    assert bars == warehouse.rows(queries.timeline(utc))
    assert [(bar.start, bar.posts) for bar in bars] == [
        (datetime(2026, 2, 28, 23, 59, 50), 1),
        (datetime(2026, 3, 1, 0, 0), 1),
    ]


def test_timeline_counts_each_post_once_and_measures_the_stream(
    store: Store, warehouse: ViewReader
) -> None:
    """A doubled row is one post; a backfilled post counts but is no latency."""
    twice = post(1, MIDNIGHT)
    store.posts(twice, twice, post(2, MIDNIGHT + timedelta(seconds=3), source="backfill"))
    assert warehouse.rows(queries.timeline(around(MIDNIGHT))) == [
        Bucket(datetime(2026, 3, 1), 2, 250, 250)
    ]


def test_bar_of_a_long_window_crosses_no_day(store: Store, warehouse: ViewReader) -> None:
    """Bars of six hours start at 0, 6, 12 and 18 o'clock UTC, so days can be told apart."""
    store.posts(post(1, MIDNIGHT - timedelta(seconds=1)), post(2, MIDNIGHT + timedelta(hours=5.9)))
    asked = Window(MIDNIGHT - timedelta(days=15), MIDNIGHT + timedelta(days=15))
    assert [bar.start for bar in warehouse.rows(queries.timeline(asked))] == [
        datetime(2026, 2, 28, 18),
        datetime(2026, 3, 1),
    ]


def test_totals_of_known_posts(store: Store, warehouse: ViewReader) -> None:
    """The headline: posts, those before, authors, the last minute, quantiles in milliseconds."""
    store.posts(
        post(1, MIDNIGHT - timedelta(minutes=3)),
        post(2, MIDNIGHT + timedelta(minutes=4, seconds=30), author_id=2),
        post(3, MIDNIGHT + timedelta(minutes=4, seconds=31), author_id=2),
        post(4, MIDNIGHT - timedelta(minutes=15), author_id=3),
        post(5, MIDNIGHT - timedelta(minutes=15, seconds=1), author_id=4),
    )
    [row] = warehouse.rows(queries.totals(around(MIDNIGHT)))
    assert row == Totals(
        posts=3,
        before=1,
        authors=2,
        last_minute=2,
        post_to_row_p50_ms=250,
        post_to_row_p99_ms=250,
        read_to_row_p50_ms=150,
        read_to_row_p99_ms=150,
    )


def test_totals_of_an_empty_table(store: Store, warehouse: ViewReader) -> None:
    """Nothing there is one row of zeros and unknowns, not an error."""
    [row] = warehouse.rows(queries.totals(around(MIDNIGHT)))
    assert row == Totals(0, 0, 0, 0, None, None, None, None)


def test_rules_filter_every_post_query(store: Store, warehouse: ViewReader) -> None:
    """A chosen rule keeps its posts, also those that another rule matched as well."""
    store.posts(
        post(1, MIDNIGHT, rule_tags=["cats"]),
        post(2, MIDNIGHT, rule_tags=["dogs", "cats"], lang="ko"),
        post(3, MIDNIGHT, rule_tags=["dogs"], lang="ko", hashtags=["dog"]),
    )
    cats = around(MIDNIGHT, rules=("cats",))
    assert warehouse.rows(queries.totals(cats))[0].posts == 2
    taken = snapshot.take(warehouse, cats)
    assert taken.rankings["language"] == [Count("en", 1), Count("ko", 1)]
    assert taken.rankings["rule"] == [Count("cats", 2), Count("dogs", 1)]
    assert "hashtag" not in taken.rankings
    assert taken.offered == ["cats", "dogs"]
    assert ranked(warehouse, "rule", around(MIDNIGHT)) == [Count("cats", 2), Count("dogs", 2)]


def test_rule_tag_with_quotes_is_a_value_not_sql(store: Store, warehouse: ViewReader) -> None:
    """A tag is whatever its author wrote: it reaches BigQuery as a parameter."""
    tag = "it's \"x\"') OR TRUE -- 고양이 🐈"
    store.posts(post(1, MIDNIGHT, rule_tags=[tag]), post(2, MIDNIGHT))
    asked = around(MIDNIGHT, rules=(tag,))
    assert [row.rule_tags for row in warehouse.rows(queries.latest_posts(asked))] == [[tag]]


def test_languages_name_what_x_did_not_detect(store: Store, warehouse: ViewReader) -> None:
    """A post without a language stands under und, together with X's own und."""
    store.posts(post(1, MIDNIGHT, lang=None), post(2, MIDNIGHT, lang="und"), post(3, MIDNIGHT))
    assert ranked(warehouse, "language", around(MIDNIGHT)) == [Count("und", 2), Count("en", 1)]


@pytest.mark.parametrize(
    ("tag", "name"),
    [("ko", "Korean"), ("ht", "Haitian Creole"), ("iw", "Hebrew"), ("in", "Indonesian"),
     ("und", "not detected"), ("qme", "media only"), ("zxx", "no text"), ("x-new", "x-new"),
     ("__proto__", "__proto__")],
)  # fmt: skip
def test_languages_have_names(tag: str, name: str) -> None:
    """X's tags, its old ones and its own for posts without words, are read by people."""
    assert panels.language(tag) == name


def test_hashtags_fold_case_and_forms_and_count_a_post_once(
    store: Store, warehouse: ViewReader
) -> None:
    """#BTS #bts in one post is one post; é as one letter or as two is one tag, in the view too."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    store.posts(
        post(1, day, hashtags=["BTS", "bts", "서울", "caf\u00e9"]),
        post(2, day, hashtags=["Bts", "cafe\u0301", "\u1109\u1165\u110b\u116e\u11af"]),
        post(3, day, hashtags=["CAF\u00c9", "__proto__", "constructor"]),
    )
    counted = [Count("caf\u00e9", 3), Count("bts", 2), Count("서울", 2), Count("__proto__", 1),
               Count("constructor", 1)]  # fmt: skip
    assert ranked(warehouse, "hashtag", around(day)) == counted
    rows = store.rows("SELECT hashtag, posts FROM v.top_hashtags ORDER BY posts DESC, hashtag")
    assert [Count(row["hashtag"], row["posts"]) for row in rows] == counted


def test_authors_are_counted_by_id_and_named_by_their_latest_handle(
    store: Store, warehouse: ViewReader
) -> None:
    """A handle that changed hands is two authors, and one who changed it one, in the view too."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    minute = timedelta(minutes=1)
    store.posts(
        post(1, day, author_id=1, author_username="ann"),
        post(2, day + minute, author_id=1, author_username="ann_moved"),
        post(3, day + 2 * minute, author_id=2, author_username="ann"),
        *(post(n, day, author_id=7, author_username=None) for n in (4, 5, 6)),
    )
    counted = [Count("7", 3), Count("ann_moved", 2), Count("ann", 1)]
    assert ranked(warehouse, "author", around(day)) == counted
    rows = store.rows("SELECT author, posts FROM v.top_authors ORDER BY posts DESC, author_id")
    assert [Count(row["author"], row["posts"]) for row in rows] == counted


def test_gaps_and_dead_letters_of_the_window(store: Store, warehouse: ViewReader) -> None:
    """Events count once an event_id, in UTC; dead letters add up by bar and reason."""
    gap = event(
        "g1",
        "gap",
        MIDNIGHT + timedelta(seconds=5),
        gap_from=MIDNIGHT - timedelta(seconds=40),
        gap_to=MIDNIGHT + timedelta(seconds=5),
        reason="disconnected",
    )
    letters = [
        event(f"d{n}", "dead_letter", MIDNIGHT + timedelta(seconds=n), reason="schema")
        for n in range(3)
    ]
    filled = event(
        "f", "backfilled", MIDNIGHT + timedelta(minutes=1),
        gap_from=MIDNIGHT - timedelta(seconds=41), gap_to=MIDNIGHT + timedelta(seconds=5),
    )  # fmt: skip
    store.events(gap, gap, *letters, event("old", "gap", MIDNIGHT - timedelta(days=1)))
    seconds = timedelta(seconds=1)
    found = StreamGap(
        datetime(2026, 3, 1) - 40 * seconds, datetime(2026, 3, 1) + 5 * seconds, "disconnected"
    )
    assert warehouse.rows(queries.gaps(around(MIDNIGHT))) == [found]
    assert warehouse.rows(queries.dead_letters(around(MIDNIGHT))) == [
        LetterMark(datetime(2026, 3, 1), datetime(2026, 3, 1, 0, 0, 10), "schema", 3)
    ]
    store.events(filled)
    assert warehouse.rows(queries.gaps(around(MIDNIGHT))) == [replace(found, backfilled=True)]


def test_counts_of_the_last_hour_are_all_read(store: Store, warehouse: ViewReader) -> None:
    """The state line compares each count of the last hour, of earlier ones the day's two ends."""
    ago = [MIDNIGHT - timedelta(minutes=n) for n in range(120, 0, -10)]
    store.events(*(event(f"u{at}", "usage", at, posts_used=1) for at in ago))
    assert [row.at for row in warehouse.rows(state.life(MIDNIGHT))] == [ago[0], *ago[-6:]]


def test_state_of_a_quiet_table_and_of_a_busy_one(store: Store, warehouse: ViewReader) -> None:
    """The state line's own queries, over the tables: events of each day, posts by ten minutes."""
    assert snapshot.condition(warehouse, MIDNIGHT).state.word == "Nothing yet"
    hour = timedelta(hours=1)
    store.events(
        event("c", "connected", MIDNIGHT - 5 * hour),
        *(event(f"u{n}", "usage", MIDNIGHT - n * hour, posts_used=900 - n, post_budget=1000,
                detail='{"cap_reset_day": 15}') for n in (30, 28, 26, 3, 2, 1)),
        event("x", "a_kind_of_tomorrow", MIDNIGHT - hour),
    )  # fmt: skip
    store.posts(*(post(n, MIDNIGHT - timedelta(seconds=n)) for n in range(1, 1200)))
    kinds = [(row.kind, row.at) for row in warehouse.rows(state.life(MIDNIGHT))]
    assert kinds == [
        ("usage", MIDNIGHT - 30 * hour), ("usage", MIDNIGHT - 26 * hour),
        ("connected", MIDNIGHT - 5 * hour), ("usage", MIDNIGHT - 3 * hour),
        ("usage", MIDNIGHT - hour), ("a_kind_of_tomorrow", MIDNIGHT - hour),
    ]  # fmt: skip
    found = snapshot.condition(warehouse, MIDNIGHT)
    assert (found.state.word, found.state.says) == (
        "Live", "newest post 1 s ago, one comes every 1 s.",
    )  # fmt: skip
    assert (found.month.used, found.month.budget) == (899, 1000)
    assert found.month.start == datetime(2026, 2, 15, tzinfo=UTC)
    assert found.told_since == MIDNIGHT - 30 * hour
