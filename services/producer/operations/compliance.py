"""`tweets compliance`: remove what its authors, or X, have withdrawn.

X's agreement asks that stored posts follow deletes, account removals and scrubbed locations,
within 24 hours of a request (developer.x.com/en/developer-terms/policy). Posts are removed from
the table and from the dead letters. What this command cannot reach is told at the end of a run.
"""

import argparse
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from operations.dataset import BUFFER_MINUTES, Dataset, Purge
from operations.dead_letters import DeadLetter, DeadLetterQueue, subscriber_client
from operations.errors import UnavailableError, UnfinishedError, WrongInputError
from operations.settings import Settings
from operations.text import harmless, number, tell
from operations.topic import TopicPublisher
from operations.x_account import XAccount
from producer.events import event
from producer.message import event_message
from producer.record import integer

Kind = Literal["tweets", "users"]

IDS_A_JOB = 5_000_000
"""X takes 128 MB an upload; an id and its line end have at most 20 bytes."""
_WAIT_SECONDS = 4 * 3600
_SLOWEST_POLL = 60.0


@dataclass
class Withdrawals:
    """What X wants done with what we hold.

    Attributes:
        posts: posts to remove.
        authors: users whose posts must be removed.
        scrub_geo: posts whose location must be removed.
        stale: posts that were edited since; their newer version is a post of its own.
        unclear: lines that say nothing we know.
    """

    posts: set[int] = field(default_factory=set)
    authors: set[int] = field(default_factory=set)
    scrub_geo: set[int] = field(default_factory=set)
    stale: set[int] = field(default_factory=set)
    unclear: int = 0

    def read(self, kind: Kind, lines: Iterable[bytes]) -> None:
        """Add the lines of a result, one JSON object each.

        Older results say `delete` with the reason `scrub_geo`; newer ones have the action
        `scrub_geo`. An id that is not in a result needs nothing.
        """
        for line in lines:
            if not line.strip():
                continue
            found = _object(line)
            number_ = integer(found.get("id"))
            action = found.get("action")
            if number_ is None or action not in {"delete", "scrub_geo", "rehydrate"}:
                self.unclear += 1
            elif action == "scrub_geo" or (kind == "tweets" and found.get("reason") == "scrub_geo"):
                self.scrub_geo.add(number_)
            elif action == "rehydrate":
                self.stale.add(number_)
            else:
                (self.posts if kind == "tweets" else self.authors).add(number_)


def run_job(account: XAccount, kind: Kind, ids: Iterable[int], withdrawals: Withdrawals) -> int:
    """Ask X about all ids, in as many jobs as it takes; return how many ids that were.

    Raises:
        UnavailableError: X refused or failed; another job of this kind is active.
        UnfinishedError: X has not answered within four hours.
    """
    asked = 0
    for part in _parts(ids):
        asked += len(part)
        tell(f"asking X about {number(len(part))} {kind} ...")
        job = _data(
            account.call(
                "POST", "/2/compliance/jobs", json={"type": kind, "name": "tweets-compliance"}
            )
        )
        account.put(job["upload_url"], b"".join(b"%d\n" % item for item in part))
        job = _finished(account, job)
        withdrawals.read(kind, account.get(job["download_url"]).splitlines())
    return asked


def _finished(account: XAccount, job: dict[str, Any]) -> dict[str, Any]:
    pause, until = 0.5, time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        current = {**job, **_data(account.call("GET", f"/2/compliance/jobs/{job['id']}"))}
        if current.get("status") == "complete":
            return current
        if current.get("status") in {"failed", "expired"}:
            raise UnavailableError(
                f"X's compliance job {job['id']} {current['status']}: nothing was removed; "
                "run the command again"
            )
        time.sleep(pause)
        pause = min(pause * 2, _SLOWEST_POLL)
    raise UnfinishedError(
        f"X's compliance job {job['id']} is not complete after {_WAIT_SECONDS // 3600} hours: "
        "nothing was removed; run the command again later"
    )


def _data(answer: dict[str, Any]) -> dict[str, Any]:
    data = answer.get("data")
    if not isinstance(data, dict) or "id" not in data:
        raise UnavailableError(f"X answered with no compliance job: {harmless(str(answer))[:200]}")
    return data


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _parts(ids: Iterable[int]) -> Iterator[list[int]]:
    part: list[int] = []
    for item in ids:
        part.append(item)
        if len(part) == IDS_A_JOB:
            yield part
            part = []
    if part:
        yield part


