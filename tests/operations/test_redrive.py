"""`tweets redrive` against the embedded Pub/Sub server, through the official clients."""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace

import pytest

from operations import dead_letters
from operations.dead_letters import DeadLetterQueue
from operations.redrive import _send as send_batch
from operations.redrive import redriven
from operations.topic import TopicPublisher
from producer.messages import Message
from tests.operations.conftest import DEAD_LETTERS, READER, ROWS, TOPIC, Stack, line

ROOT = Path(__file__).resolve().parents[2]
REJECTED = {
    "dead_letter_reason": "row_rejected",
    "dead_letter_detail": "no such field",
    "dead_letter_source": "sink",
    "dead_letter_at": "2026-11-22T10:00:00Z",
    "dead_letter_message_id": "77",
}
FAST = ("--wait", "0.1")


def record(number: int) -> bytes:
    """Data of a post message."""
    return json.dumps({"id": number, "author_id": 70, "text": "hello 고양이"}).encode()


def three_kinds(stack: Stack) -> None:
    """One dead letter of the sink, one of Pub/Sub itself, one line of the producer."""
    stack.dead_letter(record(1), kind="post", id="1", schema="1", lang="en", **REJECTED)
    stack.dead_letter(
        record(2),
        kind="post",
        id="2",
        CloudPubSubDeadLetterSourceSubscription="tweets-t-push",
        CloudPubSubDeadLetterSourceDeliveryCount="100",
    )
    stack.dead_letter(
        json.dumps(line(3)).encode(),
        kind="line",
        id="a" * 32,
        dead_letter_reason="malformed_line",
        dead_letter_source="producer",
        dead_letter_at="2026-11-21T09:00:00Z",
    )


def test_list_groups_and_consumes_nothing(stack: Stack) -> None:
    """`list` counts by reason and source with the oldest and newest, and leaves all in place."""
    three_kinds(stack)
    stack.dead_letter(
        record(4), kind="post", id="4", **REJECTED | {"dead_letter_at": "2026-11-22T12:00:00Z"}
    )
    done = stack.run("redrive", "list", *FAST)
    assert done.code == 0, done.err
    rows = [row.split("  ") for row in done.out.splitlines()]
    found = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in rows[1:4]}
    assert found["row_rejected"] == [
        "sink", "post", "2", "2026-11-22 10:00:00Z", "2026-11-22 12:00:00Z",
    ]  # fmt: skip
    assert found["delivery_attempts"][:3] == ["tweets-t-push", "post", "1"]
    assert found["malformed_line"][:3] == ["producer", "line", "1"]
    assert (stack.backlog(), stack.held()) == (4, 0)


def test_list_of_an_empty_queue_says_so(stack: Stack) -> None:
    """No dead letters is a sentence and exit code 0."""
    done = stack.run("redrive", "list", *FAST)
    assert (done.code, done.out) == (0, "No dead letters.\n")


def test_show_prints_one_letter_in_full(stack: Stack) -> None:
    """`show` gives the decoded data and every attribute, and leaves the letter in place."""
    three_kinds(stack)
    done = stack.run("redrive", "show", "1", *FAST)
    assert done.code == 0
    for text in ("row_rejected", "no such field", "dead_letter_message_id = 77", "hello 고양이"):
        assert text in done.out
    assert stack.backlog() == 3


def test_show_escapes_what_would_steer_the_terminal(stack: Stack) -> None:
    """Control characters in a letter reach the terminal as text."""
    stack.dead_letter(b"\x1b]0;owned\x07 bytes \xff", id="x", kind="line")
    done = stack.run("redrive", "show", "x", *FAST)
    assert "\x1b" not in done.out
    assert "\\x1b]0;owned\\x07 bytes \\xff" in done.out


def test_show_of_an_unknown_id_is_one_line(stack: Stack) -> None:
    """An id that no letter has is exit code 2 and one line."""
    done = stack.run("redrive", "show", "none", *FAST)
    assert (done.code, done.out) == (2, "")
    assert done.err == "tweets: no dead letter has the id 'none': see tweets redrive list\n"


def test_send_without_yes_changes_nothing(stack: Stack) -> None:
    """The dry run says what would be sent; nothing is published and nothing is taken."""
    three_kinds(stack)
    for flag in ((), ("--dry-run",)):
        done = stack.run("redrive", "send", *FAST, *flag)
        assert done.code == 0
        assert "Dry run: 3 would be sent" in done.out
        assert (stack.backlog(), stack.held(), stack.messages()) == (3, 0, [])


