"""Keeps the processes of the stack running, as Kubernetes and Cloud Run would."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from local.machine.errors import StackError
from local.machine.process import STAND_INS, Process

CRASHES = 5
"""Ends in a row, each within SETTLED seconds of its start, after which the stack gives up."""
SETTLED = 30.0
LONGEST_WAIT = 8.0


class Supervisor:
    """Watches processes from a thread of its own: restarts some, and misses the others.

    Kubernetes starts a container again after 10 s, doubled up to five minutes; here the first
    restart is at once and the wait doubles up to 8 s, since a person is looking on.

    Args:
        processes: by name. Without a stand-in, which is the platform itself, the stack has failed;
            it goes on without its dashboard; every other is started again.

    Attributes:
        events: what happened to them, a line each.
        failure: what ended the stack, if something has.
    """

    def __init__(self, processes: Mapping[str, Process]) -> None:
        self.events: deque[str] = deque(maxlen=200)
        self.failure: StackError | None = None
        self._processes = dict(processes)
        self._held: set[str] = set()
        self._crashes = dict.fromkeys(processes, 0)
        self._lock = threading.RLock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def end(self) -> None:
        """Watch no longer; nothing is restarted after this returns."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def hold(self, name: str) -> None:
        """Stop a process and leave it stopped until `resume`."""
        with self._lock:
            self._held.add(name)
            self._processes[name].stop()
            self._say(f"{name} stopped on request")

    def resume(self, name: str) -> None:
        """Start a held process and wait until it is ready."""
        with self._lock:
            self._processes[name].start()
            self._held.discard(name)
        self._processes[name].wait_ready(30)
        self._say(f"{name} started on request")

    def kill(self, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """SIGKILL a process, its children too, and start it again, as the platform would.

        `meanwhile` is called when it has ended and has not been started again.
        """
        with self._lock:
            self._processes[name].kill()
            meanwhile()
            self._say(f"{name} killed on request")
            self._processes[name].start()

    def check(self) -> None:
        """Raise what ended the stack, if something has."""
        if self.failure is not None:
            raise self.failure

    def _say(self, event: str) -> None:
        self.events.append(f"{time.strftime('%H:%M:%S')} {event}")

    def _watch(self) -> None:
        while not self._end.wait(0.1) and self.failure is None:
            with self._lock:
                try:
                    for name in self._processes.keys() - self._held:
                        self._attend(name, self._processes[name])
                except StackError as error:
                    self._say(str(error).splitlines()[0])
                    self.failure = error

    def _attend(self, name: str, process: Process) -> None:
        if process.running:
            return
        if name in STAND_INS:
            raise StackError(process.obituary())
        age = time.monotonic() - process.started_at
        if process.ended_at is None:
            process.ended_at = time.monotonic()
            self._crashes[name] = 1 if age > SETTLED else self._crashes[name] + 1
            self._say(process.obituary().splitlines()[0])
            if name == "dashboard":
                self._held.add(name)
                return
            process.raise_known()
            if self._crashes[name] > CRASHES:
                raise StackError(f"{CRASHES} restarts in a row did not help: {process.obituary()}")
        crashes = self._crashes[name]
        wait = 0.0 if crashes <= 1 else min(0.5 * 2 ** (crashes - 1), LONGEST_WAIT)
        if time.monotonic() - process.ended_at >= wait:
            process.start()
            self._say(f"{name} started again")
