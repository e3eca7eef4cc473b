"""The views of infra/views on small known tables, and what their files say of themselves."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from google.cloud import bigquery

from producer.record import to_record
from tests.dashboard.store import DATASET, Store, event, post, stamp

VIEWS = Path(__file__).resolve().parents[2] / "infra" / "views"
COLUMN = re.compile(r"^-- (\w+) ([A-Z]+): \S", re.MULTILINE)
# The views that keep one row an id have the columns of their table, documented in its schema.
WHOLE = {"tweets_latest", "tweets_current", "stream_events_latest"}
NAMES = sorted(path.stem for path in VIEWS.glob("*.sql"))
# A minute in the past day, so that the chart views, which look back 31 days, show it.
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
DAY = NOON.date()
MIDNIGHT = NOON.replace(hour=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WHOLE])
def test_documented_columns_are_the_columns(made: bigquery.Client, name: str) -> None:
    """Each chart view's comment names every column with the type that a query gives it."""
    said = COLUMN.findall((VIEWS / f"{name}.sql").read_text("utf-8"))
    rows = made.query(f"SELECT * FROM `{DATASET}.{name}` LIMIT 0").result()
    assert said == [(field.name, field.field_type) for field in rows.schema]


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_whole_views_list_the_columns_of_their_table(made: bigquery.Client, name: str) -> None:
    """They have each column of the table, by name: a new one changes their SQL, so it is seen."""
    assert not re.search(r"SELECT\s+\*", (VIEWS / f"{name}.sql").read_text("utf-8"))
    table = "stream_events" if name.startswith("stream_events") else "tweets"
    rows = made.query(f"SELECT * FROM `{DATASET}.{name}` LIMIT 0").result()
    assert [field.name for field in rows.schema] == [
        field.name for field in made.get_table(f"{DATASET}.{table}").schema
    ]


def test_one_row_a_tweet_and_the_last_read_wins(store: Store) -> None:
    """Three deliveries of a post are one row: the one read last, then the one written last."""
    late = post(1, NOON, text="late", ingested_at=stamp(NOON + timedelta(minutes=1)))
    late_again = late | {"text": "again", "inserted_at": stamp(NOON + timedelta(minutes=2))}
    store.posts(late, post(1, NOON, text="early"), late_again, post(2, NOON))
    assert store.rows("SELECT id, text FROM v.tweets_latest ORDER BY id") == [
        {"id": 1, "text": "again"},
        {"id": 2, "text": "post 2"},
    ]


def test_one_row_whether_or_not_x_sends_created_at(store: Store) -> None:
    """A post that X delivers with and without created_at is one post."""
    data = {"id": "1746837261548851200", "text": "x"}
    for line in (data, {**data, "created_at": "2024-01-15T10:10:32.000Z"}):
        record = to_record({"data": line}, "{}", 1_705_313_432_000_000)
        store.posts({**record, "id": str(record["id"]), "original_id": str(record["original_id"])})
    assert store.rows("SELECT COUNT(*) AS posts FROM v.tweets_latest") == [{"posts": 1}]


def test_an_edited_post_is_shown_as_it_reads_now(store: Store) -> None:
    """tweets_latest keeps each version, tweets_current the newest, over midnight too."""
    store.posts(
        post(10, MIDNIGHT - timedelta(seconds=1), edit_history_ids=[10]),
        post(11, MIDNIGHT + timedelta(seconds=1), original_id=10, edit_history_ids=[10, 11]),
        post(12, NOON),
    )
    assert len(store.rows("SELECT id FROM v.tweets_latest")) == 3
    assert store.rows("SELECT id, original_id FROM v.tweets_current ORDER BY id") == [
        {"id": 11, "original_id": 10},
        {"id": 12, "original_id": 12},
    ]


def test_minutes_and_days_are_utc(store: Store) -> None:
    """A second before midnight UTC belongs to the day before, wherever the reader sits."""
    store.posts(post(1, MIDNIGHT - timedelta(seconds=1)), post(2, MIDNIGHT, author_id=2))
    assert store.rows("SELECT minute, posts FROM v.posts_by_minute ORDER BY minute") == [
        {"minute": MIDNIGHT.replace(tzinfo=None) - timedelta(minutes=1), "posts": 1},
        {"minute": MIDNIGHT.replace(tzinfo=None), "posts": 1},
    ]
    assert store.rows("SELECT * FROM v.posts_by_day ORDER BY day") == [
        {"day": DAY - timedelta(days=1), "posts": 1, "authors": 1, "languages": 1},
        {"day": DAY, "posts": 1, "authors": 1, "languages": 1},
    ]


def test_reposts_quotes_and_replies_are_told_apart(store: Store) -> None:
    """A post counts once among the posts, and in each kind that it is."""
    reply_and_quote = [{"type": "replied_to", "id": 7}, {"type": "quoted", "id": 8}]
    store.posts(
        post(1, NOON),
        post(2, NOON, referenced_posts=[{"type": "retweeted", "id": 7}]),
        post(3, NOON, referenced_posts=reply_and_quote),
    )
    [row] = store.rows("SELECT * EXCEPT (minute) FROM v.posts_by_minute")
    assert row == {"posts": 3, "reposts": 1, "quotes": 1, "replies": 1}


