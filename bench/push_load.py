"""Pub/Sub's side of a push subscription: keeps a number of messages in flight.

    python -m bench.push_load LINES_FILE

Says {"ready"}. Hears {"port", "in_flight", "warm": seconds, "seconds"}; answers with "answered"
messages within `seconds`, their "p50" and "p99" in ms, and the "failed" answers of the whole run;
says "began" and "ended" in between.
A connection for each message in flight, as Cloud Run's front end has them.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from bench.child import say, told
from bench.posts import push_bodies


class Load:
    """Requests to send, and what came back."""

    def __init__(self, bodies: list[bytes]) -> None:
        head = (
            b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            b"User-Agent: APIs-Google\r\nContent-Length: %d\r\n\r\n"
        )
        requests = [head % len(body) + body for body in bodies]
        self.requests: Iterator[bytes] = itertools.cycle(requests)
        self.stopping = False
        self.answers: list[tuple[float, float]] = []
        self.failed: Counter[str] = Counter()
        self.open = 0


class PushConnection(asyncio.Protocol):
    """One message in flight: the next is sent when the answer is there."""

    def __init__(self, load: Load, idle: asyncio.Event) -> None:
        self._load, self._idle = load, idle
        self._got = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first."""
        self._transport: Any = transport
        self._load.open += 1
        self._send()

    def data_received(self, data: bytes) -> None:
        """Read an answer; send the next message."""
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        low = head.lower()
        at = low.find(b"content-length:")
        if at >= 0 and len(body) < int(low[at + 15 :].split(b"\r\n", 1)[0]):
            return
        self._got = b""
        now = time.monotonic()
        status = head[9:12]
        if status in (b"200", b"204"):
            self._load.answers.append((now, now - self._sent))
        else:
            self._load.failed[status.decode()] += 1
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it; a server that closes between two messages is not a fault of the message."""
        self._load.open -= 1
        if not self._load.stopping:
            self._load.failed["connection lost"] += 1
        if not self._load.open:
            self._idle.set()

    def _send(self) -> None:
        if self._load.stopping:
            self._transport.close()
            return
        self._sent = time.monotonic()
        self._transport.write(next(self._load.requests))


async def measure(load: Load, order: dict[str, Any]) -> dict[str, Any]:
    """Keep `in_flight` messages in flight for `warm` and then `seconds`."""
    load.stopping, load.answers, load.failed = False, [], Counter()
    idle, loop = asyncio.Event(), asyncio.get_running_loop()
    for _ in range(order["in_flight"]):
        await loop.create_connection(lambda: PushConnection(load, idle), "127.0.0.1", order["port"])
    await asyncio.sleep(order["warm"])
    began = time.monotonic()
    say(began=began)
    await asyncio.sleep(order["seconds"])
    ended = time.monotonic()
    say(ended=ended)
    load.stopping = True
    await asyncio.wait_for(idle.wait(), 60)
    within = sorted(latency * 1000 for at, latency in load.answers if began <= at <= ended)
    return {
        "answered": len(within),
        "p50": within[len(within) // 2] if within else 0.0,
        "p99": within[int(len(within) * 0.99)] if within else 0.0,
        "failed": dict(load.failed),
        "total": len(load.answers),
    }


def main() -> None:
    """Measure as often as it is told."""
    load = Load(push_bodies(Path(sys.argv[1])))
    say(ready=True)
    while order := told():
        say(**uvloop.run(measure(load, order)))


if __name__ == "__main__":
    main()
