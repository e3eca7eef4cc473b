"""The span of time and the rules that a page looks at, as parameters of a query."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from warehouse import Parameter

# Length of a bar of the time line by the span that is looked at; about 60 to 120 bars.
_BUCKETS = (
    (timedelta(minutes=5), 5),
    (timedelta(minutes=15), 10),
    (timedelta(hours=1), 60),
    (timedelta(hours=6), 300),
    (timedelta(days=1), 900),
    (timedelta(days=7), 7_200),
)
_LONGEST_BUCKET = 6 * 3_600


def utc(moment: datetime) -> datetime:
    """The moment as BigQuery's DATETIME columns hold it: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Window:
    """What is looked at: posts created in [since, until), of any of the rules, or of all.

    Attributes:
        since: first moment, with a time zone.
        until: first moment after it, with a time zone.
        rules: tags of stream rules; empty for all posts.
    """

    since: datetime
    until: datetime
    rules: tuple[str, ...] = ()

    @classmethod
    def last(
        cls, span: timedelta, now: datetime, rules: Iterable[str] = (), tick: int = 1
    ) -> Window:
        """The `span` that ends at the first multiple of `tick` seconds after `now`.

        Viewers of one tick ask the same question, so that one answer serves them all.
        """
        end = datetime.fromtimestamp((now.timestamp() // tick + 1) * tick, UTC)
        return cls(end - span, end, tuple(sorted(rules)))

    @property
    def bucket(self) -> int:
        """Seconds of one bar of the time line."""
        span = self.until - self.since
        return next((seconds for limit, seconds in _BUCKETS if span <= limit), _LONGEST_BUCKET)

    def posts(self) -> tuple[Parameter, ...]:
        """Parameters of a query on posts, whose created_at is a DATETIME in UTC."""
        return (
            ScalarQueryParameter("since", "DATETIME", utc(self.since)),
            ScalarQueryParameter("until", "DATETIME", utc(self.until)),
            ArrayQueryParameter("rules", "STRING", list(self.rules)),
        )

    def events(self) -> tuple[Parameter, ...]:
        """Parameters of a query on events, whose `at` is a TIMESTAMP."""
        return (
            ScalarQueryParameter("since", "TIMESTAMP", self.since),
            ScalarQueryParameter("until", "TIMESTAMP", self.until),
        )
