"""Evaluates the program in a process of its own, which gives its 150 MB back when it ends.

`python -m local.engine.evaluation` reads {"stack", "config"} as JSON from standard input, so that
no secret stands in an argument list, and writes the pickled `Program`.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from local.engine.program import Program, ProgramError, evaluate
from local.machine.errors import BadInputError, StackError

REFUSED = 3


def evaluate_apart(stack: str, config: Mapping[str, object]) -> Program:
    """As `local.engine.program.evaluate`, in another process.

    Raises:
        BadInputError: the program refused its configuration or failed; the lines are its own.
        StackError: the process ended otherwise.
    """
    done = subprocess.run(
        [sys.executable, "-m", "local.engine.evaluation"],
        input=json.dumps({"stack": stack, "config": dict(config)}).encode(),
        capture_output=True,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    words = done.stderr.decode(errors="replace").strip()
    if done.returncode == REFUSED:
        raise BadInputError(words)
    if done.returncode:
        last = words.splitlines()[-1] if words else f"exit code {done.returncode}"
        raise StackError(f"the program can't be evaluated: {last}")
    program = pickle.loads(done.stdout)  # noqa: S301 - written by ourselves, just now
    if not isinstance(program, Program):
        raise TypeError(f"{type(program)} in place of a Program")
    return program


def main() -> int:
    """Evaluate what standard input asks for."""
    asked = json.load(sys.stdin)
    try:
        program = evaluate(asked["stack"], asked["config"])
    except ProgramError as error:
        print(error, file=sys.stderr)
        return REFUSED
    sys.stdout.buffer.write(pickle.dumps(program))
    return 0


if __name__ == "__main__":
    sys.exit(main())
