"""Groups and bounds inside the function: the committer, against the BigQuery stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import bigquery

from sink.commit import SUSPICIOUS_ROWS, Committer, Slots
from sink.faults import PassingError, PoisonError
from sink.push import PushedMessage
from sink.rows import Row, TableSchema
from sink.warehouse import Inserter
from tests.sink.deployed import SCHEMAS, Dataset, post


@pytest.fixture
def slots() -> Iterator[Slots]:
    """Insert threads that end with the test."""
    slots = Slots()
    yield slots
    slots.executor.shutdown()


@pytest.fixture
def committer(dataset: Dataset, slots: Slots, monkeypatch: pytest.MonkeyPatch) -> Committer:
    """The sink's committer of posts in this process."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", dataset.server.url)
    schema = TableSchema(SCHEMAS / "tweets.json", dataset.tweets)
    return Committer(Inserter("p", dataset.server.url), schema, slots)


def row(number: int, **changes: Any) -> Row:
    """A row for a post."""
    message = PushedMessage(f"m{number}", json.dumps(post(number, **changes)).encode())
    return TableSchema(SCHEMAS / "tweets.json", "p.d.t").row(message)


async def test_cancelled_caller_leaves_its_group_alone(
    dataset: Dataset, committer: Committer
) -> None:
    """A caller that gives up gets no answer; its row and its neighbours' answers are there."""
    dataset.server.faults(insert_delay_ms=200)
    waiting = [asyncio.create_task(committer.commit(row(n))) for n in range(10)]
    await asyncio.sleep(0.1)
    waiting[3].cancel()
    async with asyncio.timeout(5):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results.pop(3), asyncio.CancelledError)
    assert results == [None] * 9
    assert await asyncio.to_thread(dataset.count) == 10


async def test_each_caller_gets_its_own_outcome(dataset: Dataset, committer: Committer) -> None:
    """In one group the rejected row's caller alone is told so."""
    dataset.server.faults(reject_ids=[4])
    results = await asyncio.gather(
        *(committer.commit(row(n)) for n in range(10)), return_exceptions=True
    )
    assert isinstance(results.pop(4), PoisonError)
    assert results == [None] * 9


async def test_slow_table_makes_larger_groups_not_more_inserts(
    dataset: Dataset, committer: Committer
) -> None:
    """What arrives while all slots are busy leaves together, at most 500 rows an insert."""
    dataset.server.faults(insert_delay_ms=100)
    before = dataset.server.stats()["inserts"]
    async with asyncio.timeout(30):
        await asyncio.gather(*(committer.commit(row(n)) for n in range(1200)))
    stats = await asyncio.to_thread(dataset.server.stats)
    assert stats["inserts"] - before <= 6
    assert stats["largest_insert"] <= 500
    assert await asyncio.to_thread(dataset.count) == 1200


async def test_groups_stay_within_the_request_limit(
    dataset: Dataset, committer: Committer, slots: Slots
) -> None:
    """Large rows that wait together leave two by two, so that BigQuery refuses no request."""
    large = [row(n, text="x" * 4_000_000) for n in range(6)]
    before = dataset.server.stats()["inserts"]
    slots.free = 0
    waiting = [asyncio.create_task(committer.commit(each)) for each in large]
    await asyncio.sleep(0.05)
    slots.free = 3
    slots.give_back()
    async with asyncio.timeout(20):
        await asyncio.gather(*waiting)
    assert dataset.server.stats()["inserts"] - before == 3


