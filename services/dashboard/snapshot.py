"""Everything the page shows of one window, asked at once: a page is as slow as one query."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import queries
from queries import Bucket, Count, Mark, Post, Spend, Totals
from warehouse import PageWarehouse, Query
from window import Window

Row = TypeVar("Row")


@dataclass(frozen=True)
class Snapshot:
    """The answers for one window.

    Attributes:
        offered: tags of all rules that brought posts in the window's time, whatever is chosen.
        asked: the queries behind it, for the page to show.
        taken: when it was asked, UTC.
        seconds: how long the answers took.
    """

    totals: Totals
    timeline: Sequence[Bucket]
    languages: Sequence[Count]
    rules: Sequence[Count]
    hashtags: Sequence[Count]
    authors: Sequence[Count]
    gaps: Sequence[Mark]
    dead_letters: Sequence[Mark]
    posts: Sequence[Post]
    spend: Spend | None
    offered: Sequence[str]
    asked: Sequence[Query[Any]]
    taken: datetime
    seconds: float


def take(warehouse: PageWarehouse, window: Window) -> Snapshot:
    """Ask everything at once.

    Raises:
        WarehouseError: one of the queries failed; the page shows all of it or says why not.
    """
    taken, started = datetime.now(UTC), time.monotonic()
    asked: list[Query[Any]] = []
    with ThreadPoolExecutor(max_workers=10) as pool:

        def ask(
            question: Callable[[Window], Query[Row]], about: Window = window
        ) -> Future[list[Row]]:
            query = question(about)
            asked.append(query)
            return pool.submit(warehouse.rows, query)

        totals = ask(queries.totals)
        timeline = ask(queries.timeline)
        languages = ask(queries.by_language)
        rules = ask(queries.by_rule)
        hashtags = ask(queries.top_hashtags)
        authors = ask(queries.top_authors)
        gaps = ask(queries.gaps)
        dead_letters = ask(queries.dead_letters)
        posts = ask(queries.latest_posts)
        spend = ask(queries.spend)
        offered = ask(queries.by_rule, replace(window, rules=())) if window.rules else rules
        return Snapshot(
            totals=totals.result()[0],
            timeline=timeline.result(),
            languages=languages.result(),
            rules=rules.result()[: queries.TOP],
            hashtags=hashtags.result(),
            authors=authors.result(),
            gaps=gaps.result(),
            dead_letters=dead_letters.result(),
            posts=posts.result(),
            spend=next(iter(spend.result()), None),
            offered=sorted({count.name for count in offered.result()} | {*window.rules}),
            asked=tuple(asked),
            taken=taken,
            seconds=time.monotonic() - started,
        )
