"""PubSubServer: the server in a thread of its own."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from local.pubsub.faults import PubSubFaults
from local.pubsub.running import PUSH_LIMIT, Running
from local.standin import LoopThread


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
        self._thread: LoopThread | None = None
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
        running, thread = self._running, self._thread
        if running is None or thread is None:
            raise RuntimeError("stats() of a Pub/Sub server that is not started")

        async def read() -> dict[str, Any]:
            return running.broker.stats()

        return thread.call(read())

    def start(self) -> Self:
        """Start the thread and wait until the port accepts connections."""
        self._thread = LoopThread("pubsub")
        try:
            self._port, self._control_port = self._thread.call(self._start())
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop within two seconds; without data_dir everything is forgotten."""
        thread, self._thread = self._thread, None
        running, self._running = self._running, None
        if thread is not None:
            if running is not None:
                thread.call(running.stop())
            thread.end()

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
