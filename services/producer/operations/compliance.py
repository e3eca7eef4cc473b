"""`tweets compliance`: remove what its authors, or X, have withdrawn.

X's agreement asks that stored posts follow deletes, account removals and scrubbed locations,
within 24 hours of a request (developer.x.com/en/developer-terms/policy). Posts are removed from
the table and from the dead letters. What this command cannot reach is told at the end of a run.
"""

import argparse
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from operations.compliance_job import Kind, Verdict, run_job
from operations.dead_letters import DeadLetterQueue, subscriber_client
from operations.letter import DeadLetter
from operations.outcome import BadInputError, UnavailableError, UnfinishedError
from operations.purge import Purge
from operations.settings import Settings
from operations.terminal import number
from operations.topic import Topic
from operations.warehouse import BUFFER_MINUTES, Warehouse
from operations.x_account import XAccount
from producer.events import event
from producer.message import event_message

_NOTES = (
    "Not reached by this command: BigQuery's time travel (7 days at most) and fail-safe (7 more), "
    "messages that the topic retains for replay, and copies made by readers of the table."
)


def run_compliance(settings: Settings, options: argparse.Namespace) -> None:
    """Ask X about everything held, or read its answer from a file, and remove what must go.

    Raises:
        BadInputError: the file cannot be read or is no result.
        UnavailableError: X, BigQuery or Pub/Sub failed.
        UnfinishedError: some rows are in BigQuery's streaming buffer still.
    """
    warehouse = Warehouse(settings.dataset)
    topic = settings.topic  # a missing name should stop the command before X is asked
    if options.result is None:
        verdict = _ask_x(settings, options, warehouse)
    else:
        verdict = _read_file(options.result, options.type)
    print(
        f"X reports: {number(len(verdict.posts))} posts and {number(len(verdict.authors))} users "
        f"gone, {number(len(verdict.scrub_geo))} locations to remove, "
        f"{number(len(verdict.stale))} posts edited since (their new version has an id of its own)"
    )
    if verdict.unclear:
        print(
            f"{number(verdict.unclear)} lines of the result say nothing known and were passed over"
        )
    posts = verdict.posts | warehouse.posts_of(verdict.authors)
    purge = Purge(warehouse, act=options.yes)
    purge.authors(verdict.authors)
    purge.posts(posts)
    purge.places(verdict.scrub_geo)
    letters = _purge_letters(settings, options, posts | verdict.scrub_geo, verdict.authors)
    would = "" if options.yes else "would be "
    print(
        f"table: {number(purge.removed)} rows {would}removed, "
        f"{number(purge.cleared)} {would}cleared"
    )
    print(f"dead letters: {number(letters)} {would}removed")
    if not options.yes:
        print("Dry run: nothing was changed. Remove them: the same command with --yes")
        return
    print(_NOTES)
    _record(topic, verdict, purge, letters)
    if purge.left:
        raise UnfinishedError(
            f"{number(purge.left)} rows are in BigQuery's streaming buffer, where nothing can be "
            f"removed for up to {BUFFER_MINUTES} minutes: run the command again after that"
        )


def _ask_x(settings: Settings, options: argparse.Namespace, warehouse: Warehouse) -> Verdict:
    posts, authors = _held_in_letters(settings, options)
    account, verdict = XAccount(settings), Verdict()
    kinds: Sequence[Kind] = ("tweets", "users") if options.type == "both" else (options.type,)
    for kind in kinds:
        if kind == "tweets":
            asked = run_job(account, kind, _each_once(warehouse.held_posts(), posts), verdict)
        else:
            asked = run_job(account, kind, _each_once(warehouse.held_authors(), authors), verdict)
        print(f"asked X about {number(asked)} {kind}")
    return verdict


def _each_once(first: Iterator[int], more: set[int]) -> Iterator[int]:
    for item in first:
        more.discard(item)
        yield item
    yield from sorted(more)


def _read_file(path: Path, kind: str) -> Verdict:
    if kind == "both":
        raise BadInputError("--result needs --type tweets or --type users: a result names no type")
    verdict = Verdict()
    try:
        with closing(path.open("rb")) as lines:
            verdict.read("users" if kind == "users" else "tweets", lines)
    except OSError as error:
        raise BadInputError(f"--result {path} cannot be read: {error.strerror}") from None
    found = verdict.posts | verdict.authors | verdict.scrub_geo | verdict.stale
    if verdict.unclear and not found:
        raise BadInputError(
            f"--result {path} is no compliance result: each line must be a JSON object such as "
            '{"id": "123", "action": "delete", "reason": "deleted"}'
        )
    return verdict


def _queue(settings: Settings, options: argparse.Namespace) -> DeadLetterQueue:
    name = settings.dead_letter_subscription
    return DeadLetterQueue(subscriber_client(), name, options.wait)


def _held_in_letters(settings: Settings, options: argparse.Namespace) -> tuple[set[int], set[int]]:
    posts: set[int] = set()
    authors: set[int] = set()
    with _queue(settings, options) as queue:
        for batch in queue.batches():
            for letter in batch:
                more_posts, more_authors = letter.post_ids()
                posts |= more_posts
                authors |= more_authors
    return posts, authors


def _purge_letters(
    settings: Settings, options: argparse.Namespace, posts: set[int], authors: set[int]
) -> int:
    """Remove the dead letters that hold one of these; return how many."""
    if not posts and not authors:
        return 0

    def gone(letter: DeadLetter) -> bool:
        held_posts, held_authors = letter.post_ids()
        return not (posts.isdisjoint(held_posts) and authors.isdisjoint(held_authors))

    removed = 0
    with _queue(settings, options) as queue:
        for batch in queue.batches():
            chosen = [letter for letter in batch if gone(letter)]
            removed += len(chosen)
            if options.yes:
                queue.acknowledge(chosen)
    return removed


def _record(topic: str, verdict: Verdict, purge: Purge, letters: int) -> None:
    row = event(
        "compliance",
        socket.gethostname(),
        # Counts only: the ids of what was withdrawn are not to be kept either.
        detail={
            "posts_gone": len(verdict.posts),
            "users_gone": len(verdict.authors),
            "locations_scrubbed": len(verdict.scrub_geo),
            "rows_removed": purge.removed,
            "rows_cleared": purge.cleared,
            "rows_left": purge.left,
            "dead_letters_removed": letters,
        },
    )
    for refused in Topic(topic).publish([event_message(row)]):
        if refused is not None:
            raise UnavailableError(
                f"everything was removed, but {topic} did not take the note of it ({refused})"
            )
