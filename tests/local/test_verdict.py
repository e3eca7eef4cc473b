"""The verdict counts by id, so that a double can't hide a loss."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from google.cloud import bigquery

from local.demo.verdict import judge
from tests.bigquery_server import BigQueryServer

LONG = "Tom &amp; Jerry " * 20
REPOSTS: dict[int, tuple[str, dict[str, object]]] = {
    # id: text of the row, and the original as X gave it
    21: ("RT @o: Tom & Jerry…", {"text": LONG}),
    22: ("RT @o: Tom & Jerry…", {"text": "Tom…", "note_tweet": {"text": LONG}}),
    23: ("RT @o: Tom & Jerry…", {}),
    24: (f"RT @o: {LONG.replace('&amp;', '&')}", {"text": LONG}),
    25: ("RT @o: and so on…", {"text": "and so on…"}),
}


def repost(number: int, text: str, original: dict[str, object]) -> dict[str, object]:
    """A row as the pipeline writes it, with the line that X sent."""
    data = {"id": str(number), "referenced_tweets": [{"type": "retweeted", "id": "5"}]}
    given = [{"id": "4", "text": LONG}, *([{"id": "5", **original}] if original else [])]
    line = {"data": data, "includes": {"tweets": given}}
    return {"id": number, "v": True, "text": text, "raw": json.dumps(line)}


@pytest.fixture(scope="module")
def client() -> Iterator[bigquery.Client]:
    """A BigQuery with an append table, and a view that is meant to keep one row an id."""
    with BigQueryServer(project="local-demo") as server:
        client = server.client()
        client.create_dataset("d")
        columns = {"id": "INTEGER", "v": "BOOLEAN", "text": "STRING", "raw": "JSON"}
        schema = [bigquery.SchemaField(name, kind) for name, kind in columns.items()]
        table = client.create_table(bigquery.Table("local-demo.d.t", schema=schema))
        view = bigquery.Table("local-demo.d.latest")
        view.view_query = "SELECT id, text, raw FROM `local-demo.d.t` WHERE v"
        client.create_table(view)
        rows = [(1, True), (1, False), (2, True), (3, True), (3, True), (9, True)]
        found = [{"id": number, "v": seen, "text": "…"} for number, seen in rows]
        found += [repost(number, *parts) for number, parts in REPOSTS.items()]
        assert client.insert_rows_json(table, found) == []
        yield client
        client.close()  # type: ignore[no-untyped-call]


def test_counts_each_kind(client: bigquery.Client) -> None:
    """A lost post, a doubled one, a repeated delivery and an earlier row are told apart."""
    verdict = judge({1, 2, 3, 4}, client, "local-demo.d.t", "local-demo.d.latest")
    assert verdict.line() == "4 posts, 4 rows, 1 lost, 1 doubled"
    assert (verdict.lost, verdict.doubled) == ((4,), (3,))
    assert (verdict.table_rows, verdict.earlier) == (5, 1 + len(REPOSTS))
    assert not verdict.ok
    assert verdict.details() == [
        "5 rows in the append table, repeated deliveries included",
        f"{1 + len(REPOSTS)} rows in the view from before this run",
        "lost: 4",
        "doubled: 3",
    ]


def test_a_repeated_delivery_alone_is_fine(client: bigquery.Client) -> None:
    """Two rows of one post in the append table are no double as long as the view has one."""
    verdict = judge({1, 2}, client, "local-demo.d.t", "local-demo.d.latest")
    assert verdict.table_rows == 3
    assert not verdict.lost
    assert verdict.line().startswith("2 posts, 2 rows, 0 lost")


def test_a_repost_that_is_cut_though_x_gave_it_whole_is_told(client: bigquery.Client) -> None:
    """One is whole by its text or its note_tweet; X may not give it, or it may end so itself."""
    verdict = judge({1, *REPOSTS}, client, "local-demo.d.t", "local-demo.d.latest")
    assert verdict.cut == (21, 22)
    assert not verdict.ok
    assert verdict.line() == "6 posts, 6 rows, 0 lost, 1 doubled, 2 reposts cut"
    assert verdict.details()[-1] == "cut: 21, 22"
    assert judge({1, 23, 24, 25}, client, "local-demo.d.t", "local-demo.d.latest").cut == ()
