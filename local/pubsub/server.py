"""PubSubServer: the broker with its gRPC port, its pushers and its control port."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from aiohttp import web

from local.pubsub.broker import Broker, PubSubFaults
from local.pubsub.control import control_app
from local.pubsub.journal import PubSubJournal
from local.pubsub.push import Pusher
from local.pubsub.service import handlers
from local.pubsub.subscription import Subscription
from local.standin import HOST, StandIn, listen, require_free

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.02
GRACE_SECONDS = 0.5
PUSH_LIMIT = 500
KEEPALIVE_SECONDS = 1.5  # below the servers' own: a closed connection would double a message
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # our own answer to an oversize Publish, not gRPC's


class PubSubServer(StandIn):
    """The server; with `with`, in a thread of its own.

    Args:
        port: gRPC port, 0 for a free one.
        data_dir: where topics, subscriptions and unacknowledged messages survive; None for memory.
        control_port: port of the control endpoints, 0 for a free one, None for none.
        push_limit: the most push requests in flight for a subscription.

    Raises (on entering): PortBusyError, JournalError.
    """

    def __init__(
        self,
        port: int = 0,
        data_dir: Path | str | None = None,
        control_port: int | None = None,
        push_limit: int = PUSH_LIMIT,
    ) -> None:
        self._port, self._control_port = port, control_port
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._push_limit = push_limit
        self._pushers: dict[Subscription, asyncio.Task[None]] = {}
        self._closing = contextlib.AsyncExitStack()
        self.faults = PubSubFaults()

    @property
    def address(self) -> str:
        """host:port, the value for PUBSUB_EMULATOR_HOST."""
        return f"{HOST}:{self._port}"

    @property
    def control_url(self) -> str:
        """http://host:port of the control endpoints; only with a control_port."""
        return f"http://{HOST}:{self._control_port}"

    def lines(self) -> list[str]:
        """What its process prints."""
        control = [f"control {self.control_url}"] if self._control_port is not None else []
        return [*control, f"ready {self.address}"]

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
        if self._control_port is not None:
            await self._open_control(self._control_port)
        self._closing.push_async_callback(_cancelled, asyncio.create_task(self._tick(session)))

    async def shut(self) -> None:
        """End streams and pushes, write the acknowledgements, close; within two seconds."""
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
        server.add_generic_rpc_handlers(handlers(self.broker))
        self._port = server.add_insecure_port(self.address)
        await server.start()
        self._closing.push_async_callback(server.stop, GRACE_SECONDS)

    async def _open_control(self, port: int) -> None:
        runner = web.AppRunner(control_app(self.broker), access_log=None, shutdown_timeout=0.2)
        self._closing.push_async_callback(runner.cleanup)
        self._control_port = await listen(runner, port)

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
            pusher = Pusher(subscription, session, self._push_limit)
            self._pushers[subscription] = asyncio.create_task(pusher.run())
        for subscription in self._pushers.keys() - wanted:
            self._pushers.pop(subscription).cancel()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
