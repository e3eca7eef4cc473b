"""What the commands read from and remove from the stack's BigQuery dataset."""

import itertools
import os
from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from string import Template
from typing import Any, Literal

from google.api_core.exceptions import BadRequest
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from operations.gaps import Gap, Span

CALL_SECONDS = 60.0
JOB_SECONDS = 600.0
BUFFER_MINUTES = 90
"""Rows younger than this may be in the streaming buffer, where DML cannot reach them.
(cloud.google.com/bigquery/docs/data-manipulation-language says 30 minutes; older pages 90.)"""
RATE_WINDOW = timedelta(hours=1)
_ROWS_A_PAGE = 20_000  # else pages of 10 MB: 280,000 ids, 200 MB as Python's objects
_IDS_A_STATEMENT = 10_000  # 350 KB of parameters, far below the 10 MB of a request
_EMBEDDED_POSTS = (
    "UNNEST(ARRAY_CONCAT(IFNULL(JSON_QUERY_ARRAY(raw, '$$.includes.tweets'), []), "
    "IFNULL(JSON_QUERY_ARRAY(raw, '$$.includes.posts'), [])))"
)
_ITS_AUTHOR = "SAFE_CAST(JSON_VALUE(p, '$$.author_id') AS INT64)"


class Dataset:
    """The tables `tweets` and `stream_events` of one dataset.

    Args:
        dataset: project.dataset.

    Raises (from each method): google.api_core.exceptions.GoogleAPICallError, RetryError.
    """

    def __init__(self, dataset: str) -> None:
        project = dataset.partition(".")[0]
        # The stand-in wants no credentials, and this machine may have none.
        anonymous: Any = AnonymousCredentials  # google-auth has no types here
        credentials = anonymous() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None
        self._client = bigquery.Client(project=project, credentials=credentials)
        self._dataset = dataset

    def rows(self, sql: str, **values: "datetime | array[int]") -> Iterable[Any]:
        """Return the rows of a query: the dataset as ${dataset}, a value as @name.

        A moment without a zone is a DATETIME, in UTC as the columns are; one with a zone is a
        TIMESTAMP.
        """
        job = self._client.query(
            Template(sql).substitute(dataset=self._dataset),
            job_config=bigquery.QueryJobConfig(
                query_parameters=[_parameter(name, value) for name, value in values.items()]
            ),
            retry=_retry(),
            job_retry=None,
            timeout=CALL_SECONDS,
        )
        rows: Iterable[Any] = job.result(
            page_size=_ROWS_A_PAGE, retry=_retry(), timeout=JOB_SECONDS
        )
        return rows

    def gaps(self, since: datetime) -> tuple[list[Gap], list[Span]]:
        """Return the gaps recorded since a moment, oldest first, and what backfills cover."""
        gaps, covered = list[Gap](), list[Span]()
        for row in self.rows(
            "SELECT kind, event_id, gap_from, gap_to, COALESCE(reason, 'unknown') AS reason "
            "FROM `${dataset}.stream_events_latest` WHERE `at` >= @since "
            "AND (gap_from < gap_to OR kind = 'gap' AND gap_from IS NULL AND gap_to IS NOT NULL) "
            "AND kind IN ('gap', 'backfilled') ORDER BY COALESCE(gap_from, gap_to)",
            since=since,
        ):
            if row["kind"] == "gap":
                gaps.append(Gap(row["event_id"], row["gap_from"], row["gap_to"], row["reason"]))
            else:
                covered.append(Span(row["gap_from"], row["gap_to"]))
        return gaps, covered

    def posts(self, span: Span) -> dict[int, frozenset[str] | None]:
        """Return the ids of the posts that X created within a span and that are here.

        A post that came by a backfill has its rule tags: a backfill that ended early may not have
        had them all. One that came by the stream has None: its tags are complete.
        """
        found: dict[int, frozenset[str] | None] = {}
        for row in self._created("id, rule_tags, source", span):
            tags = found.get(row["id"], frozenset())
            streamed = row["source"] != "backfill" or tags is None
            found[row["id"]] = None if streamed else (tags or frozenset()) | {*row["rule_tags"]}
        return found

    def expected_posts(self, span: Span) -> int:
        """Return how many posts a span should hold, at the rate of the hour before it (free)."""
        asked = span.whole_seconds.length
        window = max(RATE_WINDOW, asked)
        (row,) = self._created("COUNT(DISTINCT id) AS posts", Span(span.start - window, span.start))
        return round(int(row["posts"]) * (asked / window))

    def _created(self, columns: str, span: Span) -> Iterable[Any]:
        start, end = (at.astimezone(UTC).replace(tzinfo=None) for at in span)
        return self.rows(
            f"SELECT {columns} FROM `${{dataset}}.tweets` "  # noqa: S608 - our own words
            "WHERE created_at >= @start AND created_at < @end",
            start=start,
            end=end,
        )

    def form(self, table: str) -> tuple[dict[str, str], float | None]:
        """Return a table's columns with their types, and how long a partition is kept, in ms."""
        found = self._client.get_table(
            f"{self._dataset}.{table}", retry=_retry(), timeout=CALL_SECONDS
        )
        kept = found.time_partitioning.expiration_ms if found.time_partitioning else None
        return {column.name: column.field_type for column in found.schema}, kept

    def held_posts(self) -> Iterator[int]:
        """Yield every post id held: of rows, and of the posts that rows refer to."""
        return self._first(
            "SELECT id FROM `${dataset}.tweets` UNION DISTINCT "
            "SELECT r.id FROM `${dataset}.tweets`, UNNEST(referenced_posts) AS r "
            "WHERE r.id IS NOT NULL"
        )

    def held_authors(self) -> Iterator[int]:
        """Yield every author id held: of rows, and of the posts that rows embed."""
        return self._first(
            "SELECT author_id FROM `${dataset}.tweets` "  # noqa: S608 - our own words
            "WHERE author_id IS NOT NULL UNION DISTINCT "
            f"SELECT {_ITS_AUTHOR} FROM `${{dataset}}.tweets`, {_EMBEDDED_POSTS} AS p "
            f"WHERE {_ITS_AUTHOR} IS NOT NULL"
        )

    def posts_of(self, authors: "array[int]") -> Iterator[int]:
        """Yield the ids of the posts here of these authors."""
        return self._first(
            "SELECT DISTINCT id FROM `${dataset}.tweets` WHERE author_id IN UNNEST(@ids)",
            ids=authors,
        )

    def _first(self, sql: str, **values: "array[int]") -> Iterator[int]:
        return (row[0] for row in self.rows(sql, **values))

    def count(self, condition: str, ids: "array[int]") -> int:
        """Return how many rows of `tweets` a condition on @ids holds for."""
        sql = "SELECT COUNT(*) FROM `${dataset}.tweets` WHERE " + condition  # noqa: S608 - ours
        return next(self._first(sql, ids=ids))

    def change(self, statement: str, condition: str, ids: "array[int]") -> None:
        """Change rows of `tweets`; those in the streaming buffer stay where BigQuery refuses them.

        Where it refuses the settled rows too, all stay: the ids that come after are not held up.

        Args:
            statement: DML up to its WHERE, with the table as ${dataset}.tweets.
            condition: what follows WHERE, on @ids.
            ids: values of @ids.
        """
        settled = datetime.now(UTC) - timedelta(minutes=BUFFER_MINUTES)
        within: tuple[tuple[str, dict[str, datetime]], ...] = (
            (condition, {}),
            (f"inserted_at < @settled AND ({condition})", {"settled": settled}),
        )
        for where, values in within:
            try:
                self.rows(f"{statement} WHERE {where}", ids=ids, **values)
            except BadRequest as error:
                if "streaming buffer" not in str(error):
                    raise
            else:
                return


