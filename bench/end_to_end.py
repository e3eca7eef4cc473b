"""The whole pipeline on this machine, with the stand-ins of `make demo`: X to a row."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import UTC, datetime
from typing import Any

from google.cloud import bigquery

from bench.child import BenchError
from bench.results import Section, Spread
from local.demo.stack import LocalStack

RATES = (10, 250)
"""Posts a second; 250 is X's own cap of a stream."""
PATIENCE = 60.0


def run(pairs: int, seconds: float) -> Section:
    """Measure all of it.

    Args:
        pairs: windows at each of RATES, in turn.
        seconds: length of a window.
    """
    section = Section(
        "End to end on one machine: X stand-in to BigQuery stand-in",
        ["posts/s", "posts", "lost", "doubled", "post to row p50 ms", "p99 ms"],
    )
    with LocalStack(rate=RATES[0], count=0, seed=11) as stack:
        stack.wait_rows(1, timeout=PATIENCE)
        first = stack.first_row()
        time.sleep(2)
        windows: dict[int, list[tuple[datetime, datetime]]] = {rate: [] for rate in RATES}
        for _ in range(pairs):
            for rate in RATES:
                _set(stack, rate=rate)
                time.sleep(0.5)
                begin = datetime.now(UTC)
                time.sleep(seconds)
                windows[rate].append((begin, datetime.now(UTC)))
        figures = stack.figures()
        _set(stack, count=1)  # it has made more, so it makes no more
        posts = _drained(stack)
        verdict = stack.verdict()
        if not verdict.ok:
            raise BenchError(f"end to end: {verdict.line()}")
        for rate in RATES:
            latencies = [_latencies(stack, *window) for window in windows[rate]]
            p50 = [_at(each, 0.5) for each in latencies]
            p99 = [_at(each, 0.99) for each in latencies]
            section.rows.append(
                [str(rate), f"{sum(map(len, latencies)):,}", "0", "0",
                 Spread.of(p50).text(), Spread.of(p99).text()]
            )  # fmt: skip
            section.data[str(rate)] = {"p50": p50, "p99": p99, "posts": [len(x) for x in latencies]}
    memory = {name: round(size / 2**20) for name, size in figures.memory.items()}
    section.data |= {"first_row_seconds": first, "memory_mb": memory, "posts": posts}
    at = [section.data[str(rate)]["p99"] for rate in RATES]
    section.notes += [
        f"{pairs} windows of {seconds:g} s at each rate in turn; p99 at {RATES[1]}/s is "
        f"{Spread.ratio(at[1], at[0]).text('x')} that at {RATES[0]}/s.",
        f"First row {first or 0:.1f} s after the start. Resident MB: "
        + ", ".join(f"{name} {size}" for name, size in memory.items() if name != "this")
        + f"; together {sum(memory.values()) - memory['this']}.",
        "Post to row is `inserted_at - created_at`. X's own delay, 6 to 7 s at P99 by X's pages, "
        "is not in it: the stand-in sends a post when it is made. `inserted_at` is the moment the "
        "insert is sent: in the cloud the insert itself is 50 to 100 ms more. The stand-ins share "
        "the processor with the pipeline.",
    ]
    return section


def _drained(stack: LocalStack) -> int:
    """Wait until what X has delivered is in the table; return how many posts."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        figures = stack.figures()
        if figures.backlog == 0 and figures.distinct >= figures.posts:
            return figures.posts
        time.sleep(0.3)
    raise BenchError(f"end to end: not all posts arrive; there is {stack.figures().line()}")


def _set(stack: LocalStack, **settings: Any) -> None:
    request = urllib.request.Request(
        f"{stack.x_url}/_standin/settings", json.dumps(settings).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


def _latencies(stack: LocalStack, begin: datetime, end: datetime) -> list[float]:
    """Milliseconds from post to row of the posts made in a window, sorted."""
    rows = stack.bigquery.query(
        "SELECT inserted_at, created_at "
        f"FROM `{stack.tweets_table}` "
        "WHERE created_at >= @begin AND created_at < @end",
        job_config=bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, "DATETIME", moment.replace(tzinfo=None))
                for name, moment in (("begin", begin), ("end", end))
            ]
        ),
    ).result()
    return sorted(
        (row["inserted_at"] - row["created_at"].replace(tzinfo=UTC)).total_seconds() * 1000
        for row in rows
    )


def _at(ordered: list[float], share: float) -> float:
    if not ordered:
        raise BenchError("end to end: no post in a window")
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