_NOTES = (
    "Not reached by this command: BigQuery's time travel (7 days at most) and fail-safe (7 more), "
    "messages that the topic retains for replay, and copies made by readers of the table."
)


def run_compliance(settings: Settings, options: argparse.Namespace) -> None:
    """Ask X about everything held, or read its answer from a file, and remove what must go.

    Raises:
        WrongInputError: the file cannot be read or is no result.
        UnavailableError: X, BigQuery or Pub/Sub failed.
        UnfinishedError: some rows are in BigQuery's streaming buffer still.
    """
    dataset = Dataset(settings.dataset)
    topic = settings.topic  # a missing name should stop the command before X is asked
    if options.result is None:
        withdrawals = _ask_x(settings, options, dataset)
    else:
        withdrawals = _read_file(options.result, options.type)
    print(
        f"X reports: {number(len(withdrawals.posts))} posts and "
        f"{number(len(withdrawals.authors))} users gone, "
        f"{number(len(withdrawals.scrub_geo))} locations to remove, "
        f"{number(len(withdrawals.stale))} posts edited since (the new version has its own id)"
    )
    if withdrawals.unclear:
        print(
            f"{number(withdrawals.unclear)} lines of the result say nothing known and were passed "
            "over"
        )
    posts = withdrawals.posts | dataset.posts_of(withdrawals.authors)
    purge = Purge(dataset, act=options.yes)
    purge.authors(withdrawals.authors)
    purge.posts(posts)
    purge.places(withdrawals.scrub_geo)
    letters = _purge_letters(settings, options, posts | withdrawals.scrub_geo, withdrawals.authors)
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
    _record(topic, withdrawals, purge, letters)
    if purge.left:
        raise UnfinishedError(
            f"{number(purge.left)} rows are in BigQuery's streaming buffer, where nothing can be "
            f"removed for up to {BUFFER_MINUTES} minutes: run the command again after that"
        )


def _ask_x(settings: Settings, options: argparse.Namespace, dataset: Dataset) -> Withdrawals:
    posts, authors = _held_in_letters(settings, options)
    account, withdrawals = XAccount(settings), Withdrawals()
    kinds: Sequence[Kind] = ("tweets", "users") if options.type == "both" else (options.type,)
    for kind in kinds:
        if kind == "tweets":
            asked = run_job(account, kind, _each_once(dataset.held_posts(), posts), withdrawals)
        else:
            asked = run_job(account, kind, _each_once(dataset.held_authors(), authors), withdrawals)
        print(f"asked X about {number(asked)} {kind}")
    return withdrawals


def _each_once(first: Iterator[int], more: set[int]) -> Iterator[int]:
    for item in first:
        more.discard(item)
        yield item
    yield from sorted(more)


def _read_file(path: Path, kind: str) -> Withdrawals:
    if kind == "both":
        raise WrongInputError(
            "--result needs --type tweets or --type users: a result names no type"
        )
    withdrawals = Withdrawals()
    try:
        with closing(path.open("rb")) as lines:
            withdrawals.read("users" if kind == "users" else "tweets", lines)
    except OSError as error:
        raise WrongInputError(f"--result {path} cannot be read: {error.strerror}") from None
    found = withdrawals.posts | withdrawals.authors | withdrawals.scrub_geo | withdrawals.stale
    if withdrawals.unclear and not found:
        raise WrongInputError(
            f"--result {path} is no compliance result: each line must be a JSON object such as "
            '{"id": "123", "action": "delete", "reason": "deleted"}'
        )
    return withdrawals


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


def _record(topic: str, withdrawals: Withdrawals, purge: Purge, letters: int) -> None:
    row = event(
        "compliance",
        socket.gethostname(),
        # Counts only: the ids of what was withdrawn are not to be kept either.
        detail={
            "posts_gone": len(withdrawals.posts),
            "users_gone": len(withdrawals.authors),
            "locations_scrubbed": len(withdrawals.scrub_geo),
            "rows_removed": purge.removed,
            "rows_cleared": purge.cleared,
            "rows_left": purge.left,
            "dead_letters_removed": letters,
        },
    )
    for refused in TopicPublisher(topic).publish([event_message(row)]):
        if refused is not None:
            raise UnavailableError(
                f"everything was removed, but {topic} did not take the note of it ({refused})"
            )
