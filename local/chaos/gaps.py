"""Intervals that stream_events records as not covered, and which missing posts lie in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from google.cloud import bigquery

from local.x.snowflake import made_at


class RecordedGap(NamedTuple):
    """An interval that stream_events says was not covered."""

    start: datetime
    end: datetime
    reason: str

    def holds(self, post_id: int) -> bool:
        """Whether the post was made within it."""
        made = datetime.fromtimestamp(made_at(post_id) / 1000, UTC)
        return self.start <= made < self.end


@dataclass(frozen=True)
class Missing:
    """Posts that X sent and people can't read, and whether we say so.

    Attributes:
        in_gaps: within an interval that stream_events records as not covered.
        lost: anywhere else: a fault of this pipeline.
    """

    in_gaps: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()

    @classmethod
    def of(cls, wanted: Set[int], found: Collection[int], gaps: Sequence[RecordedGap]) -> Missing:
        """Sort the wanted ids that were not found."""
        missing = sorted(wanted - set(found))
        inside = [each for each in missing if any(gap.holds(each) for gap in gaps)]
        return cls(tuple(inside), tuple(sorted(set(missing) - set(inside))))


def read_gaps(client: bigquery.Client, dataset: str) -> list[RecordedGap]:
    """Recorded gaps, as people see them."""
    # The names come from the program's own resources, and a table name can't be a parameter.
    rows = client.query(
        f"SELECT gap_from, gap_to, reason FROM `{dataset}.stream_gaps`"  # noqa: S608
    ).result()
    return sorted(
        RecordedGap(_utc(row["gap_from"] or datetime.min), _utc(row["gap_to"]), row["reason"])
        for row in rows
    )


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
