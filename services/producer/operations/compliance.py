"""`tweets compliance`: remove what its authors, or X, have withdrawn.

X's agreement asks that stored posts follow deletes, account removals and scrubbed locations,
within 24 hours of a request (developer.x.com/en/developer-terms/policy). X is asked by batch
compliance jobs, a part of what is held at a time, and each answer is acted on before the next:
memory does not grow with the table. What this command cannot reach is told at the end of a run.

Source: https://docs.x.com/x-api/compliance/batch-compliance/integrate and .../quickstart.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain

from operations.dataset import BUFFER_MINUTES, Dataset, Purge, parts
from operations.dead_letters import LEASE_SECONDS, DeadLetterQueue
from operations.errors import UnfinishedError
from operations.letter import DeadLetter
from operations.settings import Settings
from operations.text import tell
from operations.topic import TopicPublisher
from operations.withdrawals import Kind, Withdrawals, ask, read_file
from operations.x_account import XAccount

IDS_A_JOB = 500_000
"""10 MB of an upload, of which X takes 128 MB."""
SETTLE_SECONDS = LEASE_SECONDS + 5.0
"""After this, letters that a command which was killed had leased are back."""
_NOTES = (
    "Not reached by this command: BigQuery's time travel (7 days at most) and fail-safe (7 more), "
    "messages that the topic retains for replay, and copies made by readers of the table."
)


def run_compliance(settings: Settings, options: argparse.Namespace) -> None:
    """Ask X about everything held, or read its answer from a file, and remove what must go.

    Raises:
        WrongInputError: the file cannot be read or is no result.
        UnavailableError: X, BigQuery or Pub/Sub failed.
        UnfinishedError: some rows are in BigQuery's streaming buffer still, or some dead letters
            may be leased by another subscriber.
    """
    _Run(settings, options).do()


class _Run:
    def __init__(self, settings: Settings, options: argparse.Namespace) -> None:
        self._settings = settings
        self._options = options
        self._topic = TopicPublisher(settings.topic)  # a missing name ends it before X is asked
        self._dataset = Dataset(settings.dataset)
        self._purge = Purge(self._dataset, act=options.yes)
        self._counts: Counter[str] = Counter()
        # Ids inside dead letters, of posts and of authors: all that were met, and those that go.
        self._held: tuple[set[int], set[int]] = set(), set()
        self._gone: tuple[set[int], set[int]] = set(), set()
        self._problems: list[str] = []

    def do(self) -> None:
        settled, before = time.monotonic() + SETTLE_SECONDS, datetime.now(UTC)
        with self._queue() as queue:
            for batch in queue.batches():
                for letter in batch:
                    for held, ids in zip(self._held, letter.post_ids(), strict=True):
                        held.update(ids)
        for withdrawals in self._answers():
            self._remove(withdrawals)
        counts, purge = self._counts, self._purge
        print(
            f"X reports: {counts['posts_gone']:,} posts and {counts['users_gone']:,} "
            f"users gone, {counts['locations_scrubbed']:,} locations to remove, "
            f"{counts['stale']:,} posts edited since (the new version has its own id)"
        )
        if unclear := counts["unclear"]:
            print(f"{unclear:,} lines of the result say nothing known and were passed over")
        letters = self._purge_letters(settled, before)
        would = "" if self._options.yes else "would be "
        print(f"table: {purge.removed:,} rows {would}removed, {purge.cleared:,} {would}cleared")
        print(f"dead letters: {letters:,} {would}removed")
        if not self._options.yes:
            print("Dry run: nothing was changed. Remove them: the same command with --yes")
            return
        print(_NOTES)
        if purge.left:
            self._problems.append(
                f"{purge.left:,} rows are in BigQuery's streaming buffer, where "
                f"nothing can be removed for up to {BUFFER_MINUTES} minutes: run the command again "
                "after that"
            )
        self._topic.note(
            "compliance",
            "everything was removed, but no event says so",
            # Counts only: the ids of what was withdrawn are not to be kept either.
            detail={
                **{n: counts[n] for n in ("posts_gone", "users_gone", "locations_scrubbed")},
                "rows_removed": purge.removed,
                "rows_cleared": purge.cleared,
                "rows_left": purge.left,
                "dead_letters_removed": letters,
                "unfinished": bool(self._problems),
            },
        )
        if self._problems:
            raise UnfinishedError("; ".join(self._problems))

    def _answers(self) -> Iterator[Withdrawals]:
        wanted = self._options.type
        if self._options.result is not None:
            yield read_file(self._options.result, wanted)
            return
        account = XAccount(self._settings)
        kinds: dict[Kind, Iterator[int]] = {
            "tweets": _each_once(self._dataset.held_posts, self._held[0]),
            "users": _each_once(self._dataset.held_authors, self._held[1]),
        }
        for kind, ids in kinds.items():
            if wanted in (kind, "both"):
                asked = 0
                for part in parts(ids, IDS_A_JOB):
                    asked += len(part)
                    yield from ask(account, kind, part)
                print(f"asked X about {asked:,} {kind}")

    def _remove(self, found: Withdrawals) -> None:
        self._counts.update(
            posts_gone=len(found.posts),
            users_gone=len(found.authors),
            locations_scrubbed=len(found.scrub_geo) + len(found.scrub_geo_authors),
            stale=found.stale,
            unclear=found.unclear,
        )
        # Of what is gone, only what a letter holds is remembered.
        posts, authors = self._held
        for part in chain(self._purge.authors(found.authors), self._purge.posts(found.posts)):
            self._gone[0].update(posts.intersection(part))
        self._purge.places("id", found.scrub_geo)
        self._purge.places("author_id", found.scrub_geo_authors)
        # A letter cannot be changed: one that may hold a location goes.
        self._gone[0].update(posts.intersection(found.scrub_geo))
        self._gone[1].update(authors.intersection([*found.authors, *found.scrub_geo_authors]))

    def _queue(self) -> DeadLetterQueue:
        return DeadLetterQueue(self._settings.dead_letter_subscription, self._options.wait)

    def _purge_letters(self, settled: float, before: datetime) -> int:
        """Remove the dead letters that hold what is gone; return how many.

        A command that was killed hides the letters it held until their lease is over, so the
        queue is watched until then: what was set aside before this began and comes back was not
        asked about, and is told.
        """
        removed = late = 0
        missed = [set(ids) for ids in self._gone]
        if self._options.yes and settled > time.monotonic() + 10:
            tell("waiting a minute at most for dead letters that a killed command may hold ...")
        with self._queue() as queue:
            for batch in queue.batches(not_before=settled if self._options.yes else 0.0):
                chosen: list[DeadLetter] = []
                for letter in batch:
                    ids = letter.post_ids()
                    if ids[0] & self._gone[0] or ids[1] & self._gone[1]:
                        chosen.append(letter)
                        for left, met in zip(missed, ids, strict=True):
                            left.difference_update(met)
                    elif letter.published < before:
                        late += not (ids[0] <= self._held[0] and ids[1] <= self._held[1])
                removed += len(chosen)
                if self._options.yes:
                    queue.acknowledge(chosen)
        if unseen := late + sum(map(len, missed)):
            self._problems.append(
                f"{unseen:,} dead letters were leased by another subscriber and may "
                "hold withdrawn posts: run the command again"
            )
        return removed


def _each_once(first: Callable[[], Iterator[int]], more: set[int]) -> Iterator[int]:
    rest = set(more)
    for item in first():
        rest.discard(item)
        yield item
    yield from sorted(rest)
