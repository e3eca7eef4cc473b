"""The spend guard under faults: a budget is never passed by more than one chunk of X's.

The reader is killed while X's usage does not answer, its volume is damaged, its clock is set a
month ahead and back. What X has charged at the end is what counts.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.chaos.gaps import Missing, read_gaps
from local.chaos.injector import read_stats
from local.chaos.machine import Machine
from local.demo.stack import LocalStack
from local.demo.verdict import read_ids
from local.machine.errors import StackError
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
        kills: kill -9 of the reader; damage: what was done to its volume.
        missing: of what X delivered; doubled: ids that the view has twice.
    """

    bought: int
    while_unknown: int
    kills: int
    damage: str
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
            f"down, a damaged volume ({self.damage}) and a clock set a month ahead"
        )


def spend(
    seed: int, data: Path, kills: int = 12, progress: Callable[[str], None] = lambda _: None
) -> Spending:
    """Run it in a stack of its own.

    Raises:
        StackError: a process ended for good, or the reader does not go on as it should.
    """
    rng = random.Random(f"spend:{seed}")
    config = {"tweets:postBudget": BUDGET}
    with LocalStack(rate=RATE, seed=seed, data_dir=data, config=config) as stack:
        return _Trial(stack, rng, progress).run(kills)


class _Trial:
    def __init__(
        self, stack: LocalStack, rng: random.Random, progress: Callable[[str], None]
    ) -> None:
        self._stack, self._rng, self._progress = stack, rng, progress
        self._machine = Machine(stack)
        self._kills = 0

    def run(self, kills: int) -> Spending:
        self._wait(lambda: self._bought() > 50, "the first posts")
        self._tell("kills while X's usage is down")
        ask(f"{self._stack.x_url}/_standin/faults", [USAGE_DOWN])
        for _ in range(kills):
            self._kill()
            time.sleep(self._rng.uniform(0.3, 2.5))
        self._tell("the volume is damaged")
        done: list[str] = []
        self._kill(lambda: done.append(self._ruin()))
        before = self._bought()
        time.sleep(QUIET)
        unknown = self._bought() - before
        self._tell("X's usage answers again")
        ask(f"{self._stack.x_url}/_standin/faults", method="DELETE")
        self._wait(lambda: self._bought() > before, "the stream after X's usage answers")
        self._tell("the clock is set a month ahead, and back")
        self._machine.set_clock(MONTH)
        time.sleep(1.0)
        self._kill()
        time.sleep(2.0)
        self._machine.set_clock(0.0)
        self._wait_quiet()
        return self._judged(unknown, done[0])

    def _ruin(self) -> str:
        """Nothing of the volume's state may be trusted."""
        folder = Path(self._stack.processes["producer"].env["STATE_DIR"])
        for file in folder.iterdir():
            if file.is_file() and file.stat().st_size:
                file.write_bytes(b"\0" * file.stat().st_size)
        return "zeroed"

    def _judged(self, unknown: int, damage: str) -> Spending:
        stack = self._stack
        stack.stop_posts()
        verdict = stack.wait_verdict(patience=QUIET)
        gaps = read_gaps(stack.bigquery, stack.dataset)
        view = read_ids(stack.bigquery, stack.tweets_latest)
        missing = Missing.of(stack.delivered(), view, gaps)
        return Spending(self._bought(), unknown, self._kills, damage, missing, verdict.doubled)

    def _kill(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._stack.kill("producer", meanwhile)
        self._kills += 1

    def _bought(self) -> int:
        return int(read_stats(self._stack.x_url)["usage"])

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            self._stack.check()
            if time.monotonic() > deadline:
                stats = json.dumps(read_stats(self._stack.x_url))
                raise StackError(f"waited {PATIENCE:.0f} s for {what}; X says {stats}")
            time.sleep(0.1)

    def _wait_quiet(self) -> None:
        """Wait until the reader has stopped for its budget."""
        seen, since, ends = -1, time.monotonic(), time.monotonic() + PATIENCE
        while time.monotonic() - since < 5 * QUIET and time.monotonic() < ends:
            self._stack.check()
            if (now := self._bought()) != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.2)

    def _tell(self, phase: str) -> None:
        self._progress(f"budget: {phase}, {self._bought():,} posts bought")
