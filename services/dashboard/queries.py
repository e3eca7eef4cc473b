"""The questions that the page asks, one function a chart, each giving a typed query.

All read the views that keep one row a post or an event, between two moments of UTC that are
parameters of the filter on the partitioning column, so that only the days looked at are billed.
A post counts as X delivers and bills it: reposts, replies and edited versions are one each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from google.cloud.bigquery import ScalarQueryParameter

from warehouse import Query
from window import Window, utc

TOP = 10
_POSTS = """FROM `{dataset}.tweets_latest`
WHERE created_at >= @since AND created_at < @until
  AND (ARRAY_LENGTH(@rules) = 0
    OR EXISTS (SELECT 1 FROM UNNEST(rule_tags) AS tag WHERE tag IN UNNEST(@rules)))"""
_EVENTS = """FROM `{dataset}.stream_events_latest`
WHERE at >= @since AND at < @until"""


@dataclass(frozen=True)
class Totals:
    """Headline figures. Latencies in milliseconds, None without a post from the stream."""

    posts: int
    authors: int
    last_minute: int
    newest: datetime | None
    post_to_row_p50_ms: int | None
    post_to_row_p99_ms: int | None
    read_to_row_p50_ms: int | None
    read_to_row_p99_ms: int | None


@dataclass(frozen=True)
class Bucket:
    """One bar of the time line, from `start` (UTC, no zone); latencies as in Totals."""

    start: datetime
    posts: int
    post_to_row_p50_ms: int | None
    post_to_row_p99_ms: int | None


@dataclass(frozen=True)
class Count:
    """Posts that carry `name`: a language, a rule's tag, a hashtag or an author's handle."""

    name: str
    posts: int


@dataclass(frozen=True)
class Post:
    """One post for the list; created_at is UTC without a zone."""

    id: int
    created_at: datetime
    author: str
    lang: str
    text: str
    rule_tags: list[str]


@dataclass(frozen=True)
class Mark:
    """A gap of the stream, or a minute's dead letters of one reason, on the time axis (UTC)."""

    start: datetime
    end: datetime
    reason: str
    count: int


@dataclass(frozen=True)
class Spend:
    """The latest word on the X billing month; post_budget None or 0: no guard."""

    at: datetime
    posts_used: int
    post_budget: int | None

    @property
    def dollars(self) -> float:
        """Posts used at X's price of $0.005 (docs.x.com/x-api/getting-started/pricing)."""
        return self.posts_used * 0.005


# A backfilled post is late by nature and would say nothing of the pipeline.
_STREAM = "inserted_at IS NOT NULL AND COALESCE(source, 'stream') = 'stream'"
_TO_ROW = "DATETIME_DIFF(DATETIME(inserted_at), created_at, MILLISECOND)"
_READ_TO_ROW = "TIMESTAMP_DIFF(inserted_at, ingested_at, MILLISECOND)"


def _quantiles(value: str, name: str) -> str:
    return f"APPROX_QUANTILES(IF({_STREAM}, {value}, NULL), 100) AS {name}"


def _pick(name: str) -> str:
    """Median and 99th percentile out of the quantiles; counted once, read twice."""
    return f"{name}[OFFSET(50)] AS {name}_p50_ms, {name}[OFFSET(99)] AS {name}_p99_ms"


def _bar(timestamp: str) -> str:
    """Start of the bar of the time line that holds a TIMESTAMP, as DATETIME in UTC."""
    return f"DATETIME(TIMESTAMP_SECONDS(DIV(UNIX_SECONDS({timestamp}), @bucket) * @bucket))"


def totals(window: Window) -> Query[Totals]:
    """Posts, authors, posts of the last minute, newest post, latency quantiles; always one row."""
    minute_ago = utc(window.until) - timedelta(minutes=1)
    return Query(
        "Headline",
        "SELECT posts, authors, last_minute, newest,\n"
        f"  {_pick('post_to_row')},\n  {_pick('read_to_row')}\n"
        "FROM (SELECT COUNT(*) AS posts, COUNT(DISTINCT author_id) AS authors,\n"
        "  COUNTIF(created_at >= @minute_ago) AS last_minute, MAX(created_at) AS newest,\n"
        f"  {_quantiles(_TO_ROW, 'post_to_row')},\n"
        f"  {_quantiles(_READ_TO_ROW, 'read_to_row')}\n{_POSTS})",
        (*window.posts(), ScalarQueryParameter("minute_ago", "DATETIME", minute_ago)),
        Totals,
    )


