"""`python -m local.x` as a process."""

import signal
import socket
import subprocess
import sys
import time

import httpx

from tests.x.clients import RULES, STREAM, TOKEN, post


def launch(*arguments: str) -> subprocess.Popen[str]:
    """Start the stand-in as the demo does."""
    return subprocess.Popen(
        [sys.executable, "-m", "local.x", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_says_ready_serves_and_ends_on_sigterm() -> None:
    """The ready line has the address; SIGTERM ends it with 0 within 2 s, a reader connected."""
    with launch("--rate", "100", "--count", "5") as process:
        assert process.stdout
        word, url = process.stdout.readline().split()
        assert word == "ready"
        post(url + RULES, json={"add": [{"value": "data"}]}, headers=TOKEN)
        with httpx.stream("GET", url + STREAM, headers=TOKEN) as response:
            lines = response.iter_lines()
            assert all(next(lines) for _ in range(5))
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
            assert time.monotonic() - began < 2
        assert process.stderr
        assert process.stderr.read() == ""


def test_a_busy_port_is_one_line_and_exit_2() -> None:
    """A port in use is told with its number and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with launch("--port", str(port)) as process:
            _, errors = process.communicate(timeout=10)
        assert process.returncode == 2
        assert len(errors.splitlines()) == 1
        assert f"127.0.0.1:{port}" in errors
        assert "--port" in errors


def test_a_wrong_setting_is_one_line_and_exit_2() -> None:
    """A value that cannot work is told with the rule."""
    with launch("--count", "-1") as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 2
    assert errors == "x: count is -1: it must be 0 or more\n"
