"""StreamingPull: one task reads what the client says, the other sends under its flow control."""

import asyncio
import contextlib
from typing import Any

import grpc
from google.pubsub_v1 import types

from local.pubsub.broker import Broker
from local.pubsub.refusal import check_name, invalid, not_found
from local.pubsub.subscriber import pullable, received
from local.pubsub.subscription import Subscription

StreamingPullResponse: Any = types.StreamingPullResponse.pb()

MAX_BATCH = 500
FLOW_CHECK_SECONDS = 0.02  # acknowledgements may also come by unary calls, which wake nobody here


class StreamingPull:
    """One open StreamingPull."""

    def __init__(self, broker: Broker, context: Any) -> None:
        self._broker = broker
        self._context = context
        self._lease_seconds = 10
        self._max_messages = 0
        self._max_bytes = 0
        self._out: dict[str, int] = {}  # ack_id: bytes, of what this stream sent
        self._out_bytes = 0

    async def run(self) -> None:
        """Serve until the client ends the stream, or raise Refusal."""
        first = await self._context.read()
        if first is grpc.aio.EOF:
            return
        check_name(first.subscription, "subscriptions")
        subscription = pullable(self._broker, first.subscription)
        if not 10 <= first.stream_ack_deadline_seconds <= 600:
            raise invalid(
                f"stream_ack_deadline_seconds is {first.stream_ack_deadline_seconds}; "
                "it must be between 10 and 600."
            )
        self._max_messages = first.max_outstanding_messages
        self._max_bytes = first.max_outstanding_bytes
        self._apply(subscription, first)
        tasks = {
            asyncio.create_task(self._listen(subscription)),
            asyncio.create_task(self._send(subscription)),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, subscription: Subscription) -> None:
        while (request := await self._context.read()) is not grpc.aio.EOF:
            if request.subscription:
                raise invalid("subscription may be set only in the first request of a stream.")
            self._apply(subscription, request)

    def _apply(self, subscription: Subscription, request: Any) -> None:
        if request.stream_ack_deadline_seconds:
            self._lease_seconds = request.stream_ack_deadline_seconds
        seconds, ids = request.modify_deadline_seconds, request.modify_deadline_ack_ids
        if len(seconds) != len(ids):
            raise invalid(
                f"modify_deadline_seconds has {len(seconds)} entries and "
                f"modify_deadline_ack_ids {len(ids)}; they must be as many."
            )
        for ack_id, value in zip(ids, seconds, strict=True):
            subscription.modify_deadline(ack_id, value)
        for ack_id in request.ack_ids:
            subscription.acknowledge(ack_id)

    async def _send(self, subscription: Subscription) -> None:
        name = subscription.config.name
        while True:
            await subscription.available.wait()
            if self._broker.subscriptions.get(name) is not subscription:
                raise not_found(name)
            pullable(self._broker, name)
            room = self._room(subscription)
            if not room:
                await asyncio.sleep(FLOW_CHECK_SECONDS)
                continue
            leases = subscription.take(min(room, MAX_BATCH), lease_seconds=self._lease_seconds)
            if not leases:
                continue
            response = StreamingPullResponse()
            for lease in leases:
                size = len(lease.pending.message.raw)
                self._out[lease.ack_id] = size
                self._out_bytes += size
                response.received_messages.append(received(subscription, lease))
            response.subscription_properties.message_ordering_enabled = (
                subscription.config.enable_message_ordering
            )
            await self._context.write(response)

    def _room(self, subscription: Subscription) -> int:
        if self._max_messages <= 0 and self._max_bytes <= 0:
            self._out.clear()  # nothing to count against
            return MAX_BATCH
        over = (0 < self._max_messages <= len(self._out)) or (
            0 < self._max_bytes <= self._out_bytes
        )
        if over:
            for ack_id in [ack_id for ack_id in self._out if not subscription.holds(ack_id)]:
                self._out_bytes -= self._out.pop(ack_id)
        if 0 < self._max_bytes <= self._out_bytes:
            return 0
        if self._max_messages <= 0:
            return MAX_BATCH
        return max(0, self._max_messages - len(self._out))
