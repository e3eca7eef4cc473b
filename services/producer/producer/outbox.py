"""What is kept for Pub/Sub: put into the store, published by senders, held while there is room."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from google.auth.exceptions import GoogleAuthError

from producer.database import Held
from producer.messages import DISK, FULL, LETTERS, POSTS, Entry, buried, event_message, now
from producer.sender import Sender, publisher_client
from producer.settings import Settings, SettingsError
from producer.stats import Stats
from producer.store import MEMORY_BYTES, Store

log = logging.getLogger(__name__)

# After a full volume: room for a good while of reading again.
ROOM_AGAIN = 32_000_000


class Outbox:
    """Keeps messages in the store and publishes them, those of an earlier process first.

    Attributes:
        has_letters: whether there is a topic for dead letters.
        left: why X was left on purpose, until there is room again for a good while.

    Args:
        topic: full name.
        failed: told in one line that publishing cannot go on.

    Raises:
        SettingsError: there are no Google credentials.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        store: Store,
        stats: Stats,
        failed: Callable[[str], None],
    ) -> None:
        try:
            client = publisher_client()
        except GoogleAuthError as error:
            raise SettingsError(
                f"No Google credentials: {str(error).splitlines()[0]} Set "
                "GOOGLE_APPLICATION_CREDENTIALS to a key file, or run "
                "`gcloud auth application-default login`."
            ) from None
        self.store = store
        self._instance = settings.instance
        self.stats = stats
        self.left: str | None = None
        self._has_budget = settings.post_budget > 0
        stats.store = store
        stats.replayed = sum(store.held)
        self.has_letters = settings.dead_letter_topic is not None
        topics = {POSTS: topic, LETTERS: settings.dead_letter_topic}
        self._senders = [
            Sender(client, path, number, store, stats, self._reject, failed)
            for number, path in topics.items()
            if path is not None
        ]

    def keep(
        self, entries: Sequence[Entry], states: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Keep messages and what they prove in one transaction, and publish them."""
        self.store.append(entries, states)
        topics = {entry.topic for entry in entries}
        for sender in self._senders:
            if sender.number in topics:
                sender.wake()

    def flush(self) -> None:
        """Write what waits in memory, and have all senders look: the disk may give again what it
        did not.
        """
        self.store.flush()
        for sender in self._senders:
            sender.wake()

    def event(self, row: dict[str, Any]) -> None:
        """Keep and publish an event made by messages.event()."""
        self.stats.events += 1
        self.keep([Entry(POSTS, event_message(row), now())])

    def blocked(self) -> str | None:
        """The reason to disconnect from X now: DISK or FULL; None while there is room."""
        store = self.store
        # With a budget no post may be read that could not be put on the account first.
        if store.in_memory > MEMORY_BYTES or (store.failing and self._has_budget):
            self.left = DISK
        elif store.room < 0:
            self.left = FULL
        else:
            return None
        return self.left

    def may_read(self) -> bool:
        """Whether X may be connected: after a disconnect on purpose only when there is room for a
        good while, so that it does not go on and off.
        """
        if self.blocked() is not None:
            return False
        store = self.store
        if self.left == DISK and (store.failing or store.in_memory):
            return False
        if self.left == FULL and any(store.held) and store.room < ROOM_AGAIN:
            return False
        self.left = None
        return True

    def close(self, timeout: float) -> tuple[int, int]:
        """Publish what is held within `timeout` seconds.

        Returns:
            How many messages stay in STATE_DIR, and how many it did not take: they are lost.
        """
        deadline = time.monotonic() + timeout
        for sender in self._senders:
            sender.close(max(0.1, deadline - time.monotonic()))
        lost = self.store.close()
        return sum(self.store.held) - lost, lost

    def _reject(self, held: Held, words: str) -> None:
        """Settle a message that Pub/Sub calls invalid: dead-letter it with Pub/Sub's words."""
        kind, name = (held.message.attributes.get(key) for key in ("kind", "id"))
        log.error(
            "Pub/Sub calls a message invalid: %s", words,
            extra={"labels": {"kind": kind, "id": name}},
        )  # fmt: skip
        if kind != "post":
            # An event or a dead letter itself. Without a disk its start is in the log, at least.
            if self.store.set_aside(f"{kind} {name}: {words}", held.message.data):
                log.error("It is set aside in STATE_DIR")
            else:
                log.error("It is lost: %s", held.message.data[:2_000].decode("utf-8", "replace"))
            return
        line, reason = str(orjson.loads(held.message.data)["raw"]).encode(), "malformed_message"
        self.stats.dead_letters += 1
        self.stats.events += 1
        self.keep(
            buried(
                line, reason, f"Pub/Sub: {words}", now(), self._instance, letters=self.has_letters
            )
        )
