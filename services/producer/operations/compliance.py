"""`tweets compliance`: remove what its authors, or X, have withdrawn.

X's agreement asks that stored posts follow deletes, account removals and scrubbed locations,
within 24 hours of a request (developer.x.com/en/developer-terms/policy). X is asked by batch
compliance jobs, a part of what is held at a time, and each answer is acted on before the next:
memory does not grow with the table. What this command cannot reach is told at the end of a run.

Source: https://docs.x.com/x-api/compliance/batch-compliance/integrate and .../quickstart.
"""

import argparse
import io
import socket
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson

from operations.dataset import BUFFER_MINUTES, Dataset, Purge, parts
from operations.dead_letters import LEASE_SECONDS, DeadLetter, DeadLetterQueue, subscriber_client
from operations.errors import UnavailableError, UnfinishedError, WrongInputError
from operations.settings import Settings
from operations.text import harmless, number, tell
from operations.topic import TopicPublisher
from operations.x_account import XAccount
from producer.messages import event, event_message
from producer.record import integer

Kind = Literal["tweets", "users"]

IDS_A_JOB = 500_000
"""10 MB of an upload, of which X takes 128 MB."""
SETTLE_SECONDS = LEASE_SECONDS + 5.0
"""After this, letters that a command which was killed had leased are back."""
_JOB_NAME = "tweets-compliance"
_WAIT_SECONDS = 4 * 3600
_SLOWEST_POLL = 60.0
_NOTES = (
    "Not reached by this command: BigQuery's time travel (7 days at most) and fail-safe (7 more), "
    "messages that the topic retains for replay, and copies made by readers of the table."
)


class ResultError(ValueError):
    """What should be a compliance result is none: why, in one line."""


def _ids() -> "array[int]":
    return array("q")


@dataclass
class Withdrawals:
    """What X wants done with what we hold: one result, eight bytes an id.

    Attributes:
        posts: posts to remove.
        authors: users whose posts must be removed.
        scrub_geo: posts whose location must be removed.
        stale: how many posts were edited since; their newer version is a post of its own.
        unclear: how many entries say nothing we know, such as an id that X calls invalid.
    """

    posts: "array[int]" = field(default_factory=_ids)
    authors: "array[int]" = field(default_factory=_ids)
    scrub_geo: "array[int]" = field(default_factory=_ids)
    stale: int = 0
    unclear: int = 0

    @classmethod
    def read(cls, kind: Kind, lines: Iterable[bytes]) -> "Withdrawals":
        """Read a result: JSON objects with an id, one a line.

        Older results say `delete` with the reason `scrub_geo`; newer ones have the action
        `scrub_geo`. An id that is not in a result needs nothing.

        Raises:
            ResultError: a line is something else, so what is read may be no result at all.
        """
        found = cls()
        for line in lines:
            if line.strip():
                found._add(kind, line)
        return found

    def _add(self, kind: Kind, line: bytes) -> None:
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict) or "id" not in entry:
            start = harmless(line[:60].decode("utf-8", "backslashreplace"))
            raise ResultError(
                f"a line begins {start!r}, and each must be a JSON object such as "
                '{"id": "123", "action": "delete", "reason": "deleted"}'
            )
        id_, action = integer(entry["id"]), entry.get("action")
        if id_ is None or action not in {"delete", "scrub_geo", "rehydrate"}:
            self.unclear += 1
        elif action == "scrub_geo" or (kind == "tweets" and entry.get("reason") == "scrub_geo"):
            self.scrub_geo.append(id_)
        elif action == "rehydrate":
            self.stale += 1
        else:
            (self.posts if kind == "tweets" else self.authors).append(id_)


@dataclass
class LetterIds:
    """Ids inside dead letters.

    Attributes:
        before: letters set aside until then were read.
    """

    posts: set[int] = field(default_factory=set)
    authors: set[int] = field(default_factory=set)
    before: datetime = field(default_factory=lambda: datetime.now(UTC))


def run_compliance(settings: Settings, options: argparse.Namespace) -> None:
    """Ask X about everything held, or read its answer from a file, and remove what must go.

    Raises:
        WrongInputError: the file cannot be read or is no result.
        UnavailableError: X, BigQuery or Pub/Sub failed.
        UnfinishedError: some rows are in BigQuery's streaming buffer still, or some dead letters
            may be leased by another subscriber.
    """
    publisher = TopicPublisher(settings.topic)  # a missing name should stop it before X is asked
    _Run(settings, options, publisher).do()


