"""One chaos run: start the stack, inject, wait until all has healed, repair, judge."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.chaos.gaps import Missing, read_gaps
from local.chaos.injector import Injector, read_stats
from local.chaos.letters import Letters, dead_letters, digits, reader
from local.chaos.outcome import Outcome, read_events, worst_window
from local.chaos.schedule import Fault
from local.demo.stack import LocalStack
from local.demo.verdict import cut_reposts, read_ids
from local.machine.errors import StackError
from local.standin import ask

PATIENCE = 150.0
"""Seconds without anything new after which a run is judged: longer than X's longest wait in it."""
SETTLED = 3.0
"""Seconds that nothing may be on the way before all is judged to be over."""
FRESH = 17.0
"""Seconds: X's recent search has no newer posts, so `tweets backfill` leaves them out."""
MAX_BACKFILL = 100_000
RULES = [{"value": '(BigQuery OR "data engineering") lang:en', "tag": "data"}]
"""Of the stream: with reposts, which X cuts, where the checked-in rules leave them out."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: posts delivered by X, messages on the way to BigQuery, dead letters."""

    phase: str
    delivered: int
    backlog: int
    dead_letters: int


class ChaosRun:
    """A run over a started stack.

    Args:
        stack: started with `count` posts and a data directory.
        plan: see `chaos_schedule`.
        seed: that the plan was made with, for the report.
        progress: gets the state about twice a second.
    """

    def __init__(
        self,
        stack: LocalStack,
        plan: Sequence[Fault],
        seed: int,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._stack, self._progress = stack, progress
        self._injector = Injector(stack, plan)
        self._memory: dict[str, int] = {}
        self._phase = "faults"
        planned: Counter[str] = Counter()
        for each in plan:
            planned[each.name] += each.times
        self.outcome = Outcome(seed, stack.count, stack.rate, planned=dict(planned))

    def run(self) -> Outcome:
        """Do all of it.

        Raises:
            StackError: a process ended for good, or a repair command failed.
        """
        began = time.monotonic()
        self._injector.start()
        self._drive()
        self.outcome.stream_seconds = time.monotonic() - began
        self._phase = "judging"
        self._injector.settle()
        self._judge()
        self._phase = "repair"
        self._repair()
        self._judge_repair()
        outcome, injector = self.outcome, self._injector
        outcome.injected, outcome.hit = dict(injector.injected), dict(injector.hit)
        outcome.memory, outcome.damages = self._memory, injector.damages
        outcome.seconds = time.monotonic() - began
        return outcome

    def _drive(self) -> None:
        """Inject until X has delivered all and nothing is on the way for a while."""
        before: tuple[int, ...] = ()
        changed = time.monotonic()
        quiet_since: float | None = None
        while True:
            self._stack.check()
            x, backlog, letters = self._look()
            delivered = x["delivered"] + x["unacknowledged"]
            self._injector.turn(delivered)
            now = time.monotonic()
            state = (delivered, backlog, letters, sum(self._injector.injected.values()))
            if state != before:
                before, changed = state, now
            done = self._injector.finished and x["pending_faults"] == 0 and backlog == 0
            if done and delivered >= self._stack.count:
                quiet_since = quiet_since or now
                if now - quiet_since > SETTLED and not self._top_up(x):
                    return
            else:
                quiet_since = None
            if now - changed > PATIENCE:
                self.outcome.stuck = (
                    f"nothing new for {PATIENCE:.0f} s: {delivered} posts delivered, {backlog} "
                    f"messages on the way, {x['pending_faults']} faults of X pending"
                )
                return
            time.sleep(0.05)

    def _top_up(self, x: dict[str, Any]) -> bool:
        """Let X make as many posts more as have not arrived, so that the run has its number."""
        short = self._stack.count - len(self._stack.delivered())
        if short > 0:
            ask(f"{self._stack.x_url}/_standin/settings", {"count": x["count"] + short})
        return short > 0

    def _look(self) -> tuple[dict[str, Any], int, int]:
        """X's figures, messages on the way, dead letters published; and note the memory."""
        x = read_stats(self._stack.x_url)
        backlog, letters = 1, 0  # a Pub/Sub that is down may hold some
        with contextlib.suppress(OSError):
            stats = json.loads(ask(f"{self._stack.pubsub_control_url}/stats"))
            backlog = sum(stats["subscriptions"][name]["backlog"] for name in self._stack.pushed)
            topic = self._stack.processes["producer"].env["DEAD_LETTER_TOPIC"]
            letters = stats["topics"][topic]["published"]
        for name, process in self._stack.processes.items():
            self._memory[name] = max(self._memory.get(name, 0), process.memory())
        self._progress(Progress(self._phase, x["delivered"], backlog, letters))
        return x, backlog, letters

    def _judge(self) -> None:
        """Compare what X delivered with what people can read, before any repair."""
        stack, outcome, rejected = self._stack, self.outcome, self._injector.rejected
        x = read_stats(stack.x_url)
        outcome.connects = len(x["connects"])
        outcome.worst_window = worst_window([each["at"] for each in x["connects"]])
        outcome.refused = {
            str(status): count
            for status, count in Counter(each["status"] for each in x["connects"]).items()
            if status != 200
        }
        gaps = read_gaps(stack.bigquery, stack.dataset)
        outcome.gaps = dict(Counter(gap.reason for gap in gaps))
        self._delivered = stack.delivered()
        view = read_ids(stack.bigquery, stack.tweets_latest)
        outcome.delivered = len(self._delivered)
        outcome.rejected_missing = len(rejected - view.keys())
        outcome.at_end = Missing.of(self._delivered - rejected, view, gaps)
        undelivered = {int(line) for line in self._control("missed").split()}
        self._poison = [line.encode() for line in json.loads(self._control("poison"))["lines"]]
        starts = b"\n".join(line[:2000] for line in self._poison)
        self._of_x = {each for each in undelivered if digits(each) not in starts}
        self._of_x -= self._delivered
        outcome.x_lost = Missing.of(self._of_x, view, gaps)
        outcome.letters = Letters.of(
            dead_letters(self._stack), self._poison, rejected, gaps, undelivered - self._of_x
        )
        self._gaps, self._undelivered = gaps, undelivered

    def _repair(self) -> None:
        """What a person would do now: redrive the rejected rows, fill the gaps."""
        rejected = self._injector.rejected
        self._injector.lift()
        if rejected:
            self._operate("redrive", "send", "--reason", "row_rejected", "--yes")
        if self._gaps:
            newest = max(gap.end for gap in self._gaps)
            time.sleep(min(FRESH, max(0.0, FRESH - (datetime.now(UTC) - newest).total_seconds())))
            words = self._operate("backfill", "--all", "--max-posts", str(MAX_BACKFILL), "--yes")
            self.outcome.backfill_words = words.splitlines()
        ends, quiet_since = time.monotonic() + PATIENCE, time.monotonic()
        while time.monotonic() - quiet_since < SETTLED:
            if self._look()[1]:
                quiet_since = time.monotonic()
            if time.monotonic() > ends:
                raise StackError(f"the repair's messages do not arrive; see {self._stack.logs}")
            time.sleep(0.2)

    def _judge_repair(self) -> None:
        stack, outcome, rejected = self._stack, self.outcome, self._injector.rejected
        view = read_ids(stack.bigquery, stack.tweets_latest)
        table = read_ids(stack.bigquery, stack.tweets_table)
        outcome.rows, outcome.table_rows = sum(view.values()), sum(table.values())
        outcome.doubled = tuple(sorted(each for each, count in view.items() if count > 1))
        outcome.cut = cut_reposts(stack.bigquery, stack.tweets_latest)
        reposts = {int(line) for line in self._control("reposts").split()}
        missing = Missing.of(self._delivered, view, self._gaps)
        of_x = Missing.of(self._of_x, view, self._gaps)
        outcome.after_repair, outcome.x_after_repair = (
            missing.reachable(reposts),
            of_x.reachable(reposts),
        )
        outcome.reposts = len(reposts.intersection([*missing.in_gaps, *of_x.in_gaps]))
        outcome.redriven = len(rejected)
        outcome.redriven_rows = sum(view[each] for each in rejected)
        outcome.letters_left = Letters.of(
            dead_letters(self._stack),
            self._poison,
            set(),
            self._gaps,
            self._undelivered - self._of_x,
        )
        outcome.events = read_events(stack.bigquery, stack.dataset)

    def _control(self, name: str) -> str:
        return ask(f"{self._stack.x_url}/_standin/{name}")

    def _operate(self, *words: str) -> str:
        """Run a command of `tweets` in the producer's container, as the README says."""
        process = self._stack.processes["producer"]
        env = {
            **process.env,
            "DATASET": self._stack.dataset,
            "BIGQUERY_EMULATOR_HOST": self._stack.bigquery_url,
            "DEAD_LETTER_SUBSCRIPTION": reader(self._stack),
        }
        done = subprocess.run(
            ["python", "-m", "operations", *words],
            env=env,
            cwd=process.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        log = Path(self._stack.logs) / "operations.log"
        with log.open("a") as file:
            file.write(f"$ tweets {' '.join(words)}\n{done.stdout}{done.stderr}")
        if done.returncode:
            raise StackError(
                f"tweets {' '.join(words)} ended with {done.returncode}: "
                f"{(done.stderr or done.stdout).strip()}"
            )
        return done.stdout
