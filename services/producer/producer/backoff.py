"""How long to wait before the next connect: X's rules, and a limit that X never has to enforce.

Source: https://docs.x.com/x-api/posts/filtered-stream/integrate/handling-disconnections and
https://docs.x.com/x-api/fundamentals/rate-limits (50 connects in 15 minutes).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from producer.store import Store


@dataclass(frozen=True)
class Waits:
    """Seconds of X's back-off rules."""

    network_step: float = 0.25
    network_max: float = 16.0
    http_first: float = 5.0
    http_max: float = 320.0
    limit_first: float = 60.0
    limit_max: float = 900.0
    healthy: float = 60.0
    monthly: float = 3_600.0


class Backoff:
    """The wait after each failure; grows until a connection carried data and lived for a minute.

    A connection that is accepted and closed at once does not reset anything.
    """

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self.healthy()

    def healthy(self) -> None:
        """Begin again: the connection was good."""
        self._network = 0.0
        self._http = self._waits.http_first
        self._limit = self._waits.limit_first

    def after(self, *, uptime: float, had_data: bool) -> None:
        """Note how a connection did."""
        if had_data and uptime >= self._waits.healthy:
            self.healthy()

    def dropped(self) -> float:
        """Return the wait after a stream that ended: none at first, then 250 ms more each time."""
        wait = self._network
        self._network = min(wait + self._waits.network_step, self._waits.network_max)
        return wait

    def unreachable(self) -> float:
        """Return the wait after a connection that never was."""
        self._network = max(self._network, self._waits.network_step)
        return self.dropped()

    def refused(self) -> float:
        """Return the wait after an HTTP error: 5 s, doubled each time up to 320 s."""
        wait = self._http
        self._http = min(wait * 2, self._waits.http_max)
        return wait

    def limited(self, reset: float | None) -> float:
        """Return the wait after a 429: from 60 s doubled, or X's reset time if that is later.

        Args:
            reset: x-rate-limit-reset, seconds since 1970.
        """
        wait = self._limit
        self._limit = min(wait * 2, self._waits.limit_max)
        if reset is not None:
            # X's windows are 15 minutes: a later moment is a slip, here or there.
            wait = max(wait, min(reset - time.time(), 2 * self._waits.limit_max))
        return wait

    def monthly(self, period_end: float) -> float:
        """Return the wait for spent credits or a month's cap: an hour, or until the month ends.

        Args:
            period_end: when X's month ends, seconds since 1970.
        """
        until = period_end - time.time()
        return min(self._waits.monthly, until) if until > 0 else self._waits.monthly


class Pacer:
    """Keeps connects under X's limit, whatever drops, restarts included.

    The last ten of a window are spread over what is left of it: better 30 s of gap now and then
    than ten minutes of it at the end.
    """

    WINDOW = 905.0  # 15 minutes and what two clocks may differ
    LIMIT = 50
    SPREAD_FROM = 40

    def __init__(self, store: Store | None, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        kept = store.read("connects", _moments) if store else None
        # A time in the future is a clock that was wrong: it must not keep the stream shut.
        self._at = [at for at in kept or [] if at <= clock()]

    def wait(self) -> float:
        """Return the seconds until the next connect is allowed."""
        now = self._clock()
        # Where the clock is set back meanwhile, what was after it counts as now.
        self._at = [min(at, now) for at in self._at if at > now - self.WINDOW]
        if len(self._at) < self.SPREAD_FROM:
            return 0.0
        until_free = self._at[0] + self.WINDOW - now
        left = self.LIMIT - len(self._at)
        if left <= 0:
            return until_free
        return max(0.0, self._at[-1] + until_free / (left + 1) - now)

    def connecting(self) -> None:
        """Note a connect, on disk before it happens."""
        self._at.append(self._clock())
        if self._store is not None:
            self._store.append(states={"connects": {"at": self._at}})


def _moments(kept: dict[str, Any]) -> list[float]:
    found = kept["at"]
    if not isinstance(found, list) or not all(type(at) in (int, float) for at in found):
        raise TypeError("no list of times")
    return sorted(map(float, found))