async def test_tables_send_in_turn(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one table wait for no more than one group of the other, however many it has."""
    order: list[str] = []

    def insert(_: Inserter, schema: TableSchema, rows: list[Row]) -> list[None]:
        order.append(schema.table)
        return [None] * len(rows)

    monkeypatch.setattr(Inserter, "insert", insert)
    inserter = Inserter("p", "http://127.0.0.1:9")
    posts, events = (
        Committer(inserter, TableSchema(SCHEMAS / f"{name}.json", name), slots)
        for name in ("tweets", "stream_events")
    )
    slots.free = 0
    waiting = [posts.commit(Row({}, str(n), 9_000_000)) for n in range(4)]
    waiting.append(events.commit(Row({}, "e", 100)))
    tasks = [asyncio.create_task(each) for each in waiting]
    await asyncio.sleep(0)
    slots.give_back()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)
    assert order == ["tweets", "stream_events", "tweets", "tweets", "tweets"]


async def test_bug_of_ours_is_not_silence(
    committer: Committer, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that no one foresaw answers the group with 503 and frees its slot."""
    monkeypatch.setattr(Inserter, "insert", lambda *_: 1 / 0)
    free = slots.free
    for _ in range(2):
        async with asyncio.timeout(5):
            with pytest.raises(PassingError, match="ZeroDivisionError"):
                await committer.commit(row(1))
    assert slots.free == free


async def fates(committer: Committer, numbers: range, **changes: Any) -> list[str]:
    """What becomes of posts that come in groups of three: row, poison or passing."""
    found = []
    for first in numbers[::3]:
        group = [committer.commit(row(n, **changes)) for n in numbers if first <= n < first + 3]
        found += await asyncio.gather(*group, return_exceptions=True)
    names = {PoisonError: "poison", PassingError: "passing", type(None): "row"}
    return [names[type(outcome)] for outcome in found]


def retype(dataset: Dataset, column: str, kind: str) -> None:
    """Make the table anew with another type of a column."""
    columns = [
        bigquery.SchemaField(field.name, kind, field.mode) if field.name == column else field
        for field in dataset.client.schema_from_json(SCHEMAS / "tweets.json")
    ]
    dataset.client.delete_table(dataset.tweets)
    dataset.client.create_table(bigquery.Table(dataset.tweets, schema=columns))


@pytest.mark.parametrize("column", ["lang", "hashtags", "raw"])
async def test_table_that_refuses_every_row_is_doubted(
    dataset: Dataset, committer: Committer, column: str
) -> None:
    """A changed column stops giving up rows after a few small groups, until rows pass again."""
    retype(dataset, column, "INTEGER")
    found = await fates(committer, range(100))
    assert found.count("poison") < SUSPICIOUS_ROWS
    assert found == ["poison"] * found.count("poison") + ["passing"] * found.count("passing")
    retype(dataset, column, "JSON" if column == "raw" else "STRING")
    assert await fates(committer, range(3)) == ["row"] * 3
    retype(dataset, column, "INTEGER")
    assert await fates(committer, range(3)) == ["poison"] * 3


async def test_refusals_that_name_no_column_are_doubted_too(
    dataset: Dataset, committer: Committer
) -> None:
    """A table whose refusals name no column gives up no more rows than another."""
    dataset.server.faults(reject_ids=list(range(60)))
    found = await fates(committer, range(60))
    assert 0 < found.count("poison") < SUSPICIOUS_ROWS
    assert set(found[SUSPICIOUS_ROWS:]) == {"passing"}


async def test_doubt_is_about_one_column(dataset: Dataset, committer: Committer) -> None:
    """Rows without a value in a refused column neither clear it nor suffer for it."""
    retype(dataset, "in_reply_to_user_id", "DATETIME")
    for first in range(0, 60, 3):
        assert await fates(committer, range(first, first + 2)) == ["row"] * 2
        found = await fates(committer, range(first, first + 1), in_reply_to_user_id=7)
        assert found == ["poison" if first / 3 < SUSPICIOUS_ROWS - 1 else "passing"]


@pytest.mark.parametrize("named", [True, False])
async def test_bad_posts_among_good_ones_are_given_up(
    dataset: Dataset, committer: Committer, *, named: bool
) -> None:
    """However many posts are bad, each is poison as long as good ones are written between them,
    whether or not BigQuery names the column.
    """
    bad: dict[str, Any] = {"lang": {"a": 1}} if named else {}
    for first in range(0, 150, 3):
        dataset.server.faults(reject_ids=[] if named else [first])
        assert await fates(committer, range(first, first + 1), **bad) == ["poison"]
        dataset.server.faults()
        assert await fates(committer, range(first, first + 2)) == ["row"] * 2


async def test_row_that_no_insert_takes_is_not_tried(
    dataset: Dataset, committer: Committer
) -> None:
    """A row above BigQuery's limit is poison at once, with its size."""
    before = dataset.server.stats()["inserts"]
    with pytest.raises(PoisonError, match=r"row of 99\d+ bytes, BigQuery takes") as caught:
        await committer.commit(row(1, text="x" * 9_950_000))
    assert caught.value.reason == "too_large"
    assert dataset.server.stats()["inserts"] == before