def timeline(window: Window) -> Query[Bucket]:
    """Posts and latency by bars of `window.bucket` seconds, in order; an empty bar is absent."""
    return Query(
        "Posts and latency over time",
        f"SELECT start, posts, {_pick('post_to_row')}\n"  # noqa: S608 - our own words
        "FROM (SELECT start, COUNT(*) AS posts, APPROX_QUANTILES(to_row, 100) AS post_to_row\n"
        f"  FROM (SELECT {_bar('TIMESTAMP(created_at)')} AS start,\n"
        f"    IF({_STREAM}, {_TO_ROW}, NULL) AS to_row\n{_POSTS})\n"
        "  GROUP BY start)\nORDER BY start",
        (*window.posts(), ScalarQueryParameter("bucket", "INT64", window.bucket)),
        Bucket,
    )


def _top(title: str, name: str, source: str, window: Window, limit: int) -> Query[Count]:
    posts = _POSTS.replace("tweets_latest`", f"tweets_latest`{source}")
    return Query(
        title,
        f"SELECT {name} AS name, COUNT(DISTINCT id) AS posts\n{posts}\n"
        f"GROUP BY 1 ORDER BY posts DESC, name LIMIT {limit}",
        window.posts(),
        Count,
    )


def by_language(window: Window) -> Query[Count]:
    """Posts by BCP 47 tag, the most first; a post without one is 'und'."""
    return _top("Languages", "COALESCE(lang, 'und')", "", window, TOP)


def by_rule(window: Window) -> Query[Count]:
    """Posts by rule tag, the most first; a post of two rules counts for both.

    X allows 1,000 rules; the page shows the first and offers all of them as filters.
    """
    return _top("Rules", "rule", " CROSS JOIN UNNEST(rule_tags) AS rule", window, 1_000)


def top_hashtags(window: Window) -> Query[Count]:
    """The hashtags in most posts, without #, case folded; a post counts once a hashtag."""
    return _top(
        "Hashtags", "LOWER(hashtag)", " CROSS JOIN UNNEST(hashtags) AS hashtag", window, TOP
    )


def top_authors(window: Window) -> Query[Count]:
    """The authors of most posts, by handle, or by id where X gave no handle."""
    author = "COALESCE(author_username, CAST(author_id AS STRING), 'unknown')"
    return _top("Authors", author, "", window, TOP)


def latest_posts(window: Window, limit: int = 8) -> Query[Post]:
    """The posts created last, newest first."""
    return Query(
        "Latest posts",
        "SELECT id, created_at,\n"
        "  COALESCE(author_username, CAST(author_id AS STRING), 'unknown') AS author,\n"
        f"  COALESCE(lang, 'und') AS lang, text, rule_tags\n{_POSTS}\n"
        f"ORDER BY created_at DESC, id DESC LIMIT {limit}",
        window.posts(),
        Post,
    )


def gaps(window: Window) -> Query[Mark]:
    """Intervals without the stream that ended in the window, in order; not bound to rules."""
    return Query(
        "Gaps",
        "SELECT DATETIME(gap_from) AS start, DATETIME(gap_to) AS `end`,\n"
        f"  COALESCE(reason, 'unknown') AS reason, 1 AS count\n{_EVENTS}\n"
        "  AND kind = 'gap' AND gap_from IS NOT NULL AND gap_to IS NOT NULL\n"
        "ORDER BY gap_from, event_id LIMIT 1000",
        window.events(),
        Mark,
    )


def dead_letters(window: Window) -> Query[Mark]:
    """Dead letters by bar of the time line and reason, in order; not bound to rules."""
    return Query(
        "Dead letters",
        "SELECT start, DATETIME_ADD(start, INTERVAL @bucket SECOND) AS `end`,\n"
        "  reason, COUNT(*) AS count\n"
        f"FROM (SELECT {_bar('at')} AS start, COALESCE(reason, 'unknown') AS reason\n{_EVENTS}\n"
        "  AND kind = 'dead_letter')\nGROUP BY start, reason ORDER BY start, reason",
        (*window.events(), ScalarQueryParameter("bucket", "INT64", window.bucket)),
        Mark,
    )


def spend(window: Window) -> Query[Spend]:
    """The latest usage or budget event up to 35 days old, at most one row; not bound to rules."""
    month = Window(window.until - timedelta(days=35), window.until)
    return Query(
        "Spend",
        f"SELECT at, posts_used, post_budget\n{_EVENTS}\n"
        "  AND posts_used IS NOT NULL\nORDER BY at DESC LIMIT 1",
        month.events(),
        Spend,
    )
