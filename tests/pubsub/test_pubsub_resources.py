"""Topics and subscriptions as resources: CRUD, names, limits, and Google's error codes."""

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1.services.publisher import PublisherClient

from tests.pubsub.conftest import PROJECT, Clients

NONE = f"{PROJECT}/topics/none"


def refused(call: Callable[[], object]) -> str:
    """The INVALID_ARGUMENT text of a call that must be refused."""
    with pytest.raises(exceptions.InvalidArgument) as caught:
        call()
    return str(caught.value)


def raw_publish(pubsub: Clients, topic: str, *messages: dict[str, Any]) -> Any:
    """One Publish request as given, past the batching client and its own checks."""
    request = {"topic": topic, "messages": list(messages)}
    return PublisherClient.publish(pubsub.publisher, request=request, timeout=10, retry=None)


def test_topic_life(pubsub: Clients) -> None:
    """A topic is created, read and deleted."""
    name = pubsub.topic(labels={"stack": "dev"})
    assert pubsub.publisher.get_topic(topic=name).labels == {"stack": "dev"}
    pubsub.publisher.delete_topic(topic=name)
    with pytest.raises(exceptions.NotFound):
        pubsub.publisher.get_topic(topic=name)


@pytest.mark.service_only("labels cannot be updated")
def test_topic_update(pubsub: Clients) -> None:
    """A topic's labels change by an update with a mask."""
    name = pubsub.topic(labels={"stack": "dev"})
    pubsub.publisher.update_topic(
        request={
            "topic": {"name": name, "labels": {"stack": "prod"}},
            "update_mask": {"paths": ["labels"]},
        }
    )
    assert pubsub.publisher.get_topic(topic=name).labels == {"stack": "prod"}


def test_subscription_defaults(pubsub: Clients) -> None:
    """A subscription without settings has Google's: 10 s to acknowledge, 7 days of retention."""
    name = pubsub.subscription(pubsub.topic())
    made = pubsub.subscriber.get_subscription(subscription=name)
    assert made.ack_deadline_seconds == 10
    assert made.message_retention_duration.days == 7


def test_subscription_update(pubsub: Clients) -> None:
    """An update changes the masked fields and no other; a masked field left out is cleared."""
    topic = pubsub.topic()
    dead = pubsub.topic()
    name = pubsub.subscription(
        topic,
        labels={"a": "b"},
        dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 7},
    )
    pubsub.subscriber.update_subscription(
        subscription={"name": name, "ack_deadline_seconds": 30},
        update_mask={"paths": ["ack_deadline_seconds", "dead_letter_policy"]},
    )
    now = pubsub.subscriber.get_subscription(subscription=name)
    assert now.ack_deadline_seconds == 30
    assert now.labels == {"a": "b"}
    assert not now.dead_letter_policy


def test_update_needs_a_mask(pubsub: Clients) -> None:
    """An update without a mask is refused instead of changing nothing."""
    name = pubsub.subscription(pubsub.topic())
    refused(
        lambda: pubsub.subscriber.update_subscription(
            subscription={"name": name}, update_mask={"paths": []}
        )
    )


def test_deleted_topic_leaves_its_subscriptions(pubsub: Clients) -> None:
    """A subscription outlives its topic and keeps its backlog."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    pubsub.publish(topic, b"kept")
    pubsub.publisher.delete_topic(topic=topic)
    assert pubsub.pull(name)[0].message.data == b"kept"


def test_deleted_subscription_is_gone(pubsub: Clients) -> None:
    """After a deletion the name is free and the backlog forgotten."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    pubsub.publish(topic, b"forgotten")
    pubsub.subscriber.delete_subscription(subscription=name)
    pubsub.subscriber.create_subscription(name=name, topic=topic)
    assert pubsub.peek(name) == []


def test_missing_resources(pubsub: Clients) -> None:
    """What does not exist answers NOT_FOUND for every kind of call."""
    topic = pubsub.topic()
    calls: list[Callable[[], object]] = [
        lambda: pubsub.publisher.get_topic(topic=NONE),
        lambda: pubsub.publisher.delete_topic(topic=NONE),
        lambda: raw_publish(pubsub, NONE, {"data": b"x"}),
        lambda: pubsub.subscription(NONE),
        lambda: pubsub.subscription(topic, dead_letter_policy={"dead_letter_topic": NONE}),
        lambda: pubsub.peek(f"{PROJECT}/subscriptions/none"),
        lambda: pubsub.subscriber.delete_subscription(subscription=f"{PROJECT}/subscriptions/none"),
    ]
    for call in calls:
        with pytest.raises(exceptions.NotFound):
            call()


@pytest.mark.service_only("its own words")
def test_not_found_in_the_words_of_the_service(pubsub: Clients) -> None:
    """NOT_FOUND names the resource by its last part, as the service does."""
    with pytest.raises(exceptions.NotFound, match=r"Resource not found \(resource=none\)\."):
        pubsub.publisher.get_topic(topic=NONE)


def test_existing_resources(pubsub: Clients) -> None:
    """Creating a name twice answers ALREADY_EXISTS."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    with pytest.raises(exceptions.AlreadyExists):
        pubsub.publisher.create_topic(name=topic)
    with pytest.raises(exceptions.AlreadyExists):
        pubsub.subscriber.create_subscription(name=name, topic=topic)


@pytest.mark.parametrize("identity", ["9starts-with-a-digit", "goog-is-reserved", "ab", "a b c"])
def test_bad_names(pubsub: Clients, identity: str) -> None:
    """A name outside Google's rules is INVALID_ARGUMENT for topics and subscriptions."""
    topic = pubsub.topic()
    refused(lambda: pubsub.publisher.create_topic(name=f"{PROJECT}/topics/{identity}"))
    refused(
        lambda: pubsub.subscriber.create_subscription(
            name=f"{PROJECT}/subscriptions/{identity}", topic=topic
        )
    )


