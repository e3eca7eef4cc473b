"""Messages that can never become a row: kept whole in the dead-letter topic, with why and when.

The original data and attributes go along, so that `tweets redrive` can send the message again.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from sink.faults import PassingError, PoisonError
from sink.log import logger
from sink.rows import Row

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient

    from sink.commit import Committer
    from sink.push import PushedMessage

# https://cloud.google.com/pubsub/quotas#resource_limits
MAX_ATTRIBUTES = 100
MAX_NAME_BYTES = 256
MAX_VALUE_BYTES = 1024
MAX_DETAIL_BYTES = 1000
# What the sink and `tweets redrive` read from a letter's original attributes.
_NEEDED = frozenset({"kind", "id", "schema", "redrive_count", "redriven_at"})
PUBLISH_SECONDS = 10.0
EVENT_SECONDS = 5.0
_EVENTS = uuid.UUID("5f0e8b1c-6a0d-4b52-9f0a-0f5c0e9a7d11")


class DeadLetterError(Exception):
    """The dead-letter topic could not take the message."""


class DeadLetters:
    """Publishes dead letters and notes each as a stream event.

    google-cloud-pubsub is imported and connected on the first dead letter: most instances never
    have one, and it costs each cold start what `bench/` shows.

    Args:
        topic: `projects/P/topics/T`.
        events: writer of stream_events.
    """

    def __init__(self, topic: str, events: Committer) -> None:
        self._topic = topic
        self._events = events
        self._client: PublisherClient | None = None
        self._opening = asyncio.Lock()

    async def keep(self, message: PushedMessage, poison: PoisonError) -> None:
        """Return when the dead letter is durable in the topic.

        Raises:
            DeadLetterError: the topic did not take it; the message must not be acknowledged.
        """
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        why = {
            "dead_letter_reason": poison.reason,
            "dead_letter_detail": cut(str(poison)),
            "dead_letter_source": "sink",
            "dead_letter_at": now,
            "dead_letter_message_id": cut(message.id),
        }
        attributes = _publishable(message.attributes, MAX_ATTRIBUTES - len(why)) | why
        try:
            client = await self._open()
            future = client.publish(
                self._topic, message.data, retry=None, timeout=PUBLISH_SECONDS, **attributes
            )
            await asyncio.wait_for(asyncio.wrap_future(future), PUBLISH_SECONDS + 1)
        except Exception as error:
            # Whatever went wrong, from a missing permission to an attribute Pub/Sub refuses: the
            # message stays with Pub/Sub, whose own policy dead-letters it in the end.
            raise DeadLetterError(f"{type(error).__name__}: {error}"[:500]) from error
        await self._note(message, poison, now)

    async def _open(self) -> PublisherClient:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(_publisher)
            return self._client

    async def _note(self, message: PushedMessage, poison: PoisonError, now: str) -> None:
        """Best effort: the dead letter is safe, a missing event only thins the dashboard."""
        detail = {
            "dead_letter_source": "sink",
            "message_id": message.id,
            "kind": message.attributes.get("kind", "")[:100],
            "id": message.attributes.get("id", "")[:100],
            "detail": cut(str(poison)),
        }
        # Named and timed by the message: a second delivery makes the same event, and the view
        # stream_events_latest, which is by id and time, shows one.
        identity = str(uuid.uuid5(_EVENTS, f"{message.id} {poison.reason}"))
        values: dict[str, Any] = {
            "event_id": identity,
            "kind": "dead_letter",
            "at": message.published_at or now,
            "reason": poison.reason,
            "detail": orjson.dumps(detail).decode(),
            "producer": "sink",
            "message_id": message.id,
        }
        try:
            await asyncio.wait_for(
                self._events.commit(Row(values, identity, 10_000)), EVENT_SECONDS
            )
        except (PassingError, PoisonError, TimeoutError) as error:
            logger.warning(
                "dead letter is published, but its event is not written: %s",
                error or "too slow",
                extra={"message_id": message.id, "reason": "event"},
            )


def _publisher() -> PublisherClient:
    from google.cloud import pubsub_v1

    # Poison is rare, and its request waits: do not gather long.
    return pubsub_v1.PublisherClient(pubsub_v1.types.BatchSettings(max_latency=0.005))


def _publishable(attributes: dict[str, str], room: int) -> dict[str, str]:
    """At most `room` attributes that Pub/Sub takes from a publisher, the pipeline's own first.

    It adds some of its own (`goog...`) to deliveries, but does not take them.
    Source: https://cloud.google.com/pubsub/docs/publisher#using-attributes.
    """
    fitting = [
        (name, value)
        for name, value in attributes.items()
        if name and not name.startswith("goog")
        if len(name.encode()) <= MAX_NAME_BYTES and len(value.encode()) <= MAX_VALUE_BYTES
    ]
    return dict(sorted(fitting, key=lambda item: item[0] not in _NEEDED)[:room])


def cut(text: str) -> str:
    """At most MAX_DETAIL_BYTES of UTF-8, not within a character."""
    return text.encode()[:MAX_DETAIL_BYTES].decode(errors="ignore")
