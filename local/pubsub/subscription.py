"""One subscription: its backlog, leases, retries and order. No I/O; the broker owns the rest.

A message is pending until acknowledged, dead-lettered or older than the retention. A pending
message is ready, leased (delivered, not yet settled) or delayed (retry policy).
"""

import asyncio
import heapq
import itertools
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from google.pubsub_v1 import types

from local.pubsub.refusal import invalid

_ACK_ID = re.compile(r"[0-9a-f]{12}-[0-9]+")
DUPLICATE_DELAY_SECONDS = 0.2

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


class Subscription:
    """The state behind one subscription resource; `config` is its protobuf message.

    Args:
        config: a google.pubsub.v1.Subscription protobuf message, with defaults filled in.
        settled: called with each message that left the backlog.
        dead_letter: forwards a message with its attempt count; False when it could not.
        delivers_again: asked at each acknowledgement, the redelivery fault.
    """

    def __init__(
        self,
        config: Any,
        settled: Callable[["Subscription", StoredMessage], None],
        dead_letter: Callable[["Subscription", StoredMessage, int], bool],
        delivers_again: Callable[[], bool],
    ) -> None:
        self.config = config
        self.counters = Counters()
        self.available = asyncio.Event()
        self._settled = settled
        self._dead_letter = dead_letter
        self._delivers_again = delivers_again
        self._pending: dict[int, Pending] = {}
        self._ready: deque[Pending] = deque()
        self._leases: dict[str, Lease] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._delayed: list[tuple[float, int, Pending]] = []
        self._sequence = itertools.count(1)
        self._ack_prefix = secrets.token_hex(6)

    def stats(self) -> dict[str, int]:
        """Backlog now and events since the start."""
        return {"backlog": self.backlog, "outstanding": self.outstanding, **asdict(self.counters)}

    @property
    def backlog(self) -> int:
        """Messages not acknowledged, outstanding ones included."""
        return len(self._pending)

    @property
    def oldest_unacked_seconds(self) -> float:
        """Age of the oldest message of the backlog; 0 without one."""
        oldest = next(iter(self._pending.values()), None)
        return 0.0 if oldest is None else max(time.time() - oldest.message.published, 0.0)

    @property
    def outstanding(self) -> int:
        """Messages delivered and not yet settled."""
        return len(self._leases)

    @property
    def retention_seconds(self) -> float:
        """How long an unacknowledged message is kept."""
        return float(self.config.message_retention_duration.ToTimedelta().total_seconds())

    def add(self, message: StoredMessage) -> None:
        """Take a message into the backlog."""
        message.holders += 1
        pending = self._pending[message.id] = Pending(message)
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
            if not pending.gone:
                size += len(pending.message.raw)
                if leases and size > max_bytes:
                    break
                pending.attempt += 1
                ack_id = f"{self._ack_prefix}-{next(self._sequence)}"
                deadline = None if lease_seconds is None else now + lease_seconds
                lease = self._leases[ack_id] = Lease(ack_id, pending, deadline)
                if deadline is not None:
                    heapq.heappush(self._deadlines, (deadline, ack_id))
                leases.append(lease)
            self._ready.popleft()
        self.counters.delivered += len(leases)
        if not self._ready:
            self.available.clear()
        return leases

    def acknowledge(self, ack_id: str) -> None:
        """Settle a delivery; an expired or repeated ack_id is accepted and does nothing."""
        lease = self._lease(ack_id, drop=True)
        if lease is None:
            return
        self.counters.acked += 1
        message = lease.pending.message
        self._settle(lease.pending)
        if self._delivers_again():
            again = self._pending[message.id] = Pending(message, lease.pending.attempt)
            message.holders += 1
            self._delay(again, DUPLICATE_DELAY_SECONDS)

    def modify_deadline(self, ack_id: str, seconds: int) -> None:
        """Move a lease's end to `seconds` from now; 0 is a negative acknowledgement."""
        if not 0 <= seconds <= 600:
            raise invalid(f"ack_deadline_seconds is {seconds}; it must be between 0 and 600.")
        lease = self._lease(ack_id, drop=seconds == 0)
        if lease is None:
            return
        if seconds == 0:
            self.counters.nacked += 1
            self._retry(lease.pending)
            return
        lease.deadline = time.monotonic() + seconds
        heapq.heappush(self._deadlines, (lease.deadline, ack_id))

    def tick(self, now: float, epoch: float) -> None:
        """End what time has ended: leases, retry delays, retention. Monotonic and epoch seconds."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, ack_id = heapq.heappop(self._deadlines)
            lease = self._leases.get(ack_id)
            if lease is not None and lease.deadline is not None and lease.deadline <= now:
                del self._leases[ack_id]
                self.counters.expired += 1
                self._retry(lease.pending)
        while self._delayed and self._delayed[0][0] <= now:
            pending = heapq.heappop(self._delayed)[2]
            if not pending.gone:
                self._make_ready(pending)
        oldest = epoch - self.retention_seconds if self._pending else 0.0
        while self._pending:
            first = next(iter(self._pending.values()))
            if first.message.published >= oldest:
                break
            self._settle(first)

    def clear(self) -> None:
        """Drop the whole backlog."""
        for pending in list(self._pending.values()):
            self._settle(pending)

    def _lease(self, ack_id: str, *, drop: bool) -> Lease | None:
        lease = self._leases.get(ack_id)
        if lease is None:
            if not _ACK_ID.fullmatch(ack_id):
                raise invalid(f"You have passed an invalid ack ID to the service (ack_id={ack_id})")
            return None
        if drop:
            del self._leases[ack_id]
        return None if lease.pending.gone else lease

    def _retry(self, pending: Pending) -> None:
        if pending.gone:
            return
        config = self.config
        if config.HasField("dead_letter_policy"):
            exhausted = pending.attempt >= config.dead_letter_policy.max_delivery_attempts
            if exhausted and self._dead_letter(self, pending.message, pending.attempt):
                self.counters.dead_lettered += 1
                self._settle(pending)
                return
        if config.HasField("retry_policy"):
            policy = config.retry_policy
            low = policy.minimum_backoff.ToTimedelta().total_seconds()
            high = policy.maximum_backoff.ToTimedelta().total_seconds()
            self._delay(pending, min(high, low * 2.0 ** min(pending.attempt - 1, 30)))
            return
        self._make_ready(pending)

    def _settle(self, pending: Pending) -> None:
        pending.gone = True
        message = pending.message
        del self._pending[message.id]
        message.holders -= 1
        self._settled(self, message)

    def _delay(self, pending: Pending, seconds: float) -> None:
        due = time.monotonic() + seconds
        heapq.heappush(self._delayed, (due, next(self._sequence), pending))

    def _make_ready(self, pending: Pending) -> None:
        self._ready.append(pending)
        self.available.set()


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
