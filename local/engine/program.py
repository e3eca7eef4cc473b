"""Evaluates the Pulumi program in infra/ without a cloud, a CLI or an engine.

Pulumi's own mock monitor answers the program, and this module records what the program asked
for: every resource with its inputs, which of them are secret, its parent and its options. The
demo applies that graph to the stand-ins; the tests check it.
"""

import argparse
import asyncio
import contextlib
import gc
import pickle
import runpy
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from json import dumps
from pathlib import Path
from typing import Any

import pulumi
import yaml
from google.protobuf import empty_pb2
from pulumi.runtime import mocks
from pulumi.runtime import stack as pulumi_stack
from pulumi.runtime.config import set_all_config
from pulumi.runtime.settings import configure

from local.engine.recorder import UNKNOWN, Program, Recorder, Resource
from local.machine.errors import BadInputError, StackError

__all__ = [
    "UNKNOWN",
    "Program",
    "ProgramError",
    "Resource",
    "checked_in_config",
    "evaluate",
    "evaluate_apart",
]

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "tweets"


class ProgramError(BadInputError):
    """The program stopped; the message is the line that `pulumi up` would print."""


def evaluate(
    stack: str,
    config: Mapping[str, object],
    *,
    preview: bool = False,
    secrets: Iterable[str] = ("xBearerToken",),
    standing: Mapping[str, object] | None = None,
    answers: Mapping[str, Mapping[str, Any] | str] | None = None,
) -> Program:
    """Run infra/ for a stack.

    Args:
        stack: name of the environment.
        config: keys with or without `tweets:`; values as in YAML.
        preview: leave what only the cloud knows unknown, as before the first `pulumi up`.
        secrets: keys that are encrypted.
        standing: outputs of the stack's last update; without it, this is its first.
        answers: what Google's data sources answer in place of the usual (recorder.py).

    Defaults in Pulumi.yaml apply, as the CLI does it.

    Raises:
        ProgramError: the program refused its configuration or failed.
    """
    # Nothing is built here, so no Docker needs to answer.
    given = {"docker-build:host": "unix:///nowhere", **config}
    full = {**_project_config(), **{_full(key): value for key, value in given.items()}}
    text = {key: value if isinstance(value, str) else dumps(value) for key, value in full.items()}
    hidden = {_full(key) for key in secrets}
    monitor = Recorder(text, preview=preview, standing=standing or {}, answers=answers or {})
    # A thread has its own context and loop, so runs do not see each other or a test's loop.
    with _lean(), ThreadPoolExecutor(1, thread_name_prefix="pulumi") as thread:
        thread.submit(_run, stack, text, sorted(hidden), preview, monitor).result()
    return monitor.program


