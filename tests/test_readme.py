"""The README names everything that a person can set or run."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
KEYS = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("key", KEYS)
def test_every_configuration_key_is_in_the_readme(key: str) -> None:
    """A key that can be set is explained where a person looks for it."""
    assert f"`{key}`" in README


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"help"}))
def test_every_make_command_is_in_the_readme(target: str) -> None:
    """A command of the Makefile is told where a person looks for it."""
    assert f"make {target}" in README


@pytest.mark.parametrize("command", ["redrive", "backfill", "compliance"])
def test_every_operating_command_is_in_the_readme(command: str) -> None:
    """An operating command is told where a person looks for it."""
    assert f"tweets {command}" in README


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """A relative link or picture of the README is a file of the checkout."""
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_test_that_the_design_names_is_there() -> None:
    """An invariant is guarded by a test that exists: a renamed one is renamed in the page too."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "design.md").read_text("utf-8")))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))
    }
    assert named
    assert named <= there
