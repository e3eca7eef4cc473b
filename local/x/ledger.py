"""What was sent: delivered posts with their times, poison lines, connects, and X's usage count.

A post counts as delivered when its whole line was written to a live connection. When a connection
ends, the lines that the client's machine never acknowledged are taken back: see `Ledger.take_back`.
"""

import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from local.x.timeline import SyntheticPost


@dataclass
class MonthUsage:
    """X's count of posts read in the billing month; a post is charged once.

    (Source: "Resources are deduplicated within a 24-hour UTC window", X's usage page.)
    """

    used: int
    cap: int
    cap_reset_day: int
    days: Counter[str] = field(default_factory=Counter)

    def charge(self, posts: Iterable[SyntheticPost]) -> None:
        """Count the posts that were not counted before."""
        before = self.used
        for post in posts:
            self.used += not post.charged
            post.charged = True
        self.add_to_day(self.used - before)

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
        self.poison: list[bytes] = []
        self.missed: list[int] = []
        self.recent: deque[SyntheticPost] = deque(maxlen=1000)
        self.connects: deque[tuple[float, int]] = deque(maxlen=10_000)
        self.usage = usage

    @property
    def delivered(self) -> int:
        """Return how many lines with a post were written, duplicates included."""
        return len(self.ids)

    def connect(self, status: int) -> None:
        """Record the answer to a connect."""
        self.connects.append((time.time(), status))

    def deliver(self, posts: list[SyntheticPost]) -> None:
        """Record posts whose lines were just written."""
        self.ids.extend([post.id for post in posts])
        self.times.extend([time.time()] * len(posts))
        self.lost.extend(bytes(len(posts)))
        self.recent.extend(posts)
        self.usage.charge(posts)

    def take_back(self, positions: list[int]) -> None:
        """Mark deliveries that never reached the client's machine before the connection died."""
        for position in positions:
            self.lost[position] = 1
        self.unacknowledged += len(positions)
