"""A process of a measurement: JSON lines in and out, and what it used of processor and memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
SILENCE = 150.0


class BenchError(Exception):
    """A measurement can't be made: one line for a person."""


@dataclass(frozen=True)
class ProcessUsage:
    """Of a process and its children: processor seconds so far, largest resident megabytes."""

    cpu: float
    peak: float


class Child:
    """`python -m <words>` that answers each JSON line on its input with one on its output.

    Args:
        words: module and arguments, or with `command` the whole command.
        env: the whole environment; None inherits.
        log: file for its standard error (and output, where `talks` is False).
        talks: whether it speaks JSON lines.

    Raises:
        BenchError: it has ended, or does not answer.
    """

    def __init__(
        self,
        *words: object,
        command: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        log: Path | None = None,
        talks: bool = True,
    ) -> None:
        argv = [str(word) for word in words]
        self.name = " ".join(argv[:2])
        self.log = log
        self.port = 0
        start = [] if command else [sys.executable, "-m"]
        with log.open("ab") if log else contextlib.nullcontext() as errors:
            self.process = subprocess.Popen(
                [*start, *argv],
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else errors or subprocess.DEVNULL,
                stderr=errors,
                env=None if env is None else dict(env),
                cwd=cwd,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def hear(self) -> dict[str, Any]:
        """The next line that it says; one that says nothing for SILENCE is killed."""
        timer = threading.Timer(SILENCE, self.process.kill)
        timer.start()
        line = self.process.stdout.readline() if self.process.stdout else ""
        timer.cancel()
        if not line:
            raise BenchError(f"{self.name} ended: {self.last_words()}")
        said: dict[str, Any] = json.loads(line)
        return said

    def tell(self, **words: Any) -> None:
        """Say a line to it."""
        if self.process.stdin is None:
            raise BenchError(f"{self.name} does not listen")
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def ask(self, **words: Any) -> dict[str, Any]:
        """Say a line and return its answer."""
        self.tell(**words)
        return self.hear()

    def usage(self) -> ProcessUsage:
        """What it and its children have used."""
        cpu = peak = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            for each in [parent, *parent.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = each.cpu_times()
                    cpu += times.user + times.system
                    peak += peak_bytes(each) / 2**20
        return ProcessUsage(cpu, peak)

    def resident(self) -> float:
        """Resident megabytes now, children included."""
        parent = psutil.Process(self.process.pid)
        return sum(
            each.memory_info().rss for each in [parent, *parent.children(recursive=True)]
        ) / float(2**20)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 15 s; the pipes are closed."""
        if self.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(self.process.pid).children(recursive=True)
                self.process.terminate()
                try:
                    self.process.wait(15)
                except subprocess.TimeoutExpired:
                    for each in [*family, psutil.Process(self.process.pid)]:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            each.kill()
                    self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text().splitlines() if self.log and self.log.exists() else []
        return lines[-1] if lines else f"exit code {self.process.poll()}, no words"


def peak_bytes(process: psutil.Process) -> int:
    """The largest resident memory of a process; where the kernel keeps none, the present one."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)


def say(**words: Any) -> None:
    """In a child: say a line to the parent."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def told() -> dict[str, Any] | None:
    """In a child: the parent's next line, None when it has gone."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def wait_until(condition: Any, seconds: float, what: str) -> None:
    """Return once `condition()` holds.

    Raises:
        BenchError: not within `seconds`.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


def clean_environment(**more: str) -> dict[str, str]:
    """PATH, HOME and LANG of this process and `more`; no credentials, no settings of ours."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, **more}
