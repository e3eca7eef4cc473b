"""What was sent: delivered posts with their times, poison lines, connects, and X's usage count.

A post counts as delivered when its whole line was written to a live connection. When a connection
ends, the lines that the client's machine never acknowledged are taken back: see `Ledger.take_back`.
"""

import time
from array import array
from collections import Counter, deque
from datetime import UTC, datetime

from local.x.timeline import SyntheticPost


class MonthUsage:
    """X's count of posts read in the billing month; a post is charged once.

    (Source: "Resources are deduplicated within a 24-hour UTC window", X's usage page.)
    """

    def __init__(self, used: int, cap: int, reset_day: int) -> None:
        self.used = used
        self.cap = cap
        self.cap_reset_day = reset_day
        self.days: Counter[str] = Counter()

    def charge(self, post: SyntheticPost) -> None:
        """Count the post unless it was counted before."""
        if not post.charged:
            post.charged = True
            self.used += 1

    def add_to_day(self, count: int) -> None:
        """Add to today's line of the daily usage."""
        self.days[datetime.now(UTC).strftime("%Y-%m-%d")] += count


class Ledger:
    """Delivered posts by position, kept for comparison with a table."""

    def __init__(self, usage: MonthUsage) -> None:
        self.ids = array("q")
        self.times = array("d")
        self.lost = bytearray()
        self.unacknowledged = 0
        self.bytes = 0
        self.keep_alives = 0
        self.poison: list[bytes] = []
        self.missed: list[int] = []
        self._recent: deque[SyntheticPost] = deque(maxlen=1000)
        self.connects: deque[tuple[float, int]] = deque(maxlen=10_000)
        self.usage = usage

    @property
    def delivered(self) -> int:
        """Return how many lines with a post were written, duplicates included."""
        return len(self.ids)

    def deliver(self, posts: list[SyntheticPost]) -> None:
        """Record posts whose lines were just written."""
        now = time.time()
        self.ids.extend([post.id for post in posts])
        self.times.extend([now] * len(posts))
        self.lost.extend(bytes(len(posts)))
        self._recent.extend(posts)
        before = self.usage.used
        for post in posts:
            if not post.charged:
                self.usage.charge(post)
        self.usage.add_to_day(self.usage.used - before)

    def latest(self, count: int) -> list[SyntheticPost]:
        """Return the last posts delivered (at most 1,000), oldest first."""
        return list(self._recent)[-count:]

    def take_back(self, positions: range) -> None:
        """Mark deliveries that never reached the client's machine before the connection died."""
        for position in positions:
            self.lost[position] = 1
        self.unacknowledged += len(positions)
