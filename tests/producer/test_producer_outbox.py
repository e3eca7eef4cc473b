"""Room for more, or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from local.pubsub import PubSubServer
from producer.events import FULL, event
from producer.journal import EVENT, Journal
from producer.outbox import Outbox
from producer.settings import Settings, Token
from producer.state import StateDir, StateError
from producer.stats import Stats
from tests.producer.parts import Topic, wait_for


@pytest.fixture
def outbox(pubsub: PubSubServer, topic: Topic, state: StateDir, tmp_path: Path) -> Iterator[Outbox]:
    """An outbox for 100 messages."""
    settings = replace(Settings(Token(value="some-token")), buffer_posts=100)
    made = Outbox(settings, topic.name, state, Stats(), lambda message: None)
    yield made
    made.close(5)


def test_reads_again_when_nearly_empty(outbox: Outbox, pubsub: PubSubServer) -> None:
    """Once full, it does not let X be connected until nine tenths are published: not on and off."""
    pubsub.faults.publish_unavailable(60)
    assert outbox.may_read()
    for _ in range(100):
        outbox.event(event("usage", "me"))
    assert outbox.blocked() == FULL
    assert not outbox.may_read()
    outbox._posts.buffered -= 50
    assert outbox.blocked() is None
    assert not outbox.may_read()
    outbox._posts.buffered += 50
    pubsub.faults.publish_unavailable(0)
    wait_for(outbox.may_read, 15, what="room")


@pytest.mark.parametrize("wrong", ["journal", "journal/notes.seg"])
def test_unusable_journal_gets_one_line(
    pubsub: PubSubServer, topic: Topic, state: StateDir, wrong: str
) -> None:
    """A journal that is no directory, or holds a stranger's file, is named with what to do."""
    path = state.path / wrong
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(StateError, match=r"STATE_DIR's journal .* cannot be used: .*move away"):
        Outbox(
            Settings(Token(value="some-token")), topic.name, state, Stats(), lambda message: None
        )


def test_damaged_event_in_the_journal(pubsub: PubSubServer, topic: Topic, state: StateDir) -> None:
    """An event without its data, as a power cut may leave it, costs itself only: the entries after
    it are sent.
    """
    left = Journal(state.path / "journal")
    left.append(EVENT, 1, bytes(20))
    left.append(EVENT, 2, orjson.dumps(event("usage", "me")))
    left.close()
    outbox = Outbox(
        Settings(Token(value="some-token")), topic.name, state, Stats(), lambda message: None
    )
    try:
        assert outbox.replay(lambda: True) == 2
        wait_for(lambda: topic.events("usage"))
        assert topic.events("dead_letter")[0]["reason"] == "malformed_line"
    finally:
        outbox.close(5)
