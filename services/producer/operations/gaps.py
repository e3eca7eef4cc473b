"""Gaps of the stream as intervals of time, less what a backfill has covered already. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from operations.text import moment


class Span(NamedTuple):
    """From a moment to a later one, both with a zone."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{moment(self.start)} to {moment(self.end)}"

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start

    @property
    def whole_seconds(self) -> "Span":
        """The span rounded outwards: X's search reads no fraction of a second, and bills so."""
        above = self.end + timedelta(microseconds=999_999)
        return Span(self.start.replace(microsecond=0), above.replace(microsecond=0))


class Gap(NamedTuple):
    """One interval without the stream, as stream_events has it.

    Attributes:
        start: None where nobody knows it, such as after the reader's state was damaged.
    """

    event_id: str
    start: datetime | None
    end: datetime
    reason: str


def remaining(span: Span, covered: Iterable[Span]) -> list[Span]:
    """Return what of a span no other span covers, oldest first."""
    left = [span]
    for other in covered:
        left = [
            part
            for whole in left
            for part in (
                Span(whole.start, min(whole.end, other.start)),
                Span(max(whole.start, other.end), whole.end),
            )
            if part.start < part.end
        ]
    return sorted(left)


def open_spans(gaps: Iterable[Gap], covered: Iterable[Span]) -> list[Span]:
    """Return what of the gaps no other span covers, oldest first; what two share comes once."""
    spans: list[Span] = []
    for gap in gaps:
        if gap.start is not None:
            spans += remaining(Span(gap.start, gap.end), [*covered, *spans])
    return sorted(spans)


def beginless(gaps: Iterable[Gap], covered: Iterable[Span]) -> list[Gap]:
    """Return the gaps of unknown begin that are open: no other span covers the moment before."""
    spans = list(covered)
    return [
        gap
        for gap in gaps
        if gap.start is None and not any(one.start < gap.end <= one.end for one in spans)
    ]


def joined(span: Span, covered: Iterable[Span]) -> Span:
    """Return a span made longer by all that touch it.

    A gap filled in several goes so ends with one event that covers it whole, which is what the
    view stream_gaps looks for.
    """
    spans = set(covered)
    while touching := {one for one in spans if one.start <= span.end and one.end >= span.start}:
        spans -= touching
        span = Span(
            min(span.start, *(other.start for other in touching)),
            max(span.end, *(other.end for other in touching)),
        )
    return span