def parts(ids: Iterable[int], size: int) -> Iterator["array[int]"]:
    """Yield arrays of at most `size` ids, eight bytes each, and read no further ahead."""
    rest = iter(ids)
    while part := array("q", itertools.islice(rest, size)):
        yield part


def _parameter(name: str, value: "datetime | array[int]") -> Any:
    if isinstance(value, array):
        return bigquery.ArrayQueryParameter(name, "INT64", value.tolist())
    return bigquery.ScalarQueryParameter(name, "TIMESTAMP" if value.tzinfo else "DATETIME", value)


def _retry() -> Retry:
    # The client's own would go on for ten minutes before it says that nobody answers.
    return Retry(timeout=CALL_SECONDS)


_GONE = (
    "(id IN UNNEST(@ids) OR original_id IN UNNEST(@ids) OR "
    "EXISTS (SELECT 1 FROM UNNEST(referenced_posts) AS r "
    "WHERE r.type IN ('retweeted', 'reposted') AND r.id IN UNNEST(@ids)))"
)
_EMBEDDED = (
    "raw IS NOT NULL AND EXISTS (SELECT 1 FROM UNNEST(referenced_posts) AS r "
    "WHERE r.id IN UNNEST(@ids))"
)
_EMBEDDED_AUTHOR = (
    f"raw IS NOT NULL AND EXISTS (SELECT 1 FROM {_EMBEDDED_POSTS} AS p "  # noqa: S608 - ours
    f"WHERE {_ITS_AUTHOR} IN UNNEST(@ids))"
)
# The text of a repost is its author's: "RT @name: ...".
_REPOSTED_AUTHOR = (
    f"(raw IS NOT NULL AND EXISTS (SELECT 1 FROM {_EMBEDDED_POSTS} AS p, "  # noqa: S608 - ours
    f"UNNEST(referenced_posts) AS r WHERE {_ITS_AUTHOR} IN UNNEST(@ids) "
    "AND r.type IN ('retweeted', 'reposted') "
    "AND r.id = SAFE_CAST(JSON_VALUE(p, '$$.id') AS INT64)))"
)
_DELETE = "DELETE FROM `${dataset}.tweets`"
_CLEAR_RAW = "UPDATE `${dataset}.tweets` SET raw = NULL"
_CLEAR_PLACE = (
    "UPDATE `${dataset}.tweets` "
    "SET raw = JSON_REMOVE(JSON_REMOVE(raw, '$$.data.geo'), '$$.includes.places')"
)
_PLACE = (
    "(JSON_QUERY(raw, '$$.data.geo') IS NOT NULL "
    "OR JSON_QUERY(raw, '$$.includes.places') IS NOT NULL)"
)


