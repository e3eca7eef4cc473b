"""What the running stack can count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.cloud import bigquery

from local.machine.errors import StackError

MEASURED = 300
"""Latencies are those of so many newest rows."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds at the median and the 99th percentile of the newest rows."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency | None:
        """From seconds in any order; None from nothing."""
        if not seconds:
            return None
        ordered = sorted(seconds)
        at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
        return cls(at[0] * 1000, at[1] * 1000)


@dataclass(frozen=True)
class Figures:
    """Counts since the start of the stand-ins; rows since the data directory was made.

    Attributes:
        made: posts that X had to send so far.
        posts: lines with a post that X wrote to a connection that lived.
        published: messages on the topic, events included.
        backlog: messages that the function has not acknowledged.
        dead_letters: messages on the dead-letter topic.
        rows: rows of the append table.
        distinct: different posts among them.
        read_to_row: from the producer's reading to the row, this pipeline alone.
        post_to_row: from the post's creation to the row.
        memory: resident bytes of each process, and of `this` one.
    """

    made: int
    posts: int
    published: int
    backlog: int
    dead_letters: int
    rows: int
    distinct: int
    read_to_row: Latency | None
    post_to_row: Latency | None
    memory: dict[str, int]

    def line(self) -> str:
        """All of it on one line, for a log."""
        p99 = f", read to row p99 {self.read_to_row.p99:.0f} ms" if self.read_to_row else ""
        return (
            f"{self.posts} posts, {self.published} published, {self.distinct} rows, "
            f"{self.backlog} on the way, {self.dead_letters} dead letters{p99}, "
            f"{sum(self.memory.values()) / 2**20:.0f} MB"
        )


def read_rows(
    client: bigquery.Client, table: str
) -> tuple[int, int, Latency | None, Latency | None]:
    """`rows`, `distinct`, `read_to_row` and `post_to_row` of `Figures`.

    Raises:
        StackError: BigQuery refuses the query.
    """
    since = datetime.now(UTC) - timedelta(minutes=1)
    recent = bigquery.ScalarQueryParameter("since", "TIMESTAMP", since)
    try:
        # The table's name comes from the program, and can't be a parameter.
        totals = client.query(
            f"SELECT COUNT(*) AS n, COUNT(DISTINCT id) AS ids FROM `{table}`"  # noqa: S608
        ).result()
        count, distinct = next(iter(totals)).values()
        newest = client.query(
            f"SELECT inserted_at, ingested_at, created_at FROM `{table}` "  # noqa: S608
            f"WHERE inserted_at > @since ORDER BY inserted_at DESC LIMIT {MEASURED}",
            job_config=bigquery.QueryJobConfig(query_parameters=[recent]),
        ).result()
        moments = [row.values() for row in newest]
    except Exception as error:
        raise StackError(f"BigQuery does not answer: {error}") from error
    return (
        count,
        distinct,
        Latency.of([(row - read).total_seconds() for row, read, _ in moments]),
        Latency.of([(row - made.replace(tzinfo=UTC)).total_seconds() for row, _, made in moments]),
    )
