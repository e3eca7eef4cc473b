"""Ends what the stack started when the stack itself can't: after `kill -9` of the demo.

`python -m local.machine.watchdog` is started in a session of its own and reads its standard input,
a pipe whose other end only the stack holds: `+<process group>` when a child starts, `-<process
group>` when it is gone. The end of the pipe means that the stack has died; what is left is killed,
which each of them survives with its data. A pipe works the same on Linux and macOS, reaches the
children of children (gunicorn's worker), and unlike PR_SET_PDEATHSIG does not fire when only the
thread that started a child ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys


class Watchdog:
    """The stack's end of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.machine.watchdog"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """End this process group should the stack die."""
        self._write(f"+{group}\n")

    def forget(self, group: int) -> None:
        """This process group has ended; its number may soon be someone else's."""
        self._write(f"-{group}\n")

    def close(self) -> None:
        """End whatever is still watched, and the watchdog itself."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        self._process.wait()

    def _write(self, line: str) -> None:
        if self._process.stdin:
            with contextlib.suppress(OSError):  # someone killed the watchdog: the run goes on
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()


def kill_group(group: int) -> None:
    """SIGKILL a process group, if it has not ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a zombie's
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    """Read the pipe to its end, then end the groups that are left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    for group in groups:
        kill_group(group)


if __name__ == "__main__":
    main()
