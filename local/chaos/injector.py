"""Injects the faults of a plan into a running local stack."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil

from local.chaos.letters import dead_letters
from local.chaos.machine import Machine
from local.chaos.schedule import TARGETS, Fault
from local.demo.figures import read_backlog
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
        """Give X its faults."""
        faults: list[dict[str, Any]] = []
        for each in self._asked_of_x:
            if each.act == "refused":
                faults.append({"kind": "http", "after_posts": each.at, **each.options})
                faults.append({"kind": "close", "after_posts": each.at})
            else:
                faults.append({"kind": each.act, "after_posts": each.at, **each.options})
        ask(f"{self._stack.x_url}/_standin/faults", faults)

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
        pending = json.loads(ask(f"{self._stack.x_url}/_standin/faults"))
        left = Counter((fault["kind"], fault["after_posts"]) for fault in pending)
        for each in self._asked_of_x:
            key = ("http" if each.act == "refused" else each.act, each.at)
            if not left[key]:
                self.injected[each.name] += each.times

    def lift(self) -> None:
        """BigQuery rejects rows no longer."""
        ask(f"{self._stack.bigquery_url}/_standin/faults", {})

    def _inject(self, fault: Fault) -> None:
        with self._locks[fault.target]:
            getattr(self, f"_{fault.act}")(fault)
        self.injected[fault.name] += fault.times

    def _kill(self, fault: Fault) -> None:
        rng = random.Random(f"kill:{fault.at}")
        self._stack.kill(fault.target)
        for _ in range(fault.times - 1):
            time.sleep(rng.uniform(0.1, 0.9))
            self._stack.kill(fault.target)
        self._stack.processes[fault.target].wait_ready(30)

    def _damage(self, fault: Fault) -> None:
        """Damage the volume of a reader that is killed while it holds posts.

        It can't know then what it has bought, and X does not say at once.
        """
        down = {"kind": "http", "path": "/2/usage/tweets", "status": 503, "count": 1}
        ask(f"{self._stack.x_url}/_standin/faults", [down])
        with self._locks["pubsub"]:
            self._hold_posts(fault.options["seconds"])
            rng = random.Random(f"damage:{fault.at}")
            self._stack.kill("producer", lambda: self.damages.append(self._machine.damage(rng)))
            self._stack.processes["producer"].wait_ready(30)
            time.sleep(1.0)

    def _clock(self, fault: Fault) -> None:
        """Set the clock, kill the reader, set it right: both starts have the wrong time."""
        self._machine.set_clock(fault.options["ahead"])
        time.sleep(1.5)
        self._stack.kill("producer")
        self._stack.processes["producer"].wait_ready(30)
        time.sleep(1.5)
        self._machine.set_clock(0.0)

    def _kill_holding(self, fault: Fault) -> None:
        """Kill it when Pub/Sub has taken nothing for a while: what it has read is on disk only."""
        with self._locks["pubsub"]:
            self._hold_posts(fault.options["seconds"])
            self._kill(fault)
            time.sleep(1.0)

    def _hold_posts(self, seconds: float) -> None:
        """Wait so long while Pub/Sub takes nothing; it takes nothing for a second more."""
        wanted = {"publish_unavailable_seconds": seconds + 1.0}
        ask(f"{self._stack.pubsub_control_url}/faults", wanted)
        time.sleep(seconds)

    def _restart(self, fault: Fault) -> None:
        self._stack.restart(fault.target)

    def _port_loss(self, fault: Fault) -> None:
        """The server ends and its port refuses connections; what it has acknowledged it keeps."""
        self._note_hits(fault.target)
        self._stack.hold(fault.target)
        time.sleep(fault.options["seconds"])
        self._stack.resume(fault.target)
        if fault.target == "bigquery":
            self._reject_all()

    def _redeliver(self, fault: Fault) -> None:
        """Ask for it, and wait until it has hit: a port that is lost before would forget it."""
        before = self._redelivered()
        wanted = {"redeliver": 0.5, "count": fault.options["count"]}
        ask(f"{self._stack.pubsub_control_url}/faults", wanted)

        def hit() -> bool:
            if not read_backlog(self._stack):
                self._more_posts()
            return self._redelivered() > before

        self._wait(hit, "a message that is delivered again")

    def _redelivered(self) -> int:
        return int(self._pubsub_faults()["redelivered"])

    def _pubsub_faults(self) -> dict[str, int]:
        stats = json.loads(ask(f"{self._stack.pubsub_control_url}/stats"))
        return dict(stats["faults"])

    def _outage(self, fault: Fault) -> None:
        seconds = fault.options["seconds"]
        ask(f"{self._stack.pubsub_control_url}/faults", {"publish_unavailable_seconds": seconds})
        time.sleep(seconds)

    def _status(self, fault: Fault) -> None:
        options = fault.options
        wanted = {"insert_status": options["status"], "seconds": options["seconds"]}
        if options.get("stored"):
            wanted["stored"] = True
        ask(f"{self._stack.bigquery_url}/_standin/faults", wanted)
        time.sleep(options["seconds"] + 0.2)

    def _slow(self, fault: Fault) -> None:
        options = fault.options
        wanted = {"insert_delay_ms": options["ms"], "seconds": options["seconds"]}
        ask(f"{self._stack.bigquery_url}/_standin/faults", wanted)
        time.sleep(options["seconds"] + 0.2)

    def _reject(self, fault: Fault) -> None:
        """Hold every row back until the ids of some are known, then reject those."""
        url, wanted = f"{self._stack.bigquery_url}/_standin/faults", fault.times
        ask(url, {"insert_status": 503})
        try:
            begun, stats = time.time(), read_stats(self._stack.x_url)
            since = stats["delivered"] + stats["unacknowledged"]
            ids: set[int] = set()

            def known() -> bool:
                nonlocal ids
                page = f"{self._stack.x_url}/_standin/delivered?since={since}&limit=1000"
                found = [int(line.split()[0]) for line in ask(page).splitlines()]
                # A post made before could be in the table already and be sent a second time.
                ids = set([each for each in found if made_at(each) / 1000 > begun][:wanted])
                self._more_posts()
                return len(ids) == wanted

            self._wait(known, "posts whose rows could be rejected")
            self.rejected |= ids
            self._reject_all()
        finally:
            ask(url, {"insert_status": 503, "seconds": 0})
        # The stand-in forgets what to reject when its port is lost, so nothing else happens to it
        # or to the dead letters until these rows are among them.
        with self._locks["pubsub"]:
            names = {str(each) for each in ids}
            self._wait(
                lambda: names <= {letter.id for letter in dead_letters(self._stack)},
                f"the dead letters of rejected rows: {sorted(names)}",
            )

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise StackError(f"waited {_PATIENCE:.0f} s for {what}")
            time.sleep(0.1)

    def _more_posts(self) -> None:
        """Let X make more where it has made all: a fault waits for some."""
        # What it made and nobody got counts too: it makes no other post in its place.
        if (now := read_stats(self._stack.x_url))["made"] >= now["count"]:
            ask(f"{self._stack.x_url}/_standin/settings", {"count": now["count"] + MORE})

    def _reject_all(self) -> None:
        if self.rejected:
            wanted = {"reject_ids": sorted(self.rejected)}
            ask(f"{self._stack.bigquery_url}/_standin/faults", wanted)

    def _disk(self, fault: Fault) -> None:
        """No file may grow, and Pub/Sub is down.

        To SQLite this is an I/O error as a full disk is one (SQLITE_IOERR for SQLITE_FULL), made
        without root. A reader that ended in it would have been started again without the limit.
        """
        producer, seconds = self._stack.processes["producer"], fault.options["seconds"]
        with self._locks["pubsub"]:
            self._wait(self._streams, "the reader to have its store open, and to read")
            process = psutil.Process(producer.pid)
            soft, hard = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (FULL, hard))
            wanted = {"publish_unavailable_seconds": seconds}
            ask(f"{self._stack.pubsub_control_url}/faults", wanted)
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
        if target == "pubsub":
            stats = self._pubsub_faults()
            self.hit["messages delivered again"] += stats["redelivered"]
            self.hit["publish requests refused"] += stats["refused_publishes"]
            return
        for name, count in read_stats(self._stack.bigquery_url)["faults"].items():
            self.hit[name.replace("_", " ")] += count


def read_stats(url: str) -> dict[str, Any]:
    """GET /_standin/stats of a stand-in.

    Raises:
        OSError: it does not answer.
    """
    stats: dict[str, Any] = json.loads(ask(f"{url}/_standin/stats"))
    return stats
