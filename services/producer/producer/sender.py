"""From the store to one topic: the oldest messages in batches, several requests at a time.

What fails in passing is tried again for ever, what is refused is singled out, and a message leaves
the store when Pub/Sub has confirmed it. Google's client makes the requests; its batching is not
used, since it holds each message with a future in memory (511 MB for 50,000, docs/performance.md)
and gives up in the end: the store is the queue here.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google import pubsub_v1
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from producer.database import Held
from producer.log import OncePerMinute
from producer.messages import POSTS
from producer.stats import Stats
from producer.store import Store

log = logging.getLogger(__name__)

# https://docs.cloud.google.com/pubsub/quotas#resource_limits: 1,000 messages, 10 MB a request.
BATCH_MESSAGES = 500
BATCH_BYTES = 4_000_000
# Between the starts of two batches, unless one is full: a batch costs more than its messages.
LINGER = 0.02
RPC_TIMEOUT = 20.0
RETRY_FIRST, RETRY_MAX = 0.1, 10.0

_REFUSED = (exceptions.PermissionDenied, exceptions.NotFound, exceptions.Unauthenticated)

# The plain protobuf classes inside the client's proto-plus ones: a tenth of their cost.
_PubsubMessage = pubsub_v1.PubsubMessage.pb()
_PublishRequest = pubsub_v1.PublishRequest.pb()


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


class Sender:
    """The threads that publish to one topic.

    Args:
        topic: full name.
        number: messages.POSTS or LETTERS.
        rejected: settles a message that Pub/Sub calls invalid, with Pub/Sub's words.
        failed: told in one line that it cannot go on: a fault of this program, or Pub/Sub will not
            have our posts and never had one. A topic for letters may be missing meanwhile.
    """

    def __init__(
        self,
        client: pubsub_v1.PublisherClient,
        topic: str,
        number: int,
        store: Store,
        stats: Stats,
        rejected: Callable[[Held, str], None],
        failed: Callable[[str], None],
    ) -> None:
        self.topic = topic
        self._client = client
        self.number = number
        self._store = store
        self._stats = stats
        self._rejected = rejected
        self._failed = failed
        self._once = OncePerMinute(log)
        self._after = 0
        self._began = -math.inf  # the last batch
        self._more = threading.Condition()
        self._in_flight = 0
        self._news = True
        self._gathering = False  # whether a thread lets messages gather; the others rest
        # Ends the waits of other batches when one gets through, or when the end has come.
        self._recovered = threading.Condition()
        self._retrying = False
        self._ever = False
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"publish-{number}-{each}", daemon=True)
            for each in range(4 if number == POSTS else 1)
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There are new messages in the store."""
        with self._more:
            self._news = True
            if not self._gathering or self._unsent >= BATCH_MESSAGES:
                self._more.notify()

    def close(self, timeout: float) -> None:
        """Publish what the store holds for `timeout` seconds at most, then let go."""
        deadline = time.monotonic() + timeout
        self._closing.set()
        self.wake()
        for waiting in (self._more, self._recovered):
            with waiting:
                waiting.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._abandoned.set()
        with self._recovered:
            self._recovered.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline + 0.5 - time.monotonic()))

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._deliver(batch)
            except Exception as error:
                # The batch stays in the store; a sender that dies unseen would be a slow stall.
                log.exception("Publishing failed: a fault in this program")
                self._abandoned.set()
                self._failed(f"Publishing failed: {type(error).__name__}: {error}")

    @property
    def _unsent(self) -> int:
        return self._store.held[self.number] - self._in_flight

    def _next(self) -> list[Held]:
        """Wait for messages and return a batch; [] when all is sent and the end has come."""
        with self._more:
            while not self._abandoned.is_set():
                closing = self._closing.is_set()
                wait = self._began + LINGER - time.monotonic()
                due = closing or wait <= 0 or self._unsent >= BATCH_MESSAGES
                if self._news and due:
                    batch = self._store.oldest(
                        self.number, self._after, BATCH_MESSAGES, BATCH_BYTES
                    )
                    if batch:
                        self._after, self._began = batch[-1].seq, time.monotonic()
                        self._in_flight += len(batch)
                        self._more.notify()
                        return batch
                    self._news = False
                if self._news and not self._gathering:
                    self._gathering = True
                    self._more.wait(wait)
                    self._gathering = False
                elif closing and not self._news:
                    break
                else:
                    self._more.wait()
        return []

    def _deliver(self, batch: Sequence[Held]) -> None:
        request = pubsub_v1.PublishRequest.wrap(
            _PublishRequest(
                topic=self.topic,
                messages=[
                    _PubsubMessage(data=held.message.data, attributes=held.message.attributes)
                    for held in batch
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
                self._tell(error, len(batch))
            else:
                self._settle(batch, published=len(batch))
                return
            with self._recovered:
                self._recovered.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
            wait = min(wait * 2, 0.5 if self._closing.is_set() else RETRY_MAX)

    def _tell(self, error: Exception, count: int) -> None:
        self._retrying = True
        self._stats.publish_failed += 1
        words = str(getattr(error, "message", None) or error).splitlines()[0][:500]
        if isinstance(error, _REFUSED):
            fix = (
                f"Pub/Sub refuses {self.topic}: {words}. Check that the topic exists and that this "
                "account has roles/pubsub.publisher on it."
            )
            if self.number == POSTS and not self._ever:
                self._abandoned.set()
                self._failed(fix)
            else:
                self._once.log(logging.ERROR, "publish_refused", f"{fix} Trying again.")
            return
        self._once.log(
            logging.WARNING,
            "publish_failed",
            f"Pub/Sub did not take {count} messages for {self.topic}: {words}. Trying again; "
            f"{self._stats.held} are held.",
        )

    def _single_out(self, batch: Sequence[Held], words: str) -> None:
        # One bad message fails the whole request: halve until it stands alone.
        if len(batch) > 1:
            middle = len(batch) // 2
            self._deliver(batch[:middle])
            self._deliver(batch[middle:])
            return
        self._stats.rejected += 1
        self._rejected(batch[0], words)
        self._settle(batch, published=0)

    def _settle(self, batch: Sequence[Held], published: int) -> None:
        self._store.published(batch)
        self._ever = True
        with self._more:
            self._in_flight -= len(batch)
        with self._recovered:
            self._stats.published += published
            if self._retrying:
                self._retrying = False
                self._recovered.notify_all()
