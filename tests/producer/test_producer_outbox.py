"""Room for more, or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local.pubsub import PubSubServer
from producer.events import FULL, event
from producer.outbox import Outbox
from producer.settings import Settings, Token
from producer.state import StateDir
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
