"""The linters that the workflows must pass, offline."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a linter at the project's root."""
    return subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_zizmor_finds_nothing() -> None:
    """The security linter zizmor has no finding, and none is hidden without a reason."""
    done = run(BIN / "zizmor", "--offline", "--no-progress", ".github")
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_would_find_an_injection(tmp_path: Path) -> None:
    """The linter is awake: a branch name pasted into a shell line is refused."""
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    path = tmp_path / ".github" / "workflows" / "preview.yml"
    text = path.read_text("utf-8")
    assert 'echo "### No preview"' in text
    path.write_text(
        text.replace('echo "### No preview"', "echo '${{ github.event.pull_request.title }}'"),
        "utf-8",
    )
    done = run(BIN / "zizmor", "--offline", "--no-progress", tmp_path / ".github")
    assert done.returncode != 0
    assert "template-injection" in done.stdout


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("vendor.github-actions", ".github/actions/*/action.yml"),
        ("vendor.dependabot", ".github/dependabot.yml"),
    ],
)
def test_files_fit_their_schema(schema: str, pattern: str) -> None:
    """Every file fits GitHub's published schema for its kind."""
    files = sorted(ROOT.glob(pattern))
    assert files
    done = run(BIN / "check-jsonschema", "--builtin-schema", schema, *files)
    assert done.returncode == 0, done.stdout + done.stderr
