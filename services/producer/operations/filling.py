"""Fill one span: read posts from X's search, publish them, note what is complete."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from operations.dataset import Dataset
from operations.errors import UnavailableError
from operations.gaps import Span, joined
from operations.search import GapSearch, price
from operations.text import harmless, moment, progress, tell
from operations.topic import TopicPublisher
from producer.messages import Message, now, post_message
from producer.record import RecordError, rule_tags, to_record

_POSTS_A_NOTE = 1_000


def fill(
    topic: TopicPublisher,
    dataset: Dataset,
    search: GapSearch,
    covered: Sequence[Span],
    query: str | None,
) -> list[Span]:
    """Read one span and publish what is missing; return what is complete of it now.

    What is complete is noted while it grows: each post was paid for, so a run that is ended must
    leave nothing that the next one pays for again.
    """
    present, notes = dataset.posts(search.span), _Notes(topic, search, covered, query)
    told = 0
    try:
        for lines in search.lines():
            notes.published += _publish(topic, lines, present)
            notes.reached = search.covered_from
            told = progress(told, search.read, f"posts read, back to {moment(notes.reached)}")
            if notes.unsaid >= _POSTS_A_NOTE:
                notes.send()
    except BaseException:
        try:
            notes.send()
        except UnavailableError as error:
            tell(str(error))  # what ended the search is the error of the command
        raise
    notes.send()
    print(
        f"{search.span}: {search.read:,} posts read ({price(search.read)}), "
        f"{notes.published:,} published"
    )
    done = Span(notes.reached, search.span.end)
    return [done] if done.start < done.end else []


class _Notes:
    """The events of one search: each tells what became complete since the one before.

    Attributes:
        reached: all from here to the span's end is published.
        published: posts that were published so far.
    """

    def __init__(
        self, topic: TopicPublisher, search: GapSearch, covered: Sequence[Span], query: str | None
    ) -> None:
        self._topic = topic
        self._search = search
        self._covered = covered
        self._query = query
        self.reached = search.span.end
        self.published = 0
        self._said = (self.reached, 0, 0)

    @property
    def unsaid(self) -> int:
        """Posts read since the last event."""
        return self._search.read - self._said[1]

    def send(self) -> None:
        """Publish the event, if more is complete than at the last one."""
        search, (before, read, published) = self._search, self._said
        if self.reached == before:
            return
        done = Span(self.reached, search.span.end)
        whole = done if self._query else joined(done, self._covered)
        self._said = (self.reached, search.read, self.published)
        self._topic.note(
            # A query of one's own fills no gap of the stream's rules.
            "history" if self._query else "backfilled",
            f"the posts are published, and {Span(self.reached, before)} is listed as open still",
            gap_from=_microseconds(whole.start),
            gap_to=_microseconds(whole.end),
            reason="history" if self._query else "backfill",
            detail={
                "read_from": moment(self.reached),
                "read_to": moment(before),
                "search": search.product.name,
                "posts_read": search.read - read,
                "posts_published": self.published - published,
                "rules": [rule.tag or rule.value for rule in search.rules],
                # X's searches return no reposts since 2026-05-04.
                "reposts": False,
            },
        )


def _publish(
    topic: TopicPublisher,
    lines: Sequence[dict[str, Any]],
    present: Mapping[int, frozenset[str] | None],
) -> int:
    """Publish what is not in the table yet; return how many posts that were."""
    messages = [message for line in lines if (message := _message(line, present)) is not None]
    if refusals := [why for why in topic.publish(messages) if why is not None]:
        raise UnavailableError(
            f"{topic.name} did not take {len(refusals):,} posts ({refusals[0]}): the gap "
            "stays open; run the command again (X charges posts of the same UTC day once)"
        )
    return len(messages)


def _message(line: dict[str, Any], present: Mapping[int, frozenset[str] | None]) -> Message | None:
    post_id = int(line["data"]["id"])
    if post_id in present:
        before = present[post_id]
        if before is None or before >= set(rule_tags(line)):
            return None
        # An earlier backfill ended before it had read every rule: this post matches one more.
        line["matching_rules"] += [{"tag": tag} for tag in sorted(before - set(rule_tags(line)))]
    try:
        return post_message(to_record(line, orjson.dumps(line).decode(), now(), "backfill"))
    except RecordError as error:
        tell(f"left out: {harmless(str(error))}")
        return None


def _microseconds(at: datetime) -> int:
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
