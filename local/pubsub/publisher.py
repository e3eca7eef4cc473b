"""The gRPC service google.pubsub.v1.Publisher over a broker."""

from typing import Any

from google.pubsub_v1 import types

from local.pubsub.broker import Broker
from local.pubsub.refusal import check_name
from local.pubsub.settings import check_topic, merged

PublishResponse: Any = types.PublishResponse.pb()
ListTopicsResponse: Any = types.ListTopicsResponse.pb()
ListTopicSubscriptionsResponse: Any = types.ListTopicSubscriptionsResponse.pb()


def page(names: list[str], request: Any) -> tuple[list[str], str]:
    """One page of sorted `names` and the token of the next; the token is the last name sent."""
    rest = sorted(name for name in names if name > request.page_token)
    size = request.page_size or 100
    return rest[:size], rest[size - 1] if len(rest) > size else ""


class PublisherService:
    """Each method takes a protobuf request and returns a protobuf response, or raises Refusal."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def create_topic(self, request: Any, _: Any) -> Any:
        """CreateTopic."""
        check_topic(request)
        self._broker.create_topic(request)
        return request

    async def update_topic(self, request: Any, _: Any) -> Any:
        """UpdateTopic."""
        topic = self._broker.topic(request.topic.name)
        config = merged(topic.config, request.topic, request.update_mask)
        check_topic(config)
        topic.config = config
        self._broker.save(config)
        return config

    async def publish(self, request: Any, _: Any) -> Any:
        """Publish."""
        check_name(request.topic, "topics")
        ids = self._broker.publish(request.topic, request.messages, request.ByteSize())
        return PublishResponse(message_ids=ids)

    async def get_topic(self, request: Any, _: Any) -> Any:
        """GetTopic."""
        check_name(request.topic, "topics")
        return self._broker.topic(request.topic).config

    async def list_topics(self, request: Any, _: Any) -> Any:
        """ListTopics."""
        prefix = f"{request.project}/topics/"
        names, token = page([n for n in self._broker.topics if n.startswith(prefix)], request)
        topics = [self._broker.topics[name].config for name in names]
        return ListTopicsResponse(topics=topics, next_page_token=token)

    async def list_topic_subscriptions(self, request: Any, _: Any) -> Any:
        """ListTopicSubscriptions."""
        topic = self._broker.topic(request.topic)
        names, token = page(list(topic.subscriptions), request)
        return ListTopicSubscriptionsResponse(subscriptions=names, next_page_token=token)

    async def delete_topic(self, request: Any, _: Any) -> Any:
        """DeleteTopic."""
        check_name(request.topic, "topics")
        self._broker.delete_topic(request.topic)
