"""The span of time and the rules that a page looks at, as parameters of a query."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from warehouse import Value

# Seconds of a bar of the time line: the shortest that makes less than 120 of them.
_BARS = (5, 10, 60, 300, 900, 7_200, 21_600)


def utc(moment: datetime) -> datetime:
    """The moment as BigQuery's DATETIME columns hold it: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def duration(length: timedelta) -> str:
    """A length of time for people, in its two largest units: 50 s, 2 h 5 min, 3 days 4 h."""
    left = max(round(length.total_seconds()), 0)
    parts: list[tuple[int, str]] = []
    for unit, seconds in ((" days", 86_400), (" h", 3_600), (" min", 60), (" s", 1)):
        count, left = divmod(left, seconds)
        if count or parts:
            parts.append((count, " day" if (unit, count) == (" days", 1) else unit))
    return " ".join(f"{count}{unit}" for count, unit in parts[:2] if count) or "0 s"


@dataclass(frozen=True)
class Window:
    """What is looked at: posts created in [since, until), of any of the rules, or of all.

    Attributes:
        since: first moment, with a time zone.
        until: first moment after it, with a time zone: the moment when the page asks, so that
            "the last minute" ends then.
        rules: tags of stream rules; empty for all posts.
    """

    since: datetime
    until: datetime
    rules: tuple[str, ...] = ()

    @classmethod
    def last(cls, span: timedelta, now: datetime, rules: Iterable[str] = ()) -> Window:
        """The `span` that ends now."""
        return cls(now - span, now, tuple(sorted(rules)))

    @property
    def span(self) -> timedelta:
        """Its length."""
        return self.until - self.since

    @property
    def bucket(self) -> int:
        """Seconds of one bar of the time line."""
        length = self.span.total_seconds()
        return next((bar for bar in _BARS if length < 120 * bar), _BARS[-1])

    def holds(self, start: datetime) -> bool:
        """Whether all of the bar that begins at `start` (UTC, no zone) lies within."""
        end = start + timedelta(seconds=self.bucket)
        return utc(self.since) <= start and end <= utc(self.until)

    @property
    def times(self) -> dict[str, Value]:
        """Parameters of a query on posts, whose created_at is a DATETIME in UTC."""
        return {"since": utc(self.since), "until": utc(self.until)}

    @property
    def posts(self) -> dict[str, Value]:
        """The same, with the rules."""
        return {**self.times, "rules": list(self.rules)}

    @property
    def events(self) -> dict[str, Value]:
        """Parameters of a query on events, whose `at` is a TIMESTAMP."""
        return {"since": self.since, "until": self.until}
