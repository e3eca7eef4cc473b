"""The spend guard under faults: a budget is never passed by more than one chunk of X's.

The reader is killed while X's usage does not answer, its volume is damaged, its clock is set a
month ahead and back. What X has charged at the end is what counts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.chaos.gaps import Missing, read_gaps
from local.chaos.machine import Machine
from local.demo.stack import LocalStack
from local.demo.verdict import read_ids
from local.standin import ask

BUDGET = 1_000
CHUNK = 48
"""Posts of one chunk of the X stand-in; see `local.x.pace.BATCH`."""
RATE = 200.0
MONTH = 40 * 86_400.0
PATIENCE = 90.0
QUIET = 6.0
"""Seconds without a post that say that the reader has stopped."""
USAGE_DOWN = {"kind": "http", "path": "/2/usage/tweets", "status": 503, "count": 1_000_000}


@dataclass(frozen=True)
class Spending:
    """What became of a budget.

    Attributes:
        bought: posts that X has charged.
        while_unknown: posts charged while no count could be trusted.
        kills: kill -9 of the reader.
        missing: of what X delivered; doubled: ids that the view has twice.
    """

    bought: int
    while_unknown: int
    kills: int
    missing: Missing
    doubled: tuple[int, ...]

    def failures(self) -> list[str]:
        """What is not as it must be, a line each."""
        found = []
        if self.bought > BUDGET + CHUNK:
            found.append(f"{self.bought} posts bought of a budget of {BUDGET}")
        if self.bought < BUDGET / 2:
            found.append(f"only {self.bought} posts bought of a budget of {BUDGET}")
        if self.while_unknown:
            found.append(f"{self.while_unknown} posts bought while no count could be trusted")
        if self.missing.lost:
            found.append(f"{len(self.missing.lost)} posts lost beside the budget")
        if self.doubled:
            found.append(f"{len(self.doubled)} posts doubled beside the budget")
        return found

    def line(self) -> str:
        """All of it on one line."""
        return (
            f"{self.bought:,} posts bought of {BUDGET:,} after {self.kills} kills with X's usage "
            "down, a damaged volume (zeroed) and a clock set a month ahead"
        )


def spend(
    seed: int, data: Path, kills: int = 12, say: Callable[[str], None] = lambda _: None
) -> Spending:
    """Run it in a stack of its own.

    Raises:
        StackError: a process ended for good, or the reader does not go on as it should.
    """
    rng = random.Random(f"spend:{seed}")
    config = {"tweets:postBudget": BUDGET}
    with LocalStack(rate=RATE, seed=seed, data_dir=data, config=config) as stack:
        machine, kill = Machine(stack), stack.supervisor.kill

        def bought() -> int:
            return int(stack.stats("x")["usage"])

        def tell(phase: str) -> None:
            say(f"budget: {phase}, {bought():,} posts bought")

        stack.wait(lambda: bought() > 50, "the first posts", PATIENCE)
        tell("kills while X's usage is down")
        stack.control("x", "faults", [USAGE_DOWN])
        for _ in range(kills):
            kill("producer")
            time.sleep(rng.uniform(0.3, 2.5))
        tell("the volume is damaged")
        kill("producer", machine.zero)
        before = bought()
        time.sleep(QUIET)
        while_unknown = bought() - before
        tell("X's usage answers again")
        ask(f"{stack.x_url}/_standin/faults", method="DELETE")
        more = "the stream after X's usage answers"
        stack.wait(lambda: bought() > before, more, PATIENCE)
        tell("the clock is set a month ahead, and back")
        machine.set_clock(MONTH)
        time.sleep(1.0)
        kill("producer")
        time.sleep(2.0)
        machine.set_clock(0.0)
        _wait_quiet(stack, bought)
        stack.stop_posts()
        doubled = stack.wait_verdict(patience=QUIET).doubled
        gaps = read_gaps(stack.bigquery, stack.dataset)
        view = read_ids(stack.bigquery, stack.tweets_latest)
        missing = Missing.of(stack.delivered(), view, gaps)
        return Spending(bought(), while_unknown, kills + 2, missing, doubled)


def _wait_quiet(stack: LocalStack, bought: Callable[[], int]) -> None:
    """Wait until the reader has stopped for its budget."""
    seen, since, ends = -1, time.monotonic(), time.monotonic() + PATIENCE
    while time.monotonic() - since < 5 * QUIET and time.monotonic() < ends:
        stack.supervisor.check()
        if (now := bought()) != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.2)