@pytest.mark.service_only("settings are not checked")
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"ack_deadline_seconds": 5}, "between 10 and 600"),
        ({"message_retention_duration": Duration(seconds=60)}, "message_retention_duration"),
        (
            {"retry_policy": {"minimum_backoff": Duration(seconds=601)}},
            r"retry_policy\.minimum_backoff",
        ),
        (
            {
                "retry_policy": {
                    "minimum_backoff": Duration(seconds=20),
                    "maximum_backoff": Duration(seconds=10),
                }
            },
            "must not be above",
        ),
    ],
)
def test_bad_settings(pubsub: Clients, config: dict[str, Any], words: str) -> None:
    """A setting outside its range is refused, with the range in the message."""
    topic = pubsub.topic()
    with pytest.raises(exceptions.InvalidArgument, match=words):
        pubsub.subscription(topic, **config)


@pytest.mark.service_only("max_delivery_attempts is not checked")
@pytest.mark.parametrize("attempts", [4, 101])
def test_bad_delivery_attempts(pubsub: Clients, attempts: int) -> None:
    """Less than 5 or more than 100 delivery attempts are refused."""
    topic = pubsub.topic()
    policy = {"dead_letter_topic": topic, "max_delivery_attempts": attempts}
    with pytest.raises(exceptions.InvalidArgument, match="between 5 and 100"):
        pubsub.subscription(topic, dead_letter_policy=policy)


@pytest.mark.service_only("they are ignored or emulated")
@pytest.mark.parametrize(
    "config",
    [
        {"enable_exactly_once_delivery": True},
        {"enable_message_ordering": True},
        {"filter": 'attributes.kind = "post"'},
        {"retain_acked_messages": True},
        {"bigquery_config": {"table": "p.d.t"}},
        {"push_config": {"push_endpoint": "http://127.0.0.1:9", "no_wrapper": {}}},
    ],
)
def test_what_is_not_imitated_is_refused(pubsub: Clients, config: dict[str, Any]) -> None:
    """A feature that this server lacks is UNIMPLEMENTED, never silently ignored."""
    topic = pubsub.topic()
    with pytest.raises(exceptions.MethodNotImplemented, match="does not implement"):
        pubsub.subscription(topic, **config)


@pytest.mark.service_only("they are ignored or emulated")
def test_topic_schemas_and_snapshots_are_refused(pubsub: Clients) -> None:
    """A topic schema and a snapshot are UNIMPLEMENTED with a message that says so."""
    with pytest.raises(exceptions.MethodNotImplemented, match="schema_settings"):
        pubsub.topic(schema_settings={"schema": "projects/demo/schemas/s"})
    name = pubsub.subscription(pubsub.topic())
    with pytest.raises(exceptions.MethodNotImplemented):
        pubsub.subscriber.create_snapshot(name=f"{PROJECT}/snapshots/snap", subscription=name)
    with pytest.raises(exceptions.MethodNotImplemented):
        pubsub.subscriber.seek(
            request={"subscription": name, "snapshot": f"{PROJECT}/snapshots/snap"}
        )
    with pytest.raises(exceptions.MethodNotImplemented):
        pubsub.publisher.detach_subscription(request={"subscription": name})
    with pytest.raises(exceptions.MethodNotImplemented):
        next(iter(pubsub.publisher.list_topics(project=PROJECT)))


def test_empty_message_is_refused(pubsub: Clients) -> None:
    """A message with neither data nor attributes is INVALID_ARGUMENT; attributes alone suffice."""
    topic = pubsub.topic()
    refused(lambda: raw_publish(pubsub, topic, {}))
    assert raw_publish(pubsub, topic, {"attributes": {"a": ""}}).message_ids


@pytest.mark.service_only("limits are not checked")
@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"data": b"x" * 10_000_001}], "maximum value is 10000000"),
        ([{"data": b"x"}] * 1001, "maximum value is 1000"),
        ([{"data": b"x", "attributes": {str(n): "" for n in range(101)}}], "attribute_count"),
        ([{"data": b"x", "attributes": {"a" * 257: ""}}], "attribute_key"),
        ([{"data": b"x", "attributes": {"a": "한" * 342}}], "attribute_value"),
        ([{"data": b"x", "attributes": {"google": "b"}}], "goog"),
    ],
)
def test_publish_limits(pubsub: Clients, messages: list[dict[str, Any]], words: str) -> None:
    """A publish request beyond Google's limits is refused with the limit in the message."""
    topic = pubsub.topic()
    assert words in refused(lambda: raw_publish(pubsub, topic, *messages))


def test_messages_at_the_limits_pass(pubsub: Clients) -> None:
    """100 attributes, a 1024-byte value and 1000 messages a request are accepted."""
    topic = pubsub.topic()
    raw_publish(pubsub, topic, {"attributes": {str(n): "" for n in range(100)}})
    raw_publish(pubsub, topic, {"attributes": {"a": "b" * 1024}})
    assert len(raw_publish(pubsub, topic, *[{"data": b"x"}] * 1000).message_ids) == 1000
