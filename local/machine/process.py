"""The processes of the stack: how one starts, becomes ready, ends, and is replaced."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from local.machine.errors import BadInputError, StackError
from local.machine.watchdog import Watchdog, kill_group

READY = re.compile(r"^ready (\S+)", re.MULTILINE)
STAND_INS = ("x", "pubsub", "bigquery")
BAD_INPUT = 2
"""Exit code by which our programs say that their last line is what a person must mend."""


class Process:
    """One child in a session of its own, its output in one log file.

    Args:
        name: what it is in the stack: producer, function, pubsub, bigquery, x, dashboard.
        argv: the command; the first word is looked up on the PATH of `env`.
        env: the whole environment; nothing is inherited.
        cwd: working directory.
        log: file that standard output and error are appended to.
        watchdog: ends the child should this process die first.
        ready: says from the process whether it can be used; the default is a line
            `ready <address>` on its output (see `announced`).
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        watchdog: Watchdog,
        ready: Callable[[Process], bool] | None = None,
        grace: float = 10.0,
    ) -> None:
        self.name, self.argv, self.env, self.cwd, self.log = name, list(argv), dict(env), cwd, log
        self.grace = grace
        self.starts = 0
        self.started_at = 0.0
        self.ended_at: float | None = None
        self._ready = ready or (lambda process: process.announced() is not None)
        self._watchdog = watchdog
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """Process id, which is also its process group; None before the first start."""
        return self._child.pid if self._child else None

    @property
    def returncode(self) -> int | None:
        """None while it runs, else its exit code, negative for a signal."""
        return self._child.poll() if self._child else None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it without waiting until it is ready.

        Raises:
            StackError: the command can't be started.
        """
        self.kill()  # nothing of the run before may answer in place of this one
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._child = subprocess.Popen(
                    self.argv,
                    env=self.env,
                    cwd=self.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(
                    f"the {self.name} can't start: {self.argv[0]!r}: {error.strerror}"
                ) from error
        self._watchdog.watch(self._child.pid)
        self.starts += 1
        self.started_at, self.ended_at = time.monotonic(), None

    def announced(self) -> str | None:
        """The address that the current run announced with a line `ready <address>`."""
        match = READY.search(self.output())
        return match.group(1) if match else None

    def wait_ready(self, timeout: float) -> None:
        """Wait until it can be used.

        Raises:
            StackError: it ended, or is not ready within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self._ready(self):
            if not self.running:
                self.raise_known()
                raise StackError(self.obituary())
            if time.monotonic() > deadline:
                raise StackError(
                    f"the {self.name} is not ready after {timeout:.0f} s; see {self.log}"
                )
            time.sleep(0.02)

    def raise_known(self) -> None:
        """Raise in one line what a start more can't mend, if it ended by that.

        Raises:
            BadInputError: it ended with exit code 2, so its own line says what is wrong.
            StackError: it lacks a module.
        """
        if self.returncode == BAD_INPUT and (lines := self.last_lines(1)):
            raise BadInputError(f"the {self.name} can't run: {lines[0]}")
        if module := missing_module(self.output()):
            raise StackError(
                f"the {self.name} can't start: module {module!r} is neither in what the program "
                f"bundles for it ({self.cwd}) nor in its requirements.txt; see {self.log}"
            )

    def output(self) -> str:
        """What the current run has written so far."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")
        return ""

    def last_lines(self, count: int) -> list[str]:
        """The last lines of the current run that are not blank; of a structured one its message."""
        lines = [line for line in self.output().splitlines() if line.strip()]
        return [_message(line) for line in lines[-count:]]

    def obituary(self) -> str:
        """How it ended, with its last words, as one message."""
        code = self.returncode
        how = f"by {signal.Signals(-code).name}" if code and code < 0 else f"with exit code {code}"
        words = "\n  ".join(self.last_lines(5)) or "(it wrote nothing)"
        return f"the {self.name} ended {how}; see {self.log}\n  {words}"

    def memory(self) -> int:
        """Resident bytes of the process and its children, 0 when it has ended."""
        total = 0
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(self.pid) if self.running else None
            for each in [parent, *parent.children(recursive=True)] if parent else []:
                with contextlib.suppress(psutil.Error):
                    total += each.memory_info().rss
        return total

    def stop(self) -> None:
        """SIGTERM, wait up to `grace` seconds, then SIGKILL; returns when it has ended."""
        if self._child is None:
            return
        if self.running:
            self._child.terminate()  # its leader only: gunicorn ends its workers in order
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(self.grace)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole process group, as a lost machine would end it."""
        if self._child is not None:
            kill_group(self._child.pid)
            self._child.wait()
            self._watchdog.forget(self._child.pid)


def missing_module(output: str) -> str | None:
    """The module that a traceback in a process's output could not import, if there is one.

    Shapes: `No module named 'sink.rows'` and `cannot import name 'rows' from 'sink' (...)`.
    """
    for pattern in (r"No module named '([\w.]+)'", r"cannot import name '(\w+)' from '([\w.]+)'"):
        if match := re.search(pattern, output):
            return ".".join(reversed(match.groups()))
    return None


def _message(line: str) -> str:
    """The message of a line in Cloud Logging's JSON form, else the line."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        return line


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Whether something on the loopback interface accepts connections on `port`."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
