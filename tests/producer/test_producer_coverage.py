"""Gaps: opened at the last covered moment, closed by the first byte after, over restarts too."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from local.x.snowflake import first_at
from producer import gap
from producer.books import Books
from producer.budget import Budget
from producer.gap import Coverage
from producer.lines import Lines
from producer.record import timestamp
from producer.stats import Stats
from producer.store import Store

PARTS: Any = (lambda *_: None, None, lambda _: None)
"""Of Lines: nobody is told of rules, posts or a reason to leave."""


def test_no_gap_before_the_first_byte(store: Store) -> None:
    """Where nothing was ever covered, nothing is missing."""
    coverage = Coverage(store, "me")
    coverage.ended("unreachable")
    assert coverage.resumed(5, None, 0) is None


def test_gap_over_failures(store: Store) -> None:
    """One gap holds all failed connects in it, keeps its first reason and names its neighbours."""
    coverage = Coverage(store, "me")
    coverage.covered(1_000_000, 17)
    coverage.ended("disconnected", {"how": "reset"})
    coverage.ended("http_503")
    coverage.ended("http_503")
    coverage.ended("http_429")
    row = coverage.resumed(3_000_000, 18, 2)
    assert row is not None
    assert (row["gap_from"], row["gap_to"]) == (
        "1970-01-01T00:00:01.000000Z", "1970-01-01T00:00:03.000000Z",
    )  # fmt: skip
    assert (row["reason"], row["last_id_before"], row["first_id_after"]) == ("disconnected", 17, 18)
    assert json.loads(row["detail"]) == {
        "how": "reset", "failed_connects": {"http_503": 2, "http_429": 1}, "backfill_minutes": 2,
    }  # fmt: skip
    assert coverage.resumed(4_000_000, None, 0) is None


def test_kill_and_stop_are_told_apart(store: Store) -> None:
    """After a kill the gap begins at the heartbeat with reason killed; after a stop, at the stop;
    one that was open stays open with its reason.
    """
    coverage = Coverage(store, "me")
    coverage.covered(1_000_000, 17)
    coverage.save()
    killed = Coverage(store, "me")
    row = killed.resumed(2_000_000, None, 0)
    assert row is not None
    assert (row["reason"], row["gap_from"]) == ("killed", "1970-01-01T00:00:01.000000Z")
    killed.covered(5_000_000, 19)
    killed.ended("shutdown")
    stopped = Coverage(store, "me")
    assert stopped.gap is not None
    assert stopped.gap["reason"] == "shutdown"
    row = stopped.resumed(7_000_000, None, 0)
    assert row is not None
    assert row["last_id_before"] == 19
    stopped.covered(8_000_000)
    stopped.ended("disconnected")
    again = Coverage(store, "me")
    assert again.gap is not None
    assert again.gap["reason"] == "disconnected"


def test_every_failed_connect_outlives_a_kill(store: Store) -> None:
    """The count of failed connects in STATE_DIR is the last one, not the first."""
    coverage = Coverage(store, "me")
    coverage.covered(1_000_000, 17)
    coverage.ended("disconnected")
    for _ in range(3):
        coverage.ended("http_503")
    kept = Coverage(store, "me").gap
    assert kept is not None
    assert kept["failures"] == {"http_503": 3}


@pytest.mark.parametrize("back", [1, 3_600, 40 * 86_400])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_set_back_turns_no_gap_round(
    store: Store, monkeypatch: pytest.MonkeyPatch, back: int, *, restarted: bool
) -> None:
    """Where our clock was ahead and is set back while the stream is away, the gap still ends after
    its begin, and holds what was made meanwhile.
    """
    true = 1_795_348_800_000_000
    before = Coverage(store, "me")
    before.covered(true, first_at(true / 1_000))
    before.covered(true + back * 1_000_000)
    if restarted:
        before.save()
    else:
        before.ended("disconnected")
    monkeypatch.setattr(gap, "now", lambda: true + 30_000_000)
    coverage = Coverage(store, "me") if restarted else before
    made = first_at((true + 29_000_000) / 1_000)
    row = coverage.resumed(true + 30_000_000, made, 0)
    assert row is not None
    assert row["gap_from"] <= row["gap_to"]
    assert row["gap_to"] >= timestamp(true + 29_000_000)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_is_ahead_begins_no_gap_in_the_future(
    store: Store, *, restarted: bool
) -> None:
    """Keep-alives read by a clock that is two hours ahead cover what has passed since X's own time,
    not two hours: what is missing after them is in the gap.
    """
    true, ahead = 1_795_348_800_000_000, 7_200_000_000
    coverage = Coverage(store, "me")
    coverage.covered(true, first_at(true / 1_000))
    if restarted:
        coverage.save()
        coverage = Coverage(store, "me")
        coverage.resumed(true + ahead, None, 0)
    coverage.covered(true + ahead)
    if restarted:
        coverage.covered(true + ahead, first_at(true / 1_000 + 1_000))
    coverage.covered(true + ahead)
    coverage.ended("disconnected")
    assert coverage.gap is not None
    assert true <= coverage.gap["from"] < true + 60_000_000


@pytest.mark.parametrize("wrong", [-40 * 86_400, -60, 60, 7_200])
@pytest.mark.parametrize("first", ["post", "keep-alive"])
def test_a_clock_that_is_wrong_from_the_first_byte(store: Store, wrong: int, first: str) -> None:
    """Where nothing was known of coverage before, X's own time says when a gap begins and ends."""
    true = 1_795_348_800_000_000
    coverage = Coverage(store, "me")
    coverage.met(true / 1e6)
    ours = true + wrong * 1_000_000
    coverage.covered(ours, first_at(true / 1_000) if first == "post" else None)
    coverage.covered(ours)
    coverage.ended("disconnected")
    row = coverage.resumed(ours, None, 0)
    assert row is not None
    assert timestamp(true - 1_000_000) <= row["gap_from"] <= row["gap_to"]
    assert row["gap_to"] < timestamp(true + 60_000_000)


