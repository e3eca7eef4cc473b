"""One stream connection's bytes: chunked framing, and how much the other side acknowledged."""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
import time
import uuid
from collections import deque

from local.x.ledger import Ledger
from local.x.timeline import SyntheticPost

SEND_BUFFER = 16_384
"""Bytes of a connection's send buffer (Linux gives twice as many); no posts are made while some
wait for it. X counts what it has sent, so what lies here is billed and not yet with the client. How
much X itself lets lie is unknown; the 4 MB that Linux gives on the loopback are no property of X's.
"""
_PATIENCE = 5.0  # seconds for the reader to take what was written before its connection is ended
_MARKS = 50_000  # posts of which it is remembered where they end, before it is looked what arrived
_BYTES_ACKED = 120  # offset of tcpi_bytes_acked in Linux's struct tcp_info


def acknowledged(sock: socket.socket) -> int | None:
    """Return the bytes that the peer's kernel acknowledged on this socket, None where unknown."""
    if sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int(struct.unpack_from("Q", info, _BYTES_ACKED)[0])
    except (OSError, struct.error):  # an old kernel tells less
        return None


def queued(sock: socket.socket) -> int:
    """Return the bytes in the kernel that the peer has not acknowledged."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


class Wire:
    """Writes lines to a connection and remembers which delivery each byte belongs to.

    `opened` is in seconds since the epoch.
    """

    def __init__(self, transport: asyncio.Transport, ledger: Ledger) -> None:
        self.transport = transport
        self._ledger = ledger
        self._socket = socket.socket(fileno=socket.dup(transport.get_extra_info("socket").fileno()))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._sent = (acknowledged(self._socket) or 0) + queued(self._socket) + self.waiting
        self._marks: deque[tuple[int, int]] = deque()  # where a line ends, and whose it is
        self.id, self.opened = str(uuid.uuid4()), time.time()
        self.last_write = time.monotonic()

    @property
    def alive(self) -> bool:
        """Say whether the connection can still be written to."""
        return not self.transport.is_closing()

    @property
    def waiting(self) -> int:
        """Return the bytes not yet handed to the kernel."""
        return self.transport.get_write_buffer_size()

    def write(self, data: bytes, *, broken: bool = False) -> None:
        """Write one HTTP chunk; broken announces more bytes than it sends."""
        length = len(data) * 2 if broken else len(data)
        framed = b"%x\r\n%b%b" % (length, data, b"" if broken else b"\r\n")
        self.transport.write(framed)
        self._sent += len(framed)
        self.last_write = time.monotonic()

    def deliver(self, posts: list[SyntheticPost], lines: list[bytes]) -> None:
        """Write posts in one chunk and record them, unless the connection is gone."""
        if not self.alive:
            return
        content = b"".join([line + b"\r\n" for line in lines])
        self.write(content)
        end = self._sent - 2 - len(content)
        for position, line in enumerate(lines, self._ledger.delivered):
            end += len(line) + 2
            self._marks.append((end, position))
        self._ledger.deliver(posts)
        if len(self._marks) > _MARKS:
            known = acknowledged(self._socket)
            while self._marks and (known is None or self._marks[0][0] <= known):
                self._marks.popleft()

    async def drained(self) -> None:
        """Wait until the peer's kernel has everything, or does not take it in time."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self.alive and self.waiting + queued(self._socket):
            await asyncio.sleep(0.002)

    def finish(self) -> None:
        """Write the last chunk: the clean end of a chunked body."""
        self.transport.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self._settle()
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        self.transport.abort()

    def close(self) -> None:
        """End the connection, and take back deliveries that were never acknowledged."""
        if self._socket.fileno() != -1:
            self._settle()
            self._socket.close()
        self.transport.close()

    def _settle(self) -> None:
        known = acknowledged(self._socket)
        if known is None or (self.alive and self.waiting + queued(self._socket) == 0):
            return
        self._ledger.take_back([position for end, position in self._marks if end > known])
        self._marks.clear()
