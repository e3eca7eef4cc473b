"""PubSubServer: the server in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from local.pubsub.faults import PubSubFaults
from local.pubsub.running import PUSH_LIMIT, Running

T = TypeVar("T")


class PubSubServer:
    """The server in a thread of its own, as a context manager.

    Args:
        host: address to listen on.
        port: gRPC port, 0 for a free one.
        data_dir: where topics, subscriptions and unacknowledged messages survive; None for memory.
        control_port: port of the control endpoints, 0 for a free one, None for none.
        push_limit: the most push requests in flight for a subscription.

    Raises (on entering): PortBusyError, JournalError.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        data_dir: Path | str | None = None,
        control_port: int | None = None,
        push_limit: int = PUSH_LIMIT,
    ) -> None:
        self._host, self._port, self._control_port = host, port, control_port
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._push_limit = push_limit
        self.faults = PubSubFaults()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: Running | None = None

    @property
    def address(self) -> str:
        """host:port, the value for PUBSUB_EMULATOR_HOST."""
        return f"{self._host}:{self._port}"

    @property
    def control_url(self) -> str:
        """http://host:port of the control endpoints; only with a control_port."""
        return f"http://{self._host}:{self._control_port}"

    def stats(self) -> dict[str, Any]:
        """Broker.stats(), from any thread; only while the server runs."""
        running = self._running
        if running is None:
            raise RuntimeError("stats() of a Pub/Sub server that is not started")

        async def read() -> dict[str, Any]:
            return running.broker.stats()

        return self._call(read())

    def start(self) -> Self:
        """Start the thread and wait until the port accepts connections."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pubsub", daemon=True)
        self._thread.start()
        try:
            self._port, self._control_port = self._call(self._start())
        except BaseException:
            self._end()
            raise
        return self

    def stop(self) -> None:
        """Stop within two seconds; without data_dir everything is forgotten."""
        if self._running is not None:
            self._call(self._running.stop())
            self._running = None
        self._end()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    async def _start(self) -> tuple[int, int | None]:
        running = Running(self._data_dir, self.faults, self._push_limit)
        ports = await running.start(self._host, self._port, self._control_port)
        self._running = running
        return ports

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None  # noqa: S101 - only called between start and stop
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None
