"""The gRPC services Publisher and Subscriber of google.pubsub.v1 over a broker.

What the pipeline and its commands do not call is not among the methods, and gRPC answers
UNIMPLEMENTED: lists, StreamingPull, seek, snapshots, detaching.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from local.pubsub.broker import Broker
from local.pubsub.refusal import (
    Refusal,
    check_name,
    check_subscription,
    check_topic,
    invalid,
    merged,
    not_found,
)
from local.pubsub.subscription import Lease, Subscription

EMPTY_PULL_SECONDS = 10.0  # Google answers an idle Pull empty after a bounded, unstated time

PublishResponse: Any = types.PublishResponse.pb()
PullResponse: Any = types.PullResponse.pb()
ReceivedMessage: Any = types.ReceivedMessage.pb()


class _Publisher:
    """Each method takes a protobuf request and returns a protobuf response, or raises Refusal."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def create_topic(self, request: Any) -> Any:
        check_topic(request)
        self._broker.create_topic(request)
        return request

    async def update_topic(self, request: Any) -> Any:
        topic = self._broker.topic(request.topic.name)
        topic.config = merged(topic.config, request.topic, request.update_mask)
        self._broker.save(topic.config)
        return topic.config

    async def publish(self, request: Any) -> Any:
        check_name(request.topic, "topics")
        ids = self._broker.publish(request.topic, request.messages, request.ByteSize())
        return PublishResponse(message_ids=ids)

    async def get_topic(self, request: Any) -> Any:
        check_name(request.topic, "topics")
        return self._broker.topic(request.topic).config

    async def delete_topic(self, request: Any) -> Any:
        check_name(request.topic, "topics")
        self._broker.delete_topic(request.topic)


class _Subscriber:
    """As _Publisher."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def create_subscription(self, request: Any) -> Any:
        check_subscription(request)
        self._check_dead_letter_topic(request)
        self._broker.create_subscription(request)
        return request

    async def get_subscription(self, request: Any) -> Any:
        check_name(request.subscription, "subscriptions")
        return self._broker.subscription(request.subscription).config

    async def update_subscription(self, request: Any) -> Any:
        subscription = self._broker.subscription(request.subscription.name)
        config = merged(subscription.config, request.subscription, request.update_mask)
        self._check_dead_letter_topic(config)
        subscription.config = config
        subscription.available.set()  # a waiting pull or pusher looks at the new configuration
        self._broker.save(config)
        return config

    async def delete_subscription(self, request: Any) -> Any:
        check_name(request.subscription, "subscriptions")
        self._broker.delete_subscription(request.subscription)

    async def acknowledge(self, request: Any) -> Any:
        subscription = self._broker.subscription(request.subscription)
        if not request.ack_ids:
            raise invalid("No ack ids specified.")
        for ack_id in request.ack_ids:
            subscription.acknowledge(ack_id)

    async def modify_ack_deadline(self, request: Any) -> Any:
        """0 seconds is a negative acknowledgement."""
        subscription = self._broker.subscription(request.subscription)
        if not request.ack_ids:
            raise invalid("No ack ids specified.")
        for ack_id in request.ack_ids:
            subscription.modify_deadline(ack_id, request.ack_deadline_seconds)

    async def pull(self, request: Any) -> Any:
        """Wait for a first message unless return_immediately."""
        check_name(request.subscription, "subscriptions")
        if request.max_messages < 1:
            raise invalid(f"max_messages is {request.max_messages}; it must be greater than 0.")
        subscription = self._pullable(request.subscription)
        deadline = asyncio.get_running_loop().time() + EMPTY_PULL_SECONDS
        while True:
            leases = subscription.take(
                min(request.max_messages, 1000),
                lease_seconds=subscription.config.ack_deadline_seconds,
            )
            left = deadline - asyncio.get_running_loop().time()
            if leases or request.return_immediately or left <= 0:
                break
            try:
                await asyncio.wait_for(subscription.available.wait(), left)
            except TimeoutError:
                break
            if self._broker.subscriptions.get(request.subscription) is not subscription:
                raise not_found(request.subscription)
            self._pullable(request.subscription)
        return PullResponse(received_messages=[_received(subscription, lease) for lease in leases])

    def _pullable(self, name: str) -> Subscription:
        """The subscription. Raises Refusal NOT_FOUND, or FAILED_PRECONDITION for push."""
        subscription = self._broker.subscription(name)
        if subscription.config.push_config.push_endpoint:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                "This method is not supported for this subscription type.",
            )
        return subscription

    def _check_dead_letter_topic(self, config: Any) -> None:
        if config.HasField("dead_letter_policy"):
            self._broker.topic(config.dead_letter_policy.dead_letter_topic)


def _received(subscription: Subscription, lease: Lease) -> Any:
    """The ReceivedMessage of a delivery; the attempt shows only under a dead-letter policy."""
    result = ReceivedMessage(ack_id=lease.ack_id)
    result.message.MergeFromString(lease.pending.message.raw)
    if subscription.config.HasField("dead_letter_policy"):
        result.delivery_attempt = lease.pending.attempt
    return result


def handlers(broker: Broker) -> list[Any]:
    """The two generic RPC handlers."""
    publisher, subscriber = _Publisher(broker), _Subscriber(broker)
    services = {
        "Publisher": {
            "CreateTopic": (types.Topic, publisher.create_topic),
            "UpdateTopic": (types.UpdateTopicRequest, publisher.update_topic),
            "Publish": (types.PublishRequest, publisher.publish),
            "GetTopic": (types.GetTopicRequest, publisher.get_topic),
            "DeleteTopic": (types.DeleteTopicRequest, publisher.delete_topic),
        },
        "Subscriber": {
            "CreateSubscription": (types.Subscription, subscriber.create_subscription),
            "GetSubscription": (types.GetSubscriptionRequest, subscriber.get_subscription),
            "UpdateSubscription": (types.UpdateSubscriptionRequest, subscriber.update_subscription),
            "DeleteSubscription": (types.DeleteSubscriptionRequest, subscriber.delete_subscription),
            "ModifyAckDeadline": (types.ModifyAckDeadlineRequest, subscriber.modify_ack_deadline),
            "Acknowledge": (types.AcknowledgeRequest, subscriber.acknowledge),
            "Pull": (types.PullRequest, subscriber.pull),
        },
    }
    return [
        grpc.method_handlers_generic_handler(
            f"google.pubsub.v1.{service}",
            {name: _unary(kind, method) for name, (kind, method) in methods.items()},
        )
        for service, methods in services.items()
    ]


def _unary(request_type: Any, method: Callable[[Any], Awaitable[Any]]) -> Any:
    async def call(request: Any, context: Any) -> Any:
        try:
            answer = await method(request)
        except Refusal as refusal:
            await context.abort(refusal.code, str(refusal))
        except sqlite3.Error as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"The journal failed: {error}")
        return Empty() if answer is None else answer

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request_type.pb().FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )
