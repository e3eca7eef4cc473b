"""The whole pipeline on this machine, from the program that deploys it: a context manager.

    with LocalStack(rate=100, count=2000) as stack:
        stack.kill("function")
        verdict = stack.wait_verdict(patience=60)

`local.demo` shows one on a screen; the tests and the chaos run break one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from google.cloud import bigquery

from local.bigquery import client
from local.demo.addresses import Addresses
from local.demo.configuration import stack_config
from local.demo.figures import Figures, read_backlog, read_figures
from local.demo.verdict import Verdict, judge
from local.engine.apply import Placement, Targets, apply
from local.engine.program import ProgramError, evaluate_apart
from local.engine.tables import LocalTables
from local.engine.topics import Messaging
from local.machine.errors import BadInputError, StackError
from local.machine.launcher import Launcher
from local.machine.supervisor import Supervisor
from local.standin import ask

DRAIN_SECONDS = 5.0


class LocalStack(Addresses):
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

    Attributes:
        program: what `infra/` declared.
        placements: what became of each resource.
        bigquery: official client for the stand-in.
        messaging: official Pub/Sub clients for the stand-in.
        supervisor: keeps the processes running; its `events` say what happened to them.

    Raises:
        BadInputError: on entering: a setting, port or directory that can't be used.
        StackError: on entering: something of the program can't run as declared.
    """

    bigquery: bigquery.Client
    messaging: Messaging

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
        self._config = stack_config(stack, config or {})
        self._stack, self.rate, self.count = stack, rate, count
        self._seed = seed if seed is not None else int(time.time())
        self._dashboard = dashboard
        self._data_dir, self._ports = data_dir, dict(ports or {})
        self.placements: list[Placement] = []
        self.supervisor: Supervisor | None = None
        self.started_at, self.started_wall = 0.0, datetime.now(UTC)

    def __enter__(self) -> Self:
        self.started_at, self.started_wall = time.monotonic(), datetime.now(UTC)
        self._launcher = Launcher(self._ports, self._data_dir)
        try:
            self._start()
        except BaseException:
            self._launcher.undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill(self, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """`kill -9` of a process; function and producer are started again, the others stay down.

        `meanwhile` is called before it is started again.
        """
        self._supervisor().kill(name, meanwhile)

    def hold(self, name: str) -> None:
        """Stop a process in order and keep it down."""
        self._supervisor().hold(name)

    def resume(self, name: str) -> None:
        """Start a process that is down and wait until it is ready."""
        self._supervisor().resume(name)

    def restart(self, name: str) -> None:
        """Stop a process in order and start it again."""
        self.hold(name)
        self.resume(name)

    def check(self) -> None:
        """Raise what has ended the stack, if something has."""
        self._supervisor().check()

    def figures(self) -> Figures:
        """What can be counted now; see `local.demo.figures`."""
        return read_figures(self, self.bigquery)

    def delivered(self) -> set[int]:
        """Ids of the posts that X has delivered since the start."""
        lines = ask(f"{self.x_url}/_standin/delivered").splitlines()
        return {int(line.split()[0]) for line in lines}

    def wait_rows(self, count: int, timeout: float) -> Figures:
        """Wait until the table holds at least `count` different posts.

        Raises:
            StackError: not within `timeout` seconds, or a process has ended for good.
        """
        return self._wait(lambda figures: figures.distinct >= count, f"{count} posts", timeout)

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
            self.check()
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
        ask(f"{self.x_url}/_standin/settings", {"count": 0})
        self.count = self.figures().made

    def first_row(self) -> float | None:
        """Seconds from the start to the first row of this run; None before there is one."""
        rows = self.bigquery.query(
            # The table's name comes from the program.
            f"SELECT MIN(inserted_at) AS first FROM `{self.tweets_table}` "  # noqa: S608
            "WHERE inserted_at >= @start",
            job_config=bigquery.QueryJobConfig(
                query_parameters=[
                    bigquery.ScalarQueryParameter("start", "TIMESTAMP", self.started_wall)
                ]
            ),
        ).result()
        first = next(iter(rows))["first"]
        return (first - self.started_wall).total_seconds() if first else None

    def verdict(self) -> Verdict:
        """Compare the ids that X delivered with those in the view."""
        return judge(self.delivered(), self.bigquery, self.tweets_table, self.tweets_latest)

    def stop(self) -> None:
        """End everything in order: producer, what is on the way, function, stand-ins."""
        with self._launcher.undo:
            if self.supervisor is not None and self.supervisor.failure is None:
                self.supervisor.end()
                self.processes["producer"].stop()
                deadline = time.monotonic() + DRAIN_SECONDS
                # A BigQuery that is held down takes nothing more, and is not asked.
                while self.processes["bigquery"].running and read_backlog(self):
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.2)

    def _supervisor(self) -> Supervisor:
        if self.supervisor is None:
            raise RuntimeError("LocalStack is not started: use it in a with statement")
        return self.supervisor

    def _wait(self, done: Callable[[Figures], bool], what: str, timeout: float) -> Figures:
        deadline = time.monotonic() + timeout
        while True:
            self.check()
            figures = self.figures()
            if done(figures):
                return figures
            if time.monotonic() > deadline:
                raise StackError(f"waited {timeout:.0f} s for {what}; there is: {figures.line()}")
            time.sleep(0.2)

    def _start(self) -> None:
        launcher, project = self._launcher, str(self._config["gcp:project"])
        x_flags: list[object] = ["--rate", self.rate, "--seed", self._seed]
        x_flags += ["--count", self.count] if self.count else []
        launcher.start_stand_ins(project, x_flags)
        try:
            self.program = evaluate_apart(self._stack, self._config)
        except ProgramError as error:
            raise BadInputError(str(error)) from error
        except RuntimeError as error:
            raise StackError(str(error)) from error
        launcher.wait_ready("pubsub")
        launcher.wait_ready("bigquery")
        self.messaging = Messaging(self.pubsub_address, project)
        launcher.undo.callback(self.messaging.close)
        self.bigquery = client(self.bigquery_url, project)
        launcher.undo.callback(self.bigquery.close)
        ground = Targets(
            self.messaging,
            LocalTables(self.bigquery),
            launcher.start_function,
            launcher.start_producer,
            launcher.url("function"),
        )
        self.placements = apply(self.program.resources, ground)
        for name in ("function", "producer"):
            if name not in self.processes:
                raise StackError(f"the program declares no {name} for the local stack to run.")
        if self._dashboard:
            launcher.start_dashboard(self.dataset)
        restarted = dict(self.processes)
        platform = {name: restarted.pop(name) for name in ("x", "pubsub", "bigquery")}
        self.supervisor = Supervisor(restarted, platform, optional={"dashboard"})
        launcher.undo.callback(self.supervisor.end)
        self.supervisor.start()
