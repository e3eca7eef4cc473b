"""From the store to Pub/Sub, with Google's client."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.pubsub import PubSubServer
from producer import database
from producer import outbox as module
from producer.messages import DISK, FULL, LETTERS, POSTS, Entry, Message, event
from producer.outbox import Outbox
from producer.settings import Settings, XToken
from producer.stats import Stats
from producer.store import Store
from tests.producer.parts import Topic, wait_for

Make = Callable[..., Outbox]


@pytest.fixture
def refused() -> list[str]:
    """What the outbox said when Pub/Sub would not have its posts."""
    return []


@pytest.fixture
def make(tmp_path: Path, pubsub: PubSubServer, refused: list[str]) -> Iterator[Make]:
    """Makes an outbox with a store of its own."""
    made: list[Outbox] = []

    def new(topic: str, **changed: Any) -> Outbox:
        settings = replace(Settings(XToken(value="some-token")), **changed)
        directory = tmp_path / f"state-{len(made)}"
        made.append(Outbox(settings, topic, Store(directory), Stats(), refused.append))
        return made[-1]

    yield new
    for outbox in made:
        outbox.close(1)


def _entry(number: int, size: int = 10) -> Entry:
    return Entry(POSTS, Message(b"x" * size, {"kind": "post", "id": str(number)}), number)


def _ids(topic: Topic) -> list[int]:
    return [int(message.attributes["id"]) for message in topic.pull()]


def test_all_arrive_and_leave_the_store(make: Make, topic: Topic) -> None:
    """5,000 messages arrive once each, in few requests, and the store is empty then."""
    outbox = make(topic.name)
    for number in range(0, 5000, 50):
        outbox.keep([_entry(number + each) for each in range(50)])
    assert outbox.close(10) == (0, 0)
    assert sorted(_ids(topic)) == list(range(5000))
    assert outbox.stats.published == 5000


def test_a_batch_leaves_at_once_after_a_rest_or_when_full(
    make: Make, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first message waits for nobody; what follows gathers until its time or a full request,
    and the end waits for neither.
    """
    monkeypatch.setattr("producer.sender.LINGER", 600.0)
    outbox = make(topic.name)
    outbox.keep([_entry(0)])
    wait_for(lambda: _ids(topic) == [0], what="the first")
    for number in range(1, 500):
        outbox.keep([_entry(number)])
    assert outbox.stats.held == 499
    outbox.keep([_entry(500), _entry(501)])
    wait_for(lambda: len(_ids(topic)) == 501, what="the full request")
    assert outbox.close(10) == (0, 0)
    assert sorted(_ids(topic)) == list(range(502))


def test_an_earlier_process_goes_first(
    topic: Topic, pubsub: PubSubServer, tmp_path: Path, refused: list[str]
) -> None:
    """What was left in the store is published before what comes now, in its order."""
    left = Store(tmp_path)
    for number in range(1500):
        left.append([_entry(number)])
    left.close()
    settings = Settings(XToken(value="some-token"))
    outbox = Outbox(settings, topic.name, Store(tmp_path), Stats(), refused.append)
    outbox.keep([_entry(9999)])
    assert outbox.stats.replayed == 1500
    assert outbox.close(10) == (0, 0)
    ids = _ids(topic)
    assert sorted(ids) == [*range(1500), 9999]
    assert [each for each in ids if each < 500] == list(range(500)), "order within a request"


def test_large_messages(make: Make, topic: Topic) -> None:
    """Batches stay under Pub/Sub's 10 MB, whatever the size of the messages."""
    outbox = make(topic.name)
    outbox.keep([_entry(number, 1_500_000) for number in range(30)])
    outbox.keep([_entry(99, 9_500_000)])
    assert outbox.close(20) == (0, 0)
    assert (outbox.stats.rejected, outbox.stats.published) == (0, 31)


def test_one_invalid_message_is_singled_out(make: Make, topic: Topic, letters: Topic) -> None:
    """A message that Pub/Sub calls invalid costs only itself: the rest of its batch arrives, and
    it is a dead letter with Pub/Sub's words.
    """
    outbox = make(topic.name, dead_letter_topic=letters.name)
    bad = Message(b'{"raw": "the line"}', {"kind": "post", "id": "7", "tags": "x" * 2000})
    outbox.keep([*(_entry(each) for each in range(100)), Entry(POSTS, bad, 1)])
    outbox.keep([_entry(each) for each in range(100, 200)])
    wait_for(lambda: letters.pull(), what="the dead letter")
    assert outbox.close(10) == (0, 0)
    assert len(topic.pull()) == 201  # and the event
    (letter,) = letters.messages
    assert letter.data == b"the line"
    assert "1024" in letter.attributes["dead_letter_detail"]
    assert outbox.stats.rejected == 1


