"""Topics, subscriptions and what Google's API does with them; the one owner of all state."""

import asyncio
import contextlib
import itertools
import logging
import random
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.pubsub_v1 import types

from local.pubsub.journal import PubSubJournal
from local.pubsub.refusal import (
    Refusal,
    already_exists,
    check_messages,
    check_subscription,
    check_topic,
    invalid,
    merged,
    not_found,
)
from local.pubsub.subscription import Pending, PubsubMessage, Subscription, dead_letter

T = TypeVar("T")
logger = logging.getLogger(__name__)

EMPTY_PULL_SECONDS = 10.0  # Google answers an idle Pull empty after a bounded, unstated time

TopicMessage: Any = types.Topic.pb()
SubscriptionMessage: Any = types.Subscription.pb()
PublishResponse: Any = types.PublishResponse.pb()
PullResponse: Any = types.PullResponse.pb()


class PubSubFaults:
    """What goes wrong on request. Safe to call from any thread: each call sets plain values."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._publish_down_until = 0.0
        self._redeliver_fraction = 0.0
        self._redeliver_left = 0
        self.redelivered = 0
        self.refused_publishes = 0

    def publish_unavailable(self, seconds: float) -> None:
        """Publish answers UNAVAILABLE for `seconds` from now; 0 ends it."""
        self._publish_down_until = time.monotonic() + seconds

    def redeliver(self, fraction: float, count: int) -> None:
        """Deliver acknowledged messages a second time: `fraction` of them, at most `count`."""
        if not 0 <= fraction <= 1 or count < 0:
            raise ValueError(f"redeliver: fraction {fraction} must be 0..1 and count {count} >= 0")
        self._redeliver_fraction, self._redeliver_left = fraction, count

    def refuses_publish(self) -> bool:
        """True while Publish is down."""
        down = time.monotonic() < self._publish_down_until
        self.refused_publishes += down
        return down

    def delivers_again(self) -> bool:
        """Whether the message acknowledged now comes a second time."""
        if not self._redeliver_left or self._random.random() >= self._redeliver_fraction:
            return False
        self._redeliver_left -= 1
        self.redelivered += 1
        return True


@dataclass(slots=True, eq=False)
class BrokerTopic:
    """A topic; `config` is its protobuf message, `published` counts since the start."""

    config: Any
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    published: int = 0


class Broker:
    """The state, and the API's methods over it: each takes a protobuf request, returns a response.

    Single-threaded: call it on the server's event loop only.

    Raises (each of the API's methods): Refusal, or sqlite3.Error where the journal fails.
    """

    def __init__(self, journal: PubSubJournal, faults: PubSubFaults) -> None:
        self.topics: dict[str, BrokerTopic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.faults = faults
        self._journal = journal
        self._done: list[tuple[str, int]] = []
        self._ids = itertools.count(time.time_ns() // 1000)  # never again, after a restart too
        resources = journal.resources()
        for name, raw in resources:
            if "/topics/" in name:
                self.topics[name] = BrokerTopic(TopicMessage.FromString(raw))
        for name, raw in resources:
            if "/subscriptions/" in name:
                self._attach(SubscriptionMessage.FromString(raw))
        for name, identity, raw, published in journal.backlog():
            self.subscriptions[name].add(Pending(identity, raw, published))

    def create_topic(self, request: Any) -> Any:
        """Raises Refusal ALREADY_EXISTS, or for its settings."""
        check_topic(request)
        if request.name in self.topics:
            raise already_exists(request.name)
        self.topics[request.name] = BrokerTopic(request)
        self._save(request)
        return request

    def get_topic(self, request: Any) -> Any:
        """Return its settings."""
        return _known(self.topics, request.topic).config

    def update_topic(self, request: Any) -> Any:
        """Change the masked settings."""
        topic = _known(self.topics, request.topic.name)
        topic.config = merged(topic.config, request.topic, request.update_mask, check_topic)
        self._save(topic.config)
        return topic.config

    def delete_topic(self, request: Any) -> None:
        """Remove it; its subscriptions keep their backlog, as Google's do."""
        _known(self.topics, request.topic)
        del self.topics[request.topic]
        self._journal.drop(request.topic)

    def publish(self, request: Any) -> Any:
        """Raises Refusal UNAVAILABLE (fault), INVALID_ARGUMENT (limits) or NOT_FOUND."""
        if self.faults.refuses_publish():
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "The service was unable to fulfill your request. Please try again. [fault]",
            )
        check_messages(request.messages, request.ByteSize())
        return PublishResponse(message_ids=self._publish(request.topic, request.messages))

    def create_subscription(self, request: Any) -> Any:
        """Attach it to its topic; its dead-letter topic has to be there too."""
        check_subscription(request)
        if request.name in self.subscriptions:
            raise already_exists(request.name)
        _known(self.topics, request.topic)
        self._check_dead_letter_topic(request)
        self._attach(request)
        self._save(request)
        return request

    def get_subscription(self, request: Any) -> Any:
        """Return its settings, with Google's defaults."""
        return _known(self.subscriptions, request.subscription).config

    def update_subscription(self, request: Any) -> Any:
        """Change the masked settings."""
        wanted = request.subscription
        subscription = _known(self.subscriptions, wanted.name)
        config = merged(subscription.config, wanted, request.update_mask, check_subscription)
        self._check_dead_letter_topic(config)
        subscription.config = config
        subscription.available.set()  # a waiting pull or pusher looks at the new configuration
        self._save(config)
        return config

    def delete_subscription(self, request: Any) -> None:
        """Remove it and its backlog."""
        subscription = _known(self.subscriptions, request.subscription)
        del self.subscriptions[request.subscription]
        if topic := self.topics.get(subscription.config.topic):
            topic.subscriptions.pop(request.subscription, None)
        subscription.available.set()  # a waiting pull sees that it is gone
        self._journal.drop(request.subscription)

    def acknowledge(self, request: Any) -> None:
        """Settle deliveries."""
        subscription = _known(self.subscriptions, request.subscription)
        for ack_id in request.ack_ids:
            subscription.acknowledge(ack_id)

    def modify_ack_deadline(self, request: Any) -> None:
        """Lease deliveries anew; 0 seconds is a negative acknowledgement."""
        subscription = _known(self.subscriptions, request.subscription)
        for ack_id in request.ack_ids:
            subscription.modify_deadline(ack_id, request.ack_deadline_seconds)

    async def pull(self, request: Any) -> Any:
        """Wait for a first message unless return_immediately."""
        if request.max_messages < 1:
            raise invalid(f"max_messages is {request.max_messages}; it must be greater than 0.")
        leases = self._lease(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EMPTY_PULL_SECONDS):
                while not leases and not request.return_immediately:
                    await _known(self.subscriptions, request.subscription).available.wait()
                    leases = self._lease(request)
        return PullResponse(received_messages=leases)

    def tick(self) -> None:
        """Advance time for all subscriptions and write acknowledgements."""
        for subscription in self.subscriptions.values():
            subscription.tick()
        self.flush()

    def flush(self) -> None:
        """Write the acknowledgements since the last flush; one lost to a kill is redelivered."""
        if self._done:
            try:
                self._journal.settle(self._done)
            except sqlite3.Error as error:  # a full disk passes: keep them for the next tick
                logger.warning("acknowledgements not written yet: %s", error)
            else:
                self._done = []

    def stats(self) -> dict[str, Any]:
        """Counters since the start and present backlog, by full resource name."""
        return {
            "topics": {name: {"published": t.published} for name, t in self.topics.items()},
            "subscriptions": {name: s.stats() for name, s in self.subscriptions.items()},
            "faults": {
                "redelivered": self.faults.redelivered,
                "refused_publishes": self.faults.refused_publishes,
            },
        }

    def _check_dead_letter_topic(self, config: Any) -> None:
        if config.HasField("dead_letter_policy"):
            _known(self.topics, config.dead_letter_policy.dead_letter_topic)

    def _save(self, config: Any) -> None:
        self._journal.save(config.name, config.SerializeToString())

    def _attach(self, config: Any) -> None:
        subscription = Subscription(
            config, self._settled, self._dead_letter, self.faults.delivers_again
        )
        self.subscriptions[config.name] = subscription
        if topic := self.topics.get(config.topic):
            topic.subscriptions[config.name] = subscription

    def _publish(self, name: str, messages: Any) -> list[str]:
        """Write messages and hand them to the topic's subscriptions; returns their ids."""
        topic, epoch = _known(self.topics, name), time.time()
        rows = []
        for pb in messages:
            identity = next(self._ids)
            pb.message_id = str(identity)
            pb.publish_time.FromNanoseconds(int(epoch * 1e9))
            rows.append((identity, pb.SerializeToString(), epoch))
        self._journal.append((owner, *row) for owner in topic.subscriptions for row in rows)
        for subscription in topic.subscriptions.values():
            for row in rows:
                subscription.add(Pending(*row))
        topic.published += len(rows)
        return [str(identity) for identity, _, _ in rows]

    def _lease(self, request: Any) -> list[Any]:
        """What a pull takes now, as ReceivedMessages: the attempt shows under a policy only."""
        subscription = _known(self.subscriptions, request.subscription)
        config = subscription.config
        if config.push_config.push_endpoint:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                "This method is not supported for this subscription type.",
            )
        most, seconds = min(request.max_messages, 1000), config.ack_deadline_seconds
        return [
            {
                "ack_id": lease.ack_id,
                "message": PubsubMessage.FromString(lease.pending.raw),
                "delivery_attempt": config.HasField("dead_letter_policy") * lease.pending.attempt,
            }
            for lease in subscription.take(most, lease_seconds=seconds)
        ]

    def _settled(self, subscription: Subscription, pending: Pending) -> None:
        self._done.append((subscription.config.name, pending.id))

    def _dead_letter(self, subscription: Subscription, pending: Pending) -> bool:
        """Forward to the dead-letter topic; False (the message stays) when that fails."""
        letter = dead_letter(pending, subscription.config.name)
        try:
            self._publish(subscription.config.dead_letter_policy.dead_letter_topic, [letter])
        except (Refusal, sqlite3.Error):
            return False
        return True


def _known(resources: dict[str, T], name: str) -> T:
    if name not in resources:
        raise not_found(name)
    return resources[name]
