"""Declared topics and subscriptions, created in Pub/Sub by the official client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        topic = self._read(Topic, "topics", inputs)
        client = self.publisher
        return _put("topic", topic, inputs, client.create_topic, client.update_topic)

    def create_subscription(self, inputs: Mapping[str, Any], push_endpoint: str = "") -> str:
        """Create or update a subscription from `gcp:pubsub/subscription:Subscription` inputs.

        Everything stands as declared, but for `push_endpoint` in place of the declared one.

        Returns:
            Its full name.

        Raises:
            StackError: an input that Pub/Sub does not know or refuses.
        """
        declared = dict(inputs)
        if (declared.get("expirationPolicy") or {}).get("ttl") == "":
            declared["expirationPolicy"] = {}  # the provider's way to say "never"
        subscription = self._read(Subscription, "subscriptions", declared)
        subscription.topic = self._full_name("topics", {**inputs, "name": inputs.get("topic")})
        if push_endpoint:
            subscription.push_config.push_endpoint = push_endpoint
        create, update = self.subscriber.create_subscription, self.subscriber.update_subscription
        return _put("subscription", subscription, inputs, create, update)

    def _full_name(self, collection: str, inputs: Mapping[str, Any]) -> str:
        name = inputs.get("name")
        if not isinstance(name, str) or not name:
            raise StackError(f"one of the {collection} has no name: {dict(inputs)!r}")
        if name.startswith("projects/"):
            return name
        return f"projects/{inputs.get('project') or self.project}/{collection}/{name}"

    def _read(self, kind: Any, collection: str, inputs: Mapping[str, Any]) -> Any:
        """The declared topic or subscription as the API's own type."""
        name = self._full_name(collection, inputs)
        declared = {key: value for key, value in inputs.items() if key not in PULUMI_ONLY}
        try:
            return kind.wrap(ParseDict({**declared, "name": name}, kind.pb()()))
        except ParseError as error:
            raise StackError(f"{name}: Pub/Sub would not take this: {error}") from error


def _put(
    kind: str,
    resource: Any,
    inputs: Mapping[str, Any],
    create: Callable[..., object],
    update: Callable[..., object],
) -> str:
    """Create it, or bring what a data directory kept to what is declared; its messages stay."""
    paths, kept = sorted(_snake(key) for key in inputs if key not in PULUMI_ONLY), ""
    try:
        try:
            create(request=resource)
        except AlreadyExists:
            kept = " of the data directory can't be changed to what is declared now"
            if paths:
                update(request={kind: resource, "update_mask": {"paths": paths}})
    except GoogleAPICallError as error:
        raise StackError(f"{kind} {resource.name}{kept}: {error.message}") from error
    return str(resource.name)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
