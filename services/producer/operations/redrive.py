"""`tweets redrive`: look at the dead letters and send them through the pipeline again.

A letter is taken off the queue only after Pub/Sub confirmed its copy on the topic. A process that
dies between the two leaves the letter in place, so it may be sent twice; both copies carry the
same id and the view tweets_latest shows one. What fails again becomes a dead letter again, which
is left alone until the next command: a letter that nothing can mend would else go round for ever.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from operations.dead_letters import DeadLetterQueue
from operations.errors import UnavailableError, WrongInputError
from operations.letter import DeadLetter
from operations.settings import Settings
from operations.text import harmless, moment, progress, table
from operations.topic import TopicPublisher
from producer.messages import Message, now, post_message
from producer.parsing import LineError, parse
from producer.record import to_record

# https://docs.cloud.google.com/pubsub/quotas#resource_limits
MAX_ATTRIBUTES = 100
# What the sink routes by: of more attributes than fit, these stay.
_ROUTING = frozenset({"kind", "id", "schema"})
_READ = "dead letters read"


def list_letters(settings: Settings, options: argparse.Namespace) -> None:
    """Print one line a reason, source and kind: how many, the oldest, the newest."""
    groups: dict[tuple[str, str, str], tuple[int, datetime, datetime]] = {}
    for letter in _letters(settings, options):
        key = (letter.reason, letter.source, letter.kind)
        count, oldest, newest = groups.get(key, (0, letter.at, letter.at))
        groups[key] = count + 1, min(oldest, letter.at), max(newest, letter.at)
    if not groups:
        print("No dead letters.")
        return
    rows = [
        (*key, f"{count:,}", moment(oldest), moment(newest))
        for key, (count, oldest, newest) in sorted(groups.items(), key=lambda item: -item[1][0])
    ]
    print(table(("REASON", "SOURCE", "KIND", "COUNT", "OLDEST", "NEWEST"), rows))
    total = sum(count for count, _, _ in groups.values())
    print(f"{total:,} dead letters. One of them in full: tweets redrive show ID")
    print("Send them again: tweets redrive send (--reason R | --id ID | all by default) --yes")


def show_letter(settings: Settings, options: argparse.Namespace) -> None:
    """Print each dead letter with this id: where from, why, its attributes and its data."""
    found = False
    for letter in _letters(settings, options):
        if options.id in (letter.id, letter.message_id):
            found = True
            print(_page(letter))
    if not found:
        raise _unknown(options.id)


def send_letters(settings: Settings, options: argparse.Namespace) -> None:
    """Publish the wanted letters again and take them off the queue; a dry run without --yes.

    Raises:
        WrongInputError: an --id that no dead letter has.
        UnavailableError: some were not confirmed; they are dead letters still.
    """
    wanted = set(options.id or ())
    topic = TopicPublisher(settings.topic)
    sent: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    seen: set[str] = set()
    total = 0
    with DeadLetterQueue(settings.dead_letter_subscription, options.wait) as queue:
        for batch in queue.batches():
            ready: list[tuple[DeadLetter, Message]] = []
            for letter in batch:
                names = {letter.id, letter.message_id}
                if options.reason not in (None, letter.reason) or (wanted and not wanted & names):
                    continue
                seen |= names
                try:
                    ready.append((letter, redriven(letter)))
                except LineError as error:
                    kept[f"{letter.kind} {letter.id} still cannot be read: {error}"] += 1
            sent.update(letter.reason for letter, _ in ready)
            if options.yes:
                _send(topic, queue, ready)
            total = progress(total, total + len(batch), _READ)
    if missing := sorted(wanted - seen):
        kept[f"no dead letter has the id {missing[0]!r}"] += len(missing)
    _report(sent, kept, topic.name, acted=options.yes)
    if queue.newer:
        print(
            f"left: {queue.newer:,} dead letters came while this ran, "
            f"{queue.returned:,} of them sent before and refused again: "
            "look at the reason (tweets redrive list)"
        )
    if missing:
        raise _unknown(missing[0])


def redriven(letter: DeadLetter) -> Message:
    """Return the message that a letter becomes: its data and attributes, and that it was redriven.

    A line of the stream is read again and becomes the post that it holds.

    Raises:
        LineError: the line holds no usable post still.
    """
    message = Message(letter.data, letter.original_attributes())
    if letter.kind == "line":
        line = parse(letter.data)
        message = post_message(to_record(line.body, line.raw, now()))
    before = letter.attributes.get("redrive_count", "0")
    count = int(before) + 1 if before.isascii() and before.isdigit() else 1
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ours = {"redriven_at": at, "redrive_count": str(count)}
    fitting = sorted(message.attributes.items(), key=lambda item: item[0] not in _ROUTING)
    return Message(message.data, dict(fitting[: MAX_ATTRIBUTES - len(ours)]) | ours)


def _send(
    topic: TopicPublisher, queue: DeadLetterQueue, ready: list[tuple[DeadLetter, Message]]
) -> None:
    letters = (letter for letter, _ in ready)
    refusals: list[str] = []
    for outcomes in topic.batches(message for _, message in ready):
        # Shorter than a lease: after it the acknowledgement would be void, and each run send again.
        answered = list(zip(outcomes, letters, strict=False))
        queue.acknowledge(letter for refused, letter in answered if refused is None)
        refusals += [refused for refused, _ in answered if refused is not None]
        queue.renew()
    if refusals:
        raise UnavailableError(
            f"{topic.name} did not take {len(refusals):,} of {len(ready):,} messages "
            f"({refusals[0]}): they are dead letters still; run the command again"
        )


def _letters(settings: Settings, options: argparse.Namespace) -> Iterator[DeadLetter]:
    total = 0
    with DeadLetterQueue(settings.dead_letter_subscription, options.wait) as queue:
        for batch in queue.batches():
            yield from batch
            total = progress(total, total + len(batch), _READ)


def _unknown(name: str) -> WrongInputError:
    return WrongInputError(f"no dead letter has the id {name!r}: see tweets redrive list")


def _report(sent: Counter[str], kept: Counter[str], topic: str, *, acted: bool) -> None:
    for note, _ in kept.most_common(20):
        print(f"kept: {harmless(note)}")
    if len(kept) > 20:
        print(f"kept: {len(kept) - 20:,} more of this kind")
    total = sum(sent.values())
    for reason, count in sent.most_common():
        print(f"{count:,} {reason}")
    if acted:
        print(f"{total:,} sent to {topic}, {sum(kept.values()):,} kept.")
    else:
        print(f"Dry run: {total:,} would be sent to {topic}. Nothing was changed.")
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
        f"data ({len(letter.data):,} bytes)",
        data,
    ]
    return harmless("\n".join(lines))
