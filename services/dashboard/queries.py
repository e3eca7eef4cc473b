"""The questions that the page asks, one function each, giving a typed query.

All read the views that keep one row a post or an event, between two moments of UTC that are
parameters of the filter on the partitioning column, so that only the days looked at are billed.
A post counts as X delivers and bills it: reposts, replies and edited versions are one each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from warehouse import Query
from window import Window, duration, utc

TOP = 10
# X allows 1,000 rules: the page shows the first ten and offers all of them as filters.
_RULES = 1_000
_WHERE = "WHERE created_at >= @since AND created_at < @until"
_MATCHING = """
  AND (ARRAY_LENGTH(@rules) = 0
    OR EXISTS (SELECT 1 FROM UNNEST(rule_tags) AS tag WHERE tag IN UNNEST(@rules)))"""
_POSTS = "FROM `{dataset}.tweets_latest`\n" + _WHERE + _MATCHING
_EVENTS = """FROM `{dataset}.stream_events_latest` AS event
WHERE event.at >= @since AND event.at < @until"""


@dataclass(frozen=True)
class Totals:
    """Headline figures. Latencies in milliseconds, None without a post from the stream.

    Attributes:
        before: posts of the same length of time just before the window.
        last_minute: posts of the 60 s that end with the window.
    """

    posts: int
    before: int
    authors: int
    last_minute: int
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
class Carried:
    """Posts that carry `name`, with what it is: language, rule, hashtag or author (by id).

    Attributes:
        handle: of the latest of these posts; an author's name, where X gave one.
    """

    kind: str
    name: str
    posts: int
    handle: str | None


@dataclass(frozen=True)
class ListedPost:
    """One post for the list; created_at is UTC without a zone."""

    id: int
    created_at: datetime
    author: str
    lang: str
    text: str
    rule_tags: list[str]


@dataclass(frozen=True)
class StreamGap:
    """An interval without the stream, UTC without a zone.

    Attributes:
        backfilled: a backfill has covered it whole.
        reposts_missing: ... by a search, which returns no reposts.
        open: it has not ended yet.
        begin_unknown: the reader's store was lost with it; `start` is the window's.
    """

    start: datetime
    end: datetime
    reason: str
    backfilled: bool = False
    reposts_missing: bool = False
    open: bool = False
    begin_unknown: bool = False

    @property
    def length(self) -> str:
        """From start to end, for people."""
        return f"{'up to ' * self.begin_unknown}{duration(self.end - self.start)}"

    @property
    def filling(self) -> str:
        """What has become of it, in a word or three."""
        if self.open:
            return "open now"
        if not self.backfilled:
            return "open"
        return "filled without reposts" if self.reposts_missing else "filled"


@dataclass(frozen=True)
class LetterMark:
    """Dead letters of one reason in one bar of the time line (UTC, no zone)."""

    start: datetime
    end: datetime
    reason: str
    count: int


# A backfilled post is late by nature and would say nothing of the pipeline.
_STREAM = "inserted_at IS NOT NULL AND COALESCE(source, 'stream') = 'stream'"
_TO_ROW = "DATETIME_DIFF(DATETIME(inserted_at), created_at, MILLISECOND)"
_READ_TO_ROW = "TIMESTAMP_DIFF(inserted_at, ingested_at, MILLISECOND)"


def _quantiles(value: str, name: str) -> str:
    kept = f"created_at >= @since AND {_STREAM}"
    return f"APPROX_QUANTILES(IF({kept}, {value}, NULL), 100) AS {name}"


def _pick(name: str) -> str:
    """Median and 99th percentile out of the quantiles; counted once, read twice."""
    return f"{name}[OFFSET(50)] AS {name}_p50_ms, {name}[OFFSET(99)] AS {name}_p99_ms"


def bar(timestamp: str) -> str:
    """Start of the bar of @bucket seconds that holds a TIMESTAMP, as DATETIME in UTC."""
    return f"DATETIME(TIMESTAMP_SECONDS(DIV(UNIX_SECONDS({timestamp}), @bucket) * @bucket))"


def totals(window: Window) -> Query[Totals]:
    """Posts, also of the time before, authors, the last minute, latencies; always one row."""
    minute_ago = utc(window.until) - timedelta(minutes=1)
    return Query(
        "Headline",
        "SELECT posts, before, authors, last_minute,\n"
        f"  {_pick('post_to_row')},\n  {_pick('read_to_row')}\n"
        "FROM (SELECT COUNTIF(created_at >= @since) AS posts,\n"
        "  COUNTIF(created_at < @since) AS before,\n"
        "  COUNT(DISTINCT IF(created_at >= @since, author_id, NULL)) AS authors,\n"
        "  COUNTIF(created_at >= @minute_ago) AS last_minute,\n"
        f"  {_quantiles(_TO_ROW, 'post_to_row')},\n"
        f"  {_quantiles(_READ_TO_ROW, 'read_to_row')}\n"
        f"{_POSTS.replace('>= @since', '>= @before')})",
        {**window.posts, "before": utc(window.since - window.span), "minute_ago": minute_ago},
        Totals,
    )


def timeline(window: Window) -> Query[Bucket]:
    """Posts and latency by bars of `window.bucket` seconds, in order; an empty bar is absent."""
    return Query(
        "Posts and latency over time",
        f"SELECT start, posts, {_pick('post_to_row')}\n"  # noqa: S608 - our own words
        "FROM (SELECT start, COUNT(*) AS posts, APPROX_QUANTILES(to_row, 100) AS post_to_row\n"
        f"  FROM (SELECT {bar('TIMESTAMP(created_at)')} AS start,\n"
        f"    IF({_STREAM}, {_TO_ROW}, NULL) AS to_row\n{_POSTS})\n"
        "  GROUP BY start)\nORDER BY start",
        {**window.posts, "bucket": window.bucket},
        Bucket,
    )


def rankings(window: Window) -> Query[Carried]:
    """Languages, rules, hashtags and authors in most posts, the most first, in one reading.

    A post counts once for each language (BCP 47 tag, und without one), rule tag, hashtag and
    author. Hashtags are folded by case and by Unicode's forms of one letter, as top_hashtags does;
    authors are told apart by id, as top_authors does, since a handle may change hands.
    """
    return Query(
        "Rankings",
        "SELECT carried.kind AS kind, carried.name AS name, COUNT(DISTINCT id) AS posts,\n"  # noqa: S608 - our own words
        "  MAX_BY(author_username, created_at) AS handle\n"
        "FROM `{dataset}.tweets_latest`\n"
        "CROSS JOIN UNNEST(ARRAY_CONCAT(\n"
        "  [STRUCT('language' AS kind, COALESCE(lang, 'und') AS name),\n"
        "   STRUCT('author' AS kind, COALESCE(CAST(author_id AS STRING), 'unknown') AS name)],\n"
        "  ARRAY(SELECT AS STRUCT 'rule' AS kind, tag AS name FROM UNNEST(rule_tags) AS tag),\n"
        "  ARRAY(SELECT AS STRUCT 'hashtag' AS kind, NORMALIZE_AND_CASEFOLD(tag, NFC) AS name\n"
        "    FROM UNNEST(hashtags) AS tag))) AS carried\n"
        f"{_WHERE}{_MATCHING}\n"
        "GROUP BY 1, 2\n"
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY kind ORDER BY posts DESC, name)\n"
        f"  <= IF(kind = 'rule', {_RULES}, {TOP})\n"
        "ORDER BY posts DESC, name",
        window.posts,
        Carried,
    )


def rules(window: Window) -> Query[Count]:
    """Tags of all rules that brought posts, whatever rules are chosen."""
    return Query(
        "Rules to choose from",
        "SELECT rule AS name, COUNT(DISTINCT id) AS posts\n"
        "FROM `{dataset}.tweets_latest` CROSS JOIN UNNEST(rule_tags) AS rule\n"
        f"{_WHERE}\nGROUP BY 1 ORDER BY posts DESC, name LIMIT {_RULES}",
        window.times,
        Count,
    )


def latest_posts(window: Window, limit: int = 8) -> Query[ListedPost]:
    """The posts created last, newest first."""
    return Query(
        "Latest posts",
        "SELECT id, created_at,\n"
        "  COALESCE(author_username, CAST(author_id AS STRING), 'unknown') AS author,\n"
        f"  COALESCE(lang, 'und') AS lang, text, rule_tags\n{_POSTS}\n"
        f"ORDER BY created_at DESC, id DESC LIMIT {limit}",
        window.posts,
        ListedPost,
    )


def gaps(window: Window) -> Query[StreamGap]:
    """Gaps that ended in the window, whole if their begin is known, in order; of any rules."""
    return Query(
        "Gaps",
        "SELECT COALESCE(gap_from, DATETIME(@since)) AS start, gap_to AS `end`,\n"
        "  COALESCE(reason, 'unknown') AS reason, backfilled, reposts_missing,\n"
        "  gap_from IS NULL AS begin_unknown\n"
        "FROM `{dataset}.stream_gaps` AS gap\n"
        "WHERE gap.at >= @since AND gap.at < @until\n"
        "  AND COALESCE(gap_from, DATETIME(@since)) < gap_to\n"
        "ORDER BY start LIMIT 1000",
        window.events,
        StreamGap,
    )


def dead_letters(window: Window) -> Query[LetterMark]:
    """Dead letters by bar of the time line and reason, in order; not bound to rules."""
    return Query(
        "Dead letters",
        "SELECT start, DATETIME_ADD(start, INTERVAL @bucket SECOND) AS `end`,\n"
        "  reason, COUNT(*) AS count\n"
        f"FROM (SELECT {bar('event.at')} AS start, COALESCE(reason, 'unknown') AS reason\n"
        f"{_EVENTS}\n"
        "  AND kind = 'dead_letter')\nGROUP BY start, reason ORDER BY start, reason",
        {**window.events, "bucket": window.bucket},
        LetterMark,
    )
