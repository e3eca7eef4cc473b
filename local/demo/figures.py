"""What the running stack can count, read from the stand-ins' controls and from BigQuery itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from google.cloud import bigquery

from local.demo.addresses import Addresses
from local.machine.errors import StackError
from local.standin import ask

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
    read_to_row: Latency | None = None
    post_to_row: Latency | None = None
    memory: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """All of it on one line, for a log."""
        p99 = f", read to row p99 {self.read_to_row.p99:.0f} ms" if self.read_to_row else ""
        return (
            f"{self.posts} posts, {self.published} published, {self.distinct} rows, "
            f"{self.backlog} on the way, {self.dead_letters} dead letters{p99}, "
            f"{sum(self.memory.values()) / 2**20:.0f} MB"
        )


def read_figures(stack: Addresses, client: bigquery.Client) -> Figures:
    """Read everything once; a stand-in that is down on purpose counts as 0.

    Raises:
        StackError: BigQuery refuses the query.
    """
    x = _or_nothing(f"{stack.x_url}/_standin/stats")
    pubsub = _or_nothing(f"{stack.pubsub_control_url}/stats")
    topics = pubsub.get("topics", {})
    producer = stack.processes["producer"].env
    rows, distinct, newest = _rows(client, stack.tweets_table)
    return Figures(
        made=int(x.get("made", 0)),
        posts=int(x.get("delivered", 0)),
        published=topics.get(producer["TOPIC"], {}).get("published", 0),
        backlog=read_backlog(stack),
        dead_letters=topics.get(producer["DEAD_LETTER_TOPIC"], {}).get("published", 0),
        rows=rows,
        distinct=distinct,
        read_to_row=Latency.of([(row[0] - row[1]).total_seconds() for row in newest]),
        post_to_row=Latency.of(
            [(row[0] - row[2].replace(tzinfo=UTC)).total_seconds() for row in newest]
        ),
        memory={name: process.memory() for name, process in stack.processes.items()}
        | {"this": psutil.Process().memory_info().rss},
    )


def read_backlog(stack: Addresses) -> int:
    """Messages that the function has not acknowledged; 0 where Pub/Sub is down."""
    stats = _or_nothing(f"{stack.pubsub_control_url}/stats").get("subscriptions", {})
    return sum(stats.get(name, {}).get("backlog", 0) for name in stack.pushed)


def _rows(client: bigquery.Client, table: str) -> tuple[int, int, list[Any]]:
    """Rows, different ids, and (inserted_at, ingested_at, created_at) of the newest rows."""
    try:
        # The table's name comes from the program, and can't be a parameter.
        totals = client.query(
            f"SELECT COUNT(*) AS n, COUNT(DISTINCT id) AS ids FROM `{table}`"  # noqa: S608
        ).result()
        count, distinct = next(iter(totals)).values()
        newest = client.query(
            f"SELECT inserted_at, ingested_at, created_at FROM `{table}` "  # noqa: S608
            "WHERE inserted_at > @since ORDER BY inserted_at DESC LIMIT @count",
            job_config=bigquery.QueryJobConfig(
                query_parameters=[
                    bigquery.ScalarQueryParameter(
                        "since", "TIMESTAMP", datetime.now(UTC) - timedelta(minutes=1)
                    ),
                    bigquery.ScalarQueryParameter("count", "INT64", MEASURED),
                ]
            ),
        ).result()
        return count, distinct, [row.values() for row in newest]
    except Exception as error:
        raise StackError(f"BigQuery does not answer: {error}") from error


def _or_nothing(url: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(ask(url))
    except OSError:
        return {}
    return content
