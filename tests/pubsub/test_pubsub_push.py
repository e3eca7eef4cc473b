"""Push delivery into a real HTTP endpoint."""

import base64
import re
import time

import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration

from tests.pubsub.conftest import Clients, Endpoint, wait_until


def test_push_body(pubsub: Clients, endpoint: Endpoint) -> None:
    """A push carries data in base64, attributes, both spellings of id and time, the name."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic, push_config={"push_endpoint": endpoint.url})
    (identity,) = pubsub.publish(topic, "안녕 🐦".encode(), lang="ko")
    wait_until(lambda: endpoint.bodies)
    body = endpoint.bodies[0]
    assert body["subscription"] == name
    message = body["message"]
    assert base64.b64decode(message["data"]).decode() == "안녕 🐦"
    assert message["attributes"] == {"lang": "ko"}
    assert message["messageId"] == message["message_id"] == identity
    assert message["publishTime"] == message["publish_time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", message["publishTime"])
    assert endpoint.headers[0]["Content-Type"].startswith("application/json")
    time.sleep(0.2)
    assert len(endpoint.bodies) == 1


@pytest.mark.service_only("pushes data as an empty string")
def test_push_without_data(pubsub: Clients, endpoint: Endpoint) -> None:
    """A message of attributes only is pushed without a data field."""
    topic = pubsub.topic()
    pubsub.subscription(topic, push_config={"push_endpoint": endpoint.url})
    pubsub.publish(topic, b"", kind="event")
    wait_until(lambda: endpoint.bodies)
    assert "data" not in endpoint.bodies[0]["message"]


@pytest.mark.parametrize("status", [200, 201, 204])
def test_push_success(pubsub: Clients, endpoint: Endpoint, status: int) -> None:
    """A success code acknowledges: the message is pushed once."""
    _statuses(pubsub, endpoint, status)
    time.sleep(0.4)
    assert len(endpoint.bodies) == 1


@pytest.mark.service_only("202 is a failure, against Google's documentation")
def test_push_accepted(pubsub: Clients, endpoint: Endpoint) -> None:
    """202 acknowledges too."""
    _statuses(pubsub, endpoint, 202)
    time.sleep(0.4)
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("status", [302, 422, 503])
def test_push_failure(pubsub: Clients, endpoint: Endpoint, status: int) -> None:
    """Any other code is a negative acknowledgement: the same message is pushed again."""
    endpoint.answer = lambda _: status if len(endpoint.bodies) == 1 else 204
    _statuses(pubsub, endpoint, None)
    wait_until(lambda: len(endpoint.bodies) == 2)
    ids = {body["message"]["messageId"] for body in endpoint.bodies}
    assert len(ids) == 1


def _statuses(pubsub: Clients, endpoint: Endpoint, status: int | None) -> None:
    if status is not None:
        endpoint.answer = lambda _: status
    topic = pubsub.topic()
    pubsub.subscription(topic, push_config={"push_endpoint": endpoint.url})
    pubsub.publish(topic, b"x")
    wait_until(lambda: endpoint.bodies)


@pytest.mark.service_only("retry policies are applied loosely")
def test_push_retry_policy(pubsub: Clients, endpoint: Endpoint) -> None:
    """Failed pushes wait by the subscription's retry policy."""
    endpoint.answer = lambda _: 503 if len(endpoint.bodies) < 3 else 204
    topic = pubsub.topic()
    pubsub.subscription(
        topic,
        push_config={"push_endpoint": endpoint.url},
        retry_policy={
            "minimum_backoff": Duration(nanos=400_000_000),
            "maximum_backoff": Duration(seconds=1),
        },
    )
    pubsub.publish(topic, b"x")
    wait_until(lambda: len(endpoint.bodies) == 3)
    first, second, third = endpoint.times
    assert second - first >= 0.38
    assert third - second >= 0.78


@pytest.mark.service_only("deliveryAttempt is missing in push bodies")
def test_push_dead_letter(pubsub: Clients, endpoint: Endpoint) -> None:
    """Under a dead-letter policy pushes count their attempts, and the fifth failure forwards."""
    endpoint.answer = lambda _: 422
    dead = pubsub.topic()
    reader = pubsub.subscription(dead)
    topic = pubsub.topic()
    pubsub.subscription(
        topic,
        push_config={"push_endpoint": endpoint.url},
        dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5},
        retry_policy={"minimum_backoff": Duration(), "maximum_backoff": Duration()},
    )
    pubsub.publish(topic, b"poison")
    (forwarded,) = pubsub.pull(reader)
    assert [body["deliveryAttempt"] for body in endpoint.bodies] == [1, 2, 3, 4, 5]
    assert forwarded.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"


@pytest.mark.service_only("runs two push loops a subscription")
def test_push_slow_start(pubsub: Clients, endpoint: Endpoint) -> None:
    """Concurrency starts at one request and doubles with successes."""
    endpoint.delay = 0.05
    topic = pubsub.topic()
    name = pubsub.subscription(topic)
    pubsub.publish(topic, *[b"x"] * 300)
    pubsub.push_to(name, {"push_endpoint": endpoint.url})
    wait_until(lambda: len(endpoint.bodies) >= 1)
    assert endpoint.most_in_flight == 1
    wait_until(lambda: len(endpoint.bodies) == 300)
    assert endpoint.most_in_flight > 50


@pytest.mark.service_only("has no such limit to reach")
def test_push_survives_a_dead_endpoint(pubsub: Clients, endpoint: Endpoint) -> None:
    """Nothing is lost while the endpoint refuses connections; delivery goes on at the new one."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic, push_config={"push_endpoint": "http://127.0.0.1:9/"})
    pubsub.publish(topic, *[b"%d" % n for n in range(50)])
    time.sleep(0.3)
    pubsub.push_to(name, {"push_endpoint": endpoint.url})
    wait_until(lambda: len({body["message"]["messageId"] for body in endpoint.bodies}) == 50)


@pytest.mark.service_only("Pull works on push subscriptions")
def test_push_turns_into_pull(pubsub: Clients, endpoint: Endpoint) -> None:
    """Pull is refused while push is on; an empty push configuration makes it a pull one."""
    topic = pubsub.topic()
    name = pubsub.subscription(topic, push_config={"push_endpoint": endpoint.url})
    with pytest.raises(exceptions.FailedPrecondition, match="not supported"):
        pubsub.peek(name)
    pubsub.push_to(name, {})
    time.sleep(0.1)
    pubsub.publish(topic, b"x")
    assert pubsub.pull(name)[0].message.data == b"x"
    assert endpoint.bodies == []