def test_outage_is_retried_and_told(
    make: Make, topic: Topic, pubsub: PubSubServer, refused: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """An outage is told, loses nothing, keeps X connected, and is recovered from."""
    outbox = make(topic.name)
    pubsub.faults.publish_unavailable(60)
    outbox.keep([_entry(number) for number in range(10)])
    wait_for(lambda: "Pub/Sub did not take 10 messages" in caplog.text)
    assert outbox.stats.held == 10
    assert outbox.blocked() is None
    pubsub.faults.publish_unavailable(0)
    wait_for(lambda: outbox.stats.held == 0, 15)
    assert len(topic.pull()) == 10
    assert refused == []


def test_full_volume(
    make: Make, topic: Topic, pubsub: PubSubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the volume is full X is not connected until there is room for a good while, so that it
    does not go on and off.
    """
    pubsub.faults.publish_unavailable(60)
    outbox = make(topic.name)
    outbox.event(event("usage", "me"))
    assert outbox.may_read()
    room = -1
    monkeypatch.setattr(Store, "room", property(lambda _: room))
    assert outbox.blocked() == FULL
    assert not outbox.may_read()
    room = module.ROOM_AGAIN - 1
    assert outbox.blocked() is None
    assert not outbox.may_read()
    room += 1
    assert outbox.may_read()


@pytest.mark.parametrize(("budget", "left_at_once"), [(0, False), (1000, True)])
def test_broken_disk(
    make: Make, topic: Topic, pubsub: PubSubServer, monkeypatch: pytest.MonkeyPatch,
    budget: int, *, left_at_once: bool,
) -> None:  # fmt: skip
    """While the disk takes nothing, what is read goes through memory up to a bound, then X is left;
    with a budget at once, since no post may be read that is not put on the account.
    """
    monkeypatch.setattr(module, "MEMORY_BYTES", 50_000)
    pubsub.faults.publish_unavailable(60)
    outbox = make(topic.name, post_budget=budget)
    outbox.store._db.execute("PRAGMA query_only = ON")
    outbox.keep([_entry(1)])
    assert outbox.store.failing
    assert outbox.blocked() == (DISK if left_at_once else None)
    outbox.keep([_entry(number, 1000) for number in range(2, 60)])
    assert outbox.blocked() == DISK
    assert not outbox.may_read()
    pubsub.faults.publish_unavailable(0)
    wait_for(lambda: outbox.store.in_memory == 0, 15, "published from memory")
    assert len(topic.pull()) == 59
    assert not outbox.may_read()
    outbox.store._db.execute("PRAGMA query_only = OFF")
    outbox.store._again_at = 0.0
    outbox.store.flush()
    assert outbox.may_read()


def test_missing_topic_is_told_once(make: Make, refused: list[str]) -> None:
    """A missing topic is one line for a person, and close() returns at once with what is left."""
    outbox = make("projects/test/topics/nowhere")
    outbox.keep([_entry(number) for number in range(3000)])
    wait_for(lambda: refused)
    begin = time.monotonic()
    assert outbox.close(10) == (3000, 0)
    assert time.monotonic() - begin < 5
    assert "projects/test/topics/nowhere" in refused[0]
    assert "roles/pubsub.publisher" in refused[0]


def test_a_topic_that_goes_is_waited_for(
    make: Make, topic: Topic, pubsub: PubSubServer, refused: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A topic that took messages and is deleted then is told and waited for."""
    outbox = make(topic.name)
    outbox.keep([_entry(1)])
    wait_for(lambda: outbox.stats.published == 1)
    outbox._senders[0].topic += "-gone"
    outbox.keep([_entry(2)])
    wait_for(lambda: "Pub/Sub refuses" in caplog.text)
    assert refused == []
    assert outbox.stats.held == 1


def test_what_a_disk_would_not_give_is_published_when_it_does(
    make: Make, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that could not be read for a moment need no new one to be looked for again."""
    outbox = make(topic.name)
    rows, failed = database.rows, list[int]()

    def unreadable(*_: Any) -> Iterator[Any]:
        failed.append(1)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    monkeypatch.setattr(database, "rows", unreadable)
    outbox.keep([_entry(1)])
    wait_for(lambda: failed)
    monkeypatch.setattr(database, "rows", rows)
    outbox.store._again_at = 0.0
    outbox.flush()
    wait_for(lambda: _ids(topic) == [1])


def test_the_end_waits_for_no_back_off(
    make: Make, topic: Topic, pubsub: PubSubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end what failed before is tried at once, however long it was to wait."""
    monkeypatch.setattr("producer.sender.RETRY_FIRST", 600.0)
    outbox = make(topic.name)
    pubsub.faults.publish_unavailable(600)
    outbox.keep([_entry(1)])
    wait_for(lambda: outbox.stats.publish_failed)
    pubsub.faults.publish_unavailable(0)
    assert outbox.close(10) == (0, 0)
    assert _ids(topic) == [1]


@pytest.mark.parametrize("number", [POSTS, LETTERS])
def test_a_fault_of_a_sender_ends_the_process(
    make: Make, topic: Topic, letters: Topic, refused: list[str],
    monkeypatch: pytest.MonkeyPatch, number: int,
) -> None:  # fmt: skip
    """A fault of this program in either sender is told: one that dies unseen is a slow stall."""
    outbox = make(topic.name, dead_letter_topic=letters.name)
    monkeypatch.setattr(outbox._senders[number], "_client", None)
    outbox.keep([_entry(1)._replace(topic=number)])
    wait_for(lambda: refused)
    assert refused[0].startswith("Publishing failed: AttributeError")
    assert outbox.close(1) == (1, 0)


@pytest.mark.parametrize("taken", [True, False])
def test_an_invalid_event_is_set_aside_or_told(
    make: Make, topic: Topic, caplog: pytest.LogCaptureFixture, *, taken: bool
) -> None:
    """It is no letter of its own; the log says that it is kept only where the disk took it."""
    outbox = make(topic.name)
    if not taken:
        outbox.store._db.execute("PRAGMA query_only = ON")
    bad = Message(b'{"kind": "usage"}', {"kind": "event", "id": "7", "tags": "x" * 2000})
    outbox.keep([Entry(POSTS, bad, 1)])
    wait_for(lambda: outbox.stats.rejected and outbox.store.in_memory == 0)
    assert ("It is set aside in STATE_DIR" in caplog.text) == taken
    assert ('It is lost: {"kind": "usage"}' in caplog.text) != taken
