"""The month's spend: posts used, by X's count and ours, and when to stop before it is too much.

X's number may lag, and ours knows nothing of another app of the project: used is the largest of
X's numbers and ours, and what was read since is added. Backfilled and doubled posts count too.
Source: https://docs.x.com/x-api/usage/get-usage
"""

from __future__ import annotations

import calendar
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
import tweepy

from producer.log import OncePerMinute
from producer.record import integer
from producer.state import StateDir

log = logging.getLogger(__name__)

USAGE_EVERY = 600.0
WARN_AT = 0.8
_FILE = "budget.json"
_FIELDS = "cap_reset_day,project_cap,project_usage"
_STALE = 86_400.0
# What X sends while we disconnect is charged too: about half a second of it, four times over.
_LEAVING_SECONDS = 2


class UsageError(ValueError):
    """X's usage could not be read: why, in one line."""


@dataclass(frozen=True)
class Usage:
    """X's own count: posts used in this period, and the day of the month when it begins anew."""

    posts: int
    reset_day: int


def read_usage(client: tweepy.StreamingClient) -> Usage:
    """Ask X.

    Raises:
        UsageError: no answer, an error, or an answer of another form.
    """
    try:
        response = client.request("GET", "/2/usage/tweets", params={"usage.fields": _FIELDS})
        data = response.json()["data"]
        posts, day = integer(data["project_usage"]), integer(data["cap_reset_day"])
    except (tweepy.HTTPException, requests.RequestException) as error:
        raise UsageError(" ".join(str(error).split())[:300]) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"an answer without {error}") from None
    if posts is None or day is None or not 1 <= day <= 31:
        raise UsageError(f"an answer that is no usage: {str(data)[:200]}")
    return Usage(posts, day)


def next_reset(now: float, day: int) -> float:
    """Return the next start of a period: 00:00 UTC on that day of a month, or on its last."""
    today = datetime.fromtimestamp(now, UTC)
    year, month = today.year, today.month
    while True:
        last = calendar.monthrange(year, month)[1]
        reset = datetime(year, month, min(day, last), tzinfo=UTC).timestamp()
        if reset > now:
            return reset
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


class Budget:
    """Counts posts against a monthly limit. count() is for the stream's thread, the rest for any.

    Attributes:
        used: posts of this period; never less than before within a period, as X's number lags.

    Args:
        limit: posts a month; 0 means no limit (it still counts).
        state: where the count outlives the process; written about each second, so a kill forgets
            at most that until X's next number.
    """

    def __init__(
        self, limit: int, state: StateDir | None, clock: Callable[[], float] = time.time
    ) -> None:
        self.limit = limit
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._once = OncePerMinute(log)
        kept = state.read(_FILE) if state else {}
        self.used: int = kept.get("used", 0)
        self.reset_day: int = kept.get("reset_day", 1)
        self.period_end: float = kept.get("period_end") or next_reset(clock(), self.reset_day)
        self.warned: bool = kept.get("warned", False)
        self.paused: bool = kept.get("paused", False)
        # X's last number of the period before, which it may go on to tell for a while.
        self._x_posts: int = kept.get("x_posts", 0)
        self._x_before: int = kept.get("x_before", 0)
        self._period_start: float = kept.get("period_start", 0.0)
        # The limit at which this period's pause began, 0 without one: only a new period or a
        # larger limit ends it. Else the rate, nothing while paused, would free the margin again.
        self._held_at: int = kept.get("held_at", 0)
        self._margin: int = kept.get("margin", 0)
        self._saved = kept
        self._read = self._last_read = 0

    def count(self) -> bool:
        """Count one post read; return whether it is time to disconnect."""
        self.used += 1
        self._read += 1
        if not self.limit or self.used < self.limit - self._margin:
            return False
        self._held_at = self.limit
        return True

    @property
    def spent(self) -> bool:
        """Whether another post, or those already on the wire, could pass the budget."""
        if not self.limit:
            return False
        return self._held_at >= self.limit or self.used >= self.limit - self._margin

    def reading(self, usage: Usage) -> None:
        """Take X's number."""
        with self._lock:
            # At a start after the period's end this may come before the first tick(), which would
            # take the new period's number for the old one's and forget it.
            self._roll()
            if usage.reset_day != self.reset_day:
                self.reset_day = usage.reset_day
                self.period_end = next_reset(self._clock(), usage.reset_day)
            young = self._clock() - self._period_start < _STALE
            if young and 0 < self._x_before <= usage.posts:
                # The month is new, X's number is not: it would pause us for what is paid already.
                log.info("X's usage (%d posts) is still last period's: not used", usage.posts)
                return
            self._x_posts = usage.posts
            self.used = max(self.used, usage.posts)

    def tick(self) -> bool:
        """Do what is due about each second; return whether a new period has just begun."""
        with self._lock:
            began = self._roll()
            rate, self._last_read = self._read - self._last_read, self._read
            self._margin = min(rate * _LEAVING_SECONDS, self.limit // 5)
        self.save()
        return began

    def warn(self) -> bool:
        """Return True once a period, when 80 % are used."""
        if self.limit and not self.warned and self.used >= WARN_AT * self.limit:
            self.warned = True
            return True
        return False

    def until(self) -> str:
        """Return when the next period begins, as 2026-12-01T00:00:00Z."""
        return f"{datetime.fromtimestamp(self.period_end, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def save(self) -> None:
        """Keep the counts in STATE_DIR if they changed."""
        if self._state is None:
            return
        current: dict[str, Any] = {
            "used": self.used,
            "reset_day": self.reset_day,
            "period_start": self._period_start,
            "period_end": self.period_end,
            "x_posts": self._x_posts,
            "x_before": self._x_before,
            "warned": self.warned,
            "paused": self.paused,
            "held_at": self._held_at,
            "margin": self._margin,
        }
        if current == self._saved:
            return
        try:
            self._state.write(_FILE, current)
        except OSError as error:
            self._once.log(
                logging.ERROR,
                "budget_not_written",
                f"STATE_DIR cannot be written ({error}): a restart would forget posts counted",
            )
            return
        self._saved = current

    def _roll(self) -> bool:
        now = self._clock()
        if now < self.period_end:
            return False
        self._x_before = self._x_posts
        self._x_posts = self.used = self._held_at = 0
        self._period_start = now
        self.period_end = next_reset(now, self.reset_day)
        self.warned = False
        return True
