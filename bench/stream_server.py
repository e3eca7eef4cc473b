"""A saturated X: replays lines on the stream as fast as they are read.

    python -m bench.stream_server LINES_FILE

Only what a producer needs before its first connect is answered besides: rules and usage. The
stand-in `local.x` makes each post anew, which costs more than some of what is measured here.

Says {"port"}, then {"connected"} at each stream. Hears {"go": lines, 0 for no end, "rate": lines a
second, 0 for as fast as they are read}.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.child import say, told
from bench.posts import RULES

_BLOCK = 50
_KEEP_ALIVE = b"2\r\n\r\n\r\n"


class Server:
    """Chunked lines, and the order to send them: one by one at a rate, else in blocks."""

    def __init__(self, lines: list[bytes]) -> None:
        # Each post a chunk of its own, with its CRLF, as X sends it.
        self._chunks = [b"%x\r\n%b\r\n\r\n" % (len(line) + 2, line) for line in lines]
        self._order = threading.Condition()
        self._left: float = 0
        self._rate = 0.0
        self._at = 0
        self._streams = 0

    def go(self, count: int, rate: float) -> None:
        """Send `count` lines; 0 goes on for ever."""
        with self._order:
            self._left, self._rate = count or float("inf"), rate
            self._order.notify_all()

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until it ends."""
        try:
            for target in _requests(connection):
                if target.startswith("/2/tweets/search/stream?"):
                    self._stream(connection)
                    return
                connection.sendall(_answer(target))
        except OSError:
            return
        finally:
            connection.close()

    def _stream(self, connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        with self._order:
            self._streams += 1
            mine = self._streams
        say(connected=True)
        due = time.monotonic()
        while True:
            with self._order:
                if self._left <= 0:
                    if not self._order.wait(10):
                        connection.sendall(_KEEP_ALIVE)
                    due = time.monotonic()
                # An earlier connection may not know yet that its client has gone.
                if mine != self._streams:
                    return
                if self._left <= 0:
                    continue
                count = 1 if self._rate else _BLOCK
                self._left -= count
            connection.sendall(b"".join(self._chunks[self._at : self._at + count]))
            self._at = (self._at + count) % len(self._chunks)
            if self._rate:
                due = max(due + count / self._rate, time.monotonic() - 0.1)
                time.sleep(max(0.0, due - time.monotonic()))


def _requests(connection: socket.socket) -> Iterator[str]:
    """Targets of the requests; bodies are only what tweepy sends with a GET, which is none."""
    waiting = b""
    while True:
        while b"\r\n\r\n" not in waiting:
            part = connection.recv(65_536)
            if not part:
                return
            waiting += part
        head, _, waiting = waiting.partition(b"\r\n\r\n")
        yield head.split(b" ", 2)[1].decode()


def _answer(target: str) -> bytes:
    rules = [{"id": str(number), **rule} for number, rule in enumerate(RULES, 1)]
    page: dict[str, object] = (
        {"data": rules, "meta": {"sent": "2026-01-01T00:00:00.000Z", "result_count": len(rules)}}
        if "rules" in target
        else {"data": {"project_usage": "0", "project_cap": "3000000", "cap_reset_day": 1}}
    )
    body = json.dumps(page).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


def main() -> None:
    """Serve until the parent goes."""
    server = Server(Path(sys.argv[1]).read_bytes().split(b"\n"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        say(port=listener.getsockname()[1])

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        while order := told():
            server.go(int(order["go"]), float(order.get("rate", 0)))


if __name__ == "__main__":
    main()
