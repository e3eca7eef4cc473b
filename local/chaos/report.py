"""The report of a chaos run: lines for a person, JSON for a program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from local.chaos.outcome import Outcome


def figures(outcome: Outcome) -> list[tuple[str, str]]:
    """Name and value of each figure, in the order of the README's table."""
    letters = outcome.letters
    memory = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in outcome.memory.items())
    refused = ", ".join(f"{count} x {status}" for status, count in sorted(outcome.refused.items()))
    return [
        ("faults injected", f"{sum(outcome.injected.values()):,}"),
        ("posts that X delivered", f"{outcome.delivered:,}"),
        ("rows in tweets (append table)", f"{outcome.table_rows:,}"),
        ("rows in tweets_latest", f"{outcome.rows:,}"),
        ("lost", f"{len(outcome.at_end.lost):,}"),
        ("doubled in tweets_latest", f"{len(outcome.doubled):,}"),
        ("reposts cut though X gave them whole", f"{len(outcome.cut):,}"),
        (
            "unread in a killed producer's socket, within recorded gaps",
            f"{len(outcome.at_end.in_gaps):,}",
        ),
        ("cut off by X at a drop, within recorded gaps", f"{len(outcome.x_lost.in_gaps):,}"),
        ("of both, missing after tweets backfill", f"{_still(outcome):,}"),
        ("of both, reposts, which X's search does not return", f"{outcome.reposts:,}"),
        ("recorded gaps", f"{sum(outcome.gaps.values()):,}"),
        (
            "dead letters: poison lines / rejected rows",
            f"{letters.lines:,} / {letters.rows:,}"
            + (f" (+ {letters.in_gaps} lines in gaps)" if letters.in_gaps else ""),
        ),
        (
            "dead letters that are missing / no poison",
            f"{len(letters.missing)} / {len(letters.strange)}",
        ),
        (
            "rejected rows redriven / then in tweets_latest",
            f"{outcome.redriven} / {outcome.redriven_rows}",
        ),
        (
            "connects in the worst 15 minutes (X allows 50)",
            f"{outcome.worst_window}" + (f", of them refused {refused}" if refused else ""),
        ),
        ("a budget", outcome.budget or "not tried"),
        ("largest memory, MB", memory),
        ("posts a second asked of X", f"{outcome.rate:g}"),
        (
            "duration: faults / with repair",
            f"{outcome.stream_seconds:.0f} s / {outcome.seconds:.0f} s",
        ),
    ]


def _still(outcome: Outcome) -> int:
    return len(
        {
            *outcome.after_repair.in_gaps,
            *outcome.after_repair.lost,
            *outcome.x_after_repair.in_gaps,
            *outcome.x_after_repair.lost,
        }
    )


def lines(outcome: Outcome) -> list[str]:
    """Faults and figures, a line each."""
    return [
        *(f"fault {times:>5,}  {name}" for name, times in sorted(outcome.injected.items())),
        *(f"{name}: {value}" for name, value in figures(outcome)),
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
    return {
        **asdict(outcome),
        "passed": not outcome.failures(),
        "failures": outcome.failures(),
        "figures": dict(figures(outcome)),
    }
