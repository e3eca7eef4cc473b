"""HTTP under tweepy: another host, time limits, and lines of which none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import requests
from requests.adapters import HTTPAdapter

# X sends a blank line each 20 s, often at exactly 20 s.
READ_TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
CALL_TIMEOUT = (CONNECT_TIMEOUT, 15.0)
CHUNK = 65_536
MAX_LINE = 8_000_000


class LineHandler(Protocol):
    """Who gets what the stream carries. No method may raise for what is in a line."""

    def connected(self) -> None:
        """X answered 200."""

    def line(self, line: bytes) -> None:
        """A line, without its end."""

    def oversize(self, start: bytes, length: int) -> None:
        """A line longer than MAX_LINE: its first bytes and its length."""

    def keep_alive(self) -> None:
        """A blank line."""

    def received(self, count: int) -> None:
        """That many bytes came."""

    def truncated(self, part: bytes) -> None:
        """The connection ended within this line."""


class Connection(Protocol):
    """The connection that a response belongs to (stream.Stream)."""

    handler: Any
    running: bool
    response: Any

    def drained(self) -> bool:
        """Whether to read no further."""


class XAdapter(HTTPAdapter):
    """Sends what tweepy addresses to https://api.twitter.com to the configured base instead, with
    time limits (tweepy gives none to calls, and 21 s to the stream).
    """

    TWEEPY_BASE = "https://api.twitter.com"

    def __init__(self, base_url: str, connection: Connection | None = None) -> None:
        super().__init__()
        self._base_url = base_url
        self._connection = connection

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, stream: bool = False, **kwargs: Any
    ) -> requests.Response:
        """Send to the configured base; see requests.adapters.HTTPAdapter.send."""
        request.url = self._base_url + (request.url or "").removeprefix(self.TWEEPY_BASE)
        kwargs["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT) if stream else CALL_TIMEOUT
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

    client: Connection

    @classmethod
    def of(cls, response: requests.Response, client: Connection) -> LineResponse:
        """Return the same response as a LineResponse."""
        lines = cls()
        lines.__dict__.update(response.__dict__)
        lines.client = client
        client.response = lines
        return lines

    def iter_lines(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """Yield each line without its end; a blank one is a keep-alive."""
        handler, client = self.client.handler, self.client
        parts: list[bytes] = []  # of the line that has no end yet
        size = 0
        try:
            for chunk in self._chunks():
                handler.received(len(chunk))
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
                # Only here, between chunks: tweepy would leave the rest of a chunk unread.
                if client.drained():
                    break
        finally:
            client.running = False
            if part := b"".join(parts).strip():
                handler.truncated(part)

    def _chunks(self) -> Iterator[bytes]:
        # read1 gives what is there; iter_content would drop the lines of a chunk that X, or our
        # own stop(), cut short.
        while chunk := self.raw.read1(CHUNK, decode_content=True):
            yield chunk
