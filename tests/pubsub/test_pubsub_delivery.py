"""Pull: acknowledgement, leases, retries and dead letters."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration

from tests.pubsub.conftest import Clients


def test_pull_and_acknowledge(pubsub: Clients) -> None:
    """A message arrives with data, attributes, id and publish time, and not again once acked."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    before = datetime.now(UTC) - timedelta(seconds=1)
    (identity,) = pubsub.publish(topic, "안녕 🐦".encode(), lang="ko")
    (received,) = pubsub.pull(name)
    assert received.message.data.decode() == "안녕 🐦"
    assert received.message.attributes == {"lang": "ko"}
    assert received.message.message_id == identity
    assert before <= received.message.publish_time <= datetime.now(UTC) + timedelta(seconds=1)
    assert received.delivery_attempt == 0
    pubsub.ack(name, received)
    pubsub.ack(name, received)
    assert pubsub.peek(name) == []


def test_each_subscription_gets_its_copy(pubsub: Clients) -> None:
    """Two subscriptions of a topic each receive the message, later ones do not."""
    topic = pubsub.topic()
    names = [pubsub.subscription(topic) for _ in range(2)]
    pubsub.publish(topic, b"once each")
    late = pubsub.subscription(topic)
    for name in names:
        pubsub.ack(name, *pubsub.pull(name))
    assert pubsub.peek(late) == []


def test_pull_waits_for_a_message(pubsub: Clients) -> None:
    """A Pull that finds nothing answers as soon as a message is published."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    timer = threading.Timer(0.3, lambda: pubsub.publish(topic, b"late"))
    timer.start()
    answer = pubsub.subscriber.pull(subscription=name, max_messages=1, timeout=10)
    timer.join()
    assert [received.message.data for received in answer.received_messages] == [b"late"]


def test_outstanding_message_is_not_delivered_twice(pubsub: Clients) -> None:
    """While a message is leased nobody else gets it; a nack returns it."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    (received,) = pubsub.pull(name)
    assert pubsub.peek(name) == []
    pubsub.nack(name, received)
    (again,) = pubsub.pull(name)
    assert again.message.message_id == received.message.message_id
    assert again.ack_id != received.ack_id


def test_expired_lease_is_redelivered(pubsub: Clients) -> None:
    """A message not acknowledged by its deadline comes again."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    (received,) = pubsub.pull(name)
    pubsub.nack(name, received, seconds=1)
    started = time.monotonic()
    pubsub.pull(name)
    assert time.monotonic() - started > 0.7


def test_a_pull_of_nothing(pubsub: Clients) -> None:
    """A pull of no messages is INVALID_ARGUMENT."""
    name = pubsub.subscription(pubsub.topic())
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.subscriber.pull(subscription=name, max_messages=0)


@pytest.mark.service_only("deadlines above 600 s pass")
def test_bad_deadline(pubsub: Clients) -> None:
    """A deadline above 600 s is INVALID_ARGUMENT and leaves the lease as it was."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    pubsub.publish(topic, b"x")
    (received,) = pubsub.pull(name)
    with pytest.raises(exceptions.InvalidArgument, match="between 0 and 600"):
        pubsub.nack(name, received, seconds=601)
    assert pubsub.peek(name) == []


@pytest.mark.service_only("retry policies are not applied to pull subscriptions")
def test_retry_policy_backs_off(pubsub: Clients) -> None:
    """Redeliveries wait min, then twice min, up to max."""
    topic = pubsub.topic()
    policy = {
        "minimum_backoff": Duration(nanos=200_000_000),
        "maximum_backoff": Duration(nanos=400_000_000),
    }
    name = pubsub.subscription(topic, retry_policy=policy)
    pubsub.publish(topic, b"x")
    waits = []
    (received,) = pubsub.pull(name)
    for _ in range(4):
        pubsub.nack(name, received)
        started = time.monotonic()
        (received,) = pubsub.pull(name)
        waits.append(time.monotonic() - started)
    assert waits[0] >= 0.15
    assert all(wait >= 0.35 for wait in waits[1:])
    assert waits[3] < 0.75


def test_dead_letter_after_the_last_attempt(pubsub: Clients) -> None:
    """The fifth nack forwards the message, with Google's source attributes and its own kept."""
    dead = pubsub.topic()
    reader = pubsub.subscription(dead)
    topic = pubsub.topic()
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
    name = pubsub.subscription(topic, dead_letter_policy=policy)
    pubsub.publish(topic, b"poison", kind="post")
    attempts = []
    for _ in range(5):
        (received,) = pubsub.pull(name)
        attempts.append(received.delivery_attempt)
        pubsub.nack(name, received)
    assert pubsub.peek(name) == []  # the emulator forwards only when it would deliver again
    (forwarded,) = pubsub.pull(reader)
    assert attempts == [1, 2, 3, 4, 5]
    assert forwarded.message.data == b"poison"
    attributes = dict(forwarded.message.attributes)
    assert attributes["kind"] == "post"
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == name.rpartition("/")[2]
    assert attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] == "demo"
    published = datetime.fromisoformat(attributes["CloudPubSubDeadLetterSourceTopicPublishTime"])
    assert abs(datetime.now(UTC) - published) < timedelta(minutes=1)
    assert pubsub.peek(name) == []
