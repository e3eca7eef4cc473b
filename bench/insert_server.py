"""A BigQuery whose inserts take a set time: tabledata.insertAll and no more.

    python -m bench.insert_server MILLISECONDS

Says {"port"}; hears {"stats"}, answers {"inserts", "rows"} since the last one.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from typing import Any

import uvloop

from bench.child import say, told

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BODY = b'{"kind":"bigquery#tableDataInsertAllResponse"}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: %d\r\n"
    b"\r\n%b" % (len(_BODY), _BODY)
)


class Counts:
    """What came since it was last asked."""

    inserts = 0
    rows = 0


class InsertConnection(asyncio.Protocol):
    """One kept connection with one request at a time, as `requests` makes them."""

    def __init__(self, counts: Counts, delay: float) -> None:
        self._counts, self._delay = counts, delay
        self._parts: list[bytes] = []
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        # uvloop's transports are not of asyncio's classes.
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Gather a request; answer it when the time of an insert has passed."""
        self._parts.append(data)
        if self._missing:
            self._missing -= len(data)
        else:
            head, end, body = b"".join(self._parts).partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(head)
            self._missing = (int(length[1]) if length else 0) - len(body)
        if self._missing <= 0:
            self._counts.inserts += 1
            # The client names every row, or sets its name to null.
            self._counts.rows += b"".join(self._parts).count(b'"insertId": ')
            self._parts.clear()
            self._missing = 0
            asyncio.get_running_loop().call_later(self._delay, self._answer)

    def _answer(self) -> None:
        self._transport.write(_ANSWER)


def _listen(counts: Counts, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while told():
        say(inserts=counts.inserts, rows=counts.rows)
        counts.inserts = counts.rows = 0
    loop.call_soon_threadsafe(ended.set)


async def main() -> None:
    """Serve until the parent goes."""
    counts, ended, loop = Counts(), asyncio.Event(), asyncio.get_running_loop()
    delay = float(sys.argv[1]) / 1000
    server = await loop.create_server(lambda: InsertConnection(counts, delay), "127.0.0.1", 0)
    say(port=server.sockets[0].getsockname()[1])
    threading.Thread(target=_listen, args=(counts, loop, ended), daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
