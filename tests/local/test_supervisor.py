"""Which ended processes come back, which end the stack, and with what words."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local.machine import supervisor as supervision
from local.machine.errors import BadInputError, StackError
from local.machine.process import Process
from local.machine.supervisor import Supervisor
from local.machine.watchdog import Watchdog

STEADY = "print('ready x', flush=True); import time; time.sleep(60)"
Make = Callable[[str, str], Process]


@pytest.fixture
def make(tmp_path: Path, watchdog: Watchdog) -> Make:
    """Makes and starts a process of the stack from a name and a line of Python."""

    def made(name: str, code: str) -> Process:
        process = Process(
            name,
            [sys.executable, "-c", code],
            env={},
            cwd=tmp_path,
            log=tmp_path / f"{name}.log",
            watchdog=watchdog,
        )
        process.start()
        return process

    return made


def wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def end(supervisor: Supervisor, *processes: Process) -> None:
    """End the supervisor, then the processes."""
    supervisor.end()
    for process in processes:
        process.kill()


def test_a_killed_process_comes_back(make: Make) -> None:
    """Killed from outside or on request, the function is started again at once."""
    function, x = make("function", STEADY), make("x", STEADY)
    supervisor = Supervisor({"function": function, "x": x})
    supervisor.start()
    function.wait_ready(10)
    function.kill()
    wait(lambda: function.starts == 2 and function.announced())
    supervisor.kill("function")
    wait(lambda: function.starts == 3 and function.announced())
    supervisor.check()
    assert [event.split(" ", 1)[1] for event in supervisor.events][:2] == [
        f"the function ended by SIGKILL; see {function.log}",
        "function started again",
    ]
    end(supervisor, function, x)


def test_a_held_process_stays_down_until_it_is_resumed(make: Make) -> None:
    """What was stopped on request is neither restarted nor missed."""
    function, x = make("function", STEADY), make("x", STEADY)
    supervisor = Supervisor({"function": function, "x": x})
    supervisor.start()
    for name, process in (("function", function), ("x", x)):
        supervisor.hold(name)
        time.sleep(0.3)
        assert not process.running
        supervisor.check()
        supervisor.resume(name)
        assert process.running
    end(supervisor, function, x)


def test_a_stand_in_that_ends_ends_the_stack(make: Make) -> None:
    """Nothing replaces Google: its end is the stack's, with its last words."""
    x = make("x", "raise SystemExit('the disk is full')")
    supervisor = Supervisor({"x": x})
    supervisor.start()
    wait(lambda: supervisor.failure)
    with pytest.raises(StackError, match=r"the x ended with exit code 1(.|\n)*disk is full"):
        supervisor.check()
    end(supervisor)


def test_a_crash_loop_ends_the_stack(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts that do not help are given up, with the last words."""
    monkeypatch.setattr(supervision, "LONGEST_WAIT", 0.05)
    producer = make("producer", "raise SystemExit('boom')")
    supervisor = Supervisor({"producer": producer})
    supervisor.start()
    wait(lambda: supervisor.failure)
    with pytest.raises(StackError, match=r"5 restarts in a row did not help(.|\n)*boom"):
        supervisor.check()
    assert producer.starts == 1 + supervision.CRASHES
    end(supervisor)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (
            """print('{"severity": "CRITICAL", "message": "no token"}'); raise SystemExit(2)""",
            BadInputError,
            r"^the producer can't run: no token$",
        ),
        (
            "import no.such.module",
            StackError,
            r"^the producer can't start: module 'no' is neither in what the program bundles",
        ),
    ],
)
def test_what_a_restart_can_not_mend_ends_the_stack(
    make: Make, code: str, kind: type[StackError], words: str
) -> None:
    """Bad input and a missing module are reported once, in one line, without restarts."""
    producer = make("producer", code)
    supervisor = Supervisor({"producer": producer})
    supervisor.start()
    wait(lambda: supervisor.failure)
    with pytest.raises(kind, match=words) as raised:
        supervisor.check()
    assert "\n" not in str(raised.value)
    assert producer.starts == 1
    end(supervisor)


def test_the_stack_goes_on_without_its_page(make: Make) -> None:
    """The dashboard is a view of the stack, not a part of it."""
    page = make("dashboard", "raise SystemExit('no')")
    supervisor = Supervisor({"dashboard": page})
    supervisor.start()
    wait(lambda: supervisor.events)
    time.sleep(0.3)
    supervisor.check()
    assert page.starts == 1
    end(supervisor)
