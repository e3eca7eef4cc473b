"""The gRPC service google.pubsub.v1.Subscriber over a broker."""

import asyncio
from typing import Any

import grpc
from google.pubsub_v1 import types

from local.pubsub.broker import Broker
from local.pubsub.message import Lease
from local.pubsub.publisher import page
from local.pubsub.refusal import Refusal, check_name, invalid, not_found
from local.pubsub.settings import check_subscription, merged
from local.pubsub.subscription import Subscription

EMPTY_PULL_SECONDS = 10.0  # Google answers an idle Pull empty after a bounded, unstated time

ListSubscriptionsResponse: Any = types.ListSubscriptionsResponse.pb()
PullResponse: Any = types.PullResponse.pb()
ReceivedMessage: Any = types.ReceivedMessage.pb()


def pullable(broker: Broker, name: str) -> Subscription:
    """The subscription. Raises Refusal NOT_FOUND, or FAILED_PRECONDITION for push."""
    subscription = broker.subscription(name)
    if subscription.config.push_config.push_endpoint:
        raise Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            "This method is not supported for this subscription type.",
        )
    return subscription


def received(subscription: Subscription, lease: Lease) -> Any:
    """The ReceivedMessage of a delivery; the attempt shows only under a dead-letter policy."""
    result = ReceivedMessage(ack_id=lease.ack_id)
    result.message.MergeFromString(lease.pending.message.raw)
    if subscription.config.HasField("dead_letter_policy"):
        result.delivery_attempt = lease.pending.attempt
    return result


class SubscriberService:
    """Each method takes a protobuf request and returns a protobuf response, or raises Refusal."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def create_subscription(self, request: Any, _: Any) -> Any:
        """CreateSubscription."""
        check_subscription(request)
        self._check_dead_letter_topic(request)
        self._broker.create_subscription(request)
        return request

    async def get_subscription(self, request: Any, _: Any) -> Any:
        """GetSubscription."""
        check_name(request.subscription, "subscriptions")
        return self._broker.subscription(request.subscription).config

    async def update_subscription(self, request: Any, _: Any) -> Any:
        """UpdateSubscription."""
        subscription = self._broker.subscription(request.subscription.name)
        config = merged(subscription.config, request.subscription, request.update_mask)
        check_subscription(config)
        self._check_dead_letter_topic(config)
        subscription.config = config
        subscription.available.set()  # a waiting pull or pusher looks at the new configuration
        self._broker.save(config)
        return config

    async def list_subscriptions(self, request: Any, _: Any) -> Any:
        """ListSubscriptions."""
        prefix = f"{request.project}/subscriptions/"
        known = self._broker.subscriptions
        names, token = page([name for name in known if name.startswith(prefix)], request)
        configs = [known[name].config for name in names]
        return ListSubscriptionsResponse(subscriptions=configs, next_page_token=token)

    async def delete_subscription(self, request: Any, _: Any) -> Any:
        """DeleteSubscription."""
        check_name(request.subscription, "subscriptions")
        self._broker.delete_subscription(request.subscription)

    async def modify_push_config(self, request: Any, _: Any) -> Any:
        """ModifyPushConfig; an empty one turns push into pull."""
        subscription = self._broker.subscription(request.subscription)
        config = type(subscription.config)()
        config.CopyFrom(subscription.config)
        config.push_config.CopyFrom(request.push_config)
        check_subscription(config)
        subscription.config = config
        subscription.available.set()
        self._broker.save(config)

    async def acknowledge(self, request: Any, _: Any) -> Any:
        """Acknowledge."""
        subscription = self._broker.subscription(request.subscription)
        if not request.ack_ids:
            raise invalid("No ack ids specified.")
        for ack_id in request.ack_ids:
            subscription.acknowledge(ack_id)

    async def modify_ack_deadline(self, request: Any, _: Any) -> Any:
        """ModifyAckDeadline; 0 seconds is a negative acknowledgement."""
        subscription = self._broker.subscription(request.subscription)
        if not request.ack_ids:
            raise invalid("No ack ids specified.")
        for ack_id in request.ack_ids:
            subscription.modify_deadline(ack_id, request.ack_deadline_seconds)

    async def pull(self, request: Any, _: Any) -> Any:
        """Pull: waits for a first message unless return_immediately."""
        check_name(request.subscription, "subscriptions")
        if request.max_messages < 1:
            raise invalid(f"max_messages is {request.max_messages}; it must be greater than 0.")
        subscription = pullable(self._broker, request.subscription)
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
            pullable(self._broker, request.subscription)
        return PullResponse(received_messages=[received(subscription, lease) for lease in leases])

    def _check_dead_letter_topic(self, config: Any) -> None:
        if config.HasField("dead_letter_policy"):
            self._broker.topic(config.dead_letter_policy.dead_letter_topic)
