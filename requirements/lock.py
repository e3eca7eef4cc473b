"""Resolve every .in file into a lock that needs no resolving: `make lock ARGS=--upgrade` renews.

uv resolves. What is added here: pip below 24 takes google-auth[pyopenssl] and google-auth for two
things and wants a pinned line of each (tests/test_locks.py), where uv writes one.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = str(Path(sys.executable).with_name("uv"))
# The first holds all packages of the others, whose versions follow it.
ALL = "requirements/test"
REST = (
    "requirements/demo",
    "infra/requirements",
    "services/producer/requirements",
    "services/sink_function/requirements",
    "services/dashboard/requirements",
)
OPTIONS = (
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-strip-extras",
    "--no-emit-index-url",
    "--custom-compile-command=make lock",
)
PIN = re.compile(r"^([a-z0-9._-]+)\[([a-z0-9,_-]+)\](==(?:.*\\\n)(?: +--hash=.*\n)+)", re.MULTILINE)


def compile_lock(name: str, *options: str) -> None:
    """Resolve `name`.in and write `name`.txt, its former versions kept where they still fit."""
    command = [UV, "pip", "compile", "--quiet", *OPTIONS]
    subprocess.run([*command, *options, f"{name}.in", "-o", f"{name}.txt"], cwd=ROOT, check=True)
    lock = ROOT / f"{name}.txt"
    lock.write_text(PIN.sub(bare_and_extras, lock.read_text("utf-8")), "utf-8")


def bare_and_extras(pin: re.Match[str]) -> str:
    """The pin once without extras, once with each, and once with all of them."""
    name, extras, rest = pin.groups()
    spelt = dict.fromkeys(["", *(f"[{extra}]" for extra in extras.split(",")), f"[{extras}]"])
    return "".join(name + extra + rest for extra in spelt)


if __name__ == "__main__":
    compile_lock(ALL, *sys.argv[1:])
    compile_lock("requirements/uv", *sys.argv[1:])
    for each in REST:
        compile_lock(each, "-c", f"{ALL}.txt")
