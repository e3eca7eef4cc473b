"""The table from gRPC method to handler: generic handlers over the client's message classes."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from local.pubsub.broker import Broker
from local.pubsub.publisher import PublisherService
from local.pubsub.refusal import Refusal
from local.pubsub.streaming import StreamingPull
from local.pubsub.subscriber import SubscriberService

Handler = Callable[[Any, Any], Awaitable[Any]]


def handlers(broker: Broker) -> list[Any]:
    """The two generic RPC handlers, Publisher and Subscriber.

    Seek, snapshots and detaching are not among them: gRPC answers UNIMPLEMENTED.
    """
    publisher, subscriber = PublisherService(broker), SubscriberService(broker)
    publish_methods = {
        "CreateTopic": _unary(types.Topic, publisher.create_topic),
        "UpdateTopic": _unary(types.UpdateTopicRequest, publisher.update_topic),
        "Publish": _unary(types.PublishRequest, publisher.publish),
        "GetTopic": _unary(types.GetTopicRequest, publisher.get_topic),
        "ListTopics": _unary(types.ListTopicsRequest, publisher.list_topics),
        "ListTopicSubscriptions": _unary(
            types.ListTopicSubscriptionsRequest, publisher.list_topic_subscriptions
        ),
        "DeleteTopic": _unary(types.DeleteTopicRequest, publisher.delete_topic),
    }
    subscribe_methods = {
        "CreateSubscription": _unary(types.Subscription, subscriber.create_subscription),
        "GetSubscription": _unary(types.GetSubscriptionRequest, subscriber.get_subscription),
        "UpdateSubscription": _unary(
            types.UpdateSubscriptionRequest, subscriber.update_subscription
        ),
        "ListSubscriptions": _unary(types.ListSubscriptionsRequest, subscriber.list_subscriptions),
        "DeleteSubscription": _unary(
            types.DeleteSubscriptionRequest, subscriber.delete_subscription
        ),
        "ModifyPushConfig": _unary(types.ModifyPushConfigRequest, subscriber.modify_push_config),
        "ModifyAckDeadline": _unary(types.ModifyAckDeadlineRequest, subscriber.modify_ack_deadline),
        "Acknowledge": _unary(types.AcknowledgeRequest, subscriber.acknowledge),
        "Pull": _unary(types.PullRequest, subscriber.pull),
        "StreamingPull": _streaming(broker),
    }
    return [
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publish_methods),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscribe_methods),
    ]


def _unary(request_type: Any, method: Handler) -> Any:
    async def call(request: Any, context: Any) -> Any:
        try:
            answer = await method(request, context)
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


def _streaming(broker: Broker) -> Any:
    async def call(_: Any, context: Any) -> None:
        try:
            await StreamingPull(broker, context).run()
        except Refusal as refusal:
            await context.abort(refusal.code, str(refusal))

    return grpc.stream_stream_rpc_method_handler(
        call,
        request_deserializer=types.StreamingPullRequest.pb().FromString,
        response_serializer=types.StreamingPullResponse.pb().SerializeToString,
    )
