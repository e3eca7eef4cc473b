"""The whole pipeline on this machine, with synthetic posts, until Ctrl-C.

However it ends, the posts stop, what is on the way arrives, and each post is accounted for. Exit
codes: 0 done, 1 a post was lost or doubled or a process failed for good, 2 bad input, 130 ended by
a second Ctrl-C, or before it had started.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

from local.demo.flags import EASY, arguments, refusal
from local.machine.errors import BadInputError, StackError
from local.standin import bypass_proxies

if TYPE_CHECKING:
    from local.demo.stack import LocalStack
    from local.demo.verdict import Verdict

PATIENCE = 60.0
"""Seconds without a new row after which the rest is no longer waited for."""


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = arguments(argv, __doc__)
    bypass_proxies()
    console = Console()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return _run(options, console)
    except BadInputError as error:
        for line in str(error).splitlines():
            print(f"demo: {refusal(line, options)}", file=sys.stderr)
        return 2
    except StackError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: ended before its posts were counted", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, console: Console) -> int:
    # Not at the top: wrong flags are answered at once, and see the end of this file.
    from local.demo.query import announced
    from local.demo.screen import placement_lines
    from local.demo.stack import LocalStack

    config: dict[str, Any] = dict(options.config)
    if options.rules is not None:
        config["tweets:rules"] = options.rules
    rate = options.rate if options.rate is not None else 0.0 if options.count else EASY
    stack = LocalStack(
        stack=options.stack,
        config=config,
        rate=rate,
        count=options.count or 0,
        seed=options.seed,
        data_dir=options.data_dir,
        ports=dict(options.port),
        dashboard=not options.no_dashboard,
    )
    with stack:
        console.print(f"logs in {stack.logs}", highlight=False, soft_wrap=True)
        if options.list and console.is_terminal:  # plain lines list them anyhow
            print(*placement_lines(stack.placements), sep="\n")
        with announced(stack.bigquery_url):
            return _report(stack, _watch(stack, options, console), options.count)


def _watch(stack: LocalStack, options: argparse.Namespace, console: Console) -> Verdict:
    """Show the run until its count, its time or a signal ends it; account for what X has sent."""
    from local.demo.screen import live_screen, plain_screen

    screen = live_screen if console.is_terminal else plain_screen
    ends = time.monotonic() + options.duration if options.duration is not None else math.inf
    try:
        with screen(console, stack) as show:
            if options.count:
                verdict = stack.wait_verdict(PATIENCE, show, ends)
                if time.monotonic() < ends:
                    return verdict
            while time.monotonic() < ends:
                stack.supervisor.check()
                show(stack.figures())
                time.sleep(1.0)
    except KeyboardInterrupt:
        pass
    console.print("stopping: no more posts; what is on the way is waited for ...")
    stack.stop_posts()
    return stack.wait_verdict(PATIENCE)


def _report(stack: LocalStack, verdict: Verdict, wanted: int | None) -> int:
    figures = stack.figures()
    print(verdict.line())
    print(*verdict.details(), sep="\n")
    print(f"{figures.dead_letters} dead letters")
    if first := stack.first_row():
        print(f"first row {first:.1f} s after the start")
    memory = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in figures.memory.items())
    print(f"memory {sum(figures.memory.values()) / 2**20:.0f} MB: {memory}")
    if verdict.posts < figures.made:
        print(f"{figures.made - verdict.posts} posts never left X: their connection was gone")
    if wanted and figures.made < wanted:
        print(f"X has sent only {figures.made} of {wanted} posts; see {stack.logs}")
    return 0 if verdict.ok and figures.made >= stack.count else 1


if __name__ == "__main__":
    # google-cloud-bigquery loads these two wherever they are installed, here for the dashboard:
    # 90 MB in this process for nothing.
    for unwanted in ("pandas", "pyarrow"):
        sys.modules[unwanted] = None  # type: ignore[assignment]
    sys.exit(main())
