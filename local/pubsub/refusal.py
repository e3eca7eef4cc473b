"""What Google refuses, in its own words: names, limits, and settings with their defaults.

Rules: https://cloud.google.com/pubsub/docs/reference/error-codes,
https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names,
https://cloud.google.com/pubsub/quotas#resource_limits and the field comments of
google/pubsub/v1/pubsub.proto.
"""

import re
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

MAX_REQUEST_BYTES = 10_000_000
MAX_REQUEST_MESSAGES = 1000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024

_NAME = r"projects/[a-z][a-z0-9.:-]{0,61}[a-z0-9]/%s/(?!goog)[A-Za-z][A-Za-z0-9_.~+%%-]{2,254}"
_DAY = 86_400
_RANGES = {
    "ack_deadline_seconds": (10, 10, 600),
    "message_retention_duration": (7 * _DAY, 600, 31 * _DAY),
    "dead_letter_policy.max_delivery_attempts": (5, 5, 100),
    "retry_policy.minimum_backoff": (10, 0, 600),
    "retry_policy.maximum_backoff": (600, 0, 600),
}
"""Settings of a subscription: default, least and most, durations in seconds."""
_REFUSED = (
    "schema_settings",
    "ingestion_data_source_settings",
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "message_transforms",
    "enable_exactly_once_delivery",
    "enable_message_ordering",
    "filter",
    "retain_acked_messages",
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


def check_messages(messages: Any, request_bytes: int) -> None:
    """Refuse a batch that Google's Publish refuses: size, count, attributes, emptiness."""
    _at_most("request_size", request_bytes, MAX_REQUEST_BYTES)
    _at_most("message_count", len(messages), MAX_REQUEST_MESSAGES)
    for message in messages:
        if not message.data and not message.attributes:
            raise invalid(
                "One or more messages in the publish request is empty. Each message must "
                "contain either non-empty data, or at least one attribute."
            )
        _at_most("attribute_count", len(message.attributes), MAX_ATTRIBUTES)
        for key, value in message.attributes.items():
            if not key or key.startswith("goog"):
                raise invalid(f"The attribute key {key!r} is empty or starts with 'goog'.")
            _at_most("attribute_key", len(key.encode()), MAX_ATTRIBUTE_KEY_BYTES)
            size = len(value.encode())
            _at_most(f"attribute_value of {key!r}", size, MAX_ATTRIBUTE_VALUE_BYTES)


def _at_most(what: str, value: int, limit: int) -> None:
    if value > limit:
        raise invalid(
            f"The value for {what} is too large. You passed {value} in the request, "
            f"but the maximum value is {limit}."
        )


def check_topic(topic: Any) -> None:
    """Refuse a topic that is invalid or asks for what is not implemented."""
    _check_name(topic.name, "topics")
    _refuse(topic)
    if topic.HasField("message_retention_duration"):
        _check_range(topic, "message_retention_duration")


def check_subscription(subscription: Any) -> None:
    """Fill in the defaults; refuse what is invalid or not implemented."""
    _check_name(subscription.name, "subscriptions")
    _refuse(subscription)
    if subscription.push_config.HasField("no_wrapper"):
        raise _unimplemented("unwrapped push delivery (push_config.no_wrapper)")
    for path in _RANGES:
        _check_range(subscription, path)
    retry = subscription.retry_policy
    if retry.minimum_backoff.ToNanoseconds() > retry.maximum_backoff.ToNanoseconds():
        raise invalid("retry_policy: minimum_backoff must not be above maximum_backoff.")


def _check_range(owner: Any, path: str) -> None:
    default, low, high = _RANGES[path]
    policy, _, name = path.rpartition(".")
    if policy and not owner.HasField(policy):
        return
    owner = getattr(owner, policy) if policy else owner
    value = getattr(owner, name)
    if isinstance(value, Duration):
        if not owner.HasField(name):
            value.FromSeconds(default)
        seconds = value.ToTimedelta().total_seconds()
    else:
        seconds = value or default
        setattr(owner, name, seconds)
    if not low <= seconds <= high:
        raise invalid(f"{path} is {seconds:g}; it must be between {low} and {high}.")


def merged(current: Any, update: Any, mask: FieldMask, check: Callable[[Any], None]) -> Any:
    """A checked copy of `current` with the masked fields of `update` (protobuf messages)."""
    if not mask.paths:
        raise invalid("The update_mask in the request must be set and must be non-empty.")
    result = type(current)()
    result.CopyFrom(current)
    for path in mask.paths:  # MergeMessage leaves a field that the update does not set
        result.ClearField(path)
    mask.MergeMessage(update, result, True, True)
    check(result)
    return result


def _check_name(name: str, kind: str) -> None:
    if not re.fullmatch(_NAME % kind, name):
        raise invalid(
            f"Invalid resource name given (name={name}). Refer to "
            "https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names "
            "for more information."
        )


def _refuse(config: Any) -> None:
    for descriptor, _ in config.ListFields():
        if descriptor.name in _REFUSED:
            raise _unimplemented(f"{config.DESCRIPTOR.name}.{descriptor.name}")


def _unimplemented(what: str) -> Refusal:
    return Refusal(
        grpc.StatusCode.UNIMPLEMENTED, f"The embedded Pub/Sub server does not implement {what}."
    )
