"""`make cloud-check STACK=...`: does the program hold in a real project? For a person with one.

What a real engine showed (docs/design.md) and no test here can: the plan is made, an `up` passes
at the first try, a second preview and a refresh plan nothing. It takes about ten minutes and costs
what the stack costs while it stands. It refuses a protected stack, asks before it makes anything,
and destroys only what it is told to by the stack's name, typed.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass

from infra.protection import why_protected

_NOTHING = "--expect-no-changes"


@dataclass(frozen=True)
class Step:
    """A pulumi command, and what it shows when it ends well."""

    title: str
    command: tuple[str, ...]
    shows: str


BEFORE = Step("first preview", ("preview",), "the plan can be made")
STEPS = (
    Step("up", ("up", "--yes", "--skip-preview"), "everything is made at the first try"),
    Step("second preview", ("preview", _NOTHING), "nothing is left to change"),
    Step(
        "refresh",
        ("refresh", "--preview-only", _NOTHING),
        "Google and Kubernetes have what was declared",
    ),
)


def main(arguments: list[str]) -> int:
    """Run the steps of one stack: 0 all hold, 1 one does not, 2 it was not begun."""
    if len(arguments) != 1 or not arguments[0]:
        return _refused("name a stack of its own: make cloud-check STACK=check")
    if shutil.which("pulumi") is None:
        return _refused("there is no pulumi command: https://www.pulumi.com/docs/install/")
    if not sys.stdin.isatty():
        return _refused("it asks before it makes anything, so it needs a terminal")
    (stack,) = arguments
    if why := why_protected(stack):
        return _refused(f"the stack {stack} is protected, so it holds something: {why}")
    if not _passes(BEFORE, stack):
        return 1
    if not _typed(f"`up` makes all of that, and it costs. To go on, type {stack}: ", stack):
        return _refused("nothing was made")
    results = []
    for step in STEPS:
        results.append(_passes(step, stack))
        if not results[-1] and step is STEPS[0]:
            break
    left = len(STEPS) - len(results)
    print(f"\n{sum(results)} of {len(STEPS)} hold" + (f", {left} not tried" if left else ""))
    if _typed(f"To destroy {stack} with its data now, type {stack}; else Enter: ", stack):
        results.append(_passes(Step("destroy", ("destroy", "--yes"), "nothing blocks it"), stack))
    else:
        print(f"It stands. To destroy it: pulumi destroy --stack {stack}")
    return 0 if all(results) else 1


def _passes(step: Step, stack: str) -> bool:
    words = ["pulumi", *step.command, "--stack", stack]
    print(f"\n--- {step.title}: {' '.join(words)}", flush=True)
    ended = subprocess.run(words, check=False).returncode  # noqa: S603 - fixed commands
    if ended:
        print(f"FAIL  {step.title}: it does not hold that {step.shows} (exit code {ended})")
    else:
        print(f"ok    {step.title}: {step.shows}")
    return ended == 0


def _typed(question: str, word: str) -> bool:
    try:
        return input(question).strip() == word
    except EOFError:
        return False


def _refused(line: str) -> int:
    print(f"cloud-check: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("cloud-check: stopped; what was made stands")
