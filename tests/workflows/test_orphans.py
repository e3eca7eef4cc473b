"""Which stacks of pull requests the daily sweep takes for left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".github" / "orphans.py"
LABELLED = {"state": "OPEN", "labels": [{"name": "pr-stack"}]}
REQUESTS = {
    "7": LABELLED,
    "8": {"state": "MERGED", "labels": [{"name": "pr-stack"}]},
    "9": {"state": "OPEN", "labels": [{"name": "docs"}]},
    "10": {"state": "CLOSED", "labels": []},
}


def sweep(
    folder: Path, stacks: list[str], requests: dict[str, object], errors: list[str] | None = None
) -> tuple[int, str]:
    """Run the script with a pulumi and a gh that answer from these; its exit code and output, and
    the lines of its errors into `errors`.
    """
    (folder / "stacks.json").write_text(json.dumps([{"name": name} for name in stacks]))
    (folder / "requests.json").write_text(json.dumps(requests))
    tools = {
        "pulumi": "print(open('stacks.json').read())",
        "gh": "import json, sys; print(json.dumps(json.load(open('requests.json'))[sys.argv[3]]))",
    }
    for name, body in tools.items():
        tool = folder / name
        tool.write_text(f"#!{sys.executable}\n{body}\n")
        tool.chmod(0o755)
    environment = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "GITHUB_REPOSITORY": "a/b"}
    done = subprocess.run(
        [sys.executable, SCRIPT],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if errors is not None:
        errors += done.stderr.splitlines()
    return done.returncode, done.stdout


@pytest.mark.parametrize("prefix", ["", "organization/tweets/"])
def test_closed_and_unlabelled_are_left_behind(tmp_path: Path, prefix: str) -> None:
    """A stack stays while its pull request is open with the label; dev and others always do."""
    names = ["dev", "pr-7", "pr-8", "pr-9", "pr-10", "pr-x", "prod"]
    code, output = sweep(tmp_path, [prefix + name for name in names], REQUESTS)
    assert (code, output) == (0, 'stacks=["pr-8", "pr-9", "pr-10"]\n')


def test_nothing_left_behind_is_an_empty_list(tmp_path: Path) -> None:
    """The job that destroys is skipped for exactly this text."""
    assert sweep(tmp_path, ["dev", "pr-7"], {"7": LABELLED}) == (0, "stacks=[]\n")


def test_no_answer_destroys_nothing(tmp_path: Path) -> None:
    """A pull request that GitHub does not tell of fails the sweep before it names a stack, with one
    line that says which question had no answer, and why.
    """
    errors: list[str] = []
    code, output = sweep(tmp_path, ["pr-8", "pr-11"], REQUESTS, errors)
    assert code != 0
    assert output == ""
    [line] = errors
    assert line.startswith("sweep: `gh pr view 11 --repo a/b --json state,labels` gives no answer")
    assert "KeyError: '11'" in line
