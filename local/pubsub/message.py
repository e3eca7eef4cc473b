"""A message, what a subscription still owes of it, and one delivery of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.pubsub_v1 import types

PubsubMessage: Any = types.PubsubMessage.pb()


@dataclass(slots=True)
class StoredMessage:
    """A published message: `raw` is the serialized PubsubMessage, `published` epoch seconds."""

    id: int
    topic: str
    raw: bytes
    published: float
    holders: int = 0


@dataclass(slots=True, eq=False)
class Pending:
    """A message this subscription still owes; `attempt` counts its deliveries."""

    message: StoredMessage
    attempt: int = 0
    gone: bool = False


@dataclass(slots=True, eq=False)
class Lease:
    """One delivery; `deadline` is monotonic seconds, None while an HTTP request decides."""

    ack_id: str
    pending: Pending
    deadline: float | None


@dataclass(slots=True)
class Counters:
    """Events since this server started."""

    delivered: int = 0
    acked: int = 0
    nacked: int = 0
    expired: int = 0
    dead_lettered: int = 0


def dead_letter(message: StoredMessage, subscription: str, attempts: int) -> Any:
    """The PubsubMessage to forward, with the attributes Google adds.

    Names: https://cloud.google.com/pubsub/docs/dead-letter-topics. `subscription` is a full name.
    """
    pb = PubsubMessage.FromString(message.raw)
    _, project, _, identity = subscription.split("/")
    published = datetime.fromtimestamp(message.published, UTC)
    prefix = "CloudPubSubDeadLetterSource"
    pb.attributes[f"{prefix}DeliveryCount"] = str(attempts)
    pb.attributes[f"{prefix}Subscription"] = identity
    pb.attributes[f"{prefix}SubscriptionProject"] = project
    pb.attributes[f"{prefix}TopicPublishTime"] = published.isoformat(timespec="milliseconds")
    return pb
