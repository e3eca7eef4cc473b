"""What became of each post of a chaos run, id by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from google.cloud import bigquery

from local.chaos.gaps import Missing
from local.chaos.letters import Letters

WINDOW = 900.0
"""Seconds of X's connect limit."""


@dataclass
class Outcome:
    """The figures of a run; see `failures` for what must hold.

    Attributes:
        delivered: different posts whose whole line arrived at the producer's machine.
        table_rows: rows of the append table, repeated deliveries included.
        rows: rows of the view tweets_latest.
        at_end: what was missing when the faults were over.
        after_repair: what was missing after `tweets redrive` and `tweets backfill`, but for
            `reposts`: those of the gaps, which X's search does not return.
        doubled: ids that the view has more than once.
        cut: reposts whose text is cut in the view though X gave it whole.
        x_lost: posts that X made and cut off or never got through, and people could not read.
        x_after_repair: the same after the repair.
        gaps: recorded gaps by reason.
        connects: in all; worst_window: in the worst 15 minutes; refused: by HTTP status.
        memory: largest resident bytes by process.
        stream_seconds: from the first fault until all had healed; seconds: with the repair.
        damages: what was done to the producer's volume.
        budget: what became of a budget (see `spend`), and what of it is wrong.
        stuck: what was still on the way when nothing had moved for long; empty as it should be.
    """

    seed: int
    posts: int
    rate: float
    delivered: int = 0
    table_rows: int = 0
    rows: int = 0
    at_end: Missing = field(default_factory=lambda: Missing((), ()))
    rejected_missing: int = 0
    after_repair: Missing = field(default_factory=lambda: Missing((), ()))
    reposts: int = 0
    doubled: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    x_lost: Missing = field(default_factory=lambda: Missing((), ()))
    x_after_repair: Missing = field(default_factory=lambda: Missing((), ()))
    letters: Letters = field(default_factory=lambda: Letters(0, 0, 0, (), (), 0))
    letters_left: Letters = field(default_factory=lambda: Letters(0, 0, 0, (), (), 0))
    redriven: int = 0
    redriven_rows: int = 0
    gaps: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    connects: int = 0
    worst_window: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    connect_limit: int = 50
    injected: dict[str, int] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)
    hit: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stream_seconds: float = 0.0
    backfill_words: list[str] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    stuck: str = ""
    budget: str = ""
    budget_failures: list[str] = field(default_factory=list)

    def failures(self) -> list[str]:
        """What is not as it must be, a line each; empty for a run that passes."""
        found = [self.stuck, *self.budget_failures] if self.stuck else [*self.budget_failures]
        if self.at_end.lost:
            found.append(f"{len(self.at_end.lost)} posts lost: {_some(self.at_end.lost)}")
        if self.doubled:
            found.append(f"{len(self.doubled)} posts doubled in the view: {_some(self.doubled)}")
        if self.cut:
            found.append(f"{len(self.cut)} reposts cut though X gave them whole: {_some(self.cut)}")
        still = sorted({*self.after_repair.in_gaps, *self.after_repair.lost})
        if still:
            found.append(f"{len(still)} posts missing after backfill and redrive: {_some(still)}")
        if self.x_lost.lost:
            found.append(
                f"{len(self.x_lost.lost)} posts that X did not deliver are in no recorded gap: "
                f"{_some(self.x_lost.lost)}"
            )
        if still := sorted({*self.x_after_repair.in_gaps, *self.x_after_repair.lost}):
            found.append(f"{len(still)} posts of gaps not backfilled: {_some(still)}")
        letters = (self.letters, self.letters_left)
        found += [f"poison that is no dead letter: {one}" for at in letters for one in at.missing]
        found += [f"dead letter that is no poison: {one}" for at in letters for one in at.strange]
        if self.redriven_rows != self.redriven:
            found.append(f"{self.redriven} posts redriven, {self.redriven_rows} rows of them")
        if self.worst_window > self.connect_limit:
            found.append(
                f"{self.worst_window} connects in 15 minutes, X allows {self.connect_limit}"
            )
        if self.delivered < self.posts:
            found.append(f"X has delivered {self.delivered} of {self.posts} posts")
        for name, count in self.planned.items():
            if self.injected.get(name, 0) != count:
                found.append(f"{name}: injected {self.injected.get(name, 0)} of {count} times")
        return found


def _some(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:5])) + (" ..." if len(ids) > 5 else "")


def worst_window(connects: Sequence[float], seconds: float = WINDOW) -> int:
    """The most connects in any interval of that length; moments in any order."""
    ordered = sorted(connects)
    return max(
        (
            sum(1 for later in ordered[index:] if later <= at + seconds)
            for index, at in enumerate(ordered)
        ),
        default=0,
    )


def read_events(client: bigquery.Client, dataset: str) -> dict[str, int]:
    """Events by kind, each once."""
    rows = client.query(
        f"SELECT kind, COUNT(*) AS n FROM `{dataset}.stream_events_latest` "  # noqa: S608
        "GROUP BY kind ORDER BY kind"
    ).result()
    return {row["kind"]: row["n"] for row in rows}
