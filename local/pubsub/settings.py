"""The rules for a topic's and a subscription's configuration, and their defaults.

Rules: the field comments of google/pubsub/v1/pubsub.proto.
"""

from datetime import timedelta
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from local.pubsub.refusal import check_name, invalid, unimplemented

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
