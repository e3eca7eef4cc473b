"""Processes of the stack: start, readiness, end, and what ends them when nobody else does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from local.machine.errors import BadInputError, StackError
from local.machine.launcher import Launcher
from local.machine.process import Process, accepts, free_port
from local.machine.watchdog import Watchdog
from local.standin import require_free


def process(code: str, folder: Path, watchdog: Watchdog, **options: float) -> Process:
    """A process of the stack that runs a few lines of Python."""
    return Process(
        "child",
        [sys.executable, "-u", "-c", textwrap.dedent(code)],
        env={"PATH": os.defpath},
        cwd=folder,
        log=folder / "logs" / "child.log",
        watchdog=watchdog,
        **options,  # type: ignore[arg-type]
    )


def gone(pid: int, seconds: float = 8.0) -> bool:
    """Whether a process ends within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_reads_the_address_that_a_child_announces(tmp_path: Path, watchdog: Watchdog) -> None:
    """A child is ready when it says so, and its address is what follows."""
    child = process(
        "import time; print('warming'); print('ready 127.0.0.1:1'); time.sleep(60)",
        tmp_path,
        watchdog,
    )
    child.start()
    child.wait_ready(10)
    assert child.announced() == "127.0.0.1:1"
    assert child.memory() > 1_000_000
    child.stop()
    assert not child.running
    assert child.memory() == 0


def test_a_restart_reads_its_own_output_only(tmp_path: Path, watchdog: Watchdog) -> None:
    """The `ready` of the run before does not make the next run ready."""
    child = process(
        "import time; time.sleep(.2); print('ready x'); time.sleep(60)", tmp_path, watchdog
    )
    child.start()
    child.wait_ready(10)
    child.kill()
    child.start()
    assert child.announced() is None
    child.wait_ready(10)
    child.kill()


def test_a_child_that_dies_leaves_its_last_words(tmp_path: Path, watchdog: Watchdog) -> None:
    """The message names the process, how it ended and its last lines."""
    child = process("raise SystemExit('the token is empty')", tmp_path, watchdog)
    child.start()
    with pytest.raises(StackError, match=r"child ended with exit code 1.*\n  the token is empty"):
        child.wait_ready(10)
    child = process("import os; os.kill(os.getpid(), 9)", tmp_path, watchdog)
    child.start()
    with pytest.raises(StackError, match=r"ended by SIGKILL(.|\n)*\(it wrote nothing\)"):
        child.wait_ready(10)


def test_exit_code_two_is_bad_input(tmp_path: Path, watchdog: Watchdog) -> None:
    """A child that answers bad input with one line passes that line on."""
    child = process("print('port 1 is busy'); raise SystemExit(2)", tmp_path, watchdog)
    child.start()
    with pytest.raises(BadInputError, match=r"^the child can't run: port 1 is busy$"):
        child.wait_ready(10)


def test_stop_is_patient_then_firm(tmp_path: Path, watchdog: Watchdog) -> None:
    """A child that ignores SIGTERM is killed after its grace, with its own children."""
    child = process(
        """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print("ready", inner.pid); time.sleep(60)
        """,
        tmp_path,
        watchdog,
        grace=0.2,
    )
    child.start()
    child.wait_ready(10)
    inner = int(child.announced() or 0)
    child.stop()
    assert child.returncode == -signal.SIGKILL
    assert gone(inner)


def test_the_environment_is_only_what_is_given(
    tmp_path: Path, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of this process's environment reaches a child."""
    monkeypatch.setenv("X_BEARER_TOKEN", "AAAA")
    child = process(
        "import os; print('ready', 'X_BEARER_TOKEN' in os.environ); raise SystemExit",
        tmp_path,
        watchdog,
    )
    child.start()
    child.wait_ready(10)
    assert child.announced() == "False"
    child.stop()


def test_no_orphan_after_kill_nine_of_the_parent(tmp_path: Path) -> None:
    """When the parent is killed, the watchdog ends its children and theirs, then itself."""
    script = textwrap.dedent(
        f"""
        import os, sys, time
        from pathlib import Path
        from local.machine.process import Process
        from local.machine.watchdog import Watchdog
        dog = Watchdog()
        folder = Path({str(tmp_path)!r})
        code = ("import signal, subprocess, sys, time;"
                "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
                "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
                "print('ready', p.pid, flush=True); time.sleep(60)")
        child = Process("child", [sys.executable, "-c", code], env={{}}, cwd=folder,
                        log=folder / "log", watchdog=dog)
        child.start(); child.wait_ready(10)
        print(child.pid, child.announced(), dog._process.pid, flush=True)
        time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 3
    assert all(gone(pid) for pid in pids)


def test_a_busy_port_is_named_with_its_flag() -> None:
    """The line says which port, for what, and which flag chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert accepts(port)
        with pytest.raises(BadInputError, match=rf"127.0.0.1:{port} .* --port pubsub=NUMBER"):
            Launcher({"pubsub": port}, None)
    require_free(free_port())
