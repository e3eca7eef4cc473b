"""What the page asks, against small known tables: time zones, midnight, rules, doubles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import queries
from queries import Bucket, Count, Mark, Spend
from tests.dashboard.store import Store, event, post
from warehouse import PageWarehouse
from window import Window

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
SEOUL = timezone(timedelta(hours=9))


def around(moment: datetime, minutes: float = 5, rules: tuple[str, ...] = ()) -> Window:
    """The window of so many minutes on both sides."""
    half = timedelta(minutes=minutes)
    return Window(moment - half, moment + half, rules)


def test_last_window_ends_at_the_next_tick_for_every_viewer() -> None:
    """Two viewers within one refresh ask the same question, in UTC whatever their zone."""
    first = datetime(2026, 3, 1, 9, 0, 0, 100_000, tzinfo=SEOUL)
    later = datetime(2026, 3, 1, 0, 0, 1, 900_000, tzinfo=UTC)
    windows = {Window.last(timedelta(hours=1), now, ["b", "a"], tick=2) for now in (first, later)}
    assert windows == {
        Window(MIDNIGHT - timedelta(seconds=3598), MIDNIGHT + timedelta(seconds=2), ("a", "b"))
    }


def test_window_holds_its_start_and_not_its_end(store: Store, warehouse: PageWarehouse) -> None:
    """[since, until): neighbouring windows share no post and lose none."""
    store.posts(*(post(n, MIDNIGHT + timedelta(minutes=n - 1)) for n in (1, 2, 3)))
    asked = Window(MIDNIGHT, MIDNIGHT + timedelta(minutes=2))
    assert [row.id for row in warehouse.rows(queries.latest_posts(asked))] == [2, 1]


def test_window_in_another_zone_is_the_same_question(
    store: Store, warehouse: PageWarehouse
) -> None:
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
    store: Store, warehouse: PageWarehouse
) -> None:
    """A doubled row is one post; a backfilled post counts but is no latency."""
    twice = post(1, MIDNIGHT)
    store.posts(twice, twice, post(2, MIDNIGHT + timedelta(seconds=3), source="backfill"))
    assert warehouse.rows(queries.timeline(around(MIDNIGHT))) == [
        Bucket(datetime(2026, 3, 1), 2, 250, 250)
    ]


def test_bar_of_a_long_window_crosses_no_day(store: Store, warehouse: PageWarehouse) -> None:
    """Bars of six hours start at 0, 6, 12 and 18 o'clock UTC, so days can be told apart."""
    store.posts(post(1, MIDNIGHT - timedelta(seconds=1)), post(2, MIDNIGHT + timedelta(hours=5.9)))
    asked = Window(MIDNIGHT - timedelta(days=15), MIDNIGHT + timedelta(days=15))
    assert [bar.start for bar in warehouse.rows(queries.timeline(asked))] == [
        datetime(2026, 2, 28, 18),
        datetime(2026, 3, 1),
    ]


def test_totals_of_known_posts(store: Store, warehouse: PageWarehouse) -> None:
    """The headline: posts, authors, the last minute, the newest, quantiles in milliseconds."""
    store.posts(
        post(1, MIDNIGHT - timedelta(minutes=3)),
        post(2, MIDNIGHT + timedelta(minutes=4, seconds=30), author_id=2),
        post(3, MIDNIGHT + timedelta(minutes=4, seconds=31), author_id=2),
    )
    [row] = warehouse.rows(queries.totals(around(MIDNIGHT)))
    assert row == queries.Totals(
        posts=3,
        authors=2,
        last_minute=2,
        newest=datetime(2026, 3, 1, 0, 4, 31),
        post_to_row_p50_ms=250,
        post_to_row_p99_ms=250,
        read_to_row_p50_ms=150,
        read_to_row_p99_ms=150,
    )


def test_totals_of_an_empty_table(store: Store, warehouse: PageWarehouse) -> None:
    """Nothing there is one row of zeros and unknowns, not an error."""
    [row] = warehouse.rows(queries.totals(around(MIDNIGHT)))
    assert row == queries.Totals(0, 0, 0, None, None, None, None, None)


