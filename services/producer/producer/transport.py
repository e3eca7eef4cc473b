"""HTTP under the stream: another host, time limits, a receive buffer, and lines of which none is
lost.

The releases read for this are those of requests 2.34, urllib3 2.8 and Python's http.client.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any, Protocol

import requests
import urllib3
from requests.adapters import HTTPAdapter

from producer.lines import MAX_LINE, Lines
from producer.x_api import CONNECT_TIMEOUT

# X sends a blank line each 20 s, often at exactly 20 s.
READ_TIMEOUT = 30.0
CHUNK = 16_384
# Of an answer that is no stream.
PAGE, PAGE_SECONDS = 65_536, 15.0
# On a busy stream posts gather on the wire for so long: a transaction for some costs less than one
# for each. X's cap is a post each 4 ms.
GATHER = 0.02


class LineReader(Protocol):
    """Who made the connection (stream.Stream)."""

    handler: Lines
    response: LineResponse | None
    running: bool

    def drained(self) -> bool:
        """Whether a stop was asked for and its time is up."""

    def rest(self) -> None:
        """Return when more may be read."""

    def on_page(self, text: bytes) -> None:
        """A page came under the type of a stream."""


class XAdapter(HTTPAdapter):
    """Sends what tweepy addresses to https://api.twitter.com to the configured base instead, with
    time limits (tweepy gives none to calls, and 21 s to the stream).
    """

    TWEEPY_BASE = "https://api.twitter.com"

    def __init__(
        self,
        base_url: str,
        connection: LineReader | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self._pool: dict[str, Any] = {}
        if receive_buffer is not None:
            # Before the connect: X may fill what the first answer to it offers.
            size = (socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            defaults = urllib3.connection.HTTPConnection.default_socket_options
            self._pool["socket_options"] = [*defaults, size]
        super().__init__()
        self._base_url = base_url
        self._connection = connection

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kwargs: Any
    ) -> None:
        """Give the sockets their options; see requests.adapters.HTTPAdapter."""
        super().init_poolmanager(connections, maxsize, block, **kwargs, **self._pool)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Give the sockets to a proxy theirs."""
        return super().proxy_manager_for(proxy, **kwargs, **self._pool)

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, stream: bool = False, **kwargs: Any
    ) -> requests.Response:
        """Send to the configured base; see requests.adapters.HTTPAdapter.send."""
        request.url = self._base_url + (request.url or "").removeprefix(self.TWEEPY_BASE)
        kwargs["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
        # requests chose the proxy for api.twitter.com.
        kwargs["proxies"] = requests.utils.get_environ_proxies(request.url, None)
        response = super().send(request, stream=stream, **kwargs)
        if stream and self._connection is not None:
            return LineResponse.of(response, self._connection)
        return response


class LineResponse(requests.Response):
    """A response whose iter_lines() keeps every line that was received.

    requests' own loses what had arrived of a chunk at a reset, joins a huge line in quadratic time
    and without bound, and with 64 KB chunks holds back posts when the answer is not chunked.
    """

    client: LineReader

    @classmethod
    def of(cls, response: requests.Response, client: LineReader) -> LineResponse:
        """Return the same response as a LineResponse."""
        lines = cls()
        lines.__dict__.update(response.__dict__)
        lines.client = client
        client.response = lines
        return lines

    def read_page(self) -> None:
        """Read what is no stream as `content`, but no more of it, and no longer, than a refusal of
        X's takes.
        """
        parts, until = list[bytes](), time.monotonic() + PAGE_SECONDS
        while sum(map(len, parts)) < PAGE and time.monotonic() < until:
            if not (part := self.raw.read1(CHUNK, decode_content=True)):
                break
            parts.append(part)
        self._content = b"".join(parts)
        self.raw.close()  # requests takes `content` for all of it, and would leave it open

    def iter_lines(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """Yield each line without its end; a blank one is a keep-alive."""
        handler, client = self.client.handler, self.client
        parts: list[bytes] = []  # of the line that has no end yet
        size = gathered = 0
        kept_at = 0.0
        try:
            for chunk in self._chunks():
                handler.received(len(chunk), self.raw.tell())
                lines = chunk.split(b"\n")
                rest = lines.pop()
                for line in lines:
                    if parts:
                        if size <= MAX_LINE:
                            parts.append(line)
                        whole, size = b"".join(parts), size + len(line)
                        parts.clear()
                        if size > MAX_LINE:
                            handler.oversize(whole, size)
                        else:
                            yield whole.rstrip(b"\r")
                        size = 0
                    else:
                        yield line.rstrip(b"\r")
                if rest:
                    if size <= MAX_LINE:
                        parts.append(rest)
                    size += len(rest)
                gathered += len(chunk)
                if gathered < CHUNK and self._more():
                    continue
                gathered = 0
                handler.chunk_end()
                # Only here, between chunks: tweepy would leave the rest of a chunk unread.
                if client.drained() or handler.over:
                    break
                client.rest()
                left = kept_at + GATHER - time.monotonic()
                if left > 0 and not self._more():
                    time.sleep(left)
                kept_at = time.monotonic()
        finally:
            client.running = False
            if part := b"".join(parts).strip():
                handler.truncated(part)
            handler.chunk_end()

    def _more(self) -> bool:
        """Whether a read would return at once."""
        # No public way: select() does not see what http.client and TLS have read ahead.
        answer: Any = self.raw._fp  # noqa: SLF001
        sock = getattr(getattr(answer.fp, "raw", None), "_sock", None)
        if sock is None:
            return False
        try:
            sock.settimeout(0)
            try:
                there = answer.fp.peek(1)
            finally:
                sock.settimeout(READ_TIMEOUT)
        except OSError:  # of TLS: it wants more; another comes again with the next read
            return False
        if answer.chunked and not answer.chunk_left:
            # The end of this chunk and the size of the next are no bytes that a read returns.
            there = there[2:].partition(b"\n")[2]
        return bool(there)

    def _chunks(self) -> Iterator[bytes]:
        # read1 gives what is there; iter_content would drop the lines of a chunk that X, or our
        # own stop(), cut short.
        begun = False
        while chunk := self.raw.read1(CHUNK, decode_content=True):
            if not begun and (start := chunk.strip()):
                begun = True
                if start.startswith(b"<"):
                    self.client.on_page(start)
                    return
            yield chunk
