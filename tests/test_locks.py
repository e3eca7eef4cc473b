"""Each lock file is whole by itself, so that no installer has anything left to resolve.

pip below 24 takes a requirement with an extra, such as google-auth[pyopenssl], for a thing of its
own: without a pinned line of exactly that name it asks the index, finds what was released since,
and refuses the whole file for it.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# uv alone, which requires nothing and has an environment of its own.
INSTALLER = ROOT / "requirements" / "uv.txt"
LOCKS = sorted({*ROOT.glob("requirements/*.txt"), *ROOT.glob("*/requirements.txt")} - {INSTALLER})
LOCKS += sorted(ROOT.glob("services/*/requirements.txt"))
RUNNING = f"3.{sys.version_info.minor}"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

Pins = dict[str, list[Requirement]]


def environment(python: str) -> dict[str, str]:
    """What markers see under this Python on Linux."""
    running = {name: str(value) for name, value in default_environment().items()}
    full = running["python_full_version"] if python == RUNNING else f"{python}.0"
    return {**running, "python_version": python, "python_full_version": full}


def applies(requirement: Requirement, environment: dict[str, str], extra: str = "") -> bool:
    """Whether its marker, if any, holds."""
    marker = requirement.marker
    return marker is None or marker.evaluate({**environment, "extra": extra})


def read(lock: Path) -> list[Requirement]:
    """The lines of a lock, hashes left out."""
    lines = lock.read_text("utf-8").replace("\\\n", " ").splitlines()
    return [
        Requirement(line.split(" --hash=")[0])
        for line in lines
        if line.strip() and not line.lstrip().startswith("#")
    ]


def pins(lock: Path, environment: dict[str, str]) -> Pins:
    """The lines that hold in an environment, by package."""
    found: Pins = {}
    for line in read(lock):
        if applies(line, environment):
            found.setdefault(canonicalize_name(line.name), []).append(line)
    return found


def unmet(pinned: Pins, environment: dict[str, str]) -> set[str]:
    """What a pinned package requires, extras included, and no pin of the same file gives."""
    missing = set()
    for name, lines in pinned.items():
        package = distribution(name)
        extras = {"", *(extra for line in lines for extra in line.extras)}
        for requirement in map(Requirement, package.requires or ()):
            if not any(applies(requirement, environment, extra) for extra in extras):
                continue
            given = pinned.get(canonicalize_name(requirement.name), [])
            if not any(
                line.extras == requirement.extras
                and requirement.specifier.contains(version(line), prereleases=True)
                for line in given
            ):
                missing.add(f"{name} needs {requirement}")
    return missing


def version(line: Requirement) -> str:
    """The version that a line pins."""
    (only,) = line.specifier
    assert only.operator == "==", line
    return only.version


def lock_id(lock: Path) -> str:
    """A lock's name in the test's title."""
    return str(lock.relative_to(ROOT))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS, ids=lock_id)
def test_lock_is_whole(lock: Path, python: str) -> None:
    """Whatever a pinned package requires is a pinned line of the same file, extras spelt alike."""
    there = environment(python)
    here = pins(lock, environment(RUNNING))
    wanted = pins(lock, there)
    # A package that only another Python needs is not installed here to be asked.
    assert unmet({name: lines for name, lines in wanted.items() if name in here}, there) == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lock_id)
def test_lock_names_what_is_installed(lock: Path) -> None:
    """The metadata above is that of the pinned versions, and a line with an extra has a bare twin,
    which pip below 24 needs as well.
    """
    for name, lines in pins(lock, environment(RUNNING)).items():
        assert {version(line) for line in lines} == {distribution(name).version}, name
        assert any(not line.extras for line in lines), name


@pytest.mark.parametrize("lock", [INSTALLER, *LOCKS], ids=lock_id)
def test_lock_has_hashes(lock: Path) -> None:
    """Every line has a hash, so pip asks for one of every package."""
    blocks = lock.read_text("utf-8").replace("\\\n", " ").splitlines()
    lines = [line for line in blocks if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    assert [line for line in lines if " --hash=sha256:" not in line] == []


def test_installer_is_one_pin() -> None:
    """The installer's own lock holds uv and nothing that the tests here can't ask."""
    assert [line.name for line in read(INSTALLER)] == ["uv"]


def test_make_installs_locks_and_nothing_else() -> None:
    """Whatever make installs is a lock, with hashes asked for and nothing resolved, or this
    project itself, built with what a lock brought.
    """
    listed = subprocess.run(
        ["make", "--dry-run", "--always-make", "infra", "install", "coverage"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "MAKEFLAGS": ""},
    )
    installs = [line for line in listed.stdout.splitlines() if " pip install " in line]
    assert [line for line in installs if "--no-deps" not in line] == []
    own = [line for line in installs if line.endswith("--no-build-isolation -e .")]
    named = [
        match[1]
        for line in installs
        if (
            match := re.search(
                r"(?:--only-binary :all:|--no-build) --require-hashes -r (.*)$", line
            )
        )
    ]
    assert len(named) + len(own) == len(installs)
    assert set(named) == {
        "requirements/uv.txt",
        "requirements/demo.txt",
        "requirements/test.txt",
        "infra/requirements.txt",
    }
