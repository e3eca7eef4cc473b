"""Messages become rows, and are acknowledged only then."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sink.revision import code_digest
from tests.sink.deployed import SOURCE, Dataset, Function, event, post, push


def test_post_becomes_a_row(function: Function, dataset: Dataset) -> None:
    """A pushed post is in the table, with the sink's own columns, when 204 is answered."""
    before = datetime.now(UTC)
    answer = function.push(push(post(2**62), message_id="m42"))
    assert (answer.status, answer.text) == (204, "")
    (row,) = dataset.rows("SELECT * FROM {tweets}")
    assert (row.id, row.text, row.hashtags) == (2**62, "안녕 🌊 #바다", ["바다"])
    assert row.raw == {"data": {"id": str(2**62)}}
    assert (row.message_id, row.published_at.isoformat()) == (
        "m42",
        "2024-01-15T10:35:02.345000+00:00",
    )
    assert before <= row.inserted_at <= datetime.now(UTC)
    assert function.plain_output() == ""


def test_event_goes_to_its_table(function: Function, dataset: Dataset) -> None:
    """A message of kind `event` becomes a row of stream_events, which says what code wrote it."""
    record = event("e1", reason="stalled", detail=json.dumps({"a": [1]}), sink="forged")
    assert function.push(push(record, kind="event")).status == 204
    (row,) = dataset.rows("SELECT * FROM {events}")
    assert (row.event_id, row.kind, row.reason, row.detail) == ("e1", "gap", "stalled", {"a": [1]})
    assert row.sink == code_digest(SOURCE / "sink")
    assert dataset.count() == 0


def test_messages_are_written_in_groups(function: Function, dataset: Dataset) -> None:
    """Requests that wait together share inserts, and each row is there once."""
    function.push(push(post(1)))
    dataset.server.faults(insert_delay_ms=100)
    before = dataset.server.stats()["inserts"]
    bodies = [push(post(n), message_id=f"m{n}") for n in range(2, 302)]
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(function.push, bodies))
    assert {answer.status for answer in answers} == {204}
    assert dataset.server.stats()["inserts"] - before < 100
    (row,) = dataset.rows("SELECT COUNT(*) AS n, COUNT(DISTINCT id) AS ids FROM {tweets}")
    assert (row.n, row.ids) == (301, 301)


def test_large_rows_are_grouped_within_the_limit(function: Function, dataset: Dataset) -> None:
    """Rows of some megabytes that arrive together are split so that no insert is refused."""
    bodies = [push(post(n, text="바" * 700_000), message_id=f"m{n}") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(function.push, bodies))
    assert {answer.status for answer in answers} == {204}
    assert dataset.count() == 4


def test_field_without_column_is_kept(function: Function, dataset: Dataset) -> None:
    """Unknown fields, nested ones too, are kept in `raw`, and the row is written; said once."""
    record = post(1, new_field=[1], public_metrics={"likes": 2, "boosts": 9})
    assert function.push(push(record)).status == 204
    assert function.push(push(post(2, new_field=[2]))).status == 204
    row, _ = dataset.rows("SELECT * FROM {tweets} ORDER BY id")
    assert row.public_metrics["likes"] == 2
    assert row.raw == {
        "data": {"id": "1"},
        "unmapped_fields": {"new_field": [1], "public_metrics": {"likes": 2, "boosts": 9}},
    }
    told = [line["message"] for line in function.logs() if "new_field" in line["message"]]
    assert len(told) == 1


def test_own_columns_are_not_the_senders(function: Function, dataset: Dataset) -> None:
    """What a record says about message_id or inserted_at is replaced, not trusted."""
    record = post(1, message_id="forged", inserted_at="1999-01-01T00:00:00Z", published_at=7)
    assert function.push(push(record, message_id="m1")).status == 204
    (row,) = dataset.rows("SELECT * FROM {tweets}")
    assert (row.message_id, row.inserted_at.year >= 2024, row.published_at.year) == (
        "m1",
        True,
        2024,
    )


def test_no_post_text_in_the_log(function: Function) -> None:
    """Neither a written nor a dead-lettered post leaves its text in the log."""
    function.push(push(post(1, text="SECRETTEXT")))
    function.push(push(post(2, text="SECRETTEXT", author_id="SECRETTEXT")))
    assert "SECRETTEXT" not in function.output.read_text()
    assert function.logs(), "the broken post has to be told"
