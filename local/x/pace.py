"""How many posts are due: the rate, the count, and what happens while nobody is connected."""

import time

from local.x.faults import XFaults
from local.x.ledger import Ledger
from local.x.rules import RulesEndpoint
from local.x.settings import Settings
from local.x.timeline import SyntheticPost, Timeline

BATCH = 48
"""Posts in one chunk when the pace allows that many."""
_CATCH_UP = 1.0  # seconds of posts made up for after a pause: the rate stays honest, no burst


class Pace:
    """Makes the posts of the stream when they are due.

    Without keep_posting, time without a reader makes no posts: nothing is missed. A reader who is
    too slow holds the making up in the same way.
    """

    def __init__(
        self,
        settings: Settings,
        timeline: Timeline,
        rules: RulesEndpoint,
        ledger: Ledger,
        faults: XFaults,
    ) -> None:
        self.made = 0
        self._settings = settings
        self._timeline = timeline
        self._rules = rules
        self._ledger = ledger
        self._faults = faults
        self._due = 0.0

    @property
    def finished(self) -> bool:
        """Say whether `count` posts were made."""
        return self._settings.count is not None and self.made >= self._settings.count

    def begin(self) -> None:
        """Start the clock of a connection: no posts are owed for the time before it."""
        self._due = max(self._due, time.monotonic())

    def make(self, number: int, at: float | None = None) -> list[SyntheticPost]:
        """Make posts for the stream, whatever the rate; none where no rule can be satisfied."""
        posts = [post for post in (self._timeline.make(at) for _ in range(number)) if post]
        self.made += len(posts)
        return posts

    def take(self) -> list[SyntheticPost]:
        """Make as many posts as the rate, the count and the next fault allow now."""
        settings = self._settings
        if self.finished or not self._rules.active:
            self._due = time.monotonic()
            return []
        number = min(BATCH, self._faults.room(self._ledger.delivered))
        if settings.count is not None:
            number = min(number, settings.count - self.made)
        if settings.rate:
            now = time.monotonic()
            self._due = max(self._due, now - _CATCH_UP)
            owed = int((now - self._due) * settings.rate) + 1 if now >= self._due else 0
            number = min(number, owed)
            self._due += number / settings.rate
        return self.make(number)

    def wait(self) -> float:
        """Return the seconds until the next post is due; infinite where none will be."""
        if not self._settings.rate or self.finished:
            return float("inf")
        return max(self._due - time.monotonic(), 0.0)

    def catch_up(self) -> None:
        """Make the posts of the time without a connection, where keep_posting asks for them."""
        settings = self._settings
        if not (settings.keep_posting and settings.rate and self._due and self._rules.active):
            return
        now, wall = time.monotonic(), time.time()
        while self._due < now and not self.finished:
            self._ledger.missed += [post.id for post in self.make(1, wall - (now - self._due))]
            self._due += 1 / settings.rate
