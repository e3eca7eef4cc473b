"""The BigQuery stand-in, through the official client where the official client can ask."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from tests.bigquery_server import BigQueryServer

SCHEMA = Path("services/sink_function/sink/schema/tweets.json")
RECORD = {
    "id": 1,
    "created_at": "2024-01-15T10:35:00.000",
    "text": "안녕 🌊",
    "original_id": 1,
    "ingested_at": "2024-01-15T10:35:00.123456Z",
    "hashtags": ["a", "b"],
    "referenced_posts": [{"type": "quoted", "id": 7}],
    "public_metrics": {"likes": 3},
    "raw": '{"data": {"id": "1"}}',
}


@pytest.fixture(scope="module")
def server() -> Iterator[BigQueryServer]:
    """One stand-in for the module, with a dataset `d`."""
    with BigQueryServer() as running:
        running.client().create_dataset("d")
        yield running


@pytest.fixture
def client(server: BigQueryServer) -> Iterator[bigquery.Client]:
    """An official client; faults are cleared afterwards."""
    client = server.client()
    yield client
    server.faults()
    client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def table(client: bigquery.Client) -> Iterator[str]:
    """Full name of an empty table with the schema of `tweets`."""
    table = bigquery.Table(f"{client.project}.d.tweets", schema=client.schema_from_json(SCHEMA))
    table.time_partitioning = bigquery.TimePartitioning(field="created_at")
    table.clustering_fields = ["lang"]
    client.create_table(table)
    yield f"{client.project}.d.tweets"
    client.delete_table(table)


def insert(client: bigquery.Client, table: str, *rows: dict[str, Any], **options: Any) -> Any:
    """Row errors of one insert without retry."""
    return client.insert_rows_json(table, list(rows), retry=None, timeout=5, **options)  # type: ignore[arg-type]


def count(client: bigquery.Client, table: str) -> int:
    """Rows of the table."""
    rows = client.query_and_wait(f"SELECT COUNT(*) AS n FROM `{table}`")
    return int(next(iter(rows)).n)


def test_row_comes_back_as_sent(client: bigquery.Client, table: str) -> None:
    """A post with Korean text, emoji, lists, records and JSON reads back unchanged."""
    assert insert(client, table, RECORD) == []
    row = next(iter(client.query(f"SELECT * FROM `{table}`").result()))
    assert (row.id, row.text, row.hashtags) == (1, "안녕 🌊", ["a", "b"])
    assert row.created_at.isoformat() == "2024-01-15T10:35:00"
    assert row.referenced_posts == [{"type": "quoted", "id": 7}]
    assert row.public_metrics["likes"] == 3
    assert row.raw == {"data": {"id": "1"}}
    assert row.mentions == []


@pytest.mark.parametrize(
    ("change", "location", "message"),
    [
        ({"id": None}, "id", "Missing required field: id."),
        ({"nope": 1}, "nope", "no such field: nope."),
        ({"id": "x1"}, "id", "Cannot convert value to integer (bad value): x1"),
        ({"id": 2**63}, "id", "Cannot convert value to integer"),
        ({"id": [1]}, "id", "Array specified for non-repeated field: id."),
        ({"created_at": "2024-01-15T10:35:00Z"}, "created_at", "Cannot convert value to datetime"),
        ({"ingested_at": "yesterday"}, "ingested_at", "Cannot convert value to timestamp"),
        ({"raw": "{"}, "raw", "Cannot convert value to json"),
        ({"raw": {"a": 1}}, "raw", "This field: raw is not a record."),
        ({"public_metrics": 1}, "public_metrics", "This field: public_metrics is not a record."),
        ({"public_metrics": {"x": 1}}, "public_metrics.x", "no such field: public_metrics.x."),
        ({"hashtags": ["a", None]}, "hashtags", "Only optional fields can be set to NULL."),
    ],
)
def test_bad_row_gets_bigquerys_row_error(
    client: bigquery.Client, table: str, change: dict[str, object], location: str, message: str
) -> None:
    """What BigQuery refuses is refused with its reason, place and words, and nothing is stored."""
    (error,) = insert(client, table, {**RECORD, **change})
    (detail,) = error["errors"]
    assert (error["index"], detail["reason"], detail["location"]) == (0, "invalid", location)
    assert detail["message"].startswith(message)
    assert count(client, table) == 0


def test_integers_that_are_json_numbers_are_read_as_doubles(
    client: bigquery.Client, table: str
) -> None:
    """A number above 2**53 loses its last digits, in records and lists too; a string keeps them."""
    large = 1990000000000000013
    for value in (large, str(large)):
        row = {"id": value, "edit_history_ids": [value], "public_metrics": {"likes": value}}
        assert insert(client, table, {**RECORD, **row}) == []
    got = [
        (row.id, row.edit_history_ids, row.public_metrics["likes"])
        for row in client.query(f"SELECT * FROM `{table}` ORDER BY id").result()
    ]
    rounded = int(float(large))
    assert got == [(rounded, [rounded], rounded), (large, [large], large)]


def test_one_bad_row_stops_the_others(client: bigquery.Client, table: str) -> None:
    """Without skipInvalidRows a bad row keeps the good ones out, with the reason `stopped`."""
    errors = insert(client, table, RECORD, {"id": 2}, {**RECORD, "id": 3})
    reasons = [(e["index"], e["errors"][0]["reason"]) for e in errors]
    assert reasons == [(0, "stopped"), (1, "invalid"), (2, "stopped")]
    assert count(client, table) == 0


def test_skip_invalid_rows_stores_the_good_ones(client: bigquery.Client, table: str) -> None:
    """With skipInvalidRows only the bad row is reported, and the others are stored."""
    errors = insert(client, table, RECORD, {"id": 2}, skip_invalid_rows=True)
    assert [e["index"] for e in errors] == [1]
    assert count(client, table) == 1


def test_limits(client: bigquery.Client, table: str) -> None:
    """A request above 10 MB, without rows, or for an unknown table is refused as BigQuery does."""
    with pytest.raises(exceptions.GoogleAPICallError, match="413"):
        insert(client, table, {**RECORD, "text": "x" * 11_000_000})
    with pytest.raises(exceptions.BadRequest, match="No rows present"):
        insert(client, table)
    with pytest.raises(exceptions.NotFound, match="Not found: Table"):
        insert(client, table + "_gone", RECORD)


def test_reserved_words_need_backticks(client: bigquery.Client) -> None:
    """`at` is a keyword to BigQuery: bare it is refused, in views too; after a dot it is not."""
    for sql in ("SELECT at FROM d.t", "SELECT 1 AS at", "SELECT DATE(at) FROM d.t"):
        with pytest.raises(exceptions.BadRequest, match="Syntax error: Unexpected keyword AT"):
            client.query_and_wait(sql)
        with pytest.raises(exceptions.BadRequest, match="Syntax error: Unexpected keyword AT"):
            client.query(sql).result()
    view = bigquery.Table(f"{client.project}.d.bare")
    view.view_query = "SELECT 1 AS end"
    with pytest.raises(exceptions.BadRequest, match="Syntax error: Unexpected keyword END"):
        client.create_table(view)
    good = "SELECT t.at, 'at' AS `end` FROM (SELECT 1 AS `at`) AS t ORDER BY t.at"
    assert [dict(row) for row in client.query_and_wait(good)] == [{"at": 1, "end": "at"}]


def test_wrong_sql_is_an_error(client: bigquery.Client) -> None:
    """Both ways to run a query raise BadRequest on SQL that cannot run."""
    with pytest.raises(exceptions.BadRequest):
        client.query_and_wait("SELECT nope FROM nowhere.nothing")
    with pytest.raises(exceptions.BadRequest):
        client.query("SELECT (").result()


def test_status_fault_and_recovery(
    server: BigQueryServer, client: bigquery.Client, table: str
) -> None:
    """A status fault answers inserts with it for its time only, counts it, and stores nothing."""
    server.faults(insert_status=503, seconds=0.4)
    with pytest.raises(exceptions.ServiceUnavailable):
        insert(client, table, RECORD)
    time.sleep(0.5)
    assert insert(client, table, RECORD) == []
    assert count(client, table) == 1
    assert server.stats()["faults"]["insert_status_503"] >= 1


def test_stored_fault_keeps_the_row(
    server: BigQueryServer, client: bigquery.Client, table: str
) -> None:
    """A `stored` fault answers 500 although the rows are in: the origin of doubles."""
    server.faults(insert_status=500, stored=True)
    with pytest.raises(exceptions.InternalServerError):
        insert(client, table, RECORD)
    assert count(client, table) == 1


def test_rejected_ids_and_delay(
    server: BigQueryServer, client: bigquery.Client, table: str
) -> None:
    """Named ids get a row error, and a delay makes the insert so much slower."""
    server.faults(reject_ids=[2], insert_delay_ms=200)
    before = time.monotonic()
    errors = insert(client, table, RECORD, {**RECORD, "id": 2}, skip_invalid_rows=True)
    assert time.monotonic() - before >= 0.2
    assert [e["index"] for e in errors] == [1]


def test_unknown_fault_is_refused(server: BigQueryServer) -> None:
    """A misspelt fault is refused, not silently ignored."""
    with pytest.raises(OSError, match="400"):
        server.faults(insert_statsu=503)


def test_past_results_are_bounded(server: BigQueryServer, client: bigquery.Client) -> None:
    """Many queries with large results do not make the stand-in grow without end."""
    process = psutil.Process(server.process.pid)
    big = "SELECT REPEAT('x', 1000) AS x FROM UNNEST(GENERATE_ARRAY(1, 8000))"
    for _ in range(6):
        client.query(big).result(max_results=1)
    before = process.memory_info().rss
    for _ in range(24):
        client.query(big).result(max_results=1)
    # 24 results of 8 MB each would be 192 MB.
    assert process.memory_info().rss - before < 100e6


def test_data_outlives_kill(tmp_path: Path) -> None:
    """With a data directory the rows are there again after kill -9 and after a clean stop."""
    with BigQueryServer(data_dir=tmp_path) as server:
        client = server.client()
        client.create_dataset("d")
        client.create_table(
            bigquery.Table(f"{server.project}.d.t", schema=[bigquery.SchemaField("id", "INTEGER")])
        )
        assert insert(client, f"{server.project}.d.t", {"id": 1}) == []
        server.process.kill()
        client.close()  # type: ignore[no-untyped-call]
    for expected in (2, 3):
        with BigQueryServer(data_dir=tmp_path) as server:
            client = server.client()
            assert insert(client, f"{server.project}.d.t", {"id": expected}) == []
            assert count(client, f"{server.project}.d.t") == expected
            client.close()  # type: ignore[no-untyped-call]


def test_busy_port_is_one_line() -> None:
    """A port that is taken is answered with one line and exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "local.bigquery", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in done.stderr


def test_ends_on_sigterm() -> None:
    """SIGTERM ends it in order, with exit code 0."""
    command = [sys.executable, "-m", "local.bigquery", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline().startswith("ready http://127.0.0.1:")
        child.terminate()
        assert child.wait(5) == 0


def test_changed_emulator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bqemulator whose inside may have moved is refused, with what to do."""
    from local.bigquery import emulator

    monkeypatch.setattr(emulator, "version", lambda _: "1.5.0")
    with pytest.raises(emulator.CannotServeError, match=r"is 1\.5\.0, .*for 1\.4\.0: pip"):
        emulator.tame()