@pytest.mark.parametrize("wrong", [-1_800, -3, 7_200])
@pytest.mark.parametrize("first", ["post", "keep-alive"])
def test_a_gap_under_a_wrong_clock_ends_no_earlier_than_it_did(
    store: Store, wrong: int, first: str
) -> None:
    """X's Date header has whole seconds, so X's clock by it is up to a second behind."""
    whole = 1_795_348_800_000_000
    true = whole + 900_000
    coverage = Coverage(store, "me")
    coverage.met(whole / 1e6)
    ours = true + wrong * 1_000_000
    coverage.covered(ours, first_at((true - 500_000) / 1_000))
    coverage.ended("disconnected")
    row = coverage.resumed(ours, first_at(true / 1_000) if first == "post" else None, 0)
    assert row is not None
    assert row["gap_from"] <= timestamp(true - 500_000)
    assert timestamp(true) <= row["gap_to"] < timestamp(true + 60_000_000)


def test_a_clock_that_is_a_little_ahead_begins_no_gap_late(store: Store) -> None:
    """Of the first sign of life only its time is known, and X's own is never ahead."""
    true = 1_795_348_800_900_000
    coverage = Coverage(store, "me")
    coverage.met(true // 1_000_000)
    coverage.covered(true + 3_000_000)
    coverage.ended("disconnected")
    assert coverage.gap is not None
    assert true - 1_000_000 <= coverage.gap["from"] <= true


def test_a_line_that_is_no_post_covers_what_came_since_the_last_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of 11 MB takes seconds: a damaged store that loses it says so from before them."""
    read, made = 1_795_348_805_000_000, 1_795_348_800_000_000
    monkeypatch.setattr("producer.lines.now", lambda: read)
    settings: Any = SimpleNamespace(instance="me", backfill_minutes=0)
    outbox: Any = SimpleNamespace(store=store, has_letters=True)
    books = Books(settings, outbox, Budget(0, store), Coverage(store, "me"), Stats())
    lines = Lines(books, *PARTS)
    lines.line(b'{"data":{"id":"%d","text":"x"}}' % first_at(made / 1_000))
    lines.line(b"x" * 8_000_001)
    assert [entry.made_at for entry in lines._entries] == [made, made, made]


def test_a_clock_that_is_ahead_makes_no_message_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a damaged store may have lost begins by X's clock, however wrong ours is."""
    real = time.time_ns() // 1_000
    monkeypatch.setattr("producer.lines.now", lambda: real + 86_400_000_000)
    settings: Any = SimpleNamespace(instance="me", backfill_minutes=0)
    outbox: Any = SimpleNamespace(store=store, has_letters=True)
    coverage = Coverage(store, "me")
    coverage.met(real / 1e6)
    lines = Lines(Books(settings, outbox, Budget(0, store), coverage, Stats()), *PARTS)
    lines.line(b'{"data":{"id":"%d","text":"x"}}' % first_at(real / 1_000))
    lines.line(b"no post")
    assert all(entry.made_at <= real + 1_000_000 for entry in lines._entries)


def test_keep_alives_of_a_quiet_stream_cover_what_passes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without posts a keep-alive each 20 s moves the covered moment on by as much."""
    passed = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    true = 1_795_348_800_000_000
    coverage = Coverage(store, "me")
    coverage.covered(true + 2_000_000, first_at(true / 1_000))
    for count in range(1, 4):
        passed[0] += 20
        coverage.covered(true + 2_000_000 + count * 20_000_000)
        assert coverage.until == true + count * 20_000_000


@pytest.mark.parametrize(
    "kept",
    [
        {"until": "noon"}, {"until": -1}, {"last_id": 1.5}, {"gap": {"from": 1}}, {"gap": []},
        {"gap": {"from": 1, "reason": "killed", "last_id": 1, "failures": 3}}, {"until": True},
        {"until": 10**18}, {"last_id": 1 << 63},
        {"gap": {"from": 10**18, "reason": "killed", "last_id": 1}},
    ],
)  # fmt: skip
def test_coverage_that_cannot_be_right(store: Store, kept: dict[str, Any]) -> None:
    """It is unknown: a gap without a begin, and no crash, now or at the next start."""
    Coverage(store, "me").covered(1)
    store.fresh = False
    store.append(states={"coverage": {"until": 5, "last_id": 5, "gap": None, **kept}})
    for _ in range(2):
        found = Coverage(store, "me").gap
        assert found is not None
        assert (found["from"], found["reason"]) == (None, "state_damaged")