def test_rankings_of_a_day(store: Store) -> None:
    """Languages, rules, hashtags and authors by day; doubles and case count once."""
    twice = post(1, NOON, hashtags=["BTS", "bts"], rule_tags=["a", "b", "a"], lang=None)
    store.posts(
        twice, twice, post(2, NOON, author_username="new", hashtags=["Bts"], rule_tags=["a"])
    )
    found = {
        view: [tuple(row.values())[1:] for row in store.rows(f"SELECT * FROM v.{view} ORDER BY 2")]
        for view in ("posts_by_language", "posts_by_rule", "top_hashtags", "top_authors")
    }
    assert found["posts_by_language"] == [("en", 1), ("und", 1)]
    assert found["posts_by_rule"] == [("a", 2), ("b", 1)]
    assert found["top_hashtags"] == [("bts", 2)]
    [(author_id, _, posts)] = found["top_authors"]
    assert (author_id, posts) == (1, 2)


def test_latency_of_the_stream_only(store: Store) -> None:
    """Median and 99th percentile in milliseconds; a backfilled post is left out."""
    slow = stamp(NOON + timedelta(seconds=2))
    store.posts(
        *(post(n, NOON) for n in range(1, 10)),
        post(10, NOON, inserted_at=slow),
        post(11, NOON, source="backfill", inserted_at=stamp(NOON + timedelta(hours=3))),
    )
    [row] = store.rows("SELECT * EXCEPT (minute) FROM v.latency_by_minute")
    assert row == {
        "posts": 10,
        "post_to_row_p50_ms": 250,
        "post_to_row_p99_ms": 2000,
        "read_to_row_p50_ms": 150,
        "read_to_row_p99_ms": 1900,
    }


def test_gaps_know_whether_they_were_filled(store: Store) -> None:
    """A gap is backfilled when one backfill covers it whole; one by a search lacks the reposts."""
    minutes = [NOON + timedelta(minutes=n) for n in range(8)]
    store.events(
        event("a", "gap", NOON, gap_from=minutes[0], gap_to=minutes[2], reason="killed"),
        event("b", "gap", NOON, gap_from=minutes[3], gap_to=minutes[5], reason="http_429"),
        event("c", "gap", NOON, gap_from=minutes[6], gap_to=minutes[7], reason="disconnected"),
        event("f", "backfilled", NOON, gap_from=minutes[0], gap_to=minutes[4]),
        event(
            "s", "backfilled", NOON, gap_from=minutes[6], gap_to=minutes[7],
            detail='{"reposts": false}',
        ),
    )  # fmt: skip
    found = store.rows("SELECT * FROM v.stream_gaps ORDER BY gap_from")
    assert [(row["gap_from"], row["seconds"], row["reason"]) for row in found] == [
        (minutes[0].replace(tzinfo=None), 120.0, "killed"),
        (minutes[3].replace(tzinfo=None), 120.0, "http_429"),
        (minutes[6].replace(tzinfo=None), 60.0, "disconnected"),
    ]
    assert [(row["backfilled"], row["reposts_missing"]) for row in found] == [
        (True, False), (False, False), (True, True),
    ]  # fmt: skip


def test_dead_letters_by_minute(store: Store) -> None:
    """An event that was delivered twice is one dead letter."""
    letter = event("d", "dead_letter", NOON + timedelta(seconds=59), reason="schema")
    store.events(letter, letter, event("e", "dead_letter", NOON, reason="schema"))
    assert store.rows("SELECT * FROM v.dead_letters_by_minute") == [
        {"minute": NOON.replace(tzinfo=None), "reason": "schema", "dead_letters": 2}
    ]


@pytest.mark.parametrize(
    ("at", "reset_day", "month"),
    [
        ("2026-11-14T23:59:59", 15, date(2026, 10, 15)),
        ("2026-11-15T00:00:00", 15, date(2026, 11, 15)),
        ("2026-03-30T12:00:00", 31, date(2026, 2, 28)),
        ("2026-02-28T00:00:00", 31, date(2026, 2, 28)),
        ("2026-01-09T00:00:00", 10, date(2025, 12, 10)),
    ],
)
def test_billing_month_begins_on_x_day(store: Store, at: str, reset_day: int, month: date) -> None:
    """The month turns at 00:00 UTC of cap_reset_day, of the last day where a month is shorter."""
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    detail = f'{{"cap_reset_day": {reset_day}}}'
    store.events(event("u", "usage", moment, posts_used=1, post_budget=10, detail=detail))
    assert [row["month"] for row in store.rows("SELECT month FROM v.spend_by_month")] == [month]


def test_spend_of_a_month_is_its_last_word(store: Store) -> None:
    """Dollars at half a cent a post, beside the budget; without a guard there is no share."""
    store.events(
        event("a", "usage", NOON, posts_used=100, post_budget=1000),
        event("b", "usage", NOON + timedelta(minutes=1), posts_used=800, post_budget=1000),
        event("c", "usage", NOON - timedelta(days=70), posts_used=5, post_budget=0),
    )
    rows = store.rows("SELECT * EXCEPT (month, `at`) FROM v.spend_by_month ORDER BY month DESC")
    assert [tuple(row.values()) for row in rows] == [
        (800, 1000, 4.0, 5.0, 0.8),
        (5, 0, 0.025, None, None),
    ]