class _Run:
    def __init__(
        self, settings: Settings, options: argparse.Namespace, publisher: TopicPublisher
    ) -> None:
        self._settings = settings
        self._options = options
        self._publisher = publisher
        self._dataset = Dataset(settings.dataset)
        self._purge = Purge(self._dataset, act=options.yes)
        self._counts = dict.fromkeys(("posts", "users", "locations", "stale", "unclear"), 0)
        self._gone = LetterIds()
        self._problems: list[str] = []

    def do(self) -> None:
        settled = time.monotonic() + SETTLE_SECONDS
        self._held = self._in_letters()
        for withdrawals in self._answers():
            self._remove(withdrawals)
        counts = {name: number(count) for name, count in self._counts.items()}
        print(
            f"X reports: {counts['posts']} posts and {counts['users']} users gone, "
            f"{counts['locations']} locations to remove, {counts['stale']} posts edited since "
            "(the new version has its own id)"
        )
        if self._counts["unclear"]:
            print(f"{counts['unclear']} lines of the result say nothing known and were passed over")
        letters = self._purge_letters(settled)
        would = "" if self._options.yes else "would be "
        print(
            f"table: {number(self._purge.removed)} rows {would}removed, "
            f"{number(self._purge.cleared)} {would}cleared"
        )
        print(f"dead letters: {number(letters)} {would}removed")
        if not self._options.yes:
            print("Dry run: nothing was changed. Remove them: the same command with --yes")
            return
        print(_NOTES)
        self._record(letters)
        if self._purge.left:
            self._problems.append(
                f"{number(self._purge.left)} rows are in BigQuery's streaming buffer, where "
                f"nothing can be removed for up to {BUFFER_MINUTES} minutes: run the command again "
                "after that"
            )
        if self._problems:
            raise UnfinishedError("; ".join(self._problems))

    def _answers(self) -> Iterator[Withdrawals]:
        kinds: tuple[Kind, ...] = ("tweets", "users")
        if self._options.type != "both":
            kinds = (self._options.type,)
        if self._options.result is not None:
            yield _read_file(self._options.result, self._options.type)
            return
        account = XAccount(self._settings)
        for kind in kinds:
            if kind == "tweets":
                ids = _each_once(self._dataset.held_posts(), self._held.posts)
            else:
                ids = _each_once(self._dataset.held_authors(), self._held.authors)
            asked = 0
            for part in parts(ids, IDS_A_JOB):
                asked += len(part)
                yield from _ask(account, kind, part)
            print(f"asked X about {number(asked)} {kind}")

    def _remove(self, found: Withdrawals) -> None:
        self._counts["posts"] += len(found.posts)
        self._counts["users"] += len(found.authors)
        self._counts["locations"] += len(found.scrub_geo)
        self._counts["stale"] += found.stale
        self._counts["unclear"] += found.unclear
        # Of what is gone, only what a letter holds is remembered.
        for part in self._purge.authors(found.authors):
            self._gone.posts.update(self._held.posts.intersection(part))
        for part in self._purge.posts(found.posts):
            self._gone.posts.update(self._held.posts.intersection(part))
        self._purge.places(found.scrub_geo)
        self._gone.posts.update(self._held.posts.intersection(found.scrub_geo))
        self._gone.authors.update(self._held.authors.intersection(found.authors))

    def _queue(self) -> DeadLetterQueue:
        name = self._settings.dead_letter_subscription
        return DeadLetterQueue(subscriber_client(), name, self._options.wait)

    def _in_letters(self) -> LetterIds:
        held = LetterIds()
        with self._queue() as queue:
            for batch in queue.batches():
                for letter in batch:
                    posts, authors = letter.post_ids()
                    held.posts |= posts
                    held.authors |= authors
        return held

    def _purge_letters(self, settled: float) -> int:
        """Remove the dead letters that hold what is gone; return how many.

        A command that was killed hides the letters it held until their lease is over, so the
        queue is watched until then: what comes back was not asked about, and is told.
        """
        removed = late = 0
        met = LetterIds()
        if self._options.yes and settled > time.monotonic() + 10:
            tell("waiting a minute at most for dead letters that a killed command may hold ...")
        with self._queue() as queue:
            for batch in queue.batches(not_before=settled if self._options.yes else 0.0):
                chosen: list[DeadLetter] = []
                for letter in batch:
                    posts, authors = letter.post_ids()
                    if posts & self._gone.posts or authors & self._gone.authors:
                        met.posts |= posts
                        met.authors |= authors
                        chosen.append(letter)
                    elif letter.published < self._held.before:
                        late += not (posts <= self._held.posts and authors <= self._held.authors)
                removed += len(chosen)
                if self._options.yes:
                    queue.acknowledge(chosen)
        taken = len(self._gone.posts - met.posts) + len(self._gone.authors - met.authors)
        if late or taken:
            self._problems.append(
                f"{number(late + taken)} dead letters were leased by another subscriber and may "
                "hold withdrawn posts: run the command again"
            )
        return removed

    def _record(self, letters: int) -> None:
        row = event(
            "compliance",
            socket.gethostname(),
            # Counts only: the ids of what was withdrawn are not to be kept either.
            detail={
                "posts_gone": self._counts["posts"],
                "users_gone": self._counts["users"],
                "locations_scrubbed": self._counts["locations"],
                "rows_removed": self._purge.removed,
                "rows_cleared": self._purge.cleared,
                "rows_left": self._purge.left,
                "dead_letters_removed": letters,
                "unfinished": bool(self._purge.left or self._problems),
            },
        )
        for refused in self._publisher.publish([event_message(row)]):
            if refused is not None:
                raise UnavailableError(
                    f"everything was removed, but {self._publisher.name} did not take the note of "
                    f"it ({refused})"
                )