def evaluate_apart(stack: str, config: Mapping[str, object]) -> Program:
    """As `evaluate`, in a process of its own, which gives its 150 MB back when it ends.

    No secret stands in an argument list: stack and configuration go through standard input.

    Raises:
        ProgramError: the program refused its configuration or failed; the lines are its own.
        StackError: the process ended otherwise.
    """
    done = subprocess.run(
        [sys.executable, "-c", _APART],
        input=pickle.dumps((stack, dict(config))),
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise StackError(f"the program can't be evaluated: {words.splitlines()[-1]}")
    answer: Program | ProgramError = pickle.loads(done.stdout)  # noqa: S301 - our own, just now
    if isinstance(answer, ProgramError):
        raise answer
    return answer


_APART = """
import pickle, sys
from local.engine.program import ProgramError, evaluate
try:
    answer = evaluate(*pickle.load(sys.stdin.buffer))
except ProgramError as error:
    answer = error
sys.stdout.buffer.write(pickle.dumps(answer))
"""


@contextlib.contextmanager
def _lean() -> Iterator[None]:
    """Spare what costs more than the program: half of the time, a tenth of the memory.

    The provider packages are a million objects that live for ever, and the collector would walk
    them again and again while they load. For each resource Pulumi takes a stack trace with the
    text of its lines, for an engine that is not there, and so reads the packages' sources.
    """
    collects = gc.isenabled()
    gc.disable()
    sys.tracebacklimit = 1
    try:
        yield
    finally:
        if collects:
            gc.enable()
        vars(sys).pop("tracebacklimit", None)


def checked_in_config(stack: str) -> dict[str, object]:
    """The configuration in Pulumi.<stack>.yaml, values as in YAML.

    Encrypted values stay out: only `pulumi` can open them.

    Raises:
        ProgramError: there is no such file, or it is not what Pulumi writes.
    """
    path = ROOT / f"Pulumi.{stack}.yaml"
    if not path.exists():
        known = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
        raise ProgramError(
            f"--stack {stack}: {path.name} does not exist; known: {', '.join(known) or 'none'}"
        )
    try:
        declared = dict(yaml.safe_load(path.read_text("utf-8")).get("config") or {})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ProgramError(f"{path.name} is not a stack's configuration: {reason}") from error
    return {
        key: value
        for key, value in declared.items()
        if not (isinstance(value, dict) and "secure" in value)
    }


def _full(key: str) -> str:
    return key if ":" in key else f"{PROJECT}:{key}"


def _project_config() -> dict[str, object]:
    """Values and defaults in Pulumi.yaml, which the CLI merges below the stack's."""
    schema = yaml.safe_load((ROOT / "Pulumi.yaml").read_text("utf-8"))["config"]
    return {
        _full(key): entry.get("value", entry.get("default"))
        for key, entry in schema.items()
        if "value" in entry or "default" in entry
    }


def _run(
    stack: str, config: dict[str, str], secrets: list[str], preview: bool, monitor: Recorder
) -> None:
    set_all_config(config, secrets)
    features = monitor.GetDeploymentInfo(empty_pb2.Empty())  # type: ignore[no-untyped-call]
    configure(
        mocks.MockSettings(  # type: ignore[no-untyped-call]
            monitor=monitor,
            monitor_features=set(features.supportedFeatures),
            engine=mocks.MockEngine(None),
            project=PROJECT,
            stack=stack,
            dry_run=preview,
            organization=None,
            root_directory=str(ROOT),
            callbacks=None,
            package_refs={},
            base_providers_by_ref={},
            # Pulumi's own are the process's: what a run that broke off left there, of a loop that
            # is closed, would end this one.
            outputs=set(),
            legacy_apply_enabled=False,
        )
    )

    def program() -> None:
        # As `pulumi up` does for `main: infra`.
        runpy.run_path(str(ROOT / "infra"), run_name="__main__")

    async def run() -> None:
        # What stops the program stops each resource that waits for it. Pulumi's own launcher keeps
        # asyncio from writing a traceback for each, thousands of lines, and so does this.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        # The answers take no time, so one worker does, and needs one arena of memory, not six.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await pulumi_stack.run_in_stack(program)

    try:
        asyncio.run(run())
    except pulumi.RunError as error:
        raise ProgramError(str(error)) from None
    except Exception as error:
        raise ProgramError(f"infra/ failed: {type(error).__name__}: {error}") from error


def main(argv: list[str] | None = None) -> int:
    """Print the resources of a checked-in stack, one a line."""
    parser = argparse.ArgumentParser(
        prog="python -m local.engine.program", description=main.__doc__
    )
    parser.add_argument("--stack", default="dev")
    parser.add_argument("--preview", action="store_true", help="before the first `pulumi up`")
    parser.add_argument("--config", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(argv)
    given = dict(item.partition("=")[::2] for item in options.config)
    # A reviewer has no token; its place is what matters here.
    stand_ins = {"gcp:project": "my-project", "tweets:xBearerToken": "AAAA"}
    try:
        config = {**stand_ins, **checked_in_config(options.stack), **given}
        program = evaluate(options.stack, config, preview=options.preview)
    except ProgramError as error:
        print(error, file=sys.stderr)
        return 2
    names = {resource.urn: resource.name for resource in program.resources}
    width = max(len(resource.type) for resource in program.resources)
    for resource in sorted(program.resources, key=lambda r: (names.get(r.parent, ""), r.type)):
        under = names.get(resource.parent, "(stack)")
        print(f"{resource.type:<{width}}  {resource.name}  in {under}")
    print(f"{len(program.resources)} resources")
    for key, value in program.outputs.items():
        print(f"{key}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
