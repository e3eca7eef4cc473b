"""Break the local pipeline on a seeded schedule while posts flow, and account for each post.

    make chaos ARGS="--seed 1 --posts 100000"

Exit codes: 0 nothing lost and nothing doubled; 1 something was, or the stack failed; 2 the command
line is wrong. Back-off, connect limits and time limits are those of the deployed producer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from local.chaos.outcome import content, lines, verdict
from local.chaos.run import RULES, ChaosRun
from local.chaos.schedule import full_plan
from local.chaos.spend import spend
from local.demo.flags import number, whole
from local.demo.stack import LocalStack
from local.machine.errors import BadInputError, StackError
from local.standin import OneLineParser, bypass_proxies

LEAST_POSTS = 20_000
"""Below it the faults stand so close that one hides another."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; argparse ends with one line and exit code 2 at what it can't read."""
    parser = OneLineParser(prog="python -m local.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the schedule and of the posts")
    parser.add_argument(
        "--posts",
        type=whole(LEAST_POSTS),
        default=100_000,
        help=f"that X delivers, {LEAST_POSTS} or more (default %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=number(1, 100_000),
        default=1000.0,
        help="posts a second (%(default)g)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run once; returns the exit code."""
    options = arguments(argv)
    bypass_proxies()
    if options.json and not options.json.parent.is_dir():
        print(f"chaos: --json {options.json}: no such directory", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    data = Path(tempfile.mkdtemp(prefix="tweets-chaos-"))
    passed = False
    try:
        passed = _run(options, data)
    except BadInputError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    except (StackError, OSError) as error:
        print(f"chaos: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("chaos: interrupted; every process has ended", file=sys.stderr)
        return 130
    finally:
        if passed:
            shutil.rmtree(data, ignore_errors=True)
        else:
            print(f"chaos: logs and data are kept in {data}", file=sys.stderr)
    return 0 if passed else 1


def _run(options: argparse.Namespace, data: Path) -> bool:
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {what}", flush=True)

    # Each kill leaves a reserved block behind, so the guard counts more than was bought.
    config = {"tweets:postBudget": 100 * options.posts, "tweets:rules": RULES}
    with LocalStack(
        rate=options.rate,
        count=options.posts,
        seed=options.seed,
        data_dir=data / "stream",
        config=config,
    ) as stack:
        plan = full_plan(options.seed, options.posts)
        outcome = ChaosRun(stack, plan, options.seed, say).run()
    outcome.budget = spend(options.seed, data / "budget", say=say)
    if options.json:
        options.json.write_text(json.dumps(content(outcome), indent=1) + "\n")
    print(*lines(outcome), sep="\n")
    print(*verdict(outcome), sep="\n")
    return not outcome.failures()


if __name__ == "__main__":
    sys.exit(main())
