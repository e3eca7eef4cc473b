"""One subscription: its backlog, leases and retries. No I/O; the broker owns the rest.

A message is pending until acknowledged or dead-lettered. A pending message is ready, leased
(delivered, not yet settled) or delayed (retry policy).
"""

import asyncio
import heapq
import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from google.pubsub_v1 import types

from local.pubsub.refusal import invalid

DUPLICATE_DELAY_SECONDS = 0.2

PubsubMessage: Any = types.PubsubMessage.pb()


@dataclass(slots=True, eq=False)
class Pending:
    """A message this subscription still owes.

    Attributes:
        raw: the serialized PubsubMessage.
        published: epoch seconds.
        attempt: how often it was delivered.
    """

    id: int
    raw: bytes
    published: float
    attempt: int = 0


@dataclass(slots=True, eq=False)
class Lease:
    """One delivery; `deadline` is monotonic seconds, None while an HTTP request decides."""

    ack_id: str
    pending: Pending
    deadline: float | None


class Subscription:
    """The state behind one subscription resource; `config` is its protobuf message.

    Args:
        config: a google.pubsub.v1.Subscription protobuf message, with defaults filled in.
        settled: called with each message that left the backlog.
        dead_letter: forwards a message; False when it could not.
        delivers_again: asked at each acknowledgement, the redelivery fault.
    """

    def __init__(
        self,
        config: Any,
        settled: Callable[["Subscription", Pending], None],
        dead_letter: Callable[["Subscription", Pending], bool],
        delivers_again: Callable[[], bool],
    ) -> None:
        self.config = config
        self.available = asyncio.Event()
        self.pending: dict[int, Pending] = {}
        self._settled = settled
        self._dead_letter = dead_letter
        self._delivers_again = delivers_again
        self._ready: deque[Pending] = deque()
        self._leases: dict[str, Lease] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._delayed: list[tuple[float, int, Pending]] = []
        self._sequence = itertools.count(1)
        self._ack_prefix = secrets.token_hex(6)

    def stats(self) -> dict[str, int]:
        """Messages not acknowledged, and those of them that are delivered and not yet settled."""
        return {"backlog": len(self.pending), "outstanding": len(self._leases)}

    @property
    def oldest_unacked_seconds(self) -> float:
        """Age of the oldest message of the backlog; 0 without one."""
        oldest = next(iter(self.pending.values()), None)
        return 0.0 if oldest is None else max(time.time() - oldest.published, 0.0)

    def add(self, pending: Pending) -> None:
        """Take a message into the backlog."""
        self.pending[pending.id] = pending
        self._make_ready(pending)

    def take(
        self, limit: int, *, lease_seconds: float | None, max_bytes: int = 4_000_000
    ) -> list[Lease]:
        """Lease up to `limit` ready messages, together at most `max_bytes` (but one at least)."""
        leases: list[Lease] = []
        size = 0
        now = time.monotonic()
        while self._ready and len(leases) < limit:
            pending = self._ready[0]
            size += len(pending.raw)
            if leases and size > max_bytes:
                break
            self._ready.popleft()
            pending.attempt += 1
            ack_id = f"{self._ack_prefix}-{next(self._sequence)}"
            deadline = None if lease_seconds is None else now + lease_seconds
            lease = self._leases[ack_id] = Lease(ack_id, pending, deadline)
            if deadline is not None:
                heapq.heappush(self._deadlines, (deadline, ack_id))
            leases.append(lease)
        if not self._ready:
            self.available.clear()
        return leases

    def acknowledge(self, ack_id: str) -> None:
        """Settle a delivery; an expired, repeated or unknown ack_id does nothing."""
        lease = self._leases.pop(ack_id, None)
        if lease is None:
            return
        self._settle(lease.pending)
        if self._delivers_again():
            again = self.pending[lease.pending.id] = replace(lease.pending)
            self._delay(again, DUPLICATE_DELAY_SECONDS)

    def modify_deadline(self, ack_id: str, seconds: int) -> None:
        """Move a lease's end to `seconds` from now; 0 is a negative acknowledgement."""
        if not 0 <= seconds <= 600:
            raise invalid(f"ack_deadline_seconds is {seconds}; it must be between 0 and 600.")
        lease = self._leases.get(ack_id)
        if lease is not None and seconds:
            lease.deadline = time.monotonic() + seconds
            heapq.heappush(self._deadlines, (lease.deadline, ack_id))
        elif lease is not None:
            del self._leases[ack_id]
            self._retry(lease.pending)

    def tick(self) -> None:
        """End what time has ended: leases and retry delays."""
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, ack_id = heapq.heappop(self._deadlines)
            lease = self._leases.get(ack_id)
            if lease is not None and lease.deadline is not None and lease.deadline <= now:
                del self._leases[ack_id]
                self._retry(lease.pending)
        while self._delayed and self._delayed[0][0] <= now:
            self._make_ready(heapq.heappop(self._delayed)[2])

    def _retry(self, pending: Pending) -> None:
        config = self.config
        if (
            config.HasField("dead_letter_policy")
            and pending.attempt >= config.dead_letter_policy.max_delivery_attempts
            and self._dead_letter(self, pending)
        ):
            self._settle(pending)
        elif config.HasField("retry_policy"):
            policy = config.retry_policy
            low = policy.minimum_backoff.ToTimedelta().total_seconds()
            high = policy.maximum_backoff.ToTimedelta().total_seconds()
            self._delay(pending, min(high, low * 2.0 ** min(pending.attempt - 1, 30)))
        else:
            self._make_ready(pending)

    def _settle(self, pending: Pending) -> None:
        del self.pending[pending.id]
        self._settled(self, pending)

    def _delay(self, pending: Pending, seconds: float) -> None:
        due = time.monotonic() + seconds
        heapq.heappush(self._delayed, (due, next(self._sequence), pending))

    def _make_ready(self, pending: Pending) -> None:
        self._ready.append(pending)
        self.available.set()


def dead_letter(pending: Pending, subscription: str) -> Any:
    """The PubsubMessage to forward, with the attributes Google adds.

    Names: https://cloud.google.com/pubsub/docs/dead-letter-topics. `subscription` is a full name.
    """
    pb = PubsubMessage.FromString(pending.raw)
    _, project, _, identity = subscription.split("/")
    published = datetime.fromtimestamp(pending.published, UTC)
    prefix = "CloudPubSubDeadLetterSource"
    pb.attributes[f"{prefix}DeliveryCount"] = str(pending.attempt)
    pb.attributes[f"{prefix}Subscription"] = identity
    pb.attributes[f"{prefix}SubscriptionProject"] = project
    pb.attributes[f"{prefix}TopicPublishTime"] = published.isoformat(timespec="milliseconds")
    return pb
