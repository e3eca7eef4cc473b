"""`make demo` as a person uses it: its verdict, its end, its answers to wrong input."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from local.demo.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


CLOSED = "http://127.0.0.1:9"
"""A company's proxy that answers nothing: whatever asks it fails or hangs."""
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "grpc_proxy", "all_proxy")


@contextmanager
def demo(*flags: str, tmp: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """The demo in a session of its own, behind a proxy, killed at the latest when the block ends.

    `tmp` is where it makes its temporary folders.
    """
    known = {key: value for key, value in os.environ.items() if key.lower() != "no_proxy"}
    env = known | dict.fromkeys(PROXIES, CLOSED) | ({"TMPDIR": str(tmp)} if tmp else {})
    process = subprocess.Popen(
        [sys.executable, "-m", "local.demo", "--no-dashboard", *flags],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        with process:
            yield process
            process.kill()
    finally:
        process.kill()


def wait_for(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read the demo's lines up to one that matches."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"no line {pattern!r} in {''.join(lines)}")


def left_of(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Which of the processes are still there after at most so many seconds."""
    deadline = time.monotonic() + seconds
    left = processes
    while left and time.monotonic() < deadline:
        left = [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.1)
    return left


def ask(sql: str) -> subprocess.CompletedProcess[str]:
    """What the query command says of the demo that runs from this checkout."""
    asked = [sys.executable, "-m", "local.demo.query", sql]
    env = {key: value for key, value in os.environ.items() if key.lower() != "no_proxy"}
    env |= dict.fromkeys(PROXIES, CLOSED)
    return subprocess.run(asked, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def test_a_counted_run_ends_with_its_verdict() -> None:
    """Plain lines list every resource, where everything is, the figures, and then the verdict."""
    # With reposts, which X cuts and the verdict wants whole; Pulumi.dev.yaml's rule has none.
    rules = '[{"value": "cats lang:en", "tag": "cats"}]'
    with demo("--count", "300", "--seed", "7", "--rules", rules) as process:
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert "300 posts, 300 rows, 0 lost, 0 doubled\n" in output
    assert "\n0 dead letters\n" in output
    assert re.search(r"^first row \d+\.\d s after the start$", output, re.MULTILINE)
    assert re.search(r"^memory \d+ MB: x \d+, pubsub", output, re.MULTILINE)
    assert re.search(r"^applied +gcp:pubsub/topic:Topic +topic: projects/", output, re.MULTILINE)
    assert re.search(r"^cloud-only +gcp:container/cluster:Cluster ", output, re.MULTILINE)
    assert "no local counterpart" not in output, (
        "a resource type is in no table of local/engine/apply.py"
    )
    assert "synthetic-token" not in output
    for name in ("query: +.venv/bin/python -m local.demo.query", "metrics: +http://127.0.0.1:"):
        assert len(re.findall(rf"^{name}", output, re.MULTILINE)) == 1
    for name in ("BigQuery: +http://127.0.0.1:", r"Pub/Sub: +127.0.0.1:\d+", "X: +http://"):
        assert len(re.findall(rf"^{name}", output, re.MULTILINE)) == 1


def test_each_of_two_demos_is_found_and_ends_with_its_verdict() -> None:
    """The query command asks the one started last that runs; a time and SIGTERM end as a count."""
    with demo("--rate", "3", "--seed", "1") as first:
        wait_for(first, r" [1-9]\d* rows,")
        with demo("--rate", "3", "--duration", "30", "--config", "tweets:dataset=second") as second:
            wait_for(second, r" [1-9]\d* rows,")
            answer = ask("SELECT 'found' AS it FROM second.tweets LIMIT 1")
            assert "found" in answer.stdout, answer.stderr
            output, _ = second.communicate(timeout=60)
            assert second.returncode == 0, output
            assert re.search(r"^(\d+) posts, \1 rows, 0 lost, 0 doubled$", output, re.MULTILINE)
        answer = ask("SELECT 'found' AS it FROM tweet_data.tweets LIMIT 1")
        assert "found" in answer.stdout, answer.stderr
        first.terminate()
        output, _ = first.communicate(timeout=60)
        assert first.returncode == 0, output
        assert re.search(r"^(\d+) posts, \1 rows, 0 lost, 0 doubled$", output, re.MULTILINE)
    answer = ask("SELECT 1")
    assert answer.returncode == 2
    assert answer.stderr.startswith("query: no demo runs from this checkout: start `make demo`")


def test_ctrl_c_and_kill_leave_nothing_but_the_data(tmp_path: Path) -> None:
    """Ctrl-C and `kill -9` both leave no process; the next run on the directory has the rows."""
    flags = ("--rate", "5", "--data-dir", str(tmp_path / "data"))
    with demo(*flags, tmp=tmp_path) as process:
        wait_for(process, r" [1-9]\d* rows,")
        children = psutil.Process(process.pid).children(recursive=True)
        assert {"local.x", "local.pubsub", "local.bigquery", "local.machine.watchdog"} <= {
            word for child in children for word in child.cmdline()
        }
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the demo's whole group
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
        assert "stopping" in output
        assert re.search(r"^(\d+) posts, \1 rows, 0 lost, 0 doubled$", output, re.MULTILINE)
    assert not left_of(children, 1)
    assert not list(tmp_path.glob("tweets-stack-*"))

    with demo(*flags, tmp=tmp_path) as process:
        seen = int(wait_for(process, r" ([1-9]\d*) rows,")[1])
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert not left_of(children, 15)
    assert len(list(tmp_path.glob("tweets-stack-*"))) == 1

    with demo("--count", "50", "--data-dir", str(tmp_path / "data"), tmp=tmp_path) as process:
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert "50 posts, 50 rows, 0 lost, 0 doubled\n" in output
    earlier = re.search(r"^(\d+) rows in the view from before this run$", output, re.MULTILINE)
    assert earlier, output
    assert int(earlier[1]) >= seen
    assert not list(tmp_path.glob("*tweets-stack-*")), "the folder of the killed run is left"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rate", "fast"], "argument --rate: 'fast' must be a number from 0 up"),
        (["--rate", "nan"], "argument --rate: 'nan' must be a number from 0 up"),
        (["--count", "0"], "argument --count: '0' must be a whole number from 1 up"),
        (["--config", "x"], "argument --config: 'x' must be KEY=VALUE"),
        (["--config", "tweets:rules=[}"], "the value is not YAML"),
        (["--rules", "nowhere.json"], "'nowhere.json': No such file or directory"),
        (["--rules", "[{]"], "'[{]' is not JSON"),
        (["--rules", "{}"], "'{}' must be a JSON list such as [{"),
        (["--rules", "[]"], "'[]' must be a JSON list such as [{"),
        (["--port", "moon=1"], "'moon=1' must be NAME=NUMBER"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_flag_is_one_line(
    capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    """What is wrong with which flag, exit code 2, and nothing was started."""
    with pytest.raises(SystemExit) as ended:
        main(flags)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("demo: ")
    assert words in line


def test_what_can_not_be_used_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A busy port, a file as directory, an unknown stack, a refused setting: exit code 2."""
    file = tmp_path / "file"
    file.touch()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        cases = [
            (
                ["--port", f"bigquery={port}"],
                "end what listens there, or name another --port bigquery=NUMBER",
            ),
            (["--data-dir", str(file)], f"--data-dir {file} can't be used: File exists."),
            (["--stack", "moon"], "Pulumi.moon.yaml does not exist"),
            (["--config", "tweets:postBudget=-1"], "set it: --config tweets:postBudget=VALUE"),
            (["--config", "tweets:xBearerToken="], "tweets:xBearerToken"),
            (["--rules", '[{"value": "cat"}]'], "give --rules a JSON list such as [{"),
        ]
        for flags, words in cases:
            assert main(flags) == 2
            [line] = capsys.readouterr().err.splitlines()
            assert line.startswith("demo: ")
            assert words in line
            assert "pulumi config" not in line


def test_a_rule_that_x_refuses_is_one_line_with_its_words() -> None:
    """X's own error about the rule reaches the person, exit code 2."""
    with demo("--rules", '[{"value": "((", "tag": "x"}]') as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    last = output.splitlines()[-1]
    assert last.startswith("demo: the producer can't run: X refuses 1 rule(s): '(('")