def test_send_keeps_data_ids_and_attributes(stack: Stack) -> None:
    """A letter goes out as it once came, without the marks of its death, and leaves the queue."""
    three_kinds(stack)
    done = stack.run("redrive", "send", "--yes", *FAST)
    assert done.code == 0, done.err
    sent = {message.attributes["id"]: message for message in stack.messages()}
    assert set(sent) == {"1", "2", "3"}
    assert sent["1"].data == record(1)
    attributes = dict(sent["1"].attributes)
    assert attributes.pop("redriven_at").endswith("Z")
    assert attributes == {
        "kind": "post", "id": "1", "schema": "1", "lang": "en", "redrive_count": "1",
    }  # fmt: skip
    assert not [name for name in sent["2"].attributes if name.startswith("CloudPubSub")]
    assert stack.backlog() == 0


def test_a_line_that_now_parses_becomes_a_post(stack: Stack) -> None:
    """A raw line of the producer goes out as the post in it, with the post's id and tags."""
    three_kinds(stack)
    assert stack.run("redrive", "send", "--id", "a" * 32, "--yes", *FAST).code == 0
    (message,) = stack.messages()
    row = json.loads(message.data)
    assert (row["id"], row["author_id"], row["rule_tags"]) == (3, 70, ["cats"])
    assert message.attributes["kind"] == "post"
    assert message.attributes["tags"] == "cats"
    assert stack.backlog() == 2


def test_a_line_that_still_fails_stays(stack: Stack) -> None:
    """A line that holds no post is kept with the reason told, and the others go."""
    three_kinds(stack)
    stack.dead_letter(b'{"data": {"id": "9', kind="line", id="b" * 32)
    done = stack.run("redrive", "send", "--yes", *FAST)
    assert done.code == 0
    assert f"kept: line {'b' * 32} still cannot be read: not JSON" in done.out
    assert "3 sent" in done.out
    assert stack.backlog() == 1


def test_send_by_reason_and_by_id(stack: Stack) -> None:
    """Only the letters asked for go."""
    three_kinds(stack)
    assert stack.run("redrive", "send", "--reason", "row_rejected", "--yes", *FAST).code == 0
    assert [message.attributes["id"] for message in stack.messages()] == ["1"]
    assert stack.run("redrive", "send", "--id", "2", "--yes", *FAST).code == 0
    assert [message.attributes["id"] for message in stack.messages()] == ["2"]
    assert stack.backlog() == 1


def test_send_of_an_unknown_id_is_one_line(stack: Stack) -> None:
    """An --id that no letter has is exit code 2."""
    done = stack.run("redrive", "send", "--id", "none", "--yes", *FAST)
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_the_count_of_redrives_goes_on(stack: Stack) -> None:
    """A letter that was redriven before says how often."""
    stack.dead_letter(record(1), kind="post", id="1", redrive_count="4", **REJECTED)
    stack.run("redrive", "send", "--yes", *FAST)
    assert stack.messages()[0].attributes["redrive_count"] == "5"


def test_more_letters_than_one_pull(stack: Stack) -> None:
    """2,500 letters are each sent once, with progress told."""
    futures = [
        stack.publisher.publish(DEAD_LETTERS, record(n), kind="post", id=str(n), **REJECTED)
        for n in range(2500)
    ]
    for future in futures:
        future.result(20)
    listed = stack.run("redrive", "list", *FAST)
    assert "2,500 dead letters" in listed.out
    assert "2,000 dead letters read ..." in listed.err
    done = stack.run("redrive", "send", "--yes", *FAST)
    assert done.code == 0
    ids = [message.attributes["id"] for message in stack.messages()]
    assert sorted(ids, key=int) == [str(n) for n in range(2500)]
    assert stack.backlog() == 0


def test_a_letter_whose_lease_ran_out_comes_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader slower than its lease sees each letter once, and can still take it off the queue."""
    monkeypatch.setattr("operations.dead_letters.LEASE_SECONDS", 1)
    three_kinds(stack)
    seen = []
    with DeadLetterQueue(READER, wait=0.1) as queue:
        for batch in queue.batches():
            seen += batch
            time.sleep(1.2)
        assert len({letter.message_id for letter in seen}) == len(seen) == 3
        queue.acknowledge(seen)
    assert (stack.backlog(), stack.held()) == (0, 0)


def test_a_publish_slower_than_the_lease_sends_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters that come back because their lease ran out meanwhile are taken off, not sent again
    by each run.
    """
    monkeypatch.setattr("operations.dead_letters.LEASE_SECONDS", 1)
    send = TopicPublisher._send

    def slow(topic: TopicPublisher, batch: list[Message]) -> list[str | None]:
        while stack.held():
            time.sleep(0.05)
        return send(topic, batch)

    monkeypatch.setattr(TopicPublisher, "_send", slow)
    three_kinds(stack)
    done = stack.run("redrive", "send", "--yes", "--wait", "0.5")
    assert done.code == 0, done.err
    assert "3 sent to" in done.out
    assert (stack.backlog(), stack.held()) == (0, 0)
    assert len(stack.messages()) == 3


