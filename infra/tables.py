"""The two tables as data: what they are, and the columns that the sink checks messages against."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).resolve().parents[1] / "services" / "sink_function" / "sink" / "schema"


@dataclass(frozen=True)
class DeclaredTable:
    """What a table is, but for its columns, which its schema file has."""

    description: str
    partitioned_by: str
    clustered_by: tuple[str, ...]


TABLES = {
    # Charts filter and group by language within a day; the compliance purge deletes by author.
    "tweets": DeclaredTable(
        "Posts as they arrive, one row a delivery: read tweets_latest instead.",
        partitioned_by="created_at",
        clustered_by=("lang", "author_id"),
    ),
    "stream_events": DeclaredTable(
        "What happened to the stream: connects, gaps, control messages, budget, dead letters.",
        partitioned_by="at",
        clustered_by=("kind",),
    ),
}


def columns(table: str) -> list[dict[str, Any]]:
    """The columns of a table in BigQuery's own form, as its schema file has them."""
    found: list[dict[str, Any]] = json.loads((SCHEMAS / f"{table}.json").read_text("utf-8"))
    return found
