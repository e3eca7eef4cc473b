"""The whole pipeline on this machine, from the program that deploys it: a context manager.

    with LocalStack(rate=100, count=2000) as stack:
        stack.supervisor.kill("function")
        verdict = stack.wait_verdict(patience=60)

`local.demo` shows one on a screen; the tests and the chaos run break one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psutil
from google.cloud import bigquery

from local.bigquery import client
from local.demo import DEMO
from local.demo.figures import Figures, read_rows
from local.demo.verdict import Verdict, judge
from local.engine.apply import Placement, Targets, apply
from local.engine.program import checked_in_config, evaluate_apart
from local.engine.topics import Messaging
from local.machine.errors import StackError
from local.machine.launcher import Launcher
from local.machine.process import Process
from local.machine.supervisor import Supervisor
from local.standin import ask

DRAIN_SECONDS = 5.0


class LocalStack:
    """X stand-in, producer, Pub/Sub, function and BigQuery as processes, applied from `infra/`.

    Args:
        stack: the Pulumi stack whose `Pulumi.<stack>.yaml` is evaluated.
        config: configuration over that file's, full keys such as `tweets:postBudget`.
        rate: posts a second that the X stand-in sends; 0 as fast as they are read.
        count: posts after which it sends no more; 0 goes on.
        seed: which synthetic posts; None takes others each time.
        data_dir: keeps messages, rows and the producer's state over restarts; None forgets.
        ports: ports by name (see `launcher.PORTS`); one that is left out is chosen free.
        dashboard: start the page of `services/dashboard` too.

    Attributes, all of a started stack:
        processes: by name, in the order of their start.
        logs: directory with one log a process.
        supervisor: keeps the processes running, and ends some on request.
        placements: what became of each resource that `infra/` declared.
        bigquery: official client for the stand-in.
        x_url, bigquery_url, producer_url, pubsub_control_url: HTTP addresses.
        pubsub_address: `host:port`, as PUBSUB_EMULATOR_HOST wants it.
        tweets_table: `project.dataset.table`, as the function got it.
        dataset: `project.dataset`; tweets_latest: the view in it that people read.

    Raises:
        BadInputError: a setting, port or directory that can't be used.
        StackError: on entering: something of the program can't run as declared.
    """

    def __init__(
        self,
        *,
        stack: str = "dev",
        config: Mapping[str, object] | None = None,
        rate: float = 25.0,
        count: int = 0,
        seed: int | None = None,
        data_dir: Path | None = None,
        ports: Mapping[str, int] | None = None,
        dashboard: bool = False,
    ) -> None:
        self._config = {**checked_in_config(stack), **DEMO, **(config or {})}
        self._stack, self.rate, self.count = stack, rate, count
        self._seed = seed if seed is not None else int(time.time())
        self._dashboard, self._data_dir, self._ports = dashboard, data_dir, ports or {}

    def __enter__(self) -> Self:
        self.started_at, self._started_wall = time.monotonic(), datetime.now(UTC)
        self._launcher = launcher = Launcher(self._ports, self._data_dir)
        self.processes: dict[str, Process] = launcher.processes
        self.logs: Path = launcher.logs
        self.x_url, self.bigquery_url = launcher.url("x"), launcher.url("bigquery")
        self.producer_url = launcher.url("producer")
        self.pubsub_address = launcher.address("pubsub")
        self.pubsub_control_url = launcher.url("pubsub-control")
        self._controls = {
            "x": f"{self.x_url}/_standin",
            "bigquery": f"{self.bigquery_url}/_standin",
            "pubsub": self.pubsub_control_url,
        }
        try:
            self._start()
        except BaseException:
            launcher.undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End everything in order: producer, what is on the way, function, stand-ins."""
        with self._launcher.undo:
            if self.supervisor.failure is None:
                self.supervisor.end()
                self.processes["producer"].stop()
                deadline, taker = time.monotonic() + DRAIN_SECONDS, self.processes["bigquery"]
                # A BigQuery that is held down takes nothing more, and is not asked.
                while taker.running and time.monotonic() < deadline and self.backlog():
                    time.sleep(0.2)

    @property
    def dashboard_url(self) -> str | None:
        """The page, or None where it is not started."""
        return self._launcher.url("dashboard") if "dashboard" in self.processes else None

    def control(self, name: str, page: str, content: object = None) -> str:
        """What a page of the control of `x`, `pubsub` or `bigquery` answers.

        Raises:
            OSError: it does not answer, or refuses `content`.
        """
        return ask(f"{self._controls[name]}/{page}", content)

    def stats(self, name: str) -> dict[str, Any]:
        """Counts of `x`, `pubsub` or `bigquery` since its start.

        Raises:
            OSError: it does not answer.
        """
        return dict(json.loads(self.control(name, "stats")))

    def _stats_or_none(self, name: str) -> dict[str, Any]:
        try:
            return self.stats(name)
        except OSError:
            return {}

    def figures(self) -> Figures:
        """What can be counted now; a stand-in that is down on purpose counts as 0.

        Raises:
            StackError: BigQuery refuses the query.
        """
        x, topics = self._stats_or_none("x"), self._stats_or_none("pubsub").get("topics", {})
        producer = self.processes["producer"].env
        rows, distinct, read_to_row, post_to_row = read_rows(self.bigquery, self.tweets_table)
        return Figures(
            made=int(x.get("made", 0)),
            posts=int(x.get("delivered", 0)),
            published=topics.get(producer["TOPIC"], {}).get("published", 0),
            backlog=self.backlog() or 0,
            dead_letters=topics.get(producer["DEAD_LETTER_TOPIC"], {}).get("published", 0),
            rows=rows,
            distinct=distinct,
            read_to_row=read_to_row,
            post_to_row=post_to_row,
            memory={name: process.memory() for name, process in self.processes.items()}
            | {"this": psutil.Process().memory_info().rss},
        )

    def backlog(self) -> int | None:
        """Messages that the function has not acknowledged; None where Pub/Sub is down."""
        if not (stats := self._stats_or_none("pubsub")):
            return None
        known = stats["subscriptions"]
        return sum(int(known[name]["backlog"]) for name in self._pushed if name in known)

    def delivered(self) -> set[int]:
        """Ids of the posts that X has delivered since the start."""
        return {int(line.split()[0]) for line in self.control("x", "delivered").splitlines()}

    def wait(self, done: Callable[[], object], what: str, timeout: float) -> None:
        """Wait until `done`.

        Raises:
            StackError: not within `timeout` seconds, or a process has ended for good.
        """
        deadline = time.monotonic() + timeout
        while not done():
            self.supervisor.check()
            if time.monotonic() > deadline:
                raise StackError(f"waited {timeout:.0f} s for {what}; see {self.logs}")
            time.sleep(0.1)

    def wait_rows(self, count: int, timeout: float) -> None:
        """Wait until the table holds at least `count` different posts; raises as `wait` does."""
        self.wait(lambda: self.figures().distinct >= count, f"{count} posts", timeout)

    def wait_verdict(
        self,
        patience: float,
        progress: Callable[[Figures], None] = lambda _: None,
        ends: float = math.inf,
    ) -> Verdict:
        """Wait until X has sent its `count` and all of it is in the view, and judge what is there.

        Args:
            patience: seconds without anything new after which what is there is judged.
            progress: gets the figures about once a second.
            ends: `time.monotonic()` at which what is there is judged anyhow.

        Raises:
            StackError: a process has ended for good.
        """
        since, before = time.monotonic(), (-1, -1)
        while time.monotonic() < min(since + patience, ends):
            self.supervisor.check()
            figures = self.figures()
            progress(figures)
            if (figures.posts, figures.distinct) != before:
                since, before = time.monotonic(), (figures.posts, figures.distinct)
            elif figures.made >= self.count and figures.backlog == 0:
                verdict = self.verdict()
                if verdict.ok:
                    return verdict
            time.sleep(0.5)
        return self.verdict()

    def stop_posts(self) -> None:
        """X sends nothing more; `count` is what it has sent."""
        self.control("x", "settings", {"count": 0})
        self.count = self.figures().made

    def first_row(self) -> float | None:
        """Seconds from the start to the first row of this run; None before there is one."""
        start = bigquery.ScalarQueryParameter("start", "TIMESTAMP", self._started_wall)
        rows = self.bigquery.query(
            # The table's name comes from the program.
            f"SELECT MIN(inserted_at) AS first FROM `{self.tweets_table}` "  # noqa: S608
            "WHERE inserted_at >= @start",
            job_config=bigquery.QueryJobConfig(query_parameters=[start]),
        ).result()
        first = next(iter(rows))["first"]
        return (first - self._started_wall).total_seconds() if first else None

    def verdict(self) -> Verdict:
        """Compare the ids that X delivered with those in the view."""
        return judge(self.delivered(), self.bigquery, self.tweets_table, self.tweets_latest)

    def _start(self) -> None:
        launcher, project = self._launcher, str(self._config["gcp:project"])
        x_flags: list[object] = ["--rate", self.rate, "--seed", self._seed]
        x_flags += ["--count", self.count] if self.count else []
        launcher.start_stand_ins(project, x_flags)
        program = evaluate_apart(self._stack, self._config)
        self._pushed = [each.id for each in program.resources if each.inputs.get("pushConfig")]
        launcher.wait_ready("pubsub")
        launcher.wait_ready("bigquery")
        messaging = Messaging(self.pubsub_address, project)
        launcher.undo.callback(messaging.close)
        self.bigquery = client(self.bigquery_url, project)
        launcher.undo.callback(self.bigquery.close)
        self.placements: list[Placement] = apply(
            program.resources,
            Targets(
                messaging,
                self.bigquery,
                launcher.start_function,
                launcher.start_producer,
                launcher.url("function"),
            ),
        )
        for name in ("function", "producer"):
            if name not in self.processes:
                raise StackError(f"the program declares no {name} for the local stack to run.")
        self.tweets_table = self.processes["function"].env["TWEETS_TABLE"]
        self.dataset = self.tweets_table.rpartition(".")[0]
        self.tweets_latest = f"{self.dataset}.tweets_latest"
        if self._dashboard:
            launcher.start_dashboard(self.dataset)
        self.supervisor = Supervisor(self.processes)
        launcher.undo.callback(self.supervisor.end)
        self.supervisor.start()
