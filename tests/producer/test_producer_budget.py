"""The month's count."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from local.x import XServer
from producer.budget import Budget, Usage, UsageError, next_reset, read_usage
from producer.state import StateDir
from producer.stream import Stream


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


def test_pause_resume_and_restart(state: StateDir) -> None:
    """It pauses before the limit is passed, stays so over a restart, and begins anew with X's
    period, even while X still tells the old number.
    """
    now = _moment("2026-11-22T12:00:00")
    budget = Budget(1000, state, lambda: now)
    budget.reading(Usage(900, 1))
    assert not any(budget.count() for _ in range(99))
    assert budget.count()
    assert budget.used == 1000
    budget.paused = True
    budget.tick()
    again = Budget(1000, state, lambda: now)
    again.reading(Usage(900, 1))  # lags
    assert again.spent
    assert again.until() == "2026-12-01T00:00:00Z"
    now = _moment("2026-12-01T00:00:01")
    assert again.tick()
    assert again.used == 0
    assert not again.spent
    again.reading(Usage(950, 1))  # last month's number still
    assert again.used == 0
    again.reading(Usage(40, 1))
    assert again.used == 40
    # A pod that was away when the month changed.
    assert Budget(1000, state, lambda: now + 40 * 86400).tick()


def test_other_apps_count() -> None:
    """X's number counts when it is larger than ours, and ours is added to it from then on."""
    budget = Budget(1000, None)
    for _ in range(10):
        budget.count()
    budget.reading(Usage(500, 1))
    budget.count()
    assert budget.used == 501
    budget.reading(Usage(100, 1))
    assert budget.used == 501


def test_margin_for_what_is_on_the_wire() -> None:
    """At speed it stops two seconds of posts early, a fifth of the budget at most, and stays so."""
    budget = Budget(10_000, None)
    for _ in range(9_900):
        budget.count()
    budget.tick()
    assert budget.count()
    budget.paused = True
    budget.tick()
    budget.tick()
    assert budget.spent


def test_warns_once_a_period() -> None:
    """80 % is told once."""
    budget = Budget(10, None)
    for _ in range(7):
        budget.count()
    assert not budget.warn()
    budget.count()
    assert budget.warn()
    assert not budget.warn()


def test_no_limit() -> None:
    """0 is no limit."""
    budget = Budget(0, None)
    assert not any(budget.count() for _ in range(100))
    assert not budget.warn()
    assert budget.used == 100


def test_reads_x_usage(make_x: Callable[..., XServer]) -> None:
    """X's endpoint is read; an error or an answer of another form is one line."""
    x = make_x(usage=123, cap_reset_day=17)
    client = Stream("some-token", x.url)
    assert read_usage(client) == Usage(123, 17)
    x.app.faults.add({"kind": "http", "path": "/2/usage/tweets", "status": 503})
    with pytest.raises(UsageError, match="503"):
        read_usage(client)
    x.app.ledger.usage.cap_reset_day = 99
    with pytest.raises(UsageError, match="no usage"):
        read_usage(client)


def test_the_margin_holds_until_the_pause(state: StateDir) -> None:
    """A turn of the clock between the disconnect and the pause does not connect again: what X still
    sends would pass the budget.
    """
    now = _moment("2026-11-22T12:00:00")
    budget = Budget(10_000, state, lambda: now)
    budget.reading(Usage(9_800, 1))
    budget.tick()
    assert not any(budget.count() for _ in range(90))
    budget.tick()  # 90 a turn: it leaves 180 early
    while not budget.count():
        pass
    assert budget.used < 10_000
    budget.tick()
    budget.tick()  # nothing was read in this one
    assert budget.spent


def test_first_number_of_a_period_that_began_while_it_was_off(state: StateDir) -> None:
    """Started after the period's end, it counts X's number for the new period, also where X
    answers before the clock's first turn.
    """
    now = _moment("2026-11-30T12:00:00")
    first = Budget(1000, state, lambda: now)
    first.reading(Usage(900, 1))
    first.save()
    now = _moment("2026-12-05T12:00:00")
    second = Budget(1000, state, lambda: now)
    second.reading(Usage(400, 1))
    second.tick()
    assert second.used == 400
