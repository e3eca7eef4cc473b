"""Refusals in Pub/Sub's own words: a gRPC status code and the message Google's API gives.

Rules: https://cloud.google.com/pubsub/docs/reference/error-codes,
https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names and
https://cloud.google.com/pubsub/quotas#resource_limits.
"""

import re
from typing import Any

import grpc

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
