"""Injects the faults of a plan into a running local stack."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil

from local.chaos.letters import dead_letters
from local.chaos.machine import Machine
from local.chaos.schedule import TARGETS, Fault
from local.demo.stack import LocalStack
from local.machine.errors import StackError
from local.standin import ask
from local.x.snowflake import made_at

FULL = 4_096
"""Bytes that a file may have while the disk is full: less than the WAL of the reader's store."""
MORE = 50
"""Posts that X makes beyond its count when a fault that needs some comes after the last."""
_PATIENCE = 120.0  # the stream may be in X's longest wait


class Injector:
    """Carries out a plan: X gets its faults at once, each with its place; the others are timed.

    Attributes:
        injected: times, by the name of the fault.
        hit: requests, messages or rows that BigQuery and Pub/Sub failed for it, by their own count.
        rejected: ids of the posts whose rows BigQuery rejects.
        damages: what was done to the producer's volume.
    """

    def __init__(self, stack: LocalStack, plan: Sequence[Fault]) -> None:
        self._stack = stack
        self._waiting = [each for each in plan if each.target != "x"]
        self._asked_of_x = [each for each in plan if each.target == "x"]
        self._locks = {name: threading.Lock() for name in TARGETS}
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="fault")
        self._running: list[Future[None]] = []
        self.injected: Counter[str] = Counter()
        self.hit: Counter[str] = Counter()
        self.rejected: set[int] = set()
        self.damages: list[str] = []
        self._machine = Machine(stack)

    def start(self) -> None:
        """Give X its faults; a connect is refused after a close."""
        faults: list[dict[str, Any]] = []
        for each in self._asked_of_x:
            faults.append({"kind": each.act, "after_posts": each.at, **each.options})
            if each.act == "http":
                faults.append({"kind": "close", "after_posts": each.at})
        self._stack.control("x", "faults", faults)

    def turn(self, delivered: int) -> None:
        """Start what is due.

        Raises:
            Exception: whatever an injection failed with; the run would prove nothing.
        """
        while self._waiting and self._waiting[0].at <= delivered:
            self._running.append(self._pool.submit(self._inject, self._waiting.pop(0)))
        for each in self._running:
            if each.done():
                each.result()
        self._running = [each for each in self._running if not each.done()]

    @property
    def finished(self) -> bool:
        """Whether every fault has been injected and is over."""
        return not self._waiting and not self._running

    def settle(self) -> None:
        """Count X's faults and what the others hit; call it at the end, when all is over."""
        self._pool.shutdown()
        for target in ("pubsub", "bigquery"):
            self._note_hits(target)
        pending = json.loads(self._stack.control("x", "faults"))
        left = {(fault["kind"], fault["after_posts"]) for fault in pending}
        for each in self._asked_of_x:
            if (each.act, each.at) not in left:
                self.injected[each.name] += each.times

    def lift(self) -> None:
        """BigQuery rejects no rows any more, and Pub/Sub delivers nothing again.

        A letter that is delivered again after its redrive would look like one that was left.
        """
        self._stack.control("bigquery", "faults", {})
        self._stack.control("pubsub", "faults", {"redeliver": 1.0, "count": 0})

    def _inject(self, fault: Fault) -> None:
        with self._locks[fault.target]:
            getattr(self, f"_{fault.act}")(fault)
        self.injected[fault.name] += fault.times

    def _ask(self, fault: Fault) -> None:
        """A fault that the stand-in does itself, for so many seconds."""
        self._stack.control(fault.target, "faults", fault.options)
        time.sleep(fault.options["seconds"] + 0.2)

    def _kill(self, fault: Fault) -> None:
        rng = random.Random(f"kill:{fault.at}")
        for number in range(fault.times):
            time.sleep(rng.uniform(0.1, 0.9) if number else 0.0)
            self._stack.supervisor.kill(fault.target)
        self._stack.processes[fault.target].wait_ready(30)

    def _kill_holding(self, fault: Fault) -> None:
        """Kill the reader when Pub/Sub has taken nothing for a while: its posts are on disk only.

        Where its volume is then damaged, it can't know what it has bought, nor does X say so.
        """
        damage, rng = fault.options.get("damage"), random.Random(f"damage:{fault.at}")
        if damage:
            down = {"kind": "http", "path": "/2/usage/tweets", "status": 503, "count": 1}
            self._stack.control("x", "faults", [down])

        def meanwhile() -> None:
            if damage:
                self.damages.append(self._machine.damage(rng))

        with self._locks["pubsub"]:
            self._take_nothing(fault.options["seconds"] + 1.0)
            time.sleep(fault.options["seconds"])
            self._stack.supervisor.kill("producer", meanwhile)
            self._stack.processes["producer"].wait_ready(30)
            time.sleep(1.0)

    def _take_nothing(self, seconds: float) -> None:
        """Let Pub/Sub take no message for so long."""
        self._stack.control("pubsub", "faults", {"publish_unavailable_seconds": seconds})

    def _outage(self, fault: Fault) -> None:
        self._take_nothing(fault.options["seconds"])
        time.sleep(fault.options["seconds"])

    def _clock(self, fault: Fault) -> None:
        """Set the clock, kill the reader, set it right: both starts have the wrong time."""
        self._machine.set_clock(fault.options["ahead"])
        time.sleep(1.5)
        self._stack.supervisor.kill("producer")
        self._stack.processes["producer"].wait_ready(30)
        time.sleep(1.5)
        self._machine.set_clock(0.0)

    def _restart(self, fault: Fault) -> None:
        """Stop it in order; without `seconds` it is started again at once.

        A server's port refuses connections meanwhile; what it has acknowledged it keeps.
        """
        if fault.target != "producer":
            self._note_hits(fault.target)
        self._stack.supervisor.hold(fault.target)
        time.sleep(fault.options.get("seconds", 0.0))
        self._stack.supervisor.resume(fault.target)
        if fault.target == "bigquery":
            self._reject_all()

    def _redeliver(self, fault: Fault) -> None:
        """Ask for it, and wait until it has hit: a port that is lost before would forget it."""
        before = self._redelivered()
        wanted = {"redeliver": 0.5, "count": fault.options["count"]}
        self._stack.control("pubsub", "faults", wanted)

        def hit() -> bool:
            if not self._stack.backlog():
                self._more_posts()
            return self._redelivered() > before

        self._stack.wait(hit, "a message that is delivered again", _PATIENCE)

    def _redelivered(self) -> int:
        return int(self._stack.stats("pubsub")["faults"]["redelivered"])

    def _reject(self, fault: Fault) -> None:
        """Hold every row back until the ids of some are known, then reject those."""
        stack = self._stack
        stack.control("bigquery", "faults", {"insert_status": 503})
        try:
            begun, stats = time.time(), stack.stats("x")
            since = stats["delivered"] + stats["unacknowledged"]
            ids: set[int] = set()

            def known() -> bool:
                nonlocal ids
                page = stack.control("x", f"delivered?since={since}&limit=1000")
                found = [int(line.split()[0]) for line in page.splitlines()]
                # A post made before could be in the table already and be sent a second time.
                ids = set([each for each in found if made_at(each) / 1000 > begun][: fault.times])
                self._more_posts()
                return len(ids) == fault.times

            stack.wait(known, "posts whose rows could be rejected", _PATIENCE)
            self.rejected |= ids
            self._reject_all()
        finally:
            stack.control("bigquery", "faults", {"insert_status": 503, "seconds": 0})
        # The stand-in forgets what to reject when its port is lost, so nothing else happens to it
        # or to the dead letters until these rows are among them.
        with self._locks["pubsub"]:
            names = {str(each) for each in ids}
            stack.wait(
                lambda: names <= {letter.id for letter in dead_letters(stack)},
                f"the dead letters of rejected rows: {sorted(names)}",
                _PATIENCE,
            )

    def _more_posts(self) -> None:
        """Let X make more where it has made all: a fault waits for some."""
        # What it made and nobody got counts too: it makes no other post in its place.
        if (now := self._stack.stats("x"))["made"] >= now["count"]:
            self._stack.control("x", "settings", {"count": now["count"] + MORE})

    def _reject_all(self) -> None:
        if self.rejected:
            wanted = {"reject_ids": sorted(self.rejected)}
            self._stack.control("bigquery", "faults", wanted)

    def _disk(self, fault: Fault) -> None:
        """No file may grow, and Pub/Sub is down.

        To SQLite this is an I/O error as a full disk is one (SQLITE_IOERR for SQLITE_FULL), made
        without root. A reader that ended in it would have been started again without the limit.
        """
        producer, seconds = self._stack.processes["producer"], fault.options["seconds"]
        with self._locks["pubsub"]:
            ready = "the reader to have its store open, and to read"
            self._stack.wait(self._streams, ready, _PATIENCE)
            process = psutil.Process(producer.pid)
            soft, hard = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (FULL, hard))
            self._take_nothing(seconds)
            time.sleep(seconds + 1.0)
            if producer.pid != process.pid or not producer.running:
                raise StackError(f"the reader ended while its disk was full; see {producer.log}")
            process.rlimit(psutil.RLIMIT_FSIZE, (soft, hard))

    def _streams(self) -> bool:
        with contextlib.suppress(OSError):
            return ask(f"{self._stack.producer_url}/readyz").strip() == "streaming"
        return False

    def _note_hits(self, target: str) -> None:
        """Add a stand-in's own counts, which begin anew with its process."""
        for name, count in self._stack.stats(target)["faults"].items():
            self.hit[name.replace("_", " ")] += count
