"""PubSubServer: the broker with its gRPC port, its pushers and its control port."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from aiohttp import web
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from local.pubsub.broker import Broker, PubSubFaults
from local.pubsub.control import control_app
from local.pubsub.journal import PubSubJournal
from local.pubsub.push import Pusher
from local.pubsub.refusal import Refusal
from local.pubsub.subscription import Subscription
from local.standin import HOST, StandIn, listen, require_free

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.02
GRACE_SECONDS = 0.5
KEEPALIVE_SECONDS = 1.5  # below the servers' own: a closed connection would double a message
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # our own answer to an oversize Publish, not gRPC's


class PubSubServer(StandIn):
    """The server; with `with`, in a thread of its own.

    Args:
        port: gRPC port, 0 for a free one, as control_port.
        data_dir: where topics, subscriptions and unacknowledged messages survive; None for nowhere.
        control_port: port of the control endpoints.

    Raises (on entering): PortBusyError, JournalError.
    """

    def __init__(self, port: int = 0, data_dir: Path | None = None, control_port: int = 0) -> None:
        self._port, self._control_port = port, control_port
        self._data_dir = data_dir
        self._pushers: dict[Subscription, asyncio.Task[None]] = {}
        self._closing = contextlib.AsyncExitStack()
        self.faults = PubSubFaults()

    @property
    def address(self) -> str:
        """host:port, the value for PUBSUB_EMULATOR_HOST."""
        return f"{HOST}:{self._port}"

    @property
    def control_url(self) -> str:
        """http://host:port of the control endpoints."""
        return f"http://{HOST}:{self._control_port}"

    def lines(self) -> list[str]:
        """What its process prints."""
        return [f"control {self.control_url}", f"ready {self.address}"]

    def stats(self) -> dict[str, Any]:
        """Broker.stats(), from any thread; only while the server runs."""

        async def read() -> dict[str, Any]:
            return self.broker.stats()

        return self.call(read())

    async def open(self) -> None:
        """Open the ports."""
        journal = PubSubJournal(self._data_dir)
        self._closing.callback(journal.close)
        self.broker = Broker(journal, self.faults)
        session = await self._closing.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        )
        await self._open_grpc()
        runner = web.AppRunner(control_app(self.broker), access_log=None, shutdown_timeout=0.2)
        self._closing.push_async_callback(runner.cleanup)
        self._control_port = await listen(runner, self._control_port)
        self._closing.push_async_callback(_cancelled, asyncio.create_task(self._tick(session)))

    async def shut(self) -> None:
        """End pulls and pushes, write the acknowledgements, close; within two seconds."""
        pushers = list(self._pushers.values())
        await self._closing.aclose()
        for pusher in pushers:
            await _cancelled(pusher)

    async def _open_grpc(self) -> None:
        require_free(self._port)  # gRPC would print its own report beside our one line
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else two servers would share a port unseen
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ]
        )
        server.add_generic_rpc_handlers(_handlers(self.broker))
        self._port = server.add_insecure_port(self.address)
        await server.start()
        self._closing.push_async_callback(server.stop, GRACE_SECONDS)

    async def _tick(self, session: aiohttp.ClientSession) -> None:
        try:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                self.broker.tick()
                self._assign_pushers(session)
        except Exception:
            logger.exception("the clock stopped: nothing expires, retries or is pushed any more")
            raise
        finally:
            for pusher in self._pushers.values():
                pusher.cancel()
            self.broker.flush()

    def _assign_pushers(self, session: aiohttp.ClientSession) -> None:
        wanted = {
            s for s in self.broker.subscriptions.values() if s.config.push_config.push_endpoint
        }
        for subscription in wanted - self._pushers.keys():
            pusher = Pusher(subscription, session)
            self._pushers[subscription] = asyncio.create_task(pusher.run())
        for subscription in self._pushers.keys() - wanted:
            self._pushers.pop(subscription).cancel()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _handlers(broker: Broker) -> list[Any]:
    """The methods that the pipeline and its commands call; gRPC refuses others as UNIMPLEMENTED."""
    services = {
        "Publisher": {
            "CreateTopic": (types.Topic, broker.create_topic),
            "UpdateTopic": (types.UpdateTopicRequest, broker.update_topic),
            "Publish": (types.PublishRequest, broker.publish),
            "GetTopic": (types.GetTopicRequest, broker.get_topic),
            "DeleteTopic": (types.DeleteTopicRequest, broker.delete_topic),
        },
        "Subscriber": {
            "CreateSubscription": (types.Subscription, broker.create_subscription),
            "GetSubscription": (types.GetSubscriptionRequest, broker.get_subscription),
            "UpdateSubscription": (types.UpdateSubscriptionRequest, broker.update_subscription),
            "DeleteSubscription": (types.DeleteSubscriptionRequest, broker.delete_subscription),
            "ModifyAckDeadline": (types.ModifyAckDeadlineRequest, broker.modify_ack_deadline),
            "Acknowledge": (types.AcknowledgeRequest, broker.acknowledge),
            "Pull": (types.PullRequest, broker.pull),
        },
    }
    return [
        grpc.method_handlers_generic_handler(
            f"google.pubsub.v1.{service}",
            {name: _unary(kind, method) for name, (kind, method) in methods.items()},
        )
        for service, methods in services.items()
    ]


def _unary(request_type: Any, method: Callable[[Any], Any]) -> Any:
    async def call(request: Any, context: Any) -> Any:
        try:
            answer = method(request)
            if asyncio.iscoroutine(answer):
                answer = await answer
        except Refusal as refusal:
            await context.abort(refusal.code, str(refusal))
        except sqlite3.Error as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"The journal failed: {error}")
        return Empty() if answer is None else answer

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request_type.pb().FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )
