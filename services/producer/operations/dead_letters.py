"""The dead letters waiting on a subscription, read without consuming them.

Pub/Sub has no way to look at a message without leasing it. Each letter that is read is leased for
`LEASE_SECONDS`, again while the command goes on, and is released at the end unless it was
acknowledged. A process that dies in between leaves its letters hidden for that long; none is lost.
"""

import itertools
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Self

import grpc
from google.api_core.exceptions import NotFound
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from operations.errors import UnavailableError, WrongInputError
from operations.letter import DeadLetter

LEASE_SECONDS = 60
"""Short, so that what a killed command held is back in a minute. Pub/Sub takes 10 to 600
(docs.cloud.google.com/pubsub/docs/lease-management)."""

_PULL_SIZE = 1000
_ACK_SIZE = 1000  # an acknowledgement may hold 512 KiB; an ack id has about 200 bytes
_CONNECT_SECONDS = 10.0
_PULL_SECONDS = 60.0
_LONGEST_PAUSE = 0.5


def subscriber_client(emulator: str | None) -> SubscriberClient:
    """Google's client, or one for an emulator (`host:port`).

    For an emulator Google's own leaves gRPC's bound of 4 MB in place, which is less than one
    message may have; the channels to the cloud have none.
    """
    if not emulator:
        return SubscriberClient()
    channel = grpc.insecure_channel(emulator, [("grpc.max_receive_message_length", -1)])
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


class DeadLetterQueue:
    """The letters of one pull subscription; a context manager that releases what it read.

    Args:
        subscription: full name, projects/P/subscriptions/S.
        wait: seconds of empty answers after which the queue counts as read to its end: Pub/Sub
            may answer with nothing though letters are waiting.
        emulator: its `host:port`; None takes that of PUBSUB_EMULATOR_HOST, if it is set.

    Attributes:
        newer: letters met that were set aside after the reading began, and left alone: what was
            sent again and failed again would else go round for ever.
        returned: of those, the ones that a redrive since then had sent.
    """

    def __init__(self, subscription: str, wait: float, emulator: str | None = None) -> None:
        self._client = subscriber_client(emulator or os.environ.get("PUBSUB_EMULATOR_HOST"))
        self._subscription = subscription
        self._wait = wait
        self._held: dict[str, str] = {}
        self._acknowledged: set[str] = set()
        self._renewed = time.monotonic()
        self._began = datetime.now(UTC)
        self.newer = self.returned = 0

    def __enter__(self) -> Self:
        try:
            grpc.channel_ready_future(self._client.transport.grpc_channel).result(_CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise UnavailableError(
                f"Pub/Sub does not answer within {_CONNECT_SECONDS:g} s: check the network and, "
                "where it is set, PUBSUB_EMULATOR_HOST"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lease(self._held.values(), 0)
        self._client.close()

    def batches(self, not_before: float = 0.0) -> Iterator[list[DeadLetter]]:
        """Yield letters that were set aside before this began, each once, at most 1,000 at a time.

        Ends when nothing but newer ones came for `wait` seconds, and not before that moment of
        the monotonic clock.

        Raises:
            WrongInputError: there is no such subscription.
            google.api_core.exceptions.GoogleAPICallError: Pub/Sub refused or failed.
        """
        seen: set[str] = set()
        silent_since = max(time.monotonic(), not_before - self._wait)
        while True:
            pulled = self._pull()
            # An acknowledgement after the lease is void: such a letter is back, and done with.
            if back := [each for each in pulled if each.message_id in self._acknowledged]:
                self.acknowledge(back)
            fresh = [letter for letter in pulled if letter.message_id not in seen]
            seen.update(letter.message_id for letter in fresh)
            if batch := [letter for letter in fresh if not self._is_newer(letter)]:
                yield batch
                silent_since = max(silent_since, time.monotonic())
            elif time.monotonic() - silent_since >= self._wait:
                return
            else:
                time.sleep(min(self._wait / 5, _LONGEST_PAUSE))

    def _is_newer(self, letter: DeadLetter) -> bool:
        # By our own clock too: where it is ahead of Pub/Sub's, what came back would look old.
        returned = letter.redriven is not None and letter.redriven >= self._began
        if not returned and letter.published < self._began:
            return False
        self.newer += 1
        self.returned += returned
        return True

    def _lease(self, ack_ids: Iterable[str], seconds: int) -> None:
        rest = iter(ack_ids)
        while part := list(itertools.islice(rest, _ACK_SIZE)):
            self._client.modify_ack_deadline(
                subscription=self._subscription, ack_ids=part, ack_deadline_seconds=seconds
            )

    def renew(self) -> None:
        """Lease again what is held, if a third of the lease is over."""
        if time.monotonic() - self._renewed > LEASE_SECONDS / 3:
            self._lease(self._held.values(), LEASE_SECONDS)
            self._renewed = time.monotonic()

    def _pull(self) -> list[DeadLetter]:
        self.renew()
        try:
            with warnings.catch_warnings():
                # Google advises against it where messages keep coming. Here it is the only way to
                # learn that none waits: a pull that is cut off by its deadline may have leased
                # messages that never arrive.
                warnings.simplefilter("ignore", DeprecationWarning)
                answer = self._client.pull(
                    request={
                        "subscription": self._subscription,
                        "max_messages": _PULL_SIZE,
                        "return_immediately": True,
                    },
                    timeout=_PULL_SECONDS,
                )
        except NotFound:
            raise WrongInputError(
                f"{self._subscription} does not exist: name the dead-letter subscription by "
                "--subscription or DEAD_LETTER_SUBSCRIPTION"
            ) from None
        self._lease([item.ack_id for item in answer.received_messages], LEASE_SECONDS)
        letters = {}
        for item in answer.received_messages:
            # A letter whose lease ran out comes again: only its newest ack id counts.
            self._held[item.message.message_id] = item.ack_id
            letters[item.message.message_id] = DeadLetter(
                message_id=item.message.message_id,
                data=item.message.data,
                attributes=dict(item.message.attributes),
                published=item.message.publish_time,
            )
        return list(letters.values())

    def acknowledge(self, letters: Iterable[DeadLetter]) -> None:
        """Take these letters off the queue for good."""
        rest = iter(letters)
        while part := [letter.message_id for letter in itertools.islice(rest, _ACK_SIZE)]:
            self._client.acknowledge(
                subscription=self._subscription, ack_ids=[self._held[name] for name in part]
            )
            for name in part:
                del self._held[name]
            self._acknowledged.update(part)
