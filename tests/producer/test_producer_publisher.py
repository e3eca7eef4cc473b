"""Batches to Pub/Sub, with Google's client."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.pubsub import PubSubServer
from producer.journal import LINE, Journal
from producer.message import Message
from producer.publisher import Item, Publisher, publisher_client
from tests.producer.parts import Topic, wait_for

Make = Callable[..., tuple[Publisher, Journal, list[tuple[Item, str]], list[str]]]


@pytest.fixture
def make(tmp_path: Path, pubsub: PubSubServer) -> Make:
    """Makes a publisher, its journal, and lists of what it rejects and refuses."""

    def made(topic: str, **options: Any) -> Any:
        journal = Journal(tmp_path)
        rejected: list[tuple[Item, str]] = []
        refused: list[str] = []
        bounds = {"max_messages": 100_000, "max_bytes": 100_000_000, "stall": 60.0, **options}
        publisher = Publisher(
            publisher_client(), topic, journal, on_refused=refused.append,
            on_rejected=lambda item, words: rejected.append((item, words)), **bounds,
        )  # fmt: skip
        return publisher, journal, rejected, refused

    return made


def _message(number: int, size: int = 10) -> Message:
    return Message(b"x" * size, {"kind": "post", "id": str(number)})


def test_all_arrive_and_leave_the_journal(make: Make, topic: Topic, tmp_path: Path) -> None:
    """5,000 messages arrive once each, in few requests, and the journal is empty then."""
    publisher, journal, _, _ = make(topic.name)
    for number in range(5000):
        publisher.put(_message(number), journal.append(LINE, 0, b"x"))
    assert publisher.close(10) == 0
    ids = [message.attributes["id"] for message in topic.pull()]
    assert sorted(map(int, ids)) == list(range(5000))
    assert publisher.published == 5000
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_large_messages(make: Make, topic: Topic) -> None:
    """Batches stay under Pub/Sub's 10 MB, whatever the size of the messages."""
    publisher, _, rejected, _ = make(topic.name)
    for number in range(30):
        publisher.put(_message(number, 1_500_000), None)
    publisher.put(_message(99, 9_500_000), None)
    assert publisher.close(20) == 0
    assert rejected == []
    assert publisher.published == 31


def test_one_invalid_message_is_singled_out(make: Make, topic: Topic) -> None:
    """A message that Pub/Sub calls invalid costs only itself: the rest of its batch arrives."""
    publisher, _, rejected, _ = make(topic.name)
    for number in range(100):
        publisher.put(_message(number), None)
    publisher.put(Message(b"", {"id": "bad", "tags": "x" * 2000}), None)
    for number in range(100, 200):
        publisher.put(_message(number), None)
    assert publisher.close(10) == 0
    assert len(topic.pull()) == 200
    assert [item.message.attributes["id"] for item, _ in rejected] == ["bad"]
    assert "1024" in rejected[0][1]


def test_outage_is_retried_and_seen(make: Make, topic: Topic, pubsub: PubSubServer) -> None:
    """An outage is told as a stall after its time, drops nothing, and is recovered from."""
    publisher, _, _, refused = make(topic.name, stall=0.3)
    pubsub.faults.publish_unavailable(60)
    for number in range(10):
        publisher.put(_message(number), None)
    wait_for(lambda: publisher.stalled)
    assert not publisher.drained
    assert publisher.buffered == 10
    pubsub.faults.publish_unavailable(0)
    wait_for(lambda: publisher.drained and publisher.buffered == 0, 15)
    assert len(topic.pull()) == 10
    assert refused == []


def test_buffer_knows_its_bounds(make: Make, topic: Topic, pubsub: PubSubServer) -> None:
    """The buffer is full by count or by bytes."""
    pubsub.faults.publish_unavailable(60)
    by_count, _, _, _ = make(topic.name, max_messages=10)
    by_bytes, _, _, _ = make(topic.name, max_bytes=1000)
    for number in range(10):
        assert not by_count.full
        by_count.put(_message(number), None)
        by_bytes.put(_message(number, 99), None)
    assert by_count.full
    assert not by_bytes.full
    by_bytes.put(_message(10, 99), None)
    assert by_bytes.full
    pubsub.faults.publish_unavailable(0)
    by_count.close(5)
    by_bytes.close(5)


def test_missing_topic_is_told_once(make: Make) -> None:
    """A missing topic is one line for a person, and close() returns at once with what is left."""
    publisher, _, _, refused = make("projects/test/topics/nowhere")
    for number in range(3000):
        publisher.put(_message(number), None)
    wait_for(lambda: refused)
    begin = time.monotonic()
    assert publisher.close(10) == 3000
    assert time.monotonic() - begin < 5
    assert "projects/test/topics/nowhere" in refused[0]
    assert "roles/pubsub.publisher" in refused[0]
