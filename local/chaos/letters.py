"""The dead letters of a chaos run against what was made to be one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass

from local.chaos.gaps import RecordedGap
from local.demo.stack import LocalStack
from operations.dead_letters import DeadLetterQueue
from operations.letter import DeadLetter

KEPT_LINE = 1_000_000
"""Of a line longer than this the producer may keep the start only."""


@dataclass(frozen=True)
class Letters:
    """The dead letters against what should be there.

    Attributes:
        lines: poison lines found among the dead letters.
        rows: rejected posts found among them.
        in_gaps: poison lines that arrived at the producer's machine within a recorded gap.
        missing: poison that is not among the dead letters, and not in a gap.
        strange: dead letters that are no poison.
    """

    lines: int = 0
    rows: int = 0
    in_gaps: int = 0
    missing: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        letters: Iterable[DeadLetter],
        poison: Sequence[bytes],
        rejected: Set[int],
        gaps: Sequence[RecordedGap],
        made_into_poison: Collection[int],
    ) -> Letters:
        """Compare them.

        Args:
            letters: all that wait.
            poison: lines that X sent and that can't become a row.
            rejected: ids of posts that BigQuery was asked to reject.
            gaps: intervals not covered.
            made_into_poison: ids of posts that X made and did not deliver.
        """
        lines: set[int] = set()
        rows: set[int] = set()
        strange = []
        for letter in letters:
            if letter.kind == "post" and letter.reason == "row_rejected":
                if int(letter.id) in rejected:
                    rows.add(int(letter.id))
                    continue
            elif (index := _line_of(letter.data, poison)) is not None:
                lines.add(index)
                continue
            strange.append(f"{letter.reason} {letter.kind} {letter.id}")
        unread = [digits(each) for each in made_into_poison if any(gap.holds(each) for gap in gaps)]
        absent = [line[:2000] for index, line in enumerate(poison) if index not in lines]
        lost = [start for start in absent if not any(each in start for each in unread)]
        missing = [f"post {each}" for each in sorted(rejected - rows)]
        missing += [f"line {start[:80]!r}" for start in lost]
        return cls(len(lines), len(rows), len(absent) - len(lost), tuple(missing), tuple(strange))


def digits(post_id: int) -> bytes:
    """The part of an id that each poison line shows of the post it was made from: all but one."""
    return str(post_id)[1:].encode()


def _line_of(data: bytes, poison: Sequence[bytes]) -> int | None:
    for index, line in enumerate(poison):
        if line == data or (len(line) > len(data) > KEPT_LINE and line.startswith(data)):
            return index
    return None


def dead_letters(stack: LocalStack) -> list[DeadLetter]:
    """Every dead letter of the stack that waits; none is consumed."""
    with DeadLetterQueue(reader(stack), 2.0, stack.pubsub_address) as queue:
        return [letter for batch in queue.batches() for letter in batch]


def reader(stack: LocalStack) -> str:
    """Full name of the subscription on the dead letters."""
    topic = stack.processes["producer"].env["DEAD_LETTER_TOPIC"]
    return topic.replace("/topics/", "/subscriptions/") + "-reader"
