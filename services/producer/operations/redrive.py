"""`tweets redrive`: look at the dead letters and send them through the pipeline again.

A letter is taken off the queue only after Pub/Sub confirmed its copy on the topic. A process that
dies between the two leaves the letter in place, so it may be sent twice; both copies carry the
same id and the view tweets_latest shows one. What fails again becomes a dead letter again, which
is left alone until the next command: a letter that nothing can mend would else go round for ever.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from operations.dead_letters import DeadLetterQueue, subscriber_client
from operations.errors import UnavailableError, WrongInputError
from operations.letter import DeadLetter
from operations.settings import Settings
from operations.text import harmless, moment, number, table, tell
from operations.topic import TopicPublisher
from producer.messages import Message, post_message
from producer.parsing import LineError, parse
from producer.record import to_record

# https://docs.cloud.google.com/pubsub/quotas#resource_limits
MAX_ATTRIBUTES = 100
# What the sink routes by: of more attributes than fit, these stay.
_ROUTING = frozenset({"kind", "id", "schema"})


@dataclass
class LetterGroup:
    """Dead letters of one reason, source and kind."""

    count: int = 0
    oldest: datetime = field(default=datetime.max.replace(tzinfo=UTC))
    newest: datetime = field(default=datetime.min.replace(tzinfo=UTC))

    def add(self, at: datetime) -> None:
        """Count one more."""
        self.count += 1
        self.oldest, self.newest = min(self.oldest, at), max(self.newest, at)


@dataclass(frozen=True)
class Wanted:
    """Which letters a command is about: every one, or those of a reason or with an id."""

    reason: str | None = None
    ids: frozenset[str] = frozenset()

    def __contains__(self, letter: DeadLetter) -> bool:
        if self.reason is not None and letter.reason != self.reason:
            return False
        return not self.ids or letter.id in self.ids or letter.message_id in self.ids


def list_letters(settings: Settings, options: argparse.Namespace) -> None:
    """Print one line a reason, source and kind: how many, the oldest, the newest."""
    groups: dict[tuple[str, str, str], LetterGroup] = {}
    total = 0
    with _queue(settings, options) as queue:
        for batch in queue.batches():
            for letter in batch:
                key = (letter.reason, letter.source, letter.kind)
                groups.setdefault(key, LetterGroup()).add(letter.at)
            total = _counted(total, len(batch))
    if not groups:
        print("No dead letters.")
        return
    rows = [
        (reason, source, kind, number(group.count), moment(group.oldest), moment(group.newest))
        for (reason, source, kind), group in sorted(groups.items(), key=lambda item: -item[1].count)
    ]
    print(table(("REASON", "SOURCE", "KIND", "COUNT", "OLDEST", "NEWEST"), rows))
    print(f"{number(total)} dead letters. One of them in full: tweets redrive show ID")
    print("Send them again: tweets redrive send (--reason R | --id ID | all by default) --yes")


def show_letter(settings: Settings, options: argparse.Namespace) -> None:
    """Print each dead letter with this id: where from, why, its attributes and its data."""
    wanted, found = Wanted(ids=frozenset({options.id})), 0
    with _queue(settings, options) as queue:
        for batch in queue.batches():
            for letter in batch:
                if letter in wanted:
                    found += 1
                    print(_page(letter))
    if not found:
        raise WrongInputError(f"no dead letter has the id {options.id!r}: see tweets redrive list")


def send_letters(settings: Settings, options: argparse.Namespace) -> None:
    """Publish the wanted letters again and take them off the queue; a dry run without --yes.

    Raises:
        WrongInputError: an --id that no dead letter has.
        UnavailableError: some were not confirmed; they are dead letters still.
    """
    wanted = Wanted(options.reason, frozenset(options.id or ()))
    topic = TopicPublisher(settings.topic)
    sent: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    seen: set[str] = set()
    total = 0
    with _queue(settings, options) as queue:
        for batch in queue.batches():
            chosen = [letter for letter in batch if letter in wanted]
            ready: list[tuple[DeadLetter, Message]] = []
            for letter in chosen:
                seen |= {letter.id, letter.message_id}
                try:
                    ready.append((letter, redriven(letter)))
                except LineError as error:
                    kept[f"{letter.kind} {letter.id} still cannot be read: {error}"] += 1
            sent.update(letter.reason for letter, _ in ready)
            if options.yes:
                _send(topic, queue, ready)
            total = _counted(total, len(batch))
    if missing := sorted(wanted.ids - seen):
        kept[f"no dead letter has the id {missing[0]!r}"] += len(missing)
    _report(sent, kept, topic.name, acted=options.yes)
    if queue.newer:
        print(
            f"left: {number(queue.newer)} dead letters came while this ran, "
            f"{number(queue.returned)} of them sent before and refused again: "
            "look at the reason (tweets redrive list)"
        )
    if missing:
        raise WrongInputError(f"no dead letter has the id {missing[0]!r}: see tweets redrive list")


def redriven(letter: DeadLetter) -> Message:
    """Return the message that a letter becomes: its data and attributes, and that it was redriven.

    A line of the stream is read again and becomes the post that it holds.

    Raises:
        LineError: the line holds no usable post still.
    """
    message = Message(letter.data, letter.original_attributes())
    if letter.kind == "line":
        message = _post_of(letter.data)
    before = letter.attributes.get("redrive_count", "0")
    count = int(before) + 1 if before.isascii() and before.isdigit() else 1
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ours = {"redriven_at": now, "redrive_count": str(count)}
    fitting = sorted(message.attributes.items(), key=lambda item: item[0] not in _ROUTING)
    return Message(message.data, dict(fitting[: MAX_ATTRIBUTES - len(ours)]) | ours)


def _post_of(data: bytes) -> Message:
    line = parse(data)
    return post_message(to_record(line.body, line.raw, time.time_ns() // 1000))


def _send(
    topic: TopicPublisher, queue: DeadLetterQueue, ready: list[tuple[DeadLetter, Message]]
) -> None:
    outcomes = topic.publish(message for _, message in ready)
    queue.acknowledge(
        letter for (letter, _), refused in zip(ready, outcomes, strict=True) if refused is None
    )
    if refusals := [refused for refused in outcomes if refused is not None]:
        raise UnavailableError(
            f"{topic.name} did not take {number(len(refusals))} of {number(len(ready))} messages "
            f"({refusals[0]}): they are dead letters still; run the command again"
        )


def _queue(settings: Settings, options: argparse.Namespace) -> DeadLetterQueue:
    name = settings.dead_letter_subscription
    return DeadLetterQueue(subscriber_client(), name, options.wait)


def _counted(total: int, more: int) -> int:
    if (total + more) // 1000 > total // 1000:
        tell(f"{number(total + more)} dead letters read ...")
    return total + more


def _report(sent: Counter[str], kept: Counter[str], topic: str, *, acted: bool) -> None:
    for note, _ in kept.most_common(20):
        print(f"kept: {harmless(note)}")
    if len(kept) > 20:
        print(f"kept: {number(len(kept) - 20)} more of this kind")
    total = sum(sent.values())
    for reason, count in sent.most_common():
        print(f"{number(count)} {reason}")
    if acted:
        print(f"{number(total)} sent to {topic}, {number(sum(kept.values()))} kept.")
    else:
        print(f"Dry run: {number(total)} would be sent to {topic}. Nothing was changed.")
        print("Send them: the same command with --yes")


def _page(letter: DeadLetter) -> str:
    try:
        data = json.dumps(json.loads(letter.data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        data = letter.data.decode("utf-8", "backslashreplace")
    lines = [
        f"id          {letter.id}",
        f"message id  {letter.message_id}",
        f"set aside   {moment(letter.at)} by {letter.source}",
        f"reason      {letter.reason}",
        f"detail      {letter.attributes.get('dead_letter_detail', '')}",
        "attributes",
        *(f"  {name} = {value}" for name, value in sorted(letter.attributes.items())),
        f"data ({number(len(letter.data))} bytes)",
        data,
    ]
    return harmless("\n".join(lines))
