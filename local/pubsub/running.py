"""The broker with its gRPC port, its pushers and its control port, on one event loop."""

import asyncio
import contextlib
import logging
import socket
from pathlib import Path

import aiohttp
import grpc
from aiohttp import web

from local.pubsub.broker import Broker
from local.pubsub.control import control_app
from local.pubsub.faults import PubSubFaults
from local.pubsub.journal import PubSubJournal
from local.pubsub.push import Pusher
from local.pubsub.service import handlers
from local.pubsub.subscription import Subscription

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.02
GRACE_SECONDS = 0.5
PUSH_LIMIT = 500
KEEPALIVE_SECONDS = 1.5  # below the servers' own: a closed connection would double a message
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # our own answer to an oversize Publish, not gRPC's


class PortBusyError(Exception):
    """The port cannot be bound; the text says which and what to do."""


class Running:
    """The server on the current event loop; the caller keeps the loop running.

    Raises (from start): PortBusyError, JournalError.
    """

    def __init__(self, data_dir: Path | None, faults: PubSubFaults, push_limit: int) -> None:
        self._journal = PubSubJournal(data_dir)
        self.broker = Broker(self._journal, faults)
        self._push_limit = push_limit
        self._pushers: dict[Subscription, asyncio.Task[None]] = {}
        self._closing = contextlib.AsyncExitStack()

    async def start(self, host: str, port: int, control_port: int | None) -> tuple[int, int | None]:
        """Open the ports; returns the gRPC port and the control port."""
        self._closing.callback(self._journal.close)
        try:
            session = await self._closing.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                )
            )
            port = await self._start_grpc(host, port)
            if control_port is not None:
                control_port = await self._start_control(host, control_port)
        except BaseException:
            await self._closing.aclose()
            raise
        clock = asyncio.create_task(self._tick(session))
        self._closing.push_async_callback(_cancelled, clock)
        return port, control_port

    async def stop(self) -> None:
        """End streams and pushes, write the acknowledgements, close."""
        pushers = list(self._pushers.values())
        await self._closing.aclose()
        for pusher in pushers:
            await _cancelled(pusher)

    async def _start_grpc(self, host: str, port: int) -> int:
        _check_free(host, port)  # gRPC would print its own report beside our one line
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else two servers would share a port unseen
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ]
        )
        server.add_generic_rpc_handlers(handlers(self.broker))
        try:
            bound: int = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            raise _busy(host, port) from None
        await server.start()
        self._closing.push_async_callback(server.stop, GRACE_SECONDS)
        return bound

    async def _start_control(self, host: str, port: int) -> int:
        runner = web.AppRunner(control_app(self.broker), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        self._closing.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            raise _busy(host, port) from None
        return int(runner.addresses[0][1])

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


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise _busy(host, port) from None


def _busy(host: str, port: int) -> PortBusyError:
    return PortBusyError(
        f"cannot listen on {host}:{port}: the port is in use or not allowed; name another one"
    )
