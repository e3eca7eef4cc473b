"""Posts that X delivered against rows that people read, id by id."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from html import unescape
from typing import Any

from google.cloud import bigquery

SHOWN = 5


@dataclass(frozen=True)
class Verdict:
    """What became of the posts of one run.

    Attributes:
        posts: posts delivered by X, each id once.
        rows: rows of the view with one of these ids.
        lost: ids that X delivered and the view does not have.
        doubled: ids that the view has more than once.
        cut: ids of reposts whose text is cut, though X gave the original whole.
        table_rows: rows of the append table with one of these ids, repeated deliveries included.
        earlier: rows of the view with other ids, such as those of a run before in a data directory.
    """

    posts: int
    rows: int
    lost: tuple[int, ...]
    doubled: tuple[int, ...]
    cut: tuple[int, ...]
    table_rows: int
    earlier: int

    @property
    def ok(self) -> bool:
        """Each post in the view exactly once, and as whole as X gave it."""
        return not self.lost and not self.doubled and not self.cut

    def line(self) -> str:
        """`N posts, N rows, 0 lost, 0 doubled`, and how many reposts are cut if any is."""
        return (
            f"{self.posts} posts, {self.rows} rows, {len(self.lost)} lost, "
            f"{len(self.doubled)} doubled" + (f", {len(self.cut)} reposts cut" if self.cut else "")
        )

    def details(self) -> list[str]:
        """Further lines: repeated deliveries, earlier rows, and which ids are wrong."""
        lines = [f"{self.table_rows} rows in the append table, repeated deliveries included"]
        if self.earlier:
            lines.append(f"{self.earlier} rows in the view from before this run")
        for what, ids in (("lost", self.lost), ("doubled", self.doubled), ("cut", self.cut)):
            if ids:
                more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
                lines.append(f"{what}: {', '.join(map(str, ids[:SHOWN]))}{more}")
        return lines


def judge(delivered: Set[int], client: bigquery.Client, table: str, view: str) -> Verdict:
    """Compare the ids that X delivered with the ids in the view and in the append table.

    Args:
        delivered: ids of posts whose whole line X wrote to a live connection.
        client: official client of the BigQuery that holds both.
        table: full name of the append table.
        view: full name of the view that keeps one row a post.
    """
    in_view = read_ids(client, view)
    in_table = read_ids(client, table)
    return Verdict(
        posts=len(delivered),
        rows=sum(count for each, count in in_view.items() if each in delivered),
        lost=tuple(sorted(delivered - in_view.keys())),
        doubled=tuple(sorted(each for each, count in in_view.items() if count > 1)),
        cut=tuple(each for each in cut_reposts(client, view) if each in delivered),
        table_rows=sum(count for each, count in in_table.items() if each in delivered),
        earlier=sum(count for each, count in in_view.items() if each not in delivered),
    )


def cut_reposts(client: bigquery.Client, view: str) -> tuple[int, ...]:
    """Ids of reposts whose text ends where X cuts it, though their line has the original whole."""
    rows = client.query(
        f"SELECT id, text, raw FROM `{view}` "  # noqa: S608 - as in read_ids
        "WHERE STARTS_WITH(text, 'RT @') AND ENDS_WITH(text, '…') AND raw IS NOT NULL ORDER BY id"
    ).result()
    return tuple(row["id"] for row in rows if not row["text"].endswith(_original(row["raw"])))


def _original(raw: str | Mapping[str, Any]) -> str:
    """The text of what a line reposts, as people wrote it; empty where X did not give it."""
    line = json.loads(raw) if isinstance(raw, str) else raw
    wanted = {each["id"] for each in line["data"].get("referenced_tweets", ())}
    for post in line.get("includes", {}).get("tweets", ()):
        if post["id"] in wanted:
            return unescape(post.get("note_tweet", post)["text"])
    return ""


def read_ids(client: bigquery.Client, name: str) -> Counter[int]:
    """How often each post id is in a table or view."""
    # The names come from the program's own resources, and a table name can't be a parameter.
    rows = client.query(f"SELECT id FROM `{name}`").result()  # noqa: S608
    return Counter(row["id"] for row in rows)
