"""What the commands read from and remove from the stack's BigQuery dataset."""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from string import Template
from typing import Any

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
_IDS_A_STATEMENT = 10_000  # 350 KB of parameters, far below the 10 MB of a request


class Warehouse:
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

    def gaps(self, since: datetime) -> list[Gap]:
        """Return the gaps recorded since a moment, oldest first."""
        rows = self._rows(
            "SELECT event_id, gap_from, gap_to, reason FROM `${dataset}.stream_events_latest` "
            "WHERE at >= @since AND kind = 'gap' AND gap_from < gap_to ORDER BY gap_from",
            bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
        )
        return [
            Gap(row["event_id"], Span(row["gap_from"], row["gap_to"]), row["reason"] or "unknown")
            for row in rows
        ]

    def backfilled(self, since: datetime) -> list[Span]:
        """Return what backfills have covered, of those recorded since a moment."""
        rows = self._rows(
            "SELECT gap_from, gap_to FROM `${dataset}.stream_events_latest` "
            "WHERE at >= @since AND kind = 'backfilled' AND gap_from < gap_to",
            bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
        )
        return [Span(row["gap_from"], row["gap_to"]) for row in rows]

    def posts(self, span: Span) -> dict[int, frozenset[str] | None]:
        """Return the ids of the posts that X created within a span and that are here.

        A post that came by a backfill has its rule tags: a backfill that ended early may not have
        had them all. One that came by the stream has None: its tags are complete.
        """
        rows = self._rows(
            "SELECT id, rule_tags, source FROM `${dataset}.tweets` "
            "WHERE created_at >= @start AND created_at < @end",
            *_bounds(span),
        )
        found: dict[int, frozenset[str] | None] = {}
        for row in rows:
            tags = found.get(row["id"], frozenset())
            streamed = row["source"] != "backfill" or tags is None
            found[row["id"]] = None if streamed else (tags or frozenset()) | {*row["rule_tags"]}
        return found

    def post_count(self, span: Span) -> int:
        """Return how many posts that X created within a span are here."""
        rows = self._rows(
            "SELECT COUNT(DISTINCT id) AS posts FROM `${dataset}.tweets` "
            "WHERE created_at >= @start AND created_at < @end",
            *_bounds(span),
        )
        return int(next(iter(rows))["posts"])

    def held_posts(self) -> Iterator[int]:
        """Yield every post id held: of rows, and of the posts that rows refer to."""
        rows = self._rows(
            "SELECT id FROM `${dataset}.tweets` UNION DISTINCT "
            "SELECT r.id FROM `${dataset}.tweets`, UNNEST(referenced_posts) AS r "
            "WHERE r.id IS NOT NULL"
        )
        return (row["id"] for row in rows)

    def held_authors(self) -> Iterator[int]:
        """Yield every author id held."""
        rows = self._rows(
            "SELECT DISTINCT author_id FROM `${dataset}.tweets` WHERE author_id IS NOT NULL"
        )
        return (row["author_id"] for row in rows)

    def posts_of(self, authors: Iterable[int]) -> set[int]:
        """Return the ids of the posts here of these authors."""
        sql = "SELECT DISTINCT id FROM `${dataset}.tweets` WHERE author_id IN UNNEST(@ids)"
        return {row["id"] for part in parts(authors) for row in self._rows(sql, _ids(part))}

    def count(self, condition: str, ids: list[int]) -> int:
        """Return how many rows of `tweets` a condition on @ids holds for."""
        rows = self._rows(
            Template("SELECT COUNT(*) AS held FROM `$${dataset}.tweets` WHERE $where").substitute(
                where=condition
            ),
            _ids(ids),
        )
        return int(next(iter(rows))["held"])

    def change(self, statement: str, condition: str, ids: list[int]) -> None:
        """Change rows of `tweets`; those in the streaming buffer stay where BigQuery refuses them.

        Args:
            statement: DML up to its WHERE, with the table as ${dataset}.tweets.
            condition: what follows WHERE, on @ids.
            ids: values of @ids.
        """
        try:
            self._rows(f"{statement} WHERE {condition}", _ids(ids))
        except BadRequest as error:
            if "streaming buffer" not in str(error):
                raise
            settled = datetime.now(UTC) - timedelta(minutes=BUFFER_MINUTES)
            self._rows(
                f"{statement} WHERE inserted_at < @settled AND ({condition})",
                _ids(ids),
                bigquery.ScalarQueryParameter("settled", "TIMESTAMP", settled),
            )

    def _rows(self, sql: str, *parameters: Any) -> Iterable[Any]:
        job = self._client.query(
            Template(sql).substitute(dataset=self._dataset),
            job_config=bigquery.QueryJobConfig(query_parameters=list(parameters)),
            retry=_retry(),
            job_retry=None,
            timeout=CALL_SECONDS,
        )
        rows: Iterable[Any] = job.result(retry=_retry(), timeout=JOB_SECONDS)
        return rows


def parts(ids: Iterable[int]) -> Iterator[list[int]]:
    """Yield the ids, each once, in lists that fit one statement."""
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), _IDS_A_STATEMENT):
        yield ordered[start : start + _IDS_A_STATEMENT]


def _bounds(span: Span) -> tuple[Any, Any]:
    start, end = (at.astimezone(UTC).replace(tzinfo=None) for at in span)
    return (
        bigquery.ScalarQueryParameter("start", "DATETIME", start),
        bigquery.ScalarQueryParameter("end", "DATETIME", end),
    )


def _ids(ids: list[int]) -> Any:
    return bigquery.ArrayQueryParameter("ids", "INT64", ids)


def _retry() -> Retry:
    # The client's own would go on for ten minutes before it says that nobody answers.
    return Retry(timeout=CALL_SECONDS)
