"""The topic as the commands use it: publish, and know that Pub/Sub has it."""

import socket
from collections.abc import Iterable, Iterator
from typing import Any

from google import pubsub_v1
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, RetryError
from google.api_core.retry import Retry

from operations.errors import UnavailableError
from operations.text import harmless
from producer.messages import Message, event, event_message
from producer.sender import BATCH_BYTES, BATCH_MESSAGES, publisher_client

PUBLISH_SECONDS = 30.0


class TopicPublisher:
    """One topic, by full name.

    Args:
        name: projects/P/topics/T.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._client = publisher_client()

    def publish(self, messages: Iterable[Message]) -> list[str | None]:
        """Publish all and wait; for each message None, or why it was not confirmed."""
        return [outcome for outcomes in self.batches(messages) for outcome in outcomes]

    def batches(self, messages: Iterable[Message]) -> Iterator[list[str | None]]:
        """Publish, and yield what publish() returns of each batch when that batch is answered."""
        return map(self._send, _batches(messages))

    def note(self, kind: str, otherwise: str, **columns: Any) -> None:
        """Publish an event of this machine; further columns are those of messages.event().

        Raises:
            UnavailableError: the topic did not take it; `otherwise` tells what that leaves.
        """
        row = event(kind, socket.gethostname(), **columns)
        for refused in self.publish([event_message(row)]):
            if refused is not None:
                raise UnavailableError(
                    f"{otherwise}: {self.name} did not take the note of it ({refused})"
                )

    def _send(self, batch: list[Message]) -> list[str | None]:
        request = pubsub_v1.PublishRequest(
            topic=self.name,
            messages=[
                pubsub_v1.PubsubMessage(data=message.data, attributes=message.attributes)
                for message in batch
            ],
        )
        try:
            self._client.publish(
                request=request, retry=Retry(timeout=PUBLISH_SECONDS), timeout=PUBLISH_SECONDS
            )
        except InvalidArgument as error:
            if len(batch) > 1:
                # One message that Pub/Sub refuses must not keep the others back.
                return [outcome for message in batch for outcome in self._send([message])]
            return [_words(error)]
        except (GoogleAPICallError, RetryError) as error:
            return [_words(error)] * len(batch)
        return [None] * len(batch)


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == BATCH_MESSAGES or size + len(message.data) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.data)
    if batch:
        yield batch


def _words(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return harmless(f"{type(error).__name__}: {first}"[:300])
