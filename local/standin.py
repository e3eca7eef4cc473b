"""What the stand-in servers share: listening, a thread or a process of their own, their control."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.Response]]

T = TypeVar("T")
HOST = "127.0.0.1"
LOOPBACK = (HOST, "localhost")
HEAD_SECONDS = 10.0
"""A connection that has not sent the head of its first request by then is ended."""


def bypass_proxies(environ: MutableMapping[str, str] = os.environ) -> None:
    """Reach loopback directly, though the environment names a company's proxy.

    What is in no_proxy stays. Both spellings are set to the same: urllib and requests prefer the
    one that gRPC does not read. Children that inherit the environment do as this process.
    """
    names = ("no_proxy", "NO_PROXY")
    known = [host.strip() for name in names for host in environ.get(name, "").split(",")]
    hosts = dict.fromkeys([host for host in known if host] + [*LOOPBACK])
    environ.update(dict.fromkeys(names, "*" if "*" in hosts else ",".join(hosts)))


def ask(url: str, content: object = None, method: str | None = None) -> str:
    """The body of a control page's answer: to GET, or to POST of `content` as JSON.

    Raises:
        OSError: it does not answer, or refuses; the message holds its words.
    """
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, method=method)  # noqa: S310 - our own loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            raise OSError(f"{url}: {error.code}: {error.read().decode()}") from error


def shows(figures: Callable[[], object]) -> Handler:
    """A control page that answers with figures as JSON."""
    from aiohttp import web  # not at the top: the demo and the commands have no need of it

    async def page(_: web.Request) -> web.Response:
        return web.json_response(figures())

    return page


def does(act: Callable[[Any], object]) -> Handler:
    """A control page that does what a request's JSON says, and answers with the result.

    What `act` can't do (TypeError, ValueError) is 400 with {"error": its words}.
    """
    from aiohttp import web

    async def page(request: web.Request) -> web.Response:
        try:
            return web.json_response(act(json.loads(await request.read())))
        except (TypeError, ValueError) as error:
            return web.json_response({"error": f"{request.path}: {error}"}, status=400)

    return page


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line, without the whole usage."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        name = self.prog.split()[-1].rpartition(".")[2]
        self.exit(2, f"{name}: {message}; --help lists what there is\n")


def port(text: str) -> int:
    """A port of a command line, for argparse; 0 is any free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 (any free) to 65535")
    return int(text)


class PortBusyError(Exception):
    """The port cannot be bound; the text says which and what to do."""


def require_free(number: int) -> None:
    """Raise PortBusyError if the port cannot be bound: servers that are not ours say less."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError as error:
            raise PortBusyError(
                f"cannot listen on {HOST}:{number} ({os.strerror(error.errno or 0)}): "
                "end what listens there, or name another --port"
            ) from None


async def listen(runner: web.AppRunner, number: int) -> int:
    """Serve an aiohttp application on a port, 0 for a free one; returns the port.

    Raises:
        PortBusyError: it cannot be bound.
    """
    from aiohttp import web

    require_free(number)
    await runner.setup()
    await web.TCPSite(runner, HOST, number).start()
    return int(runner.addresses[0][1])


class StandIn(ABC):
    """A server: beside a test on a thread of its own (`with`), or as a process (`main`).

    A subclass opens its ports in `open` and closes them in `shut`, both on the server's loop.
    """

    _thread: threading.Thread | None = None

    @abstractmethod
    async def open(self) -> None:
        """Start to serve; returns when connections are accepted."""

    @abstractmethod
    async def shut(self) -> None:
        """End what `open` began, though it failed."""

    @abstractmethod
    def lines(self) -> list[str]:
        """What its process prints once it serves; the last is `ready <address>`."""

    def start(self) -> Self:
        """Serve on a thread of its own; returns when connections are accepted."""
        self._loop = _Loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self.call(self.open())
        except BaseException:
            self.stop()
            raise
        return self

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the server's loop; returns what it returns, raises what it raises."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        """End every connection and the thread; again and again without harm."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self.call(self.shut())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    async def serve(self) -> None:
        """Serve here until SIGTERM or SIGINT."""
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            await self.open()
            print(*self.lines(), sep="\n", flush=True)
            await stop.wait()
        finally:
            await self.shut()


def main(name: str, server: Callable[[], StandIn], *refusals: type[Exception]) -> int:
    """Serve as a process; 2 and one line on stderr where it cannot be, for one of `refusals`."""
    expected: tuple[type[Exception], ...] = (PortBusyError, *refusals)
    try:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(server().serve())
    except expected as error:
        print(f"{name}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose servers have no patience with half-open connections."""

    async def create_server(self, protocol_factory: Any, *args: Any, **more: Any) -> Any:
        def head() -> Any:
            return _Head(protocol_factory())

        return await super().create_server(head, *args, **more)


class _Head:
    """Ends a connection that does not ask in time, and hands on all that happens to it."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self._head = b""
        self._limit: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._limit = asyncio.get_running_loop().call_later(HEAD_SECONDS, transport.abort)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._limit:
            self._head = self._head[-3:] + data
            if b"\r\n\r\n" in self._head:
                self._limit.cancel()
                self._limit = None
        self._inner.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._limit:
            self._limit.cancel()
        self._inner.connection_lost(error)
