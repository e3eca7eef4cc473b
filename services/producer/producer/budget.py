"""The month's spend: posts used, by X's count and ours, and when to stop before it is too much.

Posts are reserved in the store before they are read, so that a kill counts them as used; what was
not read is given back at a stop. X's number may lag, and ours knows nothing of another app of the
project: used is the largest of X's numbers and ours, and what was read since is added. Without a
count that can be trusted nothing is read until X's usage answers.
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

from producer.record import integer
from producer.store import Store
from producer.x_api import XApi, XRefusedError

log = logging.getLogger(__name__)

USAGE_EVERY = 600.0
# While the count is not trusted, or a period ends: X allows 50 requests in 15 minutes.
USAGE_AGAIN = 20.0
WARN_AT = 0.8
_FIELDS = "cap_reset_day,project_cap,project_usage"
_DAY = 86_400.0
# The stream's receive buffer, bytes for each post of the budget: what is in it when we leave is
# charged. The largest lets X's cap pass (250 posts/s of 2.5 KB with a round trip of 0.15 s).
_BUFFER_A_POST, _BUFFER_LEAST, _BUFFER_MOST = 12, 4_096, 131_072
# Read ahead by http.client and TLS; and on X's side, which nobody tells: three times what Linux
# gives a socket to send from at first.
_READ_AHEAD, _X_SIDE = 16_384, 49_152
# A mean above this is one huge line's, which says nothing of what follows it.
_POST_MOST = 2_500
# Reserved before a connection: more than a chunk of the stream holds.
_BLOCK = 100


class UsageError(ValueError):
    """X's usage could not be read: why, in one line."""


@dataclass(frozen=True)
class Usage:
    """X's own count.

    Attributes:
        posts: used in this period.
        reset_day: day of the month when it begins anew.
        at: X's time of the answer, seconds since 1970: our clock may be wrong.
    """

    posts: int
    reset_day: int
    at: float


def read_usage(client: XApi) -> Usage:
    """Ask X.

    Raises:
        UsageError: no answer, an error, or an answer of another form.
    """
    try:
        data = client.call("GET", "/2/usage/tweets", {"usage.fields": _FIELDS})["data"]
        posts, day = integer(data["project_usage"]), integer(data["cap_reset_day"])
    except (XRefusedError, requests.RequestException) as error:
        raise UsageError(" ".join(str(error).split())[:300]) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"an answer without {error}") from None
    if posts is None or day is None or not 1 <= day <= 31:
        raise UsageError(f"an answer that is no usage: {str(data)[:200]}")
    return Usage(posts, day, client.answered_at or time.time())


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


def last_reset(now: float, day: int) -> float:
    """Return when the present period began, as next_reset() does."""
    reset = next_reset(now - 63 * _DAY, day)
    while (later := next_reset(reset, day)) <= now:
        reset = later
    return reset


