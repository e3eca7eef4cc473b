"""How many posts are due: the rate, the count, and what happens while nobody is connected."""

import time

from local.x.state import XState
from local.x.timeline import SyntheticPost

BATCH = 48
"""Posts in one chunk when the pace allows that many."""
_IDLE = 0.05  # seconds: how soon a larger count, or a first rule, is seen
_CATCH_UP = 1.0  # seconds of posts made up for after a pause: the rate stays honest, no burst


class Pace:
    """Makes the posts of the stream when they are due.

    Time without a reader makes no posts: nothing is missed. A reader who is too slow holds the
    making up in the same way.
    """

    def __init__(self, state: XState) -> None:
        self.made = 0
        self._state = state
        self._due = 0.0

    def begin(self) -> None:
        """Start the clock of a connection: no posts are owed for the time before it."""
        self._due = max(self._due, time.monotonic())

    def make(self, number: int) -> list[SyntheticPost]:
        """Make posts for the stream, whatever the rate; none where no rule can be satisfied."""
        posts = [post for post in (self._state.timeline.make() for _ in range(number)) if post]
        self.made += len(posts)
        return posts

    def take(self) -> list[SyntheticPost]:
        """Make as many posts as the rate, the count and the next fault allow now."""
        settings, now = self._state.settings, time.monotonic()
        number = min(BATCH, self._state.faults.room(self._state.ledger.delivered))
        if settings.count is not None:
            number = min(number, max(settings.count - self.made, 0))
        if not number or not self._state.timeline.rules:
            self._due = now + _IDLE
            return []
        if settings.rate:
            self._due = max(self._due, now - _CATCH_UP)
            owed = int((now - self._due) * settings.rate) + 1 if now >= self._due else 0
            number = min(number, owed)
            self._due += number / settings.rate
        return self.make(number)

    def wait(self) -> float:
        """Return the seconds until the next post is due; infinite without a rate."""
        return max(self._due - time.monotonic(), 0.0) if self._state.settings.rate else float("inf")
