"""Push delivery: HTTP POST of the wrapped message, with Google's slow start.

Body, success codes and slow start: https://cloud.google.com/pubsub/docs/push. The window of
concurrent requests doubles with each success and halves with each failure, down to one. At one,
further failures pause delivery (Google: 100 ms to 60 s; here to 2 s, as a laptop restarts sooner).
An `oidc_token` is stored and not used: nothing here could verify it.
"""

import asyncio
import base64
import logging
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from local.pubsub.subscription import Lease, PubsubMessage, Subscription

ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
MOST_IN_FLIGHT = 500
MIN_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0
HEADERS = {"Content-Type": "application/json", "User-Agent": "CloudPubSub-Google"}

logger = logging.getLogger(__name__)


def wrapped(subscription: Subscription, lease: Lease) -> bytes:
    """The JSON body of a push request; empty fields are left out, as Google does."""
    pb = PubsubMessage.FromString(lease.pending.raw)
    published = datetime.fromtimestamp(lease.pending.published, UTC)
    stamp = published.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message: dict[str, Any] = {
        "messageId": pb.message_id,
        "message_id": pb.message_id,
        "publishTime": stamp,
        "publish_time": stamp,
    }
    if pb.data:
        message["data"] = base64.b64encode(pb.data).decode()
    if pb.attributes:
        message["attributes"] = dict(pb.attributes)
    body: dict[str, Any] = {"message": message, "subscription": subscription.config.name}
    if subscription.config.HasField("dead_letter_policy"):
        body["deliveryAttempt"] = lease.pending.attempt
    return orjson.dumps(body)


class Pusher:
    """Delivers one subscription's messages to its endpoint until cancelled.

    Args:
        subscription: one whose push endpoint is set.
        session: the HTTP client, without a connection limit of its own.
    """

    def __init__(self, subscription: Subscription, session: aiohttp.ClientSession) -> None:
        self._subscription = subscription
        self._session = session
        self._window = 1
        self._failures = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Deliver for ever; on cancellation what is in flight counts as not delivered."""
        try:
            while True:
                await self._subscription.available.wait()
                room = self._window - len(self._in_flight)
                if room <= 0:
                    self._settled.clear()
                    await self._settled.wait()
                    continue
                if self._failures and self._window == 1:
                    pause = MIN_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 10)
                    await asyncio.sleep(min(pause, MAX_PAUSE_SECONDS))
                for lease in self._subscription.take(room, lease_seconds=None):
                    task = asyncio.create_task(self._deliver(lease))
                    self._in_flight.add(task)
                    task.add_done_callback(self._finished)
        finally:
            for task in self._in_flight:
                task.cancel()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._settled.set()

    async def _deliver(self, lease: Lease) -> None:
        delivered = False
        try:
            delivered = await self._post(wrapped(self._subscription, lease))
        finally:
            if delivered:
                self._subscription.acknowledge(lease.ack_id)
            else:
                self._subscription.modify_deadline(lease.ack_id, 0)

    async def _post(self, body: bytes) -> bool:
        config = self._subscription.config
        endpoint = config.push_config.push_endpoint
        timeout = aiohttp.ClientTimeout(total=config.ack_deadline_seconds)
        try:
            async with self._session.post(
                endpoint, data=body, headers=HEADERS, timeout=timeout, allow_redirects=False
            ) as response:
                await response.read()  # frees the connection for the next message
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return self._failed(f"{type(error).__name__}: {error}")
        if response.status not in ACKNOWLEDGED:
            return self._failed(f"HTTP {response.status}")
        self._failures = 0
        self._window = min(MOST_IN_FLIGHT, self._window * 2)
        return True

    def _failed(self, reason: str) -> bool:
        if self._failures == 0:
            config = self._subscription.config
            endpoint = config.push_config.push_endpoint
            logger.warning("push of %s to %s failed: %s", config.name, endpoint, reason)
        if self._window == 1:
            self._failures += 1
        self._window = max(1, self._window // 2)
        return False
