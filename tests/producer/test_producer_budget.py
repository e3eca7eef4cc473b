"""The month's count."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from local.x import XServer
from producer.budget import Budget, Usage, UsageError, last_reset, next_reset, read_usage
from producer.store import Store
from producer.x_api import XApi


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "day", "expected"),
    [
        ("2026-11-22T12:00:00", 1, "2026-12-01T00:00:00"),
        ("2026-11-22T12:00:00", 23, "2026-11-23T00:00:00"),
        ("2026-11-22T00:00:00", 22, "2026-12-22T00:00:00"),
        ("2026-02-10T00:00:00", 31, "2026-02-28T00:00:00"),
        ("2026-12-31T23:59:59", 31, "2027-01-31T00:00:00"),
    ],
)
def test_next_reset(now: str, day: int, expected: str) -> None:
    """The period begins at 00:00 UTC of X's day, or of the last day of a shorter month."""
    assert next_reset(_moment(now), day) == _moment(expected)
    assert next_reset(last_reset(_moment(now), day), day) == _moment(expected)
    assert last_reset(_moment(now), day) <= _moment(now)


NOON = _moment("2026-11-22T12:00:00")
POST = 1100  # bytes


def _known(limit: int, store: Store | None = None, used: int = 0, at: float = NOON) -> Budget:
    """A budget whose count X has confirmed."""
    budget = Budget(limit, store, lambda: at)
    budget.reading(Usage(used, 1, at))
    return budget


def test_pause_resume_and_restart(store: Store) -> None:
    """It pauses before the limit is passed, stays so over a restart, and begins anew with X's
    period, even while X still tells the old number.
    """
    budget = _known(1000, store, 900)
    while not budget.read(1, POST):
        pass
    assert 900 < budget.used <= 1000
    budget.paused = True
    budget.settle()
    used = budget.used
    again = Budget(1000, store, lambda: NOON)
    again.reading(Usage(900, 1, NOON))  # lags
    assert (again.spent, again.used) == (True, used)
    assert again.until() == "2026-12-01T00:00:00Z"
    december = _moment("2026-12-01T00:00:01")
    assert again.reading(Usage(950, 1, december))  # last month's number still
    assert (again.spent, again.used) == (False, 0)
    again.reading(Usage(40, 1, december + 60))
    assert again.used == 40
    again.settle()
    # A pod that was away when the month changed.
    later = Budget(1000, store, lambda: december + 40 * 86400)
    assert later.asks
    assert later.reading(Usage(7, 1, december + 40 * 86400))
    assert later.used == 7


def test_other_apps_count() -> None:
    """X's number counts when it is larger than ours, and ours is added to it from then on."""
    budget = _known(1000, used=10)
    budget.reading(Usage(500, 1, NOON))
    budget.read(1, POST)
    assert budget.used == 501
    budget.reading(Usage(100, 1, NOON))
    assert budget.used == 501


