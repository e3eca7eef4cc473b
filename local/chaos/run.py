"""One chaos run: start the stack, inject, wait until all has healed, repair, judge."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from local.chaos.gaps import Missing, read_gaps
from local.chaos.injector import Injector
from local.chaos.letters import Letters, dead_letters, digits, reader
from local.chaos.outcome import Outcome, worst_window
from local.chaos.schedule import Fault
from local.demo.stack import LocalStack
from local.demo.verdict import cut_reposts, read_ids
from local.machine.errors import StackError

PATIENCE = 150.0
"""Seconds without anything new after which a run is judged: longer than X's longest wait in it."""
SETTLED = 3.0
"""Seconds that nothing may be on the way before all is judged to be over."""
FRESH = 62.0
"""Seconds: X may lack newer posts in its search, so `tweets backfill` leaves them out."""
EVERY = 5.0
"""Seconds between two lines that say where the run is."""
MAX_BACKFILL = 100_000
RULES = [{"value": '(BigQuery OR "data engineering") lang:en', "tag": "data"}]
"""Of the stream: with reposts, which X cuts, where the checked-in rules leave them out."""


class ChaosRun:
    """A run over a started stack.

    Args:
        stack: started with `count` posts and a data directory.
        plan: see `local.chaos.schedule`.
        seed: that the plan was made with, for the report.
        say: gets a line now and then.
    """

    def __init__(
        self,
        stack: LocalStack,
        plan: Sequence[Fault],
        seed: int,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._stack, self._say = stack, say
        self._injector = Injector(stack, plan)
        self._said = 0.0
        planned: Counter[str] = Counter()
        for each in plan:
            planned[each.name] += each.times
        self.outcome = Outcome(seed, stack.count, stack.rate, planned=dict(planned))

    def run(self) -> Outcome:
        """Do all of it.

        Raises:
            StackError: a process ended for good, or a repair command failed.
        """
        outcome, injector, began = self.outcome, self._injector, time.monotonic()
        injector.start()
        self._drive()
        outcome.stream_seconds = time.monotonic() - began
        injector.settle()
        self._judge()
        self._repair()
        self._judge_repair()
        outcome.injected, outcome.hit = dict(injector.injected), dict(injector.hit)
        outcome.damages, outcome.seconds = injector.damages, time.monotonic() - began
        return outcome

    def _drive(self) -> None:
        """Inject until X has delivered all and nothing is on the way for a while."""
        before: tuple[int, ...] = ()
        changed = time.monotonic()
        quiet_since: float | None = None
        while True:
            self._stack.supervisor.check()
            x, backlog, letters = self._look("faults")
            delivered = x["delivered"] + x["unacknowledged"]
            self._injector.turn(delivered)
            now = time.monotonic()
            state = (delivered, backlog, letters, sum(self._injector.injected.values()))
            if state != before:
                before, changed = state, now
            done = self._injector.finished and x["pending_faults"] == 0 and backlog == 0
            if done and delivered >= self._stack.count:
                if quiet_since is None:
                    # A gap is told with the next sign of life, which could be 20 s away.
                    self._stack.control("x", "settings", {"keep_alive": 1.0})
                    quiet_since = now
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
            self._stack.control("x", "settings", {"count": x["count"] + short})
        return short > 0

    def _look(self, phase: str) -> tuple[dict[str, Any], int, int]:
        """X's figures, messages on the way, dead letters published; and note the memory."""
        x, stack, memory = self._stack.stats("x"), self._stack, self.outcome.memory
        topic, letters = stack.processes["producer"].env["DEAD_LETTER_TOPIC"], 0
        with contextlib.suppress(OSError):
            letters = stack.stats("pubsub")["topics"][topic]["published"]
        if (backlog := stack.backlog()) is None:
            backlog = 1  # a Pub/Sub that is down may hold some
        for name, process in stack.processes.items():
            memory[name] = max(memory.get(name, 0), process.memory())
        if time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            self._say(
                f"{phase}: {x['delivered']:,} posts delivered, {backlog:,} on the way, "
                f"{letters} dead letters"
            )
        return x, backlog, letters

    def _judge(self) -> None:
        """Compare what X delivered with what people can read, before any repair."""
        stack, outcome, rejected = self._stack, self.outcome, self._injector.rejected
        connects = stack.stats("x")["connects"]
        outcome.connects = len(connects)
        outcome.worst_window = worst_window([each["at"] for each in connects])
        statuses = Counter(str(each["status"]) for each in connects if each["status"] != 200)
        outcome.refused = dict(statuses)
        self._gaps = read_gaps(stack.bigquery, stack.dataset)
        outcome.gaps = dict(Counter(gap.reason for gap in self._gaps))
        self._delivered = stack.delivered()
        view = read_ids(stack.bigquery, stack.tweets_latest)
        outcome.delivered = len(self._delivered)
        outcome.redriven = len(rejected - view.keys())
        outcome.at_end = Missing.of(self._delivered - rejected, view, self._gaps)
        undelivered = {int(line) for line in stack.control("x", "missed").split()}
        poison = json.loads(stack.control("x", "poison"))["lines"]
        self._poison = [line.encode() for line in poison]
        starts = b"\n".join(line[:2000] for line in self._poison)
        self._made_into_poison = {each for each in undelivered if digits(each) in starts}
        self._of_x = undelivered - self._made_into_poison - self._delivered
        outcome.x_lost = Missing.of(self._of_x, view, self._gaps)
        outcome.letters = self._letters(rejected)

    def _letters(self, rejected: set[int]) -> Letters:
        letters = dead_letters(self._stack)
        return Letters.of(letters, self._poison, rejected, self._gaps, self._made_into_poison)

    def _repair(self) -> None:
        """What a person would do now: redrive the rejected rows, fill the gaps."""
        self._injector.lift()
        if self._injector.rejected:
            self._operate("redrive", "send", "--reason", "row_rejected", "--yes")
        if self._gaps:
            newest = max(gap.end for gap in self._gaps)
            time.sleep(min(FRESH, max(0.0, FRESH - (datetime.now(UTC) - newest).total_seconds())))
            self._operate("backfill", "--all", "--max-posts", str(MAX_BACKFILL), "--yes")
        ends, quiet_since = time.monotonic() + PATIENCE, time.monotonic()
        while time.monotonic() - quiet_since < SETTLED:
            if self._look("repair")[1]:
                quiet_since = time.monotonic()
            if time.monotonic() > ends:
                raise StackError(f"the repair's messages do not arrive; see {self._stack.logs}")
            time.sleep(0.2)

    def _judge_repair(self) -> None:
        stack, outcome = self._stack, self.outcome
        view = read_ids(stack.bigquery, stack.tweets_latest)
        table = read_ids(stack.bigquery, stack.tweets_table)
        outcome.rows, outcome.table_rows = view.total(), table.total()
        outcome.doubled = tuple(sorted(each for each, count in view.items() if count > 1))
        outcome.cut = cut_reposts(stack.bigquery, stack.tweets_latest)
        missing = Missing.of(self._delivered | self._of_x, view, self._gaps)
        reposts = {int(line) for line in stack.control("x", "reposts").split()}
        reposts.intersection_update(missing.in_gaps)
        outcome.reposts = len(reposts)
        outcome.still = tuple(sorted({*missing.in_gaps, *missing.lost} - reposts))
        outcome.redriven_rows = sum(view[each] for each in self._injector.rejected)
        outcome.letters_left = self._letters(set())
        events = stack.bigquery.query(
            f"SELECT kind, COUNT(*) AS n FROM `{stack.dataset}.stream_events_latest` "  # noqa: S608
            "GROUP BY kind ORDER BY kind"
        )
        outcome.events = {row["kind"]: row["n"] for row in events.result()}

    def _operate(self, *words: str) -> None:
        """Run a command of `tweets` in the producer's container, as the README says."""
        process, stack = self._stack.processes["producer"], self._stack
        env = {
            **process.env,
            "DATASET": stack.dataset,
            "BIGQUERY_EMULATOR_HOST": stack.bigquery_url,
            "DEAD_LETTER_SUBSCRIPTION": reader(stack),
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
        with (stack.logs / "operations.log").open("a") as file:
            file.write(f"$ tweets {' '.join(words)}\n{done.stdout}{done.stderr}")
        if done.returncode:
            raise StackError(
                f"tweets {' '.join(words)} ended with {done.returncode}: "
                f"{(done.stderr or done.stdout).strip()}"
            )
