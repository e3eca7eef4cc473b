"""The interpreter that the function and the producer run in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.machine.errors import StackError
from local.machine.runtime import Runtime


def run(runtime: Runtime, code: str) -> str:
    """Standard output and error of a line of Python in the runtime."""
    done = subprocess.run(
        [str(runtime.bin / "python"), "-c", code], capture_output=True, text=True, cwd="/"
    )
    return done.stdout + done.stderr


LOCK = Path(__file__).resolve().parents[2] / "services/sink_function/requirements.txt"


def test_holds_what_a_lock_names(tmp_path: Path) -> None:
    """Each line is importable, in a namespace package too; a marker is read, a comment is none."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f'# comment\n{LOCK.read_text()}\nnonsuch ; sys_platform == "plan9"\n')
    runtime = Runtime(tmp_path / "runtime", requirements)
    assert run(runtime, "import google.cloud.pubsub, grpc; print('both')") == "both\n"


def test_hides_the_project_and_every_other_package(tmp_path: Path) -> None:
    """Neither the editable install of this project nor an unlisted package can be imported."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("orjson\n")
    runtime = Runtime(tmp_path / "runtime", requirements)
    assert "No module named 'sink'" in run(runtime, "import sink")
    assert "No module named 'tweepy'" in run(runtime, "import tweepy")


def test_has_the_commands_of_its_packages(tmp_path: Path) -> None:
    """The bare command `functions-framework`, which the buildpack starts, is there."""
    runtime = Runtime(tmp_path / "runtime", LOCK)
    done = subprocess.run(
        [str(runtime.bin / "functions-framework"), "--help"], capture_output=True, text=True
    )
    assert "--target" in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no-such-distribution-here==1\n", "no-such-distribution-here, which is not installed"),
        ("not a requirement\n", "'not a requirement' is no requirement"),
        (None, "can't be read"),
    ],
)
def test_says_what_is_wrong_with_the_requirements(
    tmp_path: Path, text: str | None, words: str
) -> None:
    """A package that is not here, a broken line and a missing file are each named."""
    requirements = tmp_path / "requirements.txt"
    if text is not None:
        requirements.write_text(text)
    with pytest.raises(StackError, match=words):
        Runtime(tmp_path / "runtime", requirements)
