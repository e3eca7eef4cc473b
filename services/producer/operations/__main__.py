"""The command line `tweets`, also `python -m operations` in the producer image.

Exit codes: 0 done; 1 a service did not answer or refused; 2 what was asked for is wrong;
3 part is done and the rest can only be done later; 130 interrupted. Of doctor: doctor.py.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from operations.backfill import backfill
from operations.compliance import run_compliance
from operations.doctor import doctor
from operations.errors import WrongInputError, explained
from operations.redrive import list_letters, send_letters, show_letter
from operations.search import SMALLEST_PAGE
from operations.settings import Settings
from operations.text import harmless
from producer.log import redact
from producer.x_api import ignore_netrc

_Command = Callable[[Settings, argparse.Namespace], int | None]
_Commands: TypeAlias = "argparse._SubParsersAction[_TweetsParser]"  # noqa: SLF001 - has no other name


class _TweetsParser(argparse.ArgumentParser):
    """A wrong command line gets one line."""

    def error(self, message: str) -> NoReturn:
        raise WrongInputError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command; return its exit code."""
    # tweepy writes the token into its log at DEBUG, google's libraries retry notes at WARNING.
    logging.basicConfig(level=logging.CRITICAL)
    ignore_netrc()
    try:
        options = _parser().parse_args(arguments)
        command: _Command = options.command
        return command(Settings.from_env(environ, options), options) or 0
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return _failed("interrupted: run the command again, each of its steps can be repeated", 130)
    except Exception as error:
        if (explanation := explained(error)) is None:
            raise
        return _failed(*explanation)


def _failed(message: str, exit_code: int) -> int:
    print(f"tweets: {harmless(redact(' '.join(message.split())))}", file=sys.stderr)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = _TweetsParser(
        prog="tweets",
        description="Operate a running stack: is it well, dead letters, gaps, deletes.",
        epilog="Names come from flags or the environment: TOPIC, DEAD_LETTER_SUBSCRIPTION, "
        "DATASET, X_BEARER_TOKEN_FILE (or X_BEARER_TOKEN), X_API_BASE_URL, POST_BUDGET, "
        "RULES_FILE (backfill, doctor), TABLE_EXPIRATION_DAYS (doctor).",
    )
    top = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    topic = _shared("--topic", help="projects/P/topics/T to publish to (TOPIC)")
    dataset = _shared("--dataset", help="PROJECT.DATASET (DATASET)")
    queue = _shared(
        "--subscription",
        "--dead-letter-subscription",
        dest="dead_letter_subscription",
        help="projects/P/subscriptions/S (DEAD_LETTER_SUBSCRIPTION, or DEAD_LETTER_TOPIC's reader)",
    )
    queue.add_argument(
        "--wait", type=_seconds, default=5.0,
        help="seconds of silence that count as the end of the queue (default 5)",
    )  # fmt: skip

    redrive = _group(top, "redrive", "Look at the dead letters and send them again.")
    _add(
        redrive, "list", list_letters, "Count the dead letters by reason, consuming none.",
        "tweets redrive list", queue,
    )  # fmt: skip
    show = _add(
        redrive, "show", show_letter, "Show one dead letter in full.",
        "tweets redrive show 1861234567890123456", queue,
    )  # fmt: skip
    show.add_argument("id", help="post id, event id, hash of the line, or Pub/Sub message id")
    send = _add(
        redrive, "send", send_letters,
        "Publish dead letters again with their ids and attributes. Without --yes it is a dry run. "
        "What fails again becomes a dead letter again.",
        "tweets redrive send --reason row_rejected --yes", topic, queue,
    )  # fmt: skip
    send.add_argument("--reason", help="only letters of this reason (see list)")
    send.add_argument("--id", action="append", help="only this letter; may be given again")
    mode = send.add_mutually_exclusive_group()
    mode.add_argument("--yes", action="store_true", help="do it")
    mode.add_argument("--dry-run", action="store_true", help="say what would be sent (the default)")

    fill = _add(
        top, "backfill", backfill,
        "List the gaps of the stream, or fill them from X's searches (recent: 7 days back; "
        "--archive: all; $0.005 a post; no reposts). Or read the history of a --query. Without "
        "--yes it says what it would cost and reads no post.",
        "tweets backfill --gap 5e0c1f6e-... --max-posts 2000 --yes", topic, dataset,
    )  # fmt: skip
    which = fill.add_mutually_exclusive_group()
    which.add_argument("--gap", metavar="EVENT_ID", help="fill this gap (ids: tweets backfill)")
    which.add_argument("--all", action="store_true", help="fill every open gap within reach")
    fill.add_argument("--from", dest="start", type=_moment, help="or fill from this time, UTC")
    fill.add_argument("--to", dest="end", type=_moment, help="... to this time (exclusive)")
    fill.add_argument(
        "--max-posts", type=_posts, default=1000,
        help="read at most so many posts (default 1000 = $5.00)",
    )  # fmt: skip
    fill.add_argument(
        "--count", action="store_true", help="ask X for exact counts first, $0.005 a rule and gap"
    )
    fill.add_argument(
        "--archive", action="store_true", help="by X's full-archive search: any time, any year"
    )
    fill.add_argument("--query", help="read what this query finds from --from to --to")
    fill.add_argument(
        "--rules", type=Path, help="rules file to use (RULES_FILE; else the rules active on X)"
    )
    fill.add_argument("--yes", action="store_true", help="read, pay and publish")

    compliance = _group(top, "compliance", "Follow deletes and account removals on X.")
    run = _add(
        compliance, "run", run_compliance,
        "Ask X (a batch compliance job) which of the posts and users held here are gone, and "
        "remove them from the table and the dead letters. Without --yes it only counts.",
        "tweets compliance run --yes", topic, dataset, queue,
    )  # fmt: skip
    run.add_argument(
        "--type", choices=("tweets", "users", "both"), default="both", help="default both"
    )
    run.add_argument("--result", type=Path, help="use a result already downloaded (JSON lines)")
    run.add_argument("--yes", action="store_true", help="remove")

    check = _add(
        top, "doctor", doctor,
        "Look at everything that tells whether it is right, and change nothing: a line a check "
        "with what was seen and what to do. Exit code 0: all well; 1: warnings; 2: a failure.",
        "tweets doctor --rules rules.json", topic, dataset,
    )  # fmt: skip
    check.add_argument(
        "--rules", type=Path, help="the configured rules, to compare X's with (RULES_FILE)"
    )
    check.add_argument("--json", action="store_true", help="for programs")
    return parser


def _shared(*names: str, **settings: Any) -> _TweetsParser:
    """An option of several commands."""
    parser = _TweetsParser(add_help=False)
    parser.add_argument(*names, **settings)
    return parser


def _group(commands: _Commands, name: str, about: str) -> _Commands:
    parser = commands.add_parser(name, help=about, description=about)
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def _add(
    commands: _Commands,
    name: str,
    command: _Command,
    about: str,
    example: str,
    *shared: _TweetsParser,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"Example: {example}",
        allow_abbrev=False,
        parents=shared,
    )
    parser.set_defaults(command=command)
    return parser


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write it as 2026-11-22T21:00:00Z"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _posts(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    if int(text) < SMALLEST_PAGE:
        raise argparse.ArgumentTypeError(
            f"X's smallest page has {SMALLEST_PAGE} posts, not {text}: give that or more"
        )
    return int(text)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.1 <= float(text) <= 300:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 300")


if __name__ == "__main__":
    sys.exit(main())
