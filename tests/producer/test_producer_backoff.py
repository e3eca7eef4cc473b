"""Waits between connects: X's rules."""

from __future__ import annotations

import random
import time

import pytest

from producer.backoff import Backoff, Pacer, Waits
from producer.store import Store


def test_network_drops() -> None:
    """A drop is answered at once, then 250 ms later each time, up to 16 s."""
    backoff = Backoff(Waits())
    waits = [backoff.dropped() for _ in range(100)]
    assert waits[:4] == [0, 0.25, 0.5, 0.75]
    assert waits[-1] == 16


def test_http_errors() -> None:
    """HTTP errors wait 5 s, doubled each time up to 320 s."""
    backoff = Backoff(Waits())
    assert [backoff.refused() for _ in range(8)] == [5, 10, 20, 40, 80, 160, 320, 320]


def test_rate_limit() -> None:
    """A 429 waits 60 s doubled, or until X's reset time if that is later, within reason."""
    backoff = Backoff(Waits())
    assert [backoff.limited(None) for _ in range(3)] == [60, 120, 240]
    assert Backoff(Waits()).limited(time.time() + 500) == pytest.approx(500, abs=2)
    assert Backoff(Waits()).limited(time.time() - 500) == 60
    assert Backoff(Waits()).limited(9e12) == 1800


def test_reset_needs_data_and_a_minute() -> None:
    """A connection that was accepted and closed at once resets nothing; one with data and a minute
    of life does.
    """
    backoff = Backoff(Waits())
    backoff.refused()
    for uptime, had_data in ((0.1, True), (59, True), (3600, False)):
        backoff.after(uptime=uptime, had_data=had_data)
    assert backoff.refused() == 10
    backoff.after(uptime=60, had_data=True)
    assert backoff.refused() == 5
    assert backoff.dropped() == 0


def test_unreachable_is_never_at_once() -> None:
    """A connection that never was is not tried again without a wait."""
    assert Backoff(Waits()).unreachable() == 0.25


def test_never_above_x_limit(store: Store) -> None:
    """Whatever drops and restarts happen, no 15 minutes see more than 50 connects, and a drop now
    and then is answered at once.
    """
    now = 1_000_000.0

    def clock() -> float:
        return now

    pacer = Pacer(store, clock)
    chance = random.Random(7)
    connects: list[float] = []
    for _ in range(400):
        now += pacer.wait()
        pacer.connecting()
        connects.append(now)
        now += chance.choice([0.001, 0.5, 5])
        if chance.random() < 0.2:
            pacer = Pacer(store, clock)  # a restart
    for at in connects:
        assert sum(at <= other < at + 900 for other in connects) <= 50
    assert connects[30] - connects[0] < 200


def test_state_of_a_clock_set_back(store: Store) -> None:
    """Connects noted in the future, by a clock that was wrong, do not keep the stream shut."""
    store.append(states={"connects": {"at": [9e9] * 60}})
    assert Pacer(store).wait() == 0


def test_a_clock_set_back_while_running(store: Store) -> None:
    """Connects of before count as made now: at most X's own window is waited, not the hours that
    the clock was wrong by.
    """
    now = 1_000_000.0
    pacer = Pacer(store, lambda: now)
    for _ in range(50):
        pacer.connecting()
    now -= 7_200
    assert 0 < pacer.wait() <= Pacer.WINDOW
    now += Pacer.WINDOW + 1
    assert pacer.wait() == 0