class Purge:
    """One removal from the table, and its counts.

    Args:
        dataset: the dataset.
        act: false only counts.

    Attributes:
        removed: rows deleted.
        cleared: rows that stay without their copy of a gone post, or without their location.
        left: rows that wait in BigQuery's streaming buffer.
    """

    def __init__(self, dataset: Dataset, *, act: bool) -> None:
        self._dataset = dataset
        self._act = act
        self.removed = self.cleared = self.left = 0

    def posts(self, ids: Iterable[int]) -> Iterator["array[int]"]:
        """Remove posts with all their versions and retweets, and copies in quotes and replies.

        A quote or reply stays; X deletes retweets with their post. Where the gone post is
        embedded in `raw`, all of `raw` goes. Yields the ids, part by part, as they are done.
        """
        for part in parts(ids, _IDS_A_STATEMENT):
            self.removed += self._change(_DELETE, _GONE, part)
            self.cleared += self._change(_CLEAR_RAW, f"NOT {_GONE} AND {_EMBEDDED}", part)
            yield part

    def authors(self, ids: Iterable[int]) -> Iterator["array[int]"]:
        """Remove every post of these authors as posts() does, and copies embedded in `raw`.

        A repost goes even where the post that it repeats is no row: its text is that post's.
        Yields the ids of their posts, part by part, as they are done.
        """
        for part in parts(ids, _IDS_A_STATEMENT):
            yield from self.posts(self._dataset.posts_of(part))
            self.removed += self._change(_DELETE, _REPOSTED_AUTHOR, part)
            others = f"IFNULL(author_id NOT IN UNNEST(@ids), TRUE) AND NOT {_REPOSTED_AUTHOR}"
            embedded = f"{others} AND {_EMBEDDED_AUTHOR}"
            self.cleared += self._change(_CLEAR_RAW, embedded, part)

    def places(self, column: Literal["id", "author_id"], ids: Iterable[int]) -> None:
        """Remove the location of posts that stay, by id or by author; only `raw` can hold one."""
        for part in parts(ids, _IDS_A_STATEMENT):
            where = f"{column} IN UNNEST(@ids) AND {_PLACE}"
            self.cleared += self._change(_CLEAR_PLACE, where, part)

    def _change(self, statement: str, condition: str, ids: "array[int]") -> int:
        held = self._dataset.count(condition, ids)
        if not held or not self._act:
            return held
        self._dataset.change(statement, condition, ids)
        left = self._dataset.count(condition, ids)
        self.left += left
        return held - left