def test_each_batch_is_taken_off_before_the_next_is_sent(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pull goes out batch by batch, each acknowledged when it is confirmed; what is still to
    go is leased again in between.
    """
    seen: list[tuple[int, int]] = []
    renewed: list[int] = []
    clock = itertools.count(0, dead_letters.LEASE_SECONDS / 2)
    send, lease = TopicPublisher._send, DeadLetterQueue._lease

    def observed(topic: TopicPublisher, batch: list[Message]) -> list[str | None]:
        seen.append((stack.backlog(), len(batch)))
        return send(topic, batch)

    def told(queue: DeadLetterQueue, ack_ids: Iterable[str], seconds: int) -> None:
        names = list(ack_ids)
        renewed.append(len(names))
        lease(queue, names, seconds)

    monkeypatch.setattr("operations.topic.BATCH_MESSAGES", 2)
    monkeypatch.setattr(dead_letters, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(TopicPublisher, "_send", observed)
    monkeypatch.setattr(DeadLetterQueue, "_lease", told)
    for number in range(5):
        stack.dead_letter(record(number), kind="post", id=str(number), **REJECTED)
    with DeadLetterQueue(READER, wait=0.1) as queue:
        batch = next(queue.batches())
        renewed.clear()
        send_batch(TopicPublisher(TOPIC), queue, [(each, redriven(each)) for each in batch])
        assert renewed == [3, 1, 0]
    assert seen == [(5, 2), (3, 2), (1, 1)]
    assert stack.backlog() == 0


def test_a_refused_publish_keeps_the_letters(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the topic does not take stays a dead letter, and the command fails with one line."""
    monkeypatch.setattr("operations.topic.PUBLISH_SECONDS", 0.5)
    three_kinds(stack)
    stack.pubsub.faults.publish_unavailable(30)
    done = stack.run("redrive", "send", "--yes", *FAST)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "they are dead letters still" in done.err
    assert (stack.backlog(), stack.held()) == (3, 0)


def test_killed_between_publish_and_acknowledge(stack: Stack) -> None:
    """A process killed there loses nothing; the second run sends again, the view has one row."""
    for post in (11, 12):
        data = json.dumps(
            {
                "id": post, "created_at": "2026-11-22T10:00:00.000", "text": "t",
                "original_id": post, "ingested_at": "2026-11-22T10:00:00.000000Z",
            }
        ).encode()  # fmt: skip
        stack.dead_letter(data, kind="post", id=str(post), **REJECTED)
    script = (
        "import os, sys, operations.dead_letters as d, operations.__main__ as m\n"
        "d.DeadLetterQueue.acknowledge = lambda *a: os._exit(9)\n"
        "d.LEASE_SECONDS = 1\n"
        "m.main(sys.argv[1:])\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, "redrive", "send", "--yes", *FAST],
        cwd=ROOT,
        env={
            "PUBSUB_EMULATOR_HOST": stack.pubsub.address,
            "PYTHONPATH": "services/producer",
            **stack.environ,
        },
        check=False,
    )
    assert killed.returncode == 9
    assert stack.backlog() == 2
    stack.sink()
    assert stack.query("SELECT COUNT(*) FROM `${dataset}.tweets`") == [(2,)]
    while stack.held():
        time.sleep(0.05)
    done = stack.run("redrive", "send", "--yes", *FAST)
    assert done.code == 0, done.err
    assert stack.backlog() == 0
    stack.sink()
    assert stack.query("SELECT COUNT(*) FROM `${dataset}.tweets`") == [(4,)]
    latest = stack.query("SELECT id FROM `${dataset}.tweets_latest` ORDER BY id")
    assert latest == [(11,), (12,)]


def test_a_letter_that_nothing_can_mend_is_sent_once(stack: Stack) -> None:
    """What fails again during the command is counted and told, and is not sent round for ever."""
    stack.dead_letter(b'{"id": "not a number"}', kind="post", id="bad", **REJECTED)
    rounds: list[str] = []
    ended = threading.Event()

    def refuse() -> None:
        """The sink: back to the dead letters, as often as it comes (but a test must end)."""
        while not ended.wait(0.02):
            for message in stack.messages():
                rounds.append(message.message_id)
                if len(rounds) < 10:
                    stack.dead_letter(message.data, **{**message.attributes, **REJECTED})

    sink = threading.Thread(target=refuse)
    sink.start()
    done = stack.run("redrive", "send", "--yes", "--wait", "1.5")
    ended.set()
    sink.join()
    assert done.code == 0, done.err
    assert len(rounds) == 1
    assert "1 sent to" in done.out
    assert "left: 1 dead letters came while this ran, 1 of them sent before and refused" in done.out
    assert stack.backlog() == 1


def test_a_clock_ahead_of_pubsub_s_sends_nothing_round(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came back is known by the moment at which it was sent, too: a clock an hour ahead of
    Pub/Sub's would call it old for an hour.
    """
    later = timedelta(hours=1)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + later

    for module in ("dead_letters", "redrive"):
        monkeypatch.setattr(f"operations.{module}.datetime", Ahead)
    test_a_letter_that_nothing_can_mend_is_sent_once(stack)


def test_a_letter_of_as_many_attributes_as_there_can_be(stack: Stack) -> None:
    """Pub/Sub takes 100 attributes, and two are ours: what it is routed by stays."""
    stack.dead_letter(
        record(1), **{f"a{n:02}": "x" for n in range(97)}, kind="post", id="1", schema="1"
    )
    done = stack.run("redrive", "send", "--yes", *FAST)
    assert done.code == 0, done.err
    (message,) = stack.messages()
    assert len(message.attributes) == 100
    assert {"kind", "id", "schema", "redriven_at", "redrive_count"} <= set(message.attributes)


def test_one_refused_message_keeps_no_other_back(stack: Stack) -> None:
    """Of messages that go together, only the one that Pub/Sub refuses is told as refused."""
    bad = {f"a{n}": "x" for n in range(101)}
    messages = [Message(b"1", {}), Message(b"2", bad), Message(b"3", {})]
    first, second, third = TopicPublisher(TOPIC).publish(messages)
    assert (first, third) == (None, None)
    assert second is not None
    assert "InvalidArgument" in second
    assert {message.data for message in stack.messages()} == {b"1", b"3"}


def test_names_are_checked(stack: Stack) -> None:
    """A missing or malformed name is one line and exit code 2, before anything is done."""
    del stack.environ["DEAD_LETTER_TOPIC"]
    done = stack.run("redrive", "list")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "DEAD_LETTER_SUBSCRIPTION is not set" in done.err
    done = stack.run("redrive", "list", "--subscription", "tweets-t")
    assert done.code == 2
    assert "projects/PROJECT/subscriptions/SUBSCRIPTION" in done.err


def test_a_subscription_that_does_not_exist(stack: Stack) -> None:
    """A wrong name is told as such."""
    done = stack.run("redrive", "list", "--subscription", f"{READER}x", *FAST)
    assert done.code == 2
    assert "does not exist" in done.err
    done = stack.run("redrive", "list", "--subscription", ROWS, *FAST)
    assert (done.code, done.out) == (0, "No dead letters.\n")


def test_unreachable_pubsub_is_one_line(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at the address is exit code 1 and one line, never an empty list."""
    monkeypatch.setattr("operations.dead_letters._CONNECT_SECONDS", 0.5)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    done = stack.run("redrive", "list", *FAST)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "PUBSUB_EMULATOR_HOST" in done.err


def test_topic_flag_wins(stack: Stack) -> None:
    """Flags come before the environment."""
    three_kinds(stack)
    stack.environ["TOPIC"] = "projects/demo-project/topics/none"
    done = stack.run("redrive", "send", "--topic", TOPIC, "--yes", *FAST)
    assert done.code == 0
    assert len(stack.messages()) == 3


def test_half_an_emoji_is_sent_again(stack: Stack) -> None:
    """A line that an older reader set aside for a lone surrogate becomes its row."""
    data = rb'{"data":{"id":"21","text":"cut here \ud83d..."}}'
    stack.dead_letter(data, kind="line", id="b" * 32, dead_letter_reason="malformed_line")
    done = stack.run("redrive", "send", "--yes", *FAST)
    assert done.code == 0, done.err
    stack.sink()
    found = stack.query("SELECT text FROM `${dataset}.tweets` WHERE id = 21")
    assert found == [("cut here \N{REPLACEMENT CHARACTER}...",)]
