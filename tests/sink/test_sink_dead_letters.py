"""Messages that can never become a row: kept with why, where and when."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from google.cloud import pubsub_v1

from local.pubsub import PubSubServer
from sink.dead_letter import cut
from sink.revision import code_digest
from tests.producer.parts import wait_for
from tests.sink.deployed import SOURCE, Dataset, Function, Start, event, post, push

Pull = Callable[[], list[Any]]


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (push(b"{", kind="post"), "malformed_message", "not JSON"),
        (push(b"", kind="post"), "malformed_message", "not JSON"),
        (push(b"[1]", kind="post"), "malformed_message", "not a JSON object"),
        (push(post(1), kind=None), "malformed_message", "kind is ''"),
        (push(post(1), kind="line"), "malformed_message", "must be post or event"),
        (push(b'{"text": "\\ud800"}'), "malformed_message", "not JSON"),
        (push(b"[" * 5000), "malformed_message", "not JSON"),
        (push(b"[%s1]" % (b"1," * 200_001)), "malformed_message", "more than 200000 values"),
        (push(post("1x")), "schema", "tweets.id is not an integer"),  # type: ignore[arg-type]
        (push(post(2**63)), "schema", "tweets.id"),
        (push(post(1, created_at="2024-02-30T00:00:00.000")), "schema", "created_at is not of"),
        (push(post(1, text=None)), "schema", "tweets.text is required"),
        (push({"id": 1}), "schema", "tweets.created_at is required; tweets.text is required"),
        (push(post(1, hashtags=["a", None])), "schema", "hashtags has an element that"),
        (push(post(1, public_metrics={"likes": "x"})), "schema", "metrics.likes is not an integer"),
        (push(post(1, raw="{", lang={})), "schema", "tweets.lang is not a string; tweets.raw is"),
        (push(event("e", at="now"), kind="event"), "schema", "stream_events.at is not of the form"),
    ],
)
def test_poison_is_kept_with_its_reason(
    shared: Function,
    dead_letters: Pull,
    body: bytes,
    reason: str,
    detail: str,
) -> None:
    """Poison is acknowledged once the dead-letter topic holds it, unchanged, with the reason."""
    assert shared.push(push(post(1))).status == 204
    assert shared.push(body).status == 204
    (letter,) = dead_letters()
    sent = json.loads(body)["message"]
    assert letter.data == pubsub_data(sent)
    attributes = dict(letter.attributes)
    assert attributes.pop("dead_letter_reason") == reason
    assert detail in attributes.pop("dead_letter_detail")
    assert attributes.pop("dead_letter_source") == "sink"
    assert attributes.pop("dead_letter_message_id") == sent["messageId"]
    datetime.fromisoformat(attributes.pop("dead_letter_at"))
    assert attributes == sent["attributes"]
    line = shared.logs()[-1]
    assert line["severity"] == "WARNING"
    labels = line["logging.googleapis.com/labels"]
    assert (labels["reason"], labels["message_id"]) == (reason, sent["messageId"])


def pubsub_data(message: dict[str, Any]) -> bytes:
    """The payload of a push body's message."""
    return base64.b64decode(message["data"])


def test_dead_letter_is_a_stream_event(
    function: Function, dataset: Dataset, dead_letters: Pull
) -> None:
    """Each dead letter is a row of stream_events; a second delivery adds no other event."""
    for _ in range(2):
        assert function.push(push(b"{", message_id="m7", id="55")).status == 204
    assert len(dead_letters()) == 2
    rows = dataset.rows("SELECT * FROM {events}")
    assert len({(row.event_id, row.at) for row in rows}) == 1
    assert (rows[0].kind, rows[0].reason, rows[0].producer) == (
        "dead_letter",
        "malformed_message",
        "sink",
    )
    assert rows[0].sink == code_digest(SOURCE / "sink")
    assert rows[0].detail["message_id"] == "m7"
    assert rows[0].detail["id"] == "55"


