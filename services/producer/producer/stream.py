"""One connection to X's filtered stream: tweepy's StreamingClient with its traps closed. The HTTP
under it is transport.py's.

filter() makes one connection and returns; the waits between connections are the reader's
(reader.py). The tweepy release read for this is 4.17; what is worked round is said where it is.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
import tweepy
import urllib3

from producer.lines import Lines
from producer.messages import BUDGET
from producer.transport import CHUNK, LineResponse, XAdapter
from producer.x_api import Kind, XRefusal, XSession, x_time

log = logging.getLogger(__name__)

# After the stream is left for the budget: X sees it before our reading makes room for more.
SEEN = 0.25
PATIENCE = 0.5
DRAIN = 2.0


@dataclass(frozen=True)
class End:
    """How a connection ended.

    Attributes:
        reason: closed, reset, stalled (nothing for 30 s), unreachable, http_STATUS, fault (in this
            program), or the word given to stop().
        connected: whether X had accepted it.
        uptime: seconds since it was accepted.
        had_data: whether a line with data came.
        words: the network's own words, one line.
        refusal: X's answer where that ended it.
    """

    reason: str
    connected: bool = False
    uptime: float = 0.0
    had_data: bool = False
    words: str = ""
    refusal: XRefusal | None = None


class _StreamSession(XSession):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow none: the stream there would come past our reading of it, paid for and lost."""


