"""What Google refuses, in its own words: names, limits, and settings with their defaults.

Rules: https://cloud.google.com/pubsub/docs/reference/error-codes,
https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names,
https://cloud.google.com/pubsub/quotas#resource_limits and the field comments of
google/pubsub/v1/pubsub.proto.
"""

import re
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

MAX_REQUEST_BYTES = 10_000_000
MAX_REQUEST_MESSAGES = 1000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024

_NAME = re.compile(
    r"projects/(?P<project>[a-z][a-z0-9.:-]{0,61}[a-z0-9])/(?P<kind>topics|subscriptions)/"
    r"(?P<id>(?!goog)[A-Za-z][A-Za-z0-9_.~+%-]{2,254})"
)


class Refusal(Exception):  # noqa: N818 - it is an answer of the API, not an error of this server
    """An answer other than OK: `code` is a grpc.StatusCode, the text goes to the client."""

    def __init__(self, code: Any, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid(message: str) -> Refusal:
    """INVALID_ARGUMENT."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(name: str) -> Refusal:
    """NOT_FOUND for a full resource name; Google names only its last part."""
    resource = name.rpartition("/")[2]
    return Refusal(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={resource}).")


def already_exists(name: str) -> Refusal:
    """ALREADY_EXISTS for a full resource name."""
    resource = name.rpartition("/")[2]
    return Refusal(
        grpc.StatusCode.ALREADY_EXISTS,
        f"Resource already exists in the project (resource={resource}).",
    )


def unimplemented(what: str) -> Refusal:
    """UNIMPLEMENTED: a feature of Google's that this server does not imitate."""
    return Refusal(
        grpc.StatusCode.UNIMPLEMENTED, f"The embedded Pub/Sub server does not implement {what}."
    )


def check_name(name: str, kind: str) -> None:
    """Refuse a `name` that is not projects/P/`kind`/ID; kind is "topics" or "subscriptions"."""
    match = _NAME.fullmatch(name)
    if match is None or match["kind"] != kind:
        raise invalid(
            f"Invalid resource name given (name={name}). Refer to "
            "https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names "
            "for more information."
        )


def check_messages(messages: Any, request_bytes: int) -> None:
    """Refuse a batch that Google's Publish refuses: size, count, attributes, emptiness."""
    if request_bytes > MAX_REQUEST_BYTES:
        raise _too_large("request_size", request_bytes, MAX_REQUEST_BYTES)
    if not messages:
        raise invalid("A publish request must contain at least one message.")
    if len(messages) > MAX_REQUEST_MESSAGES:
        raise _too_large("message_count", len(messages), MAX_REQUEST_MESSAGES)
    for message in messages:
        attributes = message.attributes
        if not message.data and not attributes:
            raise invalid(
                "One or more messages in the publish request is empty. Each message must "
                "contain either non-empty data, or at least one attribute."
            )
        if len(attributes) > MAX_ATTRIBUTES:
            raise _too_large("attribute_count", len(attributes), MAX_ATTRIBUTES)
        for key, value in attributes.items():
            _check_attribute(key, value)
        if message.ordering_key and len(message.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
            raise _too_large(
                "ordering_key", len(message.ordering_key.encode()), MAX_ORDERING_KEY_BYTES
            )


def _check_attribute(key: str, value: str) -> None:
    if not key or key.startswith("goog"):
        raise invalid(f"The attribute key {key!r} is empty or starts with 'goog'.")
    if len(key) * 4 > MAX_ATTRIBUTE_KEY_BYTES and len(key.encode()) > MAX_ATTRIBUTE_KEY_BYTES:
        raise _too_large("attribute_key", len(key.encode()), MAX_ATTRIBUTE_KEY_BYTES)
    if len(value) * 4 > MAX_ATTRIBUTE_VALUE_BYTES:
        size = len(value.encode())
        if size > MAX_ATTRIBUTE_VALUE_BYTES:
            raise _too_large(f"attribute_value of {key!r}", size, MAX_ATTRIBUTE_VALUE_BYTES)


def _too_large(what: str, value: int, limit: int) -> Refusal:
    return invalid(
        f"The value for {what} is too large. You passed {value} in the request, "
        f"but the maximum value is {limit}."
    )


_DAY = timedelta(days=1)
_TOPIC_REFUSED = ("schema_settings", "ingestion_data_source_settings", "message_transforms")
_SUBSCRIPTION_REFUSED = (
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "message_transforms",
    "enable_exactly_once_delivery",
    "enable_message_ordering",
    "filter",
    "retain_acked_messages",
)
_TOPIC_MUTABLE = {"labels", "message_storage_policy", "message_retention_duration", "kms_key_name"}
_SUBSCRIPTION_MUTABLE = {
    "ack_deadline_seconds",
    "dead_letter_policy",
    "expiration_policy",
    "labels",
    "message_retention_duration",
    "push_config",
    "retry_policy",
}


def check_topic(topic: Any) -> None:
    """Refuse a topic that is invalid or asks for what is not implemented."""
    check_name(topic.name, "topics")
    _refuse(topic, _TOPIC_REFUSED)
    if topic.HasField("message_retention_duration"):
        retention = topic.message_retention_duration.ToTimedelta()
        _between("message_retention_duration", retention, timedelta(minutes=10), 31 * _DAY)


def check_subscription(subscription: Any) -> None:
    """Fill in the defaults; refuse what is invalid or not implemented."""
    check_name(subscription.name, "subscriptions")
    _refuse(subscription, _SUBSCRIPTION_REFUSED)
    subscription.ack_deadline_seconds = subscription.ack_deadline_seconds or 10
    if not 10 <= subscription.ack_deadline_seconds <= 600:
        raise invalid(
            f"Invalid ack deadline given (ack_deadline_seconds="
            f"{subscription.ack_deadline_seconds}): it must be between 10 and 600."
        )
    if not subscription.HasField("message_retention_duration"):
        subscription.message_retention_duration.FromTimedelta(7 * _DAY)
    retention = subscription.message_retention_duration.ToTimedelta()
    _between("message_retention_duration", retention, timedelta(minutes=10), 31 * _DAY)
    if not subscription.HasField("expiration_policy"):
        subscription.expiration_policy.ttl.FromTimedelta(31 * _DAY)
    _check_push(subscription.push_config)
    if subscription.HasField("retry_policy"):
        _check_retry(subscription.retry_policy)
    if subscription.HasField("dead_letter_policy"):
        policy = subscription.dead_letter_policy
        check_name(policy.dead_letter_topic, "topics")
        policy.max_delivery_attempts = policy.max_delivery_attempts or 5
        if not 5 <= policy.max_delivery_attempts <= 100:
            raise invalid(
                f"max_delivery_attempts is {policy.max_delivery_attempts}; "
                "it must be between 5 and 100."
            )


def merged(current: Any, update: Any, mask: FieldMask) -> Any:
    """A checked copy of `current` with the masked fields of `update` (protobuf messages)."""
    mutable = _TOPIC_MUTABLE if current.DESCRIPTOR.name == "Topic" else _SUBSCRIPTION_MUTABLE
    if not mask.paths:
        raise invalid("The update_mask in the request must be set and must be non-empty.")
    for path in mask.paths:
        if path.partition(".")[0] not in mutable:
            raise invalid(
                f"Invalid update_mask provided in the request: {path!r} "
                "is not a known field or cannot be changed."
            )
    result = type(current)()
    result.CopyFrom(current)
    for path in mask.paths:
        if "." not in path:  # MergeMessage leaves a field that the update does not set
            result.ClearField(path)
    mask.MergeMessage(update, result, True, True)
    check_topic(result) if mutable is _TOPIC_MUTABLE else check_subscription(result)
    return result


def _check_push(push: Any) -> None:
    if push.HasField("no_wrapper"):
        raise unimplemented("unwrapped push delivery (push_config.no_wrapper)")
    endpoint = push.push_endpoint
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise invalid(f"Invalid push endpoint given (endpoint={endpoint}): it must be a URL.")


def _check_retry(policy: Any) -> None:
    for name, default in (("minimum_backoff", 10), ("maximum_backoff", 600)):
        if not policy.HasField(name):
            getattr(policy, name).FromTimedelta(timedelta(seconds=default))
        backoff = getattr(policy, name).ToTimedelta()
        _between(f"retry_policy.{name}", backoff, timedelta(0), timedelta(seconds=600))
    if policy.minimum_backoff.ToTimedelta() > policy.maximum_backoff.ToTimedelta():
        raise invalid("retry_policy: minimum_backoff must not be above maximum_backoff.")


def _between(name: str, value: timedelta, low: timedelta, high: timedelta) -> None:
    if not low <= value <= high:
        raise invalid(f"{name} is {value}; it must be between {low} and {high}.")


def _refuse(config: Any, names: tuple[str, ...]) -> None:
    given = {descriptor.name for descriptor, _ in config.ListFields()}
    for name in names:
        if name in given:
            raise unimplemented(f"{config.DESCRIPTOR.name}.{name}")
