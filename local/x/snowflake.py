"""X post ids: 41 bits of milliseconds since 2010-11-04T01:42:54.657Z, 10 machine, 12 count."""

from datetime import UTC, datetime

EPOCH = 1_288_834_974_657
"""Milliseconds of the snowflake epoch since 1970."""


def stamp(milliseconds: int) -> str:
    """Return X's form of a time: 2024-01-15T10:35:00.000Z."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def made_at(number: int) -> int:
    """Return when the id was made, milliseconds since 1970."""
    return (number >> 22) + EPOCH


def first_at(milliseconds: float) -> int:
    """Return the lowest id of that millisecond."""
    return max(0, int(milliseconds) - EPOCH) << 22


class Snowflakes:
    """Unique, increasing ids of one machine, also while the clock stands still or goes back."""

    def __init__(self, machine: int) -> None:
        self._machine = (machine % 1024) << 12
        self._last = 0

    def next(self, milliseconds: int) -> int:
        """Return the next id at that time, or just after the previous one."""
        first = (milliseconds - EPOCH) << 22 | self._machine
        self._last = max(first, self._last + 1)
        return self._last
