"""Starts the processes of the local stack and takes back, in order, all that it took."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local.machine.claim import LOCK, claim, scratch_folder
from local.machine.errors import BadInputError, StackError
from local.machine.function import Launch, function_launch
from local.machine.pod import PodContext, pod_launch
from local.machine.process import STAND_INS, Process, accepts, free_port
from local.machine.runtime import Runtime
from local.machine.watchdog import Watchdog
from local.standin import PortBusyError, require_free

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "services" / "dashboard"
PORTS = ("x", "pubsub", "pubsub-control", "bigquery", "function", "producer", "dashboard")
START_SECONDS = 30.0


class Launcher:
    """Ports, directories and processes of one run.

    Args:
        ports: ports by name (see `PORTS`); a name that is left out gets a free one.
        data_dir: keeps messages, rows and the producer's state; None forgets them at the end.

    Attributes:
        processes: by name, in the order of their start.
        logs: directory with one log a process; it stays after the end.

    Raises:
        BadInputError: a port or the directory can't be used.
    """

    def __init__(self, ports: Mapping[str, int], data_dir: Path | None) -> None:
        self.processes: dict[str, Process] = {}
        self.undo = contextlib.ExitStack()
        self._kept = data_dir is not None
        for name, number in ports.items():
            try:
                require_free(number)
            except PortBusyError as error:
                raise BadInputError(f"{error} {name}=NUMBER") from error
        self._ports = {name: ports.get(name) or free_port() for name in PORTS}
        try:
            self._take_directories(data_dir)
            self._watchdog = Watchdog()
            self.undo.callback(self._watchdog.close)
        except BaseException:
            self.undo.close()
            raise

    def address(self, name: str) -> str:
        """`host:port` of one of `PORTS`."""
        return f"127.0.0.1:{self._ports[name]}"

    def url(self, name: str) -> str:
        """The HTTP address of one of `PORTS`."""
        return f"http://{self.address(name)}"

    def start_stand_ins(self, project: str, x_flags: Sequence[object]) -> None:
        """Start X, Pub/Sub and BigQuery without waiting until they are ready."""
        flags: dict[str, list[object]] = {
            "x": [*x_flags],
            "pubsub": ["--control-port", self._ports["pubsub-control"]],
            "bigquery": ["--project", project],
        }
        if self._kept:
            flags["pubsub"] += ["--data-dir", self._state / "pubsub"]
            flags["bigquery"] += ["--data-dir", self._state / "bigquery"]
        # A stand-in is ours and may see the checkout; it needs nothing else of this environment.
        env = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        for name, extra in flags.items():
            argv = [sys.executable, "-u", "-m", f"local.{name}", "--port", self._ports[name]]
            words = [str(word) for word in (*argv, *extra)]
            self._launch(name, Launch(words, env, ROOT), grace=3.0)

    def start_function(self, inputs: Mapping[str, Any], archive: Path) -> None:
        """Start a Function's inputs with its source archive, without waiting."""
        overrides = {
            "PUBSUB_EMULATOR_HOST": self.address("pubsub"),
            "BIGQUERY_EMULATOR_HOST": self.url("bigquery"),
        }
        folder, port = self._scratch / "function", self._ports["function"]
        self._launch("function", function_launch(inputs, archive, folder, port, overrides))

    def start_producer(self, inputs: Mapping[str, Any], cluster: PodContext) -> None:
        """Start a Deployment's inputs once X and the function are ready, and wait for it."""
        overrides = {
            "PUBSUB_EMULATOR_HOST": self.address("pubsub"),
            "X_API_BASE_URL": self.url("x"),
            "HOST": "127.0.0.1",
        }
        folder, state = self._scratch / "producer", self._state / "producer"
        try:
            launch = pod_launch(inputs, cluster, folder, state, self._ports["producer"], overrides)
        except StackError as error:
            raise StackError(f"the Deployment can't run on this machine: {error}") from error
        self.wait_ready("x")
        if "function" in self.processes:
            self.wait_ready("function")
        self._launch("producer", launch, grace=12.0)
        self.wait_ready("producer")

    def start_dashboard(self, dataset: str) -> None:
        """Start the page of `services/dashboard` on `project.dataset`, without waiting."""
        folder = self._scratch / "dashboard"
        env = Runtime(folder, DASHBOARD / "requirements.txt").env
        env |= {"DATASET": dataset, "BIGQUERY_EMULATOR_HOST": self.url("bigquery")}
        argv = ["python", "serve.py", "--server.headless=true"]
        argv += [f"--server.port={self._ports['dashboard']}", "--server.address=127.0.0.1"]
        argv += ["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
        self._launch("dashboard", Launch(argv, env, DASHBOARD), grace=3.0)

    def wait_ready(self, name: str) -> None:
        """Wait until a process can be used.

        Raises:
            StackError: it ended or does not come up; a module that it lacks is named.
        """
        self.processes[name].wait_ready(START_SECONDS)

    def _launch(self, name: str, launch: Launch, grace: float = 10.0) -> None:
        if name in self.processes:
            raise StackError(f"the program declares two: the local stack runs one {name}.")
        port = self._ports[name]
        process = Process(
            name,
            launch.argv,
            env=launch.env,
            cwd=launch.cwd,
            log=self.logs / f"{name}.log",
            watchdog=self._watchdog,
            ready=None if name in STAND_INS else lambda _: accepts(port),
            grace=grace,
        )
        self.processes[name] = process
        self.undo.callback(process.stop)
        process.start()

    def _take_directories(self, data_dir: Path | None) -> None:
        self._scratch, held = scratch_folder("tweets-stack-")
        self.undo.enter_context(held)
        self.undo.callback(shutil.rmtree, self._scratch, ignore_errors=True)
        if data_dir is None:
            self.logs = Path(tempfile.mkdtemp(prefix="tweets-logs-"))
            self._state = self._scratch / "state"
            return
        self._state = data_dir.resolve()
        self.logs = self._state / "logs"
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            lock = claim(self._state / LOCK)
        except OSError as error:
            raise BadInputError(
                f"--data-dir {data_dir} can't be used: {error.strerror}."
            ) from error
        if lock is None:
            raise BadInputError(
                f"--data-dir {data_dir} is in use by another run: stop it or choose another."
            )
        self.undo.enter_context(lock)