def _each_once(first: Iterator[int], more: set[int]) -> Iterator[int]:
    rest = set(more)
    for item in first:
        rest.discard(item)
        yield item
    yield from sorted(rest)


def _read_file(path: Path, kind: str) -> Withdrawals:
    if kind == "both":
        raise WrongInputError("--result needs --type tweets or --type users: a result names none")
    try:
        with path.open("rb") as lines:
            return Withdrawals.read("users" if kind == "users" else "tweets", lines)
    except OSError as error:
        raise WrongInputError(f"--result {path} cannot be read: {error.strerror}") from None
    except ResultError as error:
        raise WrongInputError(f"--result {path} is no compliance result: {error}") from None


def _ask(account: XAccount, kind: Kind, ids: "array[int]") -> Iterator[Withdrawals]:
    """Yield X's answer about these ids, after that of a job which a killed run left open.

    X takes one open job of a kind: without that, its own leftover would refuse the next run.

    Raises:
        UnavailableError: X refused or failed, or gave something else than a result.
        UnfinishedError: X has not answered within four hours.
    """
    listed = account.call("GET", "/2/compliance/jobs", {"type": kind}).get("data") or ()
    ours = [job for job in listed if isinstance(job, dict) and job.get("name") == _JOB_NAME]
    if going := [job for job in ours if job.get("status") == "in_progress"]:
        job = _checked({"data": going[0]})
        tell(f"waiting for X's compliance job {job['id']} of an earlier run ...")
        yield _result(account, kind, job)
    waiting = [job for job in ours if job.get("status") == "created"]
    answer = (
        {"data": waiting[0]}
        if waiting
        else account.call("POST", "/2/compliance/jobs", json={"type": kind, "name": _JOB_NAME})
    )
    job = _checked(answer)
    tell(f"asking X about {number(len(ids))} {kind} ...")
    body = io.BytesIO()
    body.writelines(b"%d\n" % item for item in ids)
    body.seek(0)
    account.put(_address(job, "upload_url"), body)
    yield _result(account, kind, job)


def _result(account: XAccount, kind: Kind, job: dict[str, Any]) -> Withdrawals:
    pause, until = 0.0, time.monotonic() + _WAIT_SECONDS
    while (status := job.get("status")) != "complete":
        if status in {"failed", "expired"}:
            raise UnavailableError(
                f"X's compliance job {job['id']} {status}: nothing of it was removed; "
                "run the command again"
            )
        if time.monotonic() > until:
            raise UnfinishedError(
                f"X's compliance job {job['id']} is not complete after {_WAIT_SECONDS // 3600} "
                "hours: nothing of it was removed; run the command again later"
            )
        time.sleep(pause)
        pause = min(max(pause * 2, 0.5), _SLOWEST_POLL)
        job = {**job, **_checked(account.call("GET", f"/2/compliance/jobs/{job['id']}"))}
    try:
        return Withdrawals.read(kind, account.lines(_address(job, "download_url")))
    except ResultError as error:
        raise UnavailableError(
            f"X's compliance job {job['id']} gave no result ({error}): nothing of it was removed; "
            "run the command again"
        ) from None


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    data = answer.get("data")
    if not isinstance(data, dict) or not str(data.get("id", "")).isalnum():
        raise UnavailableError(f"X answered with no compliance job: {harmless(str(answer))[:200]}")
    return data


def _address(job: dict[str, Any], name: str) -> str:
    address = job.get(name)
    if not isinstance(address, str) or urlsplit(address).scheme not in {"https", "http"}:
        raise UnavailableError(f"X's compliance job {job['id']} has no usable {name}")
    return address
