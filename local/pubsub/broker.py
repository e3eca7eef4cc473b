"""Topics and the fan-out of their messages to subscriptions; the one owner of all state."""

import itertools
import logging
import random
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.pubsub_v1 import types

from local.pubsub.journal import PubSubJournal
from local.pubsub.refusal import Refusal, already_exists, check_messages, not_found
from local.pubsub.subscription import StoredMessage, Subscription, dead_letter


class PubSubFaults:
    """What goes wrong on request. Safe to call from any thread: each call sets plain values."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
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


logger = logging.getLogger(__name__)

DELETED_TOPIC = "_deleted-topic_"

TopicMessage: Any = types.Topic.pb()
SubscriptionMessage: Any = types.Subscription.pb()


@dataclass(slots=True, eq=False)
class BrokerTopic:
    """A topic; `config` is its protobuf message, `published` counts since the start."""

    config: Any
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    published: int = 0


class Broker:
    """Everything the API changes. Single-threaded: call it on the server's event loop only."""

    def __init__(self, journal: PubSubJournal, faults: PubSubFaults) -> None:
        self.topics: dict[str, BrokerTopic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.faults = faults
        self._journal = journal
        self._done: list[tuple[str, int]] = []
        self._forgotten: list[tuple[int]] = []
        # Ids must never repeat, even when a restart finds an empty journal.
        first = max(journal.last_id() + 1, time.time_ns() // 1000)
        self._ids = itertools.count(first)
        self._restore()

    def topic(self, name: str) -> BrokerTopic:
        """The topic. Raises Refusal NOT_FOUND."""
        topic = self.topics.get(name)
        if topic is None:
            raise not_found(name)
        return topic

    def subscription(self, name: str) -> Subscription:
        """The subscription. Raises Refusal NOT_FOUND."""
        subscription = self.subscriptions.get(name)
        if subscription is None:
            raise not_found(name)
        return subscription

    def create_topic(self, config: Any) -> None:
        """Add a topic. Raises Refusal ALREADY_EXISTS."""
        if config.name in self.topics:
            raise already_exists(config.name)
        self.topics[config.name] = BrokerTopic(config)
        self.save(config)

    def delete_topic(self, name: str) -> None:
        """Remove a topic; its subscriptions keep their backlog, as Google's do."""
        topic = self.topic(name)
        for subscription in topic.subscriptions.values():
            subscription.config.topic = DELETED_TOPIC
            self.save(subscription.config)
        del self.topics[name]
        self._journal.drop(name)

    def create_subscription(self, config: Any) -> None:
        """Attach a subscription to its topic. Raises Refusal ALREADY_EXISTS or NOT_FOUND."""
        if config.name in self.subscriptions:
            raise already_exists(config.name)
        self.topic(config.topic)
        self._attach(config)
        self.save(config)

    def delete_subscription(self, name: str) -> None:
        """Remove a subscription and its backlog."""
        subscription = self.subscription(name)
        subscription.clear()
        self._detach(subscription)
        del self.subscriptions[name]
        subscription.available.set()  # wakes streams and pulls, so that they see it is gone
        self._journal.drop(name)

    def save(self, config: Any) -> None:
        """Write a topic's or subscription's configuration."""
        self._journal.save(config.name, config.SerializeToString())

    def publish(self, name: str, messages: Any, request_bytes: int = 0) -> list[str]:
        """Store messages and hand them to the topic's subscriptions; returns their ids.

        Raises:
            Refusal: NOT_FOUND, INVALID_ARGUMENT (limits), UNAVAILABLE (fault, or the disk).
        """
        if self.faults.refuses_publish():
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "The service was unable to fulfill your request. Please try again. [fault]",
            )
        topic = self.topic(name)
        check_messages(messages, request_bytes)
        epoch = time.time()
        batch: list[tuple[StoredMessage, list[Subscription]]] = []
        for pb in messages:
            identity = next(self._ids)
            pb.message_id = str(identity)
            pb.publish_time.FromNanoseconds(int(epoch * 1e9))
            targets = list(topic.subscriptions.values())
            batch.append((StoredMessage(identity, name, pb.SerializeToString(), epoch), targets))
        self._store(batch)
        for message, targets in batch:
            for subscription in targets:
                subscription.add(message)
        topic.published += len(batch)
        return [str(message.id) for message, _ in batch]

    def tick(self) -> None:
        """Advance time for all subscriptions and write acknowledgements."""
        now, epoch = time.monotonic(), time.time()
        for subscription in self.subscriptions.values():
            subscription.tick(now, epoch)
        self.flush()

    def flush(self) -> None:
        """Write the acknowledgements since the last flush; one lost to a kill is redelivered."""
        if not self._done and not self._forgotten:
            return
        try:
            self._journal.settle(self._done, self._forgotten)
        except sqlite3.Error as error:  # a full disk passes: keep them for the next tick
            logger.warning("acknowledgements not written yet: %s", error)
            return
        self._done, self._forgotten = [], []

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

    def _store(self, batch: list[tuple[StoredMessage, list[Subscription]]]) -> None:
        kept = [(message, targets) for message, targets in batch if targets]
        if not kept or not self._journal.durable:
            return
        try:
            self._journal.append(
                [(m.id, m.topic, m.raw, m.published) for m, _ in kept],
                [(s.config.name, m.id) for m, targets in kept for s in targets],
            )
        except sqlite3.Error as error:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, f"The journal failed: {error}") from None

    def _settled(self, subscription: Subscription, message: StoredMessage) -> None:
        if self._journal.durable:
            self._done.append((subscription.config.name, message.id))
            if message.holders == 0:
                self._forgotten.append((message.id,))

    def _dead_letter(
        self, subscription: Subscription, message: StoredMessage, attempts: int
    ) -> bool:
        """Forward to the dead-letter topic; False (the message stays) when that fails."""
        pb = dead_letter(message, subscription.config.name, attempts)
        try:
            self.publish(subscription.config.dead_letter_policy.dead_letter_topic, [pb])
        except Refusal:
            return False
        return True

    def _attach(self, config: Any) -> Subscription:
        subscription = Subscription(
            config, self._settled, self._dead_letter, self.faults.delivers_again
        )
        self.subscriptions[config.name] = subscription
        topic = self.topics.get(config.topic)
        if topic is not None:
            topic.subscriptions[config.name] = subscription
        return subscription

    def _detach(self, subscription: Subscription) -> None:
        topic = self.topics.get(subscription.config.topic)
        if topic is not None:
            topic.subscriptions.pop(subscription.config.name, None)

    def _restore(self) -> None:
        resources = self._journal.resources()
        for name, raw in resources:
            if "/topics/" in name:
                self.topics[name] = BrokerTopic(TopicMessage.FromString(raw))
        for name, raw in resources:
            if "/subscriptions/" in name:
                self._attach(SubscriptionMessage.FromString(raw))
        messages: dict[int, StoredMessage] = {}
        for name, row in self._journal.backlog():
            message = messages.setdefault(row[0], StoredMessage(*row))
            self.subscriptions[name].add(message)
