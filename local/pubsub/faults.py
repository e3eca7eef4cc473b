"""Faults that a chaos test asks for; off until asked."""

import random
import time


class PubSubFaults:
    """What goes wrong on request. Safe to call from any thread: each call sets plain values."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._publish_down_until = 0.0
        self._redeliver_fraction = 0.0
        self._redeliver_left = 0
        self.redelivered = 0
        self.refused_publishes = 0

    def publish_unavailable(self, seconds: float) -> None:
        """Publish answers UNAVAILABLE for `seconds` from now; 0 ends it."""
        self._publish_down_until = time.monotonic() + seconds

    def redeliver(self, fraction: float, count: int) -> None:
        """Deliver acknowledged messages a second time: `fraction` of them, at most `count`."""
        if not 0 <= fraction <= 1 or count < 0:
            raise ValueError(f"redeliver: fraction {fraction} must be 0..1 and count {count} >= 0")
        self._redeliver_fraction, self._redeliver_left = fraction, count

    def refuses_publish(self) -> bool:
        """True while Publish is down."""
        down = time.monotonic() < self._publish_down_until
        self.refused_publishes += down
        return down

    def delivers_again(self) -> bool:
        """Whether the message acknowledged now comes a second time."""
        if not self._redeliver_left or self._random.random() >= self._redeliver_fraction:
            return False
        self._redeliver_left -= 1
        self.redelivered += 1
        return True