class Stream(tweepy.StreamingClient):  # type: ignore[misc]
    """A client for one connection.

    Args:
        token: bearer token.
        base_url: such as https://api.x.com.
        handler: gets the lines.
        receive_buffer: bytes for the socket; None leaves it to the system.
    """

    def __init__(
        self, token: str, base_url: str, handler: Lines, receive_buffer: int | None = None
    ) -> None:
        super().__init__(token, chunk_size=CHUNK)
        self.session = _StreamSession(token)
        if receive_buffer is not None:
            # Compressed, four times as many posts would be in the buffer, and bought with it.
            self.session.headers["Accept-Encoding"] = "identity"
        self.session.mount(XAdapter.TWEEPY_BASE, XAdapter(base_url, self, receive_buffer))
        self.handler = handler
        self.response: LineResponse | None = None
        self._lock = threading.Lock()
        self._stopping: str | None = None
        self._drain_until = self._rest_until = 0.0
        self._impatience: threading.Timer | None = None
        self._accepted_at: float | None = None
        self._had_data = False
        self._end: End | None = None

    def read(self, params: Mapping[str, Any]) -> End:
        """Make one connection and read until it ends; say how it ended. Raises nothing.

        Args:
            params: of the request, such as {"tweet.fields": "lang"}.
        """
        self.filter(**{name.replace(".", "_"): value for name, value in params.items()})
        if self._impatience is not None:
            self._impatience.cancel()
        return self._end or self._ended("closed")

    def stop(self, reason: str) -> None:
        """End the connection at once, from any thread, without a loss: what X has sent is charged.

        Our side is closed first, so that X sends no more and closes when all is sent. If X does not
        within half a second, the receiving side is shut as well: a blocked read returns, and what
        is in the socket's buffer is read, for two seconds at most. Where the reason is the budget,
        nothing is read at first, so that there is no room for more.
        """
        with self._lock:
            if self._stopping is not None:
                return
            self._stopping = reason
            patience = PATIENCE
            if reason == BUDGET:
                self._rest_until = time.monotonic() + SEEN
                patience += SEEN
            self._drain_until = time.monotonic() + patience + DRAIN
            if self.response is None:
                return  # on_connect() will see it
        self._shut(socket.SHUT_WR)
        self._impatience = threading.Timer(patience, self._shut, [socket.SHUT_RD])
        self._impatience.daemon = True
        self._impatience.start()

    def _shut(self, how: int) -> None:
        response = self.response
        # It may have ended by itself in this moment.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            sock = None if response is None else getattr(response.raw.connection, "sock", None)
            if sock is None:
                # Only reading can be shut then; a TLS connection loses what is in its buffer.
                if response is not None and how == socket.SHUT_RD:
                    response.raw.shutdown()
                return
            if how == socket.SHUT_RD:
                # X must not go on to fill the buffer that is being emptied.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            # SSLSocket.shutdown() would drop the TLS state, and with it what has arrived.
            socket.socket.shutdown(sock, how)

    def rest(self) -> None:
        """Read nothing while X is to see that we leave for the budget."""
        if (left := self._rest_until - time.monotonic()) > 0:
            time.sleep(left)

    def drained(self) -> bool:
        """Whether a stop was asked for and its time is up."""
        return self._stopping is not None and time.monotonic() > self._drain_until

    def on_connect(self) -> None:
        """Note it; leave at once if stop() came while X was answering, or if it is not X."""
        with self._lock:
            if self._stopping is not None:
                self.disconnect()
                return
        headers: Mapping[str, str] = self.response.headers if self.response else {}
        if "json" not in headers.get("content-type", "json"):
            # A proxy's page: each of its lines would be a dead letter, and counted as paid.
            self.on_request_error(200)
            return
        self._accepted_at = time.monotonic()
        self.handler.connected(x_time(headers))

    def on_data(self, raw_data: bytes) -> None:
        """Pass a line on; tweepy's own on_data fails on a rule without a tag."""
        self._had_data = True
        self.handler.line(raw_data)

    def on_keep_alive(self) -> None:
        """Pass a blank line on."""
        self.handler.keep_alive()

    def on_page(self, text: bytes) -> None:
        """A page came under the type of a stream: none of its lines is a post, or paid."""
        refusal = XRefusal.stranger(200, text.decode("utf-8", "replace"))
        self._end = self._ended("http_200", refusal=refusal)

    def on_closed(self, response: requests.Response) -> None:
        """X ended the stream in order, if it was one."""
        self._end = self._end or self._ended("closed")
        self.disconnect()

    def on_request_error(self, status_code: int) -> None:
        """X answered something else than a stream."""
        refusal = XRefusal(status_code, f"HTTP {status_code}", Kind.OTHER)
        if self.response is not None:
            with contextlib.suppress(requests.RequestException, urllib3.exceptions.HTTPError):
                self.response.read_page()
                refusal = XRefusal.of(self.response)
        self._end = self._ended(f"http_{status_code}", refusal=refusal)
        self.disconnect()

    def on_connection_error(self) -> None:
        """The network failed; called inside tweepy's except block."""
        self.on_exception(sys.exception() or OSError("connection error"))
        self.disconnect()

    def on_exception(self, exception: BaseException) -> None:
        """Anything else; tweepy would log it and return as if all were well."""
        if not isinstance(exception, (OSError, urllib3.exceptions.HTTPError)):
            # requests' exceptions are OSErrors: this one is no fault of the network.
            log.error("The stream failed: a fault in this program", exc_info=exception)
            reason = "fault"
        elif self._accepted_at is None:
            reason = "unreachable"
        elif _timed_out(exception):
            reason = "stalled"
        else:
            reason = "reset"
        words = f"{type(exception).__name__}: {' '.join(str(exception).split())[:300]}"
        self._end = self._ended(reason, words=words)

    def on_disconnect(self) -> None:
        """Say nothing: the reader logs how it ended."""

    def _ended(self, reason: str, words: str = "", refusal: XRefusal | None = None) -> End:
        up = 0.0 if self._accepted_at is None else time.monotonic() - self._accepted_at
        connected = self._accepted_at is not None
        return End(self._stopping or reason, connected, up, self._had_data, words, refusal)


def _timed_out(exception: BaseException) -> bool:
    return isinstance(exception, (requests.Timeout, urllib3.exceptions.ReadTimeoutError)) or any(
        isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in exception.args
    )
