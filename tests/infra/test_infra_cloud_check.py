"""`make cloud-check` and the guard of destroy.yml, with a pulumi that only notes what it gets."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local.engine.program import ROOT

PULUMI = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$1 $2" in
  "config --json") cat "$HERE/config.json" ;;
  "stack export") cat "$HERE/state.json" ;;
esac
case " $* " in *"$FAILS"*) echo "pulumi says no" >&2; exit 3 ;; esac
"""


@pytest.fixture
def pulumi(tmp_path: Path) -> Path:
    """A folder with a pulumi command, for a stack that nothing protects."""
    (tmp_path / "pulumi").write_text(PULUMI, "utf-8")
    (tmp_path / "pulumi").chmod(0o755)
    setting(tmp_path, "false")
    state(tmp_path)
    return tmp_path


def setting(here: Path, protect: str | None) -> None:
    """What the stack's configuration says of protection."""
    given = {} if protect is None else {"tweets:protect": {"value": protect, "secret": False}}
    (here / "config.json").write_text(json.dumps(given), "utf-8")


def state(here: Path, *protected: str) -> None:
    """A stack's state, in which some resources are protected."""
    resources = [{"urn": f"urn:pulumi:check::tweets::t::{n}", "protect": True} for n in protected]
    resources.append({"urn": "urn:pulumi:check::tweets::t::free"})
    (here / "state.json").write_text(json.dumps({"deployment": {"resources": resources}}), "utf-8")


def calls(here: Path) -> list[str]:
    """The commands that pulumi got, but for those that only ask."""
    noted = here / "calls"
    lines = noted.read_text("utf-8").splitlines() if noted.exists() else []
    return [line for line in lines if not line.startswith(("config", "stack export"))]


def environment(here: Path, fails: str) -> dict[str, str]:
    """With the stand-in alone on PATH beside the shell's own commands."""
    path = f"{here}{os.pathsep}/usr/bin{os.pathsep}/bin"
    calls_file, fails = str(here / "calls"), fails or "nothing fails"
    return {**os.environ, "PATH": path, "HERE": str(here), "CALLS": calls_file, "FAILS": fails}


Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(pulumi: Path) -> Check:
    """Runs the check at a terminal on which a person types."""

    def run(*arguments: str, typed: str = "", fails: str = "") -> tuple[int, str]:
        ours, theirs = pty.openpty()
        try:
            os.write(ours, typed.encode())
            ran = subprocess.run(
                [sys.executable, "-m", "infra.cloud_check", *arguments],
                cwd=ROOT,
                env=environment(pulumi, fails),
                stdin=theirs,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)
        return ran.returncode, ran.stdout + ran.stderr

    return run


STEPS = [
    "preview --stack check",
    "up --yes --skip-preview --stack check",
    "preview --expect-no-changes --stack check",
    "refresh --preview-only --expect-no-changes --stack check",
]


def test_all_hold_and_nothing_is_destroyed_unasked(check: Check, pulumi: Path) -> None:
    """Four steps, a verdict each; without the name typed again the stack stands."""
    code, said = check("check", typed="check\n\n")
    assert code == 0
    assert calls(pulumi) == STEPS
    assert [line for line in said.splitlines() if line.startswith("ok ")] == [
        "ok    first preview: the plan can be made",
        "ok    up: everything is made at the first try",
        "ok    second preview: nothing is left to change",
        "ok    refresh: Google and Kubernetes have what was declared",
    ]
    assert "3 of 3 hold" in said
    assert "pulumi destroy --stack check" in said


def test_it_destroys_what_it_is_told_to(check: Check, pulumi: Path) -> None:
    """The stack's name, typed at the end, destroys it."""
    assert check("check", typed="check\ncheck\n")[0] == 0
    assert calls(pulumi) == [*STEPS, "destroy --yes --stack check"]


@pytest.mark.parametrize("answer", ["\n", "yes\n", "dev\n"])
def test_nothing_is_made_unasked(check: Check, pulumi: Path, answer: str) -> None:
    """Anything but the stack's name stops it after the preview."""
    code, said = check("check", typed=answer)
    assert code == 2
    assert "nothing was made" in said
    assert calls(pulumi) == STEPS[:1]


@pytest.mark.parametrize(
    ("fails", "verdict", "made"),
    [
        ("preview --stack", "FAIL  first preview: it does not hold that the plan can be made", 1),
        ("up --yes", "FAIL  up: it does not hold that everything is made at the first try", 2),
        ("preview --expect", "FAIL  second preview: it does not hold that nothing is left", 4),
        ("refresh", "FAIL  refresh: it does not hold that Google and Kubernetes have", 4),
    ],
)
def test_what_does_not_hold_is_named(
    check: Check, pulumi: Path, fails: str, verdict: str, made: int
) -> None:
    """A step that fails gets its verdict and exit code 1; after a failed `up` no more are tried."""
    code, said = check("check", typed="check\n\n", fails=fails)
    assert code == 1
    assert verdict in said
    assert calls(pulumi) == STEPS[:made]


@pytest.mark.parametrize(
    ("protect", "kept", "words"),
    [
        ("true", (), "pulumi config set tweets:protect false --stack check"),
        (None, (), "tweets:protect is not set; set it"),
        (
            "false",
            ("tweets", "sink"),
            "its state protects tweets, sink; let go of it first: pulumi up --stack check",
        ),
    ],
)
def test_a_protected_stack_is_refused(
    check: Check, pulumi: Path, protect: str | None, kept: tuple[str, ...], words: str
) -> None:
    """By the setting, its absence, or the state: neither the check nor the guard goes on."""
    setting(pulumi, protect)
    state(pulumi, *kept)
    code, said = check("check", typed="check\ncheck\n")
    assert (code, calls(pulumi)) == (2, [])
    assert words in said
    ran = guard(pulumi, "check")
    assert ran.returncode == 1
    assert ran.stderr.startswith("Nothing was destroyed: the stack check is protected: ")
    assert words in ran.stderr


def guard(here: Path, *arguments: str, fails: str = "") -> subprocess.CompletedProcess[str]:
    """What destroy.yml runs before it destroys."""
    return subprocess.run(
        [sys.executable, "-m", "infra.protection", *arguments],
        cwd=ROOT,
        env=environment(here, fails),
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unprotected_stack_may_be_destroyed(pulumi: Path) -> None:
    """The guard lets it pass, and fails where pulumi cannot tell: never the other way round."""
    assert guard(pulumi, "check").returncode == 0
    failed = guard(pulumi, "check", fails="stack export")
    assert failed.returncode == 2
    assert failed.stderr == "pulumi stack export: pulumi says no\n"
    assert guard(pulumi).returncode == 2


def test_it_needs_a_stack_a_pulumi_and_a_terminal(check: Check, pulumi: Path) -> None:
    """Each is asked for in one line, before anything is run."""
    assert check("")[1] == "cloud-check: name a stack of its own: make cloud-check STACK=check\n"
    (pulumi / "pulumi").rename(pulumi / "other")
    assert check("check")[1].startswith("cloud-check: there is no pulumi command: ")
    (pulumi / "other").rename(pulumi / "pulumi")
    ran = subprocess.run(
        [sys.executable, "-m", "infra.cloud_check", "check"],
        cwd=ROOT,
        env=environment(pulumi, ""),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "needs a terminal" in ran.stderr
    assert calls(pulumi) == []