@pytest.mark.parametrize("limit", [10, 100, 1000, 5000, 10_000, 1_000_000])
@pytest.mark.parametrize("size", [700, POST, 2500])
def test_leaves_for_what_is_on_the_way(limit: int, size: int) -> None:
    """It leaves while what X can have sent off, a full receive buffer and 64 KB, still fits the
    budget; of a budget of 1,000 and more most is used, of a smaller one half at least.
    """
    budget = _known(limit)
    while not budget.read(1, size):
        pass
    assert budget.receive_buffer is not None
    on_the_way = (2 * budget.receive_buffer + 65_536) // size
    assert budget.used <= limit - min(on_the_way, limit // 2)
    assert budget.used >= limit * (0.85 if limit >= 1000 else 0.5)
    assert budget.spent


def test_a_huge_line_shortens_no_margin() -> None:
    """A mean that one line of megabytes has made is not taken for the size of what follows."""
    budget = _known(1000)
    while not budget.read(1, 200_000):
        pass
    assert budget.used < 1000 - 10


def test_a_kill_gives_nothing_back(store: Store) -> None:
    """However often it is killed while X's usage does not answer, what is bought, an unseen chunk
    a time included, is no more than the budget and a chunk.
    """
    _known(1000, store).settle()
    bought = 0
    for _ in range(50):
        budget = Budget(1000, store, lambda: NOON)
        if budget.spent:
            break
        assert budget.reserve()
        for _ in range(3):
            if budget.read(48, POST):
                break
            bought += 48
            store.append(states={"budget": budget.state()})
        bought += 48  # read in the moment of the kill
    assert 200 < bought <= 1000 + 48


def test_a_stop_gives_back_what_was_not_read(store: Store) -> None:
    """After a stop the count is what was read."""
    budget = _known(1000, store)
    budget.reserve()
    budget.read(5, POST)
    store.append(states={"budget": budget.state()})
    assert Budget(1000, store, lambda: NOON).used > 100
    budget.settle()
    assert Budget(1000, store, lambda: NOON).used == 5


@pytest.mark.parametrize(
    "change",
    [
        {"used": -100_000}, {"used": "500"}, {"used": None}, {"used": 5.5}, {"used": True},
        {"reserved": []}, {"period_end": "soon"}, {"period_start": NOON + 86_400},
        {"period_end": 0}, {"reset_day": 99}, {"warned": 1}, {"x_posts": -1}, "a list",
        {"used": ...},
    ],
)  # fmt: skip
def test_no_trusted_count_reads_nothing(store: Store, change: Any) -> None:
    """A count that cannot be right is not zero: nothing is read until X's usage answers, and then
    X's number counts.
    """
    _known(1000, store, 500).settle()
    kept: Any = store.read("budget", dict)
    if isinstance(change, dict):
        kept.update({name: value for name, value in change.items() if value is not ...})
        for name in [name for name, value in change.items() if value is ...]:
            del kept[name]
    else:
        kept = ["a list"]
    store.append(states={"budget": kept})
    budget = Budget(1000, store, lambda: NOON)
    assert (budget.trusted, budget.spent, budget.asks) == (False, True, True)
    budget.reading(Usage(700, 1, NOON))
    assert (budget.trusted, budget.spent, budget.used) == (True, False, 700)


def test_a_new_one_asks_first(store: Store) -> None:
    """A first start has no count either; without a limit nothing waits for one."""
    assert Budget(1000, store).spent
    assert not Budget(0, store).spent
    assert not Budget(0, store).asks


def test_a_clock_that_jumps_buys_nothing_twice(store: Store) -> None:
    """Our clock a month ahead and back, restarts in between: X's clock says when a period ends."""
    for ours in (NOON, NOON + 40 * 86_400, NOON - 86_400, NOON):
        budget = Budget(1000, store, lambda ours=ours: ours)  # type: ignore[misc]
        budget.reading(Usage(990, 1, NOON))
        assert not budget.reading(Usage(990, 1, NOON + 60))
        while not budget.read(1, POST):
            pass
        budget.settle()
        assert budget.spent
        assert 990 <= budget.used <= 1000
    assert budget.reading(Usage(3, 1, _moment("2026-12-01T00:00:05")))
    assert not budget.spent


def test_a_lost_count_on_the_first_day() -> None:
    """Where the state is lost while X still tells last month's number, it is taken for this one's,
    and let go when X tells the new one.
    """
    first = _moment("2026-12-01T00:10:00")
    budget = Budget(1000, None, lambda: first)
    budget.reading(Usage(999, 1, first))
    assert budget.read(1, POST)
    budget.reading(Usage(20, 1, first + 3600))
    assert not budget.spent
    assert budget.used == 21


def test_a_number_that_dips_on_the_first_day_gives_nothing_back() -> None:
    """X's number may fall for a moment; only where last month's was lost is that a correction."""
    first = _moment("2026-12-01T00:00:01")
    budget = Budget(10_000, None, lambda: first - 3600)
    budget.reading(Usage(9_900, 1, first - 7200))
    assert budget.reading(Usage(9_900, 1, first))
    budget.read(5_000, POST)
    budget.reading(Usage(5_000, 1, first + 3600))
    budget.reading(Usage(2_000, 1, first + 4200))
    assert budget.used == 5_000


def test_another_s_spend_cuts_nothing_off_that_is_on_the_way() -> None:
    """Where X's number jumps above the limit, the stream is left, and what it has sent is read."""
    budget = _known(1000, used=500)
    budget.reserve()
    assert not budget.read(1, POST)
    budget.reading(Usage(5_000, 1, NOON + 600))
    assert budget.read(1, POST)
    assert not budget.passed
    assert budget.read(20, POST)
    assert not budget.passed
    budget.read(500, POST)
    assert budget.passed


def test_warns_once_a_period() -> None:
    """80 % is told once."""
    budget = _known(10, used=7)
    assert not budget.warn()
    budget.read(1, POST)
    assert budget.warn()
    assert not budget.warn()


def test_no_limit() -> None:
    """0 is no limit."""
    budget = Budget(0, None)
    assert not any(budget.read(1, POST) for _ in range(100))
    assert not budget.warn()
    assert budget.used == 100


def test_reads_x_usage(make_x: Callable[..., XServer]) -> None:
    """X's endpoint is read; an error or an answer of another form is one line."""
    x = make_x(usage=123, cap_reset_day=17)
    client = XApi("some-token", x.url)
    usage = read_usage(client)
    assert (usage.posts, usage.reset_day) == (123, 17)
    assert usage.at == pytest.approx(time.time(), abs=5), "X's clock, by its Date header"
    x.app.faults.add({"kind": "http", "path": "/2/usage/tweets", "status": 503})
    with pytest.raises(UsageError, match="503"):
        read_usage(client)
    x.app.ledger.usage.cap_reset_day = 99
    with pytest.raises(UsageError, match="no usage"):
        read_usage(client)