def test_row_that_bigquery_rejects(
    function: Function, dataset: Dataset, dead_letters: Pull
) -> None:
    """Of many posts in flight only the rejected one is dead-lettered, the rest are written."""
    dataset.server.faults(reject_ids=[7])
    bodies = [push(post(n), message_id=f"m{n}") for n in range(20)]
    with ThreadPoolExecutor(20) as pool:
        assert {answer.status for answer in pool.map(function.push, bodies)} == {204}
    (letter,) = dead_letters()
    assert letter.attributes["dead_letter_reason"] == "row_rejected"
    assert letter.attributes["dead_letter_message_id"] == "m7"
    assert dataset.count() == 19


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        ("{", "tweets.raw is not a string of JSON; the row is written without raw"),
        (json.dumps("x" * 9_700_000), "row of 100"),
    ],
    ids=["not JSON", "too large"],
)
def test_raw_that_bigquery_refuses_does_not_cost_the_row(
    function: Function, dataset: Dataset, dead_letters: Pull, raw: str, detail: str
) -> None:
    """Where only `raw` keeps a post out it is written without, and its message is a letter."""
    body = push(post(1, raw=raw, text="바다" * 20_000))
    assert function.push(body).status == 204
    (row,) = dataset.rows("SELECT * FROM {tweets}")
    assert (row.id, row.raw, row.hashtags) == (1, None, ["바다"])
    (letter,) = dead_letters()
    assert letter.data == pubsub_data(json.loads(body)["message"])
    assert letter.attributes["dead_letter_reason"] == "partly_written"
    assert letter.attributes["dead_letter_detail"].startswith(detail)
    (noted,) = dataset.rows("SELECT * FROM {events}")
    assert (noted.kind, noted.reason) == ("dead_letter", "partly_written")


def test_event_detail_that_bigquery_refuses_does_not_cost_the_event(
    function: Function, dataset: Dataset, dead_letters: Pull
) -> None:
    """The same for the JSON column of stream_events."""
    assert function.push(push(event("e", detail="{"), kind="event")).status == 204
    assert len(dead_letters()) == 1
    rows = dataset.rows("SELECT * FROM {events} WHERE event_id = 'e'")
    assert [(row.kind, row.detail) for row in rows] == [("gap", None)]


def test_topic_that_cannot_take_it(function: Function) -> None:
    """Without the dead-letter topic poison is not acknowledged: 422, an ERROR, nothing lost."""
    answer = function.push(push(b"{"))
    assert (answer.status, answer.text.split(":")[0]) == (422, "malformed_message")
    line = function.logs()[-1]
    assert line["severity"] == "ERROR"
    assert "did not take it" in line["message"]
    assert function.plain_output() == ""


def test_poison_does_not_circle(
    launch: Start,
    environment: dict[str, str],
    dataset: Dataset,
    pubsub: PubSubServer,
    dead_letters: Pull,
) -> None:
    """Under a real push subscription the poison leaves once, and the good posts are written."""
    topic = "projects/local-project/topics/mixed"
    subscription = "projects/local-project/subscriptions/mixed-push"
    function = launch(environment)
    try:
        with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
            publisher.create_topic(name=topic)
            push_config = {"push_endpoint": function.url}
            subscriber.create_subscription(
                request={"name": subscription, "topic": topic, "push_config": push_config}
            )
            for number in range(50):
                data = b"{" if number == 25 else json.dumps(post(number)).encode()
                publisher.publish(topic, data, kind="post", id=str(number))
            wait_for(lambda: dataset.count() == 49, 15)
            letters = dead_letters()
            subscriber.delete_subscription(subscription=subscription)
            publisher.delete_topic(topic=topic)
        assert [letter.attributes["id"] for letter in letters] == ["25"]
    finally:
        function.kill()


def test_pubsubs_own_attributes_are_left_out(shared: Function, dead_letters: Pull) -> None:
    """Attributes that Pub/Sub adds to a delivery, and refuses from a publisher, do not block it."""
    assert shared.push(push(b"{", googclient_schemaencoding="JSON", id="1")).status == 204
    (letter,) = dead_letters()
    assert "googclient_schemaencoding" not in letter.attributes
    assert letter.attributes["id"] == "1"


@pytest.mark.parametrize("count", [93, 95, 96, 98, 150])
def test_letter_of_many_attributes_keeps_what_fits(
    shared: Function, dead_letters: Pull, count: int
) -> None:
    """Pub/Sub takes 100 attributes: the pipeline's own are kept, of the others what fits."""
    others = {f"a{number:03d}": "x" for number in range(count)}
    long = {"n" * 257: "x", "long": "바" * 342}
    assert shared.push(push(b"{", **others, **long, id="1", redrive_count="2")).status == 204
    (letter,) = dead_letters()
    attributes = dict(letter.attributes)
    assert attributes["dead_letter_reason"] == "malformed_message"
    assert [attributes[name] for name in ("kind", "id", "redrive_count")] == ["post", "1", "2"]
    assert not attributes.keys() & long.keys()
    assert len(attributes.keys() & others.keys()) == min(count, 100 - 5 - 4)
    assert len(attributes) <= 100


def test_detail_is_cut_at_a_character() -> None:
    """The detail fits Pub/Sub's limit for an attribute and stays valid UTF-8."""
    assert len(cut("바" * 1000).encode()) == 999
    assert cut("short") == "short"
