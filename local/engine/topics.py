"""Declared topics and subscriptions, created in Pub/Sub by the official client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.api_core.exceptions import AlreadyExists, GoogleAPICallError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import Subscription, Topic
from google.protobuf.json_format import ParseDict, ParseError
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local.machine.errors import StackError

# Pulumi's own inputs, which are no fields of the API's Topic and Subscription.
PULUMI_ONLY = {"project", "name", "topic", "deletionPolicy", "deletionProtection"}


class Messaging:
    """The topics and subscriptions of one project in a Pub/Sub server.

    Args:
        address: `host:port` of the server.
        project: project of a resource that names none.
    """

    def __init__(self, address: str, project: str) -> None:
        self.project = project
        self._channel = grpc.insecure_channel(address)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def create_topic(self, inputs: Mapping[str, Any]) -> str:
        """Create or update a topic from the inputs of `gcp:pubsub/topic:Topic`.

        Returns:
            Its full name.

        Raises:
            StackError: an input that Pub/Sub does not know or refuses.
        """
        name = self._full_name("topics", inputs)
        topic = Topic.wrap(_parsed(Topic, inputs, name))
        topic.name = name
        try:
            self.publisher.create_topic(request=topic)
        except AlreadyExists:
            self._update("topic", topic, inputs)
        except GoogleAPICallError as error:
            raise StackError(f"topic {name}: {error.message}") from error
        return name

    def create_subscription(self, inputs: Mapping[str, Any], push_endpoint: str = "") -> str:
        """Create or update a subscription from `gcp:pubsub/subscription:Subscription` inputs.

        Everything stands as declared, but for `push_endpoint` in place of the declared one.

        Returns:
            Its full name.

        Raises:
            StackError: an input that Pub/Sub does not know or refuses.
        """
        name = self._full_name("subscriptions", inputs)
        declared = dict(inputs)
        if (declared.get("expirationPolicy") or {}).get("ttl") == "":
            declared["expirationPolicy"] = {}  # the provider's way to say "never"
        subscription = Subscription.wrap(_parsed(Subscription, declared, name))
        subscription.name = name
        subscription.topic = self._full_name("topics", {**inputs, "name": inputs.get("topic")})
        if push_endpoint:
            subscription.push_config.push_endpoint = push_endpoint
        try:
            self.subscriber.create_subscription(request=subscription)
        except AlreadyExists:
            self._update("subscription", subscription, inputs)
        except GoogleAPICallError as error:
            raise StackError(f"subscription {name}: {error.message}") from error
        return name

    def _full_name(self, collection: str, inputs: Mapping[str, Any]) -> str:
        name = inputs.get("name")
        if not isinstance(name, str) or not name:
            raise StackError(f"one of the {collection} has no name: {dict(inputs)!r}")
        if name.startswith("projects/"):
            return name
        return f"projects/{inputs.get('project') or self.project}/{collection}/{name}"

    def _update(self, kind: str, resource: Any, inputs: Mapping[str, Any]) -> None:
        """Bring what a data directory kept to what is declared now; its messages stay."""
        paths = sorted(_snake(key) for key in inputs if key not in PULUMI_ONLY)
        mask = {"paths": paths}
        try:
            if kind == "topic" and paths:
                self.publisher.update_topic(request={"topic": resource, "update_mask": mask})
            elif paths:
                self.subscriber.update_subscription(
                    request={"subscription": resource, "update_mask": mask}
                )
        except GoogleAPICallError as error:
            raise StackError(
                f"{kind} {resource.name} of the data directory can't be changed to what is "
                f"declared now: {error.message}"
            ) from error


def _parsed(kind: Any, inputs: Mapping[str, Any], name: str) -> Any:
    declared = {key: value for key, value in inputs.items() if key not in PULUMI_ONLY}
    try:
        return ParseDict(declared, kind.pb()())
    except ParseError as error:
        raise StackError(f"{name}: Pub/Sub would not take this: {error}") from error


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
