"""The verdict counts by id, so that a double can't hide a loss."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.cloud import bigquery

from local import bigquery as bigquery_stand_in
from local.demo.verdict import judge


@pytest.fixture(scope="module")
def client() -> Iterator[bigquery.Client]:
    """A BigQuery with an append table, and a view that is meant to keep one row an id."""
    with bigquery_stand_in.BigQueryServer(project="local-demo") as server:
        client = server.client()
        client.create_dataset("d")
        schema = [bigquery.SchemaField("id", "INTEGER"), bigquery.SchemaField("v", "BOOLEAN")]
        table = client.create_table(bigquery.Table("local-demo.d.t", schema=schema))
        view = bigquery.Table("local-demo.d.latest")
        view.view_query = "SELECT id FROM `local-demo.d.t` WHERE v"
        client.create_table(view)
        rows = [(1, True), (1, False), (2, True), (3, True), (3, True), (9, True)]
        client.insert_rows_json(table, [{"id": number, "v": seen} for number, seen in rows])
        yield client
        client.close()  # type: ignore[no-untyped-call]


def test_counts_each_kind(client: bigquery.Client) -> None:
    """A lost post, a doubled one, a repeated delivery and an earlier row are told apart."""
    verdict = judge({1, 2, 3, 4}, client, "local-demo.d.t", "local-demo.d.latest")
    assert verdict.line() == "4 posts, 4 rows, 1 lost, 1 doubled"
    assert (verdict.lost, verdict.doubled) == ((4,), (3,))
    assert (verdict.table_rows, verdict.earlier) == (5, 1)
    assert not verdict.ok
    assert verdict.details() == [
        "5 rows in the append table, repeated deliveries included",
        "1 rows in the view from before this run",
        "lost: 4",
        "doubled: 3",
    ]


def test_a_repeated_delivery_alone_is_fine(client: bigquery.Client) -> None:
    """Two rows of one post in the append table are no double as long as the view has one."""
    verdict = judge({1, 2}, client, "local-demo.d.t", "local-demo.d.latest")
    assert verdict.table_rows == 3
    assert not verdict.lost
    assert verdict.line().startswith("2 posts, 2 rows, 0 lost")
