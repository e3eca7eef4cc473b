"""Groups and bounds inside the function: committer and intake, against the BigQuery stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sink.commit import Committer, Slots
from sink.faults import PassingError, PoisonError, RefusedError
from sink.push import MAX_BODY_BYTES, MAX_HELD_BYTES, Intake, Message
from sink.rows import Row, RowSchema
from sink.warehouse import Warehouse
from tests.sink.deployed import SCHEMAS, Dataset, post

SCOPE: dict[str, Any] = {"method": "POST", "headers": [(b"content-type", b"application/json")]}


@pytest.fixture
def slots() -> Iterator[Slots]:
    """Insert threads that end with the test."""
    slots = Slots()
    yield slots
    slots.executor.shutdown()


@pytest.fixture
def warehouse_here(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """The sink's BigQuery client in this process."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", dataset.server.url)
    return Warehouse("p", dataset.server.url)


def row(number: int, **changes: Any) -> Row:
    """A row for a post."""
    message = Message(f"m{number}", json.dumps(post(number, **changes)).encode())
    return RowSchema(SCHEMAS / "tweets.json").row(message)


async def test_cancelled_caller_leaves_its_group_alone(
    dataset: Dataset, warehouse_here: Warehouse, slots: Slots
) -> None:
    """A caller that gives up gets no answer; its row and its neighbours' answers are there."""
    dataset.server.faults(insert_delay_ms=200)
    committer = Committer(warehouse_here, dataset.tweets, slots)
    waiting = [asyncio.create_task(committer.commit(row(n))) for n in range(10)]
    await asyncio.sleep(0.1)
    waiting[3].cancel()
    async with asyncio.timeout(5):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results.pop(3), asyncio.CancelledError)
    assert results == [None] * 9
    assert await asyncio.to_thread(dataset.count) == 10


async def test_each_caller_gets_its_own_outcome(
    dataset: Dataset, warehouse_here: Warehouse, slots: Slots
) -> None:
    """In one group the rejected row's caller alone is told so."""
    dataset.server.faults(reject_ids=[4])
    committer = Committer(warehouse_here, dataset.tweets, slots)
    results = await asyncio.gather(
        *(committer.commit(row(n)) for n in range(10)), return_exceptions=True
    )
    assert isinstance(results.pop(4), PoisonError)
    assert results == [None] * 9


async def test_slow_table_makes_larger_groups_not_more_inserts(
    dataset: Dataset, warehouse_here: Warehouse, slots: Slots
) -> None:
    """What arrives while all slots are busy leaves together, at most 500 rows an insert."""
    dataset.server.faults(insert_delay_ms=100)
    before = dataset.server.stats()["inserts"]
    committer = Committer(warehouse_here, dataset.tweets, slots)
    async with asyncio.timeout(30):
        await asyncio.gather(*(committer.commit(row(n)) for n in range(1200)))
    stats = await asyncio.to_thread(dataset.server.stats)
    assert stats["inserts"] - before <= 6
    assert stats["largest_insert"] <= 500
    assert await asyncio.to_thread(dataset.count) == 1200


async def test_groups_stay_within_the_request_limit(
    dataset: Dataset, warehouse_here: Warehouse, slots: Slots
) -> None:
    """Large rows that wait together leave two by two, so that BigQuery refuses no request."""
    large = [row(n, text="x" * 4_000_000) for n in range(6)]
    before = dataset.server.stats()["inserts"]
    committer = Committer(warehouse_here, dataset.tweets, slots)
    slots.free = 0
    waiting = [asyncio.create_task(committer.commit(each)) for each in large]
    await asyncio.sleep(0.05)
    slots.free = 3
    slots.give_back()
    async with asyncio.timeout(20):
        await asyncio.gather(*waiting)
    assert dataset.server.stats()["inserts"] - before == 3


async def test_bug_of_ours_is_not_silence(
    dataset: Dataset, warehouse_here: Warehouse, slots: Slots
) -> None:
    """An error that no one foresaw answers the group with 503 and frees its slot."""
    committer = Committer(warehouse_here, 5, slots)  # type: ignore[arg-type]
    free = slots.free
    for _ in range(2):
        async with asyncio.timeout(5):
            with pytest.raises(PassingError):
                await committer.commit(row(1))
    assert slots.free == free
    assert dataset.count() == 0


def body(size: int, part: int = 1_000_000) -> Any:
    """An ASGI receive for a body that comes in parts."""
    sent = 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        now = min(part, size - sent)
        sent += now
        return {"type": "http.request", "body": b" " * now, "more_body": sent < size}

    return receive


async def test_bodies_held_at_one_time_are_bounded() -> None:
    """When too much is held the next body is sent again later, until some is given back."""
    intake = Intake()
    for _ in range(MAX_HELD_BYTES // MAX_BODY_BYTES):
        assert len(await intake.read(SCOPE, body(MAX_BODY_BYTES))) == MAX_BODY_BYTES
    with pytest.raises(PassingError):
        await intake.read(SCOPE, body(MAX_BODY_BYTES))
    intake.release(MAX_BODY_BYTES)
    assert len(await intake.read(SCOPE, body(MAX_BODY_BYTES))) == MAX_BODY_BYTES


async def test_refused_bodies_hold_nothing() -> None:
    """However a body is refused, what it held is given back."""
    intake = Intake()

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    for _ in range(20):
        with pytest.raises(RefusedError):
            await intake.read(SCOPE, body(MAX_BODY_BYTES + 1))
        with pytest.raises(RefusedError):
            await intake.read(SCOPE, gone)
    for _ in range(MAX_HELD_BYTES // MAX_BODY_BYTES):
        await intake.read(SCOPE, body(MAX_BODY_BYTES))