class Budget:
    """Counts posts against a monthly limit. read() is for the stream's thread, the rest for any.

    Attributes:
        used: posts of this period; never less than before within a period, as X's number lags.
        trusted: whether `used` is known; without it nothing may be read (where there is a limit).

    Args:
        limit: posts a month; 0 means no limit (it still counts).
        store: where the count outlives the process.
    """

    def __init__(
        self, limit: int, store: Store | None, clock: Callable[[], float] = time.time
    ) -> None:
        self.limit = limit
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self.used = 0
        self.reset_day = 1
        self.period_end = next_reset(clock(), 1)
        self.warned = False
        self.paused = False
        # X's last number, and its last one of the period before, which it may tell for a while.
        self._x_posts = 0
        self._x_before = 0
        self._period_start = 0.0
        # The limit at which this period's pause began, 0 without one: only a new period or a
        # larger limit ends it. Else a lower margin would let us connect again.
        self._held_at = 0
        self._margin = 0
        # What was used when this connection was left for the budget, at least the limit; 0 before.
        self._left_at = 0
        self.trusted = bool(store and store.read("budget", self._restore))
        self._reserved = self.used

    def reserve(self) -> bool:
        """Put a block on the account before a connection; return whether it could be kept."""
        with self._lock:
            self._reserved = min(self.used + _BLOCK, max(self.limit, self.used))
            self._left_at = 0
        return self.save()

    @property
    def receive_buffer(self) -> int | None:
        """Bytes for the stream's socket: a small part of the budget; None without one."""
        if not self.limit:
            return None
        return min(max(self.limit * _BUFFER_A_POST, _BUFFER_LEAST), _BUFFER_MOST)

    def read(self, posts: int, size: float) -> bool:
        """Count what a chunk held; return whether it is time to disconnect: when what X can have
        sent off meanwhile, whatever held us up, could pass the limit. The caller keeps state() with
        the posts themselves.

        Args:
            posts: in the chunk.
            size: mean bytes of a post on the wire.
        """
        with self._lock:
            self.used += posts
            # Linux makes the buffer twice what it is asked for.
            on_the_way = 2 * (self.receive_buffer or 0) + _READ_AHEAD + _X_SIDE
            self._margin = min(int(on_the_way / min(max(size, 1.0), _POST_MOST)), self.limit // 2)
            self._reserved = min(self.used + max(self._margin, _BLOCK), max(self.limit, self.used))
            if not self.limit or self.used < self.limit - self._margin:
                return False
            self._held_at = self.limit
            self._left_at = self._left_at or max(self.limit, self.used)
            return True

    @property
    def spent(self) -> bool:
        """Whether another post, or those already on the wire, could pass the budget."""
        if not self.limit:
            return False
        return not self.trusted or self._held_at >= self.limit or self.used >= self.limit

    @property
    def passed(self) -> bool:
        """Whether far more was read than can have been on the way when the stream was left: X goes
        on to send, and to wait for its end would buy more. What was on the way is paid and read.
        """
        return self._left_at > 0 and self.used > self._left_at + 2 * self._margin

    @property
    def asks(self) -> bool:
        """Whether X's usage is to be read soon: without it nothing is read, or nothing resumed."""
        return bool(self.limit) and (not self.trusted or self._clock() >= self.period_end)

    def reading(self, usage: Usage) -> bool:
        """Take X's number; return whether a new period has begun. X's clock alone ends a period:
        ours, set a month ahead, would allow the budget twice.
        """
        with self._lock:
            if not self.trusted:
                self._period_start = last_reset(usage.at, usage.reset_day)
                self._x_before, self.period_end = 0, next_reset(usage.at, usage.reset_day)
            began = usage.at >= self.period_end
            if began:
                self._x_before, self._x_posts = self._x_posts, 0
                self.used = self._held_at = 0
                self._period_start, self.warned = usage.at, False
            if began or usage.reset_day != self.reset_day:
                self.reset_day = usage.reset_day
                self.period_end = next_reset(usage.at, usage.reset_day)
            young = 0 <= usage.at - self._period_start < _DAY
            self.trusted = True
            if young and 0 < self._x_before <= usage.posts:
                # The month is new, X's number is not: it would pause us for what is paid already.
                log.info("X's usage (%d posts) is still last period's: not used", usage.posts)
                return began
            if young and not self._x_before and usage.posts < self._x_posts // 2:
                # Last period's number was taken for this one's, where the state was lost.
                self.used, self._held_at = self.used - (self._x_posts - usage.posts), 0
            self._x_posts = usage.posts
            self.used = max(self.used, usage.posts)
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

    def state(self) -> dict[str, Any]:
        """Return what the store keeps."""
        with self._lock:
            return {
                "used": self.used,
                "reserved": max(self.used, self._reserved),
                "reset_day": self.reset_day,
                "period_start": self._period_start,
                "period_end": self.period_end,
                "x_posts": self._x_posts,
                "x_before": self._x_before,
                "warned": self.warned,
                "paused": self.paused,
                "held_at": self._held_at,
            }

    def settle(self) -> bool:
        """Give back what was reserved and not read: no connection is open."""
        with self._lock:
            self._reserved = self.used
        return self.save()

    def save(self) -> bool:
        """Keep it by itself; return whether the disk took it."""
        if self._store is None or not self.trusted:
            return True
        self._store.append(states={"budget": self.state()})
        return not self._store.failing

    def _restore(self, kept: dict[str, Any]) -> bool:
        counts = [kept[name] for name in ("used", "reserved", "x_posts", "x_before", "held_at")]
        start, end, day = kept["period_start"], kept["period_end"], kept["reset_day"]
        if not all(type(count) is int and 0 <= count < 10**15 for count in counts):
            raise ValueError(f"one of {counts} is no count of posts")
        if type(day) is not int or not 1 <= day <= 31:
            raise ValueError(f"the reset day is {day!r}")
        if not all(type(moment) in (int, float) for moment in (start, end)):
            raise TypeError(f"the period is {start!r} to {end!r}")
        if not 0 <= start <= self._clock() + 60 or not 0 < end - start <= 63 * _DAY:
            raise ValueError(f"the period is {start} to {end}: it begins in the future, or is none")
        if type(kept["warned"]) is not bool or type(kept["paused"]) is not bool:
            raise TypeError("warned or paused is no truth value")
        _, reserved, self._x_posts, self._x_before, self._held_at = counts
        # What a killed process had reserved may have been read.
        self.used = max(counts[0], reserved)
        self._period_start, self.period_end, self.reset_day = float(start), float(end), day
        self.warned, self.paused = kept["warned"], kept["paused"]
        return True
