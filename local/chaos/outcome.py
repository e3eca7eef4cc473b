"""What became of each post of a chaos run, id by id, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from local.chaos.gaps import Missing
from local.chaos.letters import Letters
from local.chaos.spend import Spending

WINDOW = 900.0
"""Seconds of X's connect limit."""
CONNECTS = 50
"""Connects that X allows in them."""


@dataclass
class Outcome:
    """The figures of a run; see `failures` for what must hold.

    Attributes:
        delivered: different posts whose whole line arrived at the producer's machine.
        table_rows: rows of the append table, repeated deliveries included.
        rows: rows of the view tweets_latest.
        at_end: what was missing when the faults were over.
        x_lost: posts that X made and cut off or never got through, and people could not read.
        still: of both, what was missing after `tweets redrive` and `tweets backfill`, but for
            `reposts`: those of the gaps, which X's search does not return.
        doubled: ids that the view has more than once.
        cut: reposts whose text is cut in the view though X gave it whole.
        redriven: rejected posts that were missing; redriven_rows: rows of them after the repair.
        gaps: recorded gaps by reason; events: events by kind.
        connects: in all; worst_window: in the worst 15 minutes; refused: by HTTP status.
        injected: faults, planned: those of the plan, by name; hit: see `Injector`.
        memory: largest resident bytes by process.
        stream_seconds: from the first fault until all had healed; seconds: with the repair.
        damages: what was done to the producer's volume.
        budget: what became of a budget, or None where it was not tried.
        stuck: what was still on the way when nothing had moved for long; empty as it should be.
    """

    seed: int
    posts: int
    rate: float
    delivered: int = 0
    table_rows: int = 0
    rows: int = 0
    at_end: Missing = field(default_factory=Missing)
    x_lost: Missing = field(default_factory=Missing)
    still: tuple[int, ...] = ()
    reposts: int = 0
    doubled: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    letters: Letters = field(default_factory=Letters)
    letters_left: Letters = field(default_factory=Letters)
    redriven: int = 0
    redriven_rows: int = 0
    gaps: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    connects: int = 0
    worst_window: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    injected: dict[str, int] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)
    hit: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stream_seconds: float = 0.0
    damages: list[str] = field(default_factory=list)
    stuck: str = ""
    budget: Spending | None = None

    def failures(self) -> list[str]:
        """What is not as it must be, a line each; empty for a run that passes."""
        found = [self.stuck] if self.stuck else []
        found += self.budget.failures() if self.budget else []
        for ids, what in (
            (self.at_end.lost, "posts lost"),
            (self.doubled, "posts doubled in the view"),
            (self.cut, "reposts cut though X gave them whole"),
            (self.x_lost.lost, "posts that X did not deliver are in no recorded gap"),
            (self.still, "posts missing after backfill and redrive"),
        ):
            if ids:
                more = " ..." if len(ids) > 5 else ""
                found.append(f"{len(ids)} {what}: {', '.join(map(str, ids[:5]))}{more}")
        letters = (self.letters, self.letters_left)
        found += [f"poison that is no dead letter: {one}" for at in letters for one in at.missing]
        found += [f"dead letter that is no poison: {one}" for at in letters for one in at.strange]
        if self.redriven_rows != self.redriven:
            found.append(f"{self.redriven} posts redriven, {self.redriven_rows} rows of them")
        if self.worst_window > CONNECTS:
            found.append(f"{self.worst_window} connects in 15 minutes, X allows {CONNECTS}")
        if self.delivered < self.posts:
            found.append(f"X has delivered {self.delivered} of {self.posts} posts")
        for name, count in self.planned.items():
            if self.injected.get(name, 0) != count:
                found.append(f"{name}: injected {self.injected.get(name, 0)} of {count} times")
        return found


def worst_window(connects: Sequence[float]) -> int:
    """The most connects in any interval of X's limit; moments in any order."""
    return max((sum(at <= each <= at + WINDOW for each in connects) for at in connects), default=0)


def figures(outcome: Outcome) -> dict[str, str]:
    """Each figure by its name, as people read it."""
    letters, budget = outcome.letters, outcome.budget
    refused = ", ".join(f"{count} x {status}" for status, count in sorted(outcome.refused.items()))
    return {
        "faults injected": f"{sum(outcome.injected.values()):,}",
        "posts that X delivered": f"{outcome.delivered:,}",
        "rows in tweets (append table)": f"{outcome.table_rows:,}",
        "rows in tweets_latest": f"{outcome.rows:,}",
        "lost": f"{len(outcome.at_end.lost):,}",
        "doubled in tweets_latest": f"{len(outcome.doubled):,}",
        "reposts cut though X gave them whole": f"{len(outcome.cut):,}",
        "unread in a killed producer's socket, within recorded gaps": (
            f"{len(outcome.at_end.in_gaps):,}"
        ),
        "cut off by X at a drop, within recorded gaps": f"{len(outcome.x_lost.in_gaps):,}",
        "of both, missing after tweets backfill": f"{len(outcome.still):,}",
        "of both, reposts, which X's search does not return": f"{outcome.reposts:,}",
        "recorded gaps": f"{sum(outcome.gaps.values()):,}",
        "dead letters: poison lines / rejected rows": f"{letters.lines:,} / {letters.rows:,}"
        + (f" (+ {letters.in_gaps} lines in gaps)" if letters.in_gaps else ""),
        "dead letters that are missing / no poison": (
            f"{len(letters.missing)} / {len(letters.strange)}"
        ),
        "rejected rows redriven / then in tweets_latest": (
            f"{outcome.redriven} / {outcome.redriven_rows}"
        ),
        f"connects in the worst 15 minutes (X allows {CONNECTS})": f"{outcome.worst_window}"
        + (f", of them refused {refused}" if refused else ""),
        "a budget": budget.line() if budget else "not tried",
        "largest memory, MB": ", ".join(
            f"{name} {size / 2**20:.0f}" for name, size in outcome.memory.items()
        ),
        "posts a second asked of X": f"{outcome.rate:g}",
        "duration: faults / with repair": (
            f"{outcome.stream_seconds:.0f} s / {outcome.seconds:.0f} s"
        ),
    }


def lines(outcome: Outcome) -> list[str]:
    """Faults and figures, a line each."""
    return [
        *(f"fault {times:>5,}  {name}" for name, times in sorted(outcome.injected.items())),
        *(f"{name}: {value}" for name, value in figures(outcome).items()),
    ]


def verdict(outcome: Outcome) -> list[str]:
    """The verdict, then what is wrong, a line each."""
    found = outcome.failures()
    return [
        f"{'FAILED' if found else 'passed'}: {outcome.delivered:,} posts, {outcome.rows:,} rows, "
        f"{len(outcome.at_end.lost)} lost, {len(outcome.doubled)} doubled",
        *found,
    ]


def content(outcome: Outcome) -> dict[str, Any]:
    """All of it as JSON can hold it."""
    failures = outcome.failures()
    return {
        **asdict(outcome),
        "passed": not failures,
        "failures": failures,
        "figures": figures(outcome),
    }
