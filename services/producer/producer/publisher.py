"""Posts, events and dead letters to Pub/Sub in batches, with the official low-level client.

The high-level client's publish() costs about 40 us of Python a message; here a thousand messages
are one request. What fails in passing is tried again for ever, what is refused is singled out.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
from google import pubsub_v1
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from producer.journal import Journal, OldSegment, Segment
from producer.log import OncePerMinute
from producer.message import Message

log = logging.getLogger(__name__)

# https://docs.cloud.google.com/pubsub/quotas#resource_limits: 1,000 messages, 10 MB a request.
BATCH_MESSAGES = 1_000
BATCH_BYTES = 4_000_000
LINGER = 0.01
RPC_TIMEOUT = 20.0
RETRY_FIRST, RETRY_MAX = 0.1, 10.0

_REFUSED = (exceptions.PermissionDenied, exceptions.NotFound, exceptions.Unauthenticated)

# The plain protobuf classes inside the client's proto-plus ones: a tenth of their cost.
_PubsubMessage = pubsub_v1.PubsubMessage.pb()
_PublishRequest = pubsub_v1.PublishRequest.pb()


class Item(NamedTuple):
    """A message that waits, and the journal entry that it comes from (None: none could be kept)."""

    message: Message
    segment: Segment | OldSegment | None


def publisher_client() -> pubsub_v1.PublisherClient:
    """Return Google's client, or one for PUBSUB_EMULATOR_HOST where that is set.

    Raises:
        google.auth.exceptions.GoogleAuthError: no credentials.
    """
    # Without it the channel itself would wait up to 120 s after an outage before it tries again.
    options = [("grpc.max_reconnect_backoff_ms", 5_000), ("grpc.initial_reconnect_backoff_ms", 500)]
    if emulator := os.environ.get("PUBSUB_EMULATOR_HOST"):
        return pubsub_v1.PublisherClient(
            transport=PublisherGrpcTransport(channel=grpc.insecure_channel(emulator, options))
        )

    def channel(host: str, **kwargs: Any) -> grpc.Channel:
        kwargs["options"] = [*(kwargs.get("options") or ()), *options]
        return PublisherGrpcTransport.create_channel(host, **kwargs)

    return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))


class Publisher:
    """A bounded buffer before one topic, and the threads that empty it.

    The bound is for the caller to keep: put() always takes, `full` says when to stop reading.

    Args:
        client: shared by the publishers of a process.
        topic: full name.
        journal: told which entries are safe.
        on_refused: called once with one line when Pub/Sub will not have our messages (missing
            topic, missing right); None keeps trying.
        on_rejected: given an item that Pub/Sub calls invalid, and its words; it must settle it.
    """

    def __init__(
        self,
        client: pubsub_v1.PublisherClient,
        topic: str,
        journal: Journal,
        *,
        max_messages: int,
        max_bytes: int,
        stall: float,
        on_refused: Callable[[str], None] | None,
        on_rejected: Callable[[Item, str], None],
        senders: int = 4,
    ) -> None:
        self.topic = topic
        self._client = client
        self._journal = journal
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._stall = stall
        self._on_refused = on_refused
        self._on_rejected = on_rejected
        self._once = OncePerMinute(log)
        self._queue: deque[Item] = deque()
        self._ready = threading.Condition()
        self._waiting_senders = 0
        # Ends the waits of other batches when one gets through, or when the end has come.
        self._recovered = threading.Condition()
        self.buffered = 0
        self.buffered_bytes = 0
        self.published = 0
        self.failed = 0
        self.rejected = 0
        self._failing_since: float | None = None
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"publish-{number}", daemon=True)
            for number in range(senders)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def full(self) -> bool:
        """Whether the buffer has reached its bound, in messages or bytes."""
        return self.buffered >= self._max_messages or self.buffered_bytes >= self._max_bytes

    @property
    def stalled(self) -> bool:
        """Whether nothing was taken by Pub/Sub for longer than the stall time."""
        since = self._failing_since
        return since is not None and time.monotonic() - since > self._stall

    @property
    def drained(self) -> bool:
        """Whether there is room for a good while of reading again."""
        return (
            self._failing_since is None
            and self.buffered <= self._max_messages // 10
            and self.buffered_bytes <= self._max_bytes // 10
        )

    def put(self, message: Message, segment: Segment | OldSegment | None) -> None:
        """Queue one message; never blocks, never drops."""
        with self._ready:
            self._queue.append(Item(message, segment))
            self.buffered += 1
            self.buffered_bytes += len(message.data)
            if self._waiting_senders and len(self._queue) == 1:
                self._ready.notify()

    def close(self, timeout: float) -> int:
        """Publish what is queued within `timeout` seconds; return how many messages are left."""
        deadline = time.monotonic() + timeout
        with self._ready:
            self._closing.set()
            self._ready.notify_all()
        with self._recovered:
            self._recovered.notify_all()
        while self.buffered and time.monotonic() < deadline and not self._abandoned.is_set():
            time.sleep(0.01)
        self._abandoned.set()
        with self._recovered:
            self._recovered.notify_all()
        return self.buffered

    def _run(self) -> None:
        while batch := self._gather():
            try:
                self._deliver(batch)
            except Exception as error:
                # The batch stays in the journal; a sender that dies unseen would be a slow stall.
                log.exception("Publishing failed: a fault in this program")
                if self._on_refused is not None:
                    self._abandoned.set()
                    self._on_refused(f"Publishing failed: {type(error).__name__}: {error}")

    def _gather(self) -> list[Item]:
        """Wait for messages and return a batch; [] when all is sent and the end has come."""
        while self._wait_for_one():
            batch: list[Item] = []
            size = 0
            with self._ready:
                queue = self._queue
                while queue and len(batch) < BATCH_MESSAGES:
                    size += len(queue[0].message.data)
                    if batch and size > BATCH_BYTES:
                        break
                    batch.append(queue.popleft())
                if queue and self._waiting_senders:
                    self._ready.notify()
            if batch:  # else another sender took it all while this one lingered
                return batch
        return []

    def _wait_for_one(self) -> bool:
        with self._ready:
            self._waiting_senders += 1
            while not self._queue and not self._closing.is_set():
                self._ready.wait()
            self._waiting_senders -= 1
            waiting = len(self._queue)
        if 0 < waiting < BATCH_MESSAGES:
            self._closing.wait(LINGER)
        return waiting > 0

    def _deliver(self, batch: list[Item]) -> None:
        request = pubsub_v1.PublishRequest.wrap(
            _PublishRequest(
                topic=self.topic,
                messages=[
                    _PubsubMessage(data=item.message.data, attributes=item.message.attributes)
                    for item in batch
                ],
            )
        )
        wait = RETRY_FIRST
        while not self._abandoned.is_set():
            try:
                self._client.publish(request, retry=None, timeout=RPC_TIMEOUT)
            except exceptions.InvalidArgument as error:
                self._single_out(batch, error.message)
                return
            except (exceptions.GoogleAPICallError, exceptions.RetryError, GoogleAuthError) as error:
                if self._abandoned.is_set():
                    return
                self._failed(error, len(batch))
            else:
                if self._failing_since is not None:
                    self._failing_since = None
                    with self._recovered:
                        self._recovered.notify_all()
                self._settle(batch, published=len(batch))
                return
            with self._recovered:
                self._recovered.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
            wait = min(wait * 2, 0.5 if self._closing.is_set() else RETRY_MAX)

    def _failed(self, error: Exception, count: int) -> None:
        self.failed += 1
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        words = str(getattr(error, "message", None) or error).splitlines()[0][:500]
        if isinstance(error, _REFUSED):
            fix = (
                f"Pub/Sub refuses {self.topic}: {words}. Check that the topic exists and that this "
                "account has roles/pubsub.publisher on it; every post read is kept in STATE_DIR."
            )
            if self._on_refused is not None:
                self._abandoned.set()
                self._on_refused(fix)
            else:
                self._once.log(logging.ERROR, "publish_refused", fix)
            return
        self._once.log(
            logging.WARNING,
            "publish_failed",
            f"Pub/Sub did not take {count} messages for {self.topic}: {words}. Trying again; "
            f"{self.buffered} are held.",
        )

    def _single_out(self, batch: list[Item], words: str) -> None:
        # One bad message fails the whole request: halve until it stands alone.
        if len(batch) > 1:
            middle = len(batch) // 2
            self._deliver(batch[:middle])
            self._deliver(batch[middle:])
            return
        self._failing_since = None
        self.rejected += 1
        self._on_rejected(batch[0], words)
        self._settle(batch)

    def _settle(self, batch: list[Item], published: int = 0) -> None:
        counts: dict[int, list[Any]] = {}
        size = 0
        for item in batch:
            size += len(item.message.data)
            if item.segment is not None:
                counts.setdefault(id(item.segment), [item.segment, 0])[1] += 1
        for segment, count in counts.values():
            self._journal.published(segment, count)
        with self._ready:
            self.buffered -= len(batch)
            self.buffered_bytes -= size
            self.published += published