def test_rules_filter_every_post_query(store: Store, warehouse: PageWarehouse) -> None:
    """A chosen rule keeps its posts, also those that another rule matched as well."""
    store.posts(
        post(1, MIDNIGHT, rule_tags=["cats"]),
        post(2, MIDNIGHT, rule_tags=["dogs", "cats"], lang="ko"),
        post(3, MIDNIGHT, rule_tags=["dogs"], lang="ko", hashtags=["dog"]),
    )
    cats = around(MIDNIGHT, rules=("cats",))
    assert warehouse.rows(queries.totals(cats))[0].posts == 2
    assert warehouse.rows(queries.by_language(cats)) == [Count("en", 1), Count("ko", 1)]
    assert warehouse.rows(queries.by_rule(cats)) == [Count("cats", 2), Count("dogs", 1)]
    assert warehouse.rows(queries.top_hashtags(cats)) == []
    assert warehouse.rows(queries.by_rule(around(MIDNIGHT))) == [Count("cats", 2), Count("dogs", 2)]


def test_rule_tag_with_quotes_is_a_value_not_sql(store: Store, warehouse: PageWarehouse) -> None:
    """A tag is whatever its author wrote: it reaches BigQuery as a parameter."""
    tag = "it's \"x\"') OR TRUE -- 고양이 🐈"
    store.posts(post(1, MIDNIGHT, rule_tags=[tag]), post(2, MIDNIGHT))
    asked = around(MIDNIGHT, rules=(tag,))
    assert [row.rule_tags for row in warehouse.rows(queries.latest_posts(asked))] == [[tag]]


def test_languages_name_what_x_did_not_detect(store: Store, warehouse: PageWarehouse) -> None:
    """A post without a language stands under und, together with X's own und."""
    store.posts(post(1, MIDNIGHT, lang=None), post(2, MIDNIGHT, lang="und"), post(3, MIDNIGHT))
    assert warehouse.rows(queries.by_language(around(MIDNIGHT))) == [
        Count("und", 2),
        Count("en", 1),
    ]


def test_hashtags_fold_case_and_count_a_post_once(store: Store, warehouse: PageWarehouse) -> None:
    """#BTS #bts in one post is one post; Korean tags stay as they are."""
    store.posts(
        post(1, MIDNIGHT, hashtags=["BTS", "bts", "서울"]), post(2, MIDNIGHT, hashtags=["Bts"])
    )
    assert warehouse.rows(queries.top_hashtags(around(MIDNIGHT))) == [
        Count("bts", 2),
        Count("서울", 1),
    ]


def test_authors_without_a_handle_are_named_by_id(store: Store, warehouse: PageWarehouse) -> None:
    """X may leave the handle out; the author still counts."""
    store.posts(
        post(1, MIDNIGHT),
        post(2, MIDNIGHT, author_username=None, author_id=7),
        post(3, MIDNIGHT, author_username=None, author_id=7),
    )
    assert warehouse.rows(queries.top_authors(around(MIDNIGHT))) == [
        Count("7", 2),
        Count("ann", 1),
    ]


def test_gaps_and_dead_letters_of_the_window(store: Store, warehouse: PageWarehouse) -> None:
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
    store.events(gap, gap, *letters, event("old", "gap", MIDNIGHT - timedelta(days=1)))
    assert warehouse.rows(queries.gaps(around(MIDNIGHT))) == [
        Mark(datetime(2026, 2, 28, 23, 59, 20), datetime(2026, 3, 1, 0, 0, 5), "disconnected", 1)
    ]
    assert warehouse.rows(queries.dead_letters(around(MIDNIGHT))) == [
        Mark(datetime(2026, 3, 1), datetime(2026, 3, 1, 0, 0, 10), "schema", 3)
    ]


def test_spend_is_the_latest_word(store: Store, warehouse: PageWarehouse) -> None:
    """Of several usage events the last one counts, at half a cent a post."""
    store.events(
        event("u1", "usage", MIDNIGHT - timedelta(hours=2), posts_used=100, post_budget=1000),
        event(
            "u2", "budget_warning", MIDNIGHT - timedelta(hours=1), posts_used=800, post_budget=1000
        ),
        event("u0", "usage", MIDNIGHT - timedelta(days=40), posts_used=9000, post_budget=1000),
    )
    [row] = warehouse.rows(queries.spend(around(MIDNIGHT)))
    assert row == Spend(MIDNIGHT - timedelta(hours=1), 800, 1000)
    assert row.dollars == 4.0
    assert warehouse.rows(queries.spend(around(MIDNIGHT + timedelta(days=40)))) == []
