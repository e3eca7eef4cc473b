"""The traps of tweepy's stream, one by one, on real sockets."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import requests

from local.x import XServer
from producer import transport, x_api
from producer.lines import Lines
from producer.reconcile import reconcile
from producer.rules import Rule
from producer.stream import End, Stream
from producer.x_api import Kind, XApi, XRefusedError
from tests.producer.parts import wait_for

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Handler(Lines):
    """Only keeps what comes."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.keep_alives = 0
        self.parts: list[bytes] = []
        self.large: list[tuple[bytes, int]] = []
        self.accepted = 0
        self.ends: list[int] = []
        self.enough = 10**9

    def connected(self, x_time: float | None) -> None:
        """Count."""
        self.accepted += 1

    def received(self, count: int, wire: int) -> None:
        """Ignore."""

    def line(self, line: bytes) -> None:
        """Keep."""
        self.lines.append(line)

    def keep_alive(self) -> None:
        """Count."""
        self.keep_alives += 1

    def oversize(self, start: bytes, length: int) -> None:
        """Keep."""
        self.large.append((start, length))

    def truncated(self, part: bytes) -> None:
        """Keep."""
        self.parts.append(part)

    @property
    def over(self) -> bool:
        """Say whether so many lines came."""
        return len(self.lines) >= self.enough

    def chunk_end(self) -> None:
        """Note how much of it was given."""
        self.ends.append(len(self.lines))


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """Serve raw bytes: yields the address and the heads of the requests."""
    requests_seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                requests_seen.append(sock.recv(65536))
                with suppress(OSError):
                    answer(sock)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests_seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _read(url: str, handler: Handler) -> End:
    return Stream("some-token", url, handler).read({})


def test_host_is_overridden_for_stream_and_calls() -> None:
    """What tweepy and our calls ask for goes to the base URL, path and token kept."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")

    with serving(answer) as (url, seen):
        XApi("some-token", f"{url}/proxy").call("GET", "/2/tweets/search/stream/rules")
        _read(f"{url}/proxy", Handler())
    assert seen[0].startswith(b"GET /proxy/2/tweets/search/stream/rules HTTP/1.1\r\n")
    assert seen[1].startswith(b"GET /proxy/2/tweets/search/stream HTTP/1.1\r\n")
    for head in seen:
        assert b"Authorization: Bearer some-token\r\n" in head
        assert b"twitter.com" not in head


def test_accept_then_close_is_one_connection() -> None:
    """A server that accepts and closes is asked once per read(), not thousands of times."""
    with serving(lambda sock: sock.sendall(CHUNKED + b"0\r\n\r\n")) as (url, seen):
        end = _read(url, Handler())
        time.sleep(0.2)
        assert len(seen) == 1
    assert end.reason == "closed"
    assert end.connected
    assert not end.had_data


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (CHUNKED + _chunk(b"one\r\n\r\ntwo\r\n") + b"0\r\n\r\n", "closed"),
        (CHUNKED + _chunk(b"one\r\n\r\ntwo\r\n"), "reset"),
        # The chunk is announced longer than it is: what had come of it counts all the same.
        (CHUNKED + b"400\r\none\r\n\r\ntwo\r\n", "reset"),
        # \r and \n in two chunks, lines over several chunks, and one without an end.
        (CHUNKED + b"".join(_chunk(bytes([c])) for c in b"one\r\n\r\ntwo\r\n"), "reset"),
        # Not chunked at all.
        (HEAD + b"Connection: close\r\n\r\none\r\n\r\ntwo\r\n", "closed"),
    ],
)
def test_every_line_is_read(wire: bytes, reason: str) -> None:
    """However the bytes are cut and however it ends, each whole line is read, blank ones count as
    keep-alives, and the end is told by its reason.
    """
    handler = Handler()
    with serving(lambda sock: sock.sendall(wire)) as (url, _):
        end = _read(url, handler)
    assert handler.lines == [b"one", b"two"]
    assert handler.keep_alives == 1
    assert handler.parts == []
    assert end.reason == reason
    assert end.had_data


@pytest.mark.parametrize("end", [b"", b"0\r\n\r\n"])
def test_half_a_line_is_told(end: bytes) -> None:
    """What came of a line that the connection cut is passed on as such, not as a line."""
    handler = Handler()
    with serving(lambda sock: sock.sendall(CHUNKED + _chunk(b"one\r\nhal") + end)) as (url, _):
        _read(url, handler)
    assert handler.lines == [b"one"]
    assert handler.parts == [b"hal"]


def test_a_line_comes_at_once_without_chunks() -> None:
    """A post is read when it comes, not when 64 KB are full, chunked or not."""
    handler = Handler()
    more = threading.Event()

    def answer(sock: socket.socket) -> None:
        sock.sendall(HEAD + b"Connection: close\r\n\r\none\r\n")
        more.wait(5)

    with serving(answer) as (url, _):
        thread = threading.Thread(target=_read, args=(url, handler))
        thread.start()
        deadline = time.monotonic() + 3
        while not handler.lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert handler.lines == [b"one"]
        more.set()
        thread.join(5)


@pytest.mark.parametrize("begun", [b"", b"5", b"5\r\n"])
def test_what_came_at_once_is_kept_at_once(begun: bytes) -> None:
    """Posts that have come together are kept in few goes, and none waits for the next one, though
    that has begun to come.
    """
    handler = Handler()
    kept = threading.Event()

    def answer(sock: socket.socket) -> None:
        sock.sendall(CHUNKED + b"".join(_chunk(b"%0999d\r\n" % n) for n in range(100)) + begun)
        kept.wait(5)

    with serving(answer) as (url, _):
        thread = threading.Thread(target=_read, args=(url, handler))
        thread.start()
        wait_for(lambda: handler.ends and handler.ends[-1] == 100, what="all to be kept")
        assert len(handler.ends) < 20
        kept.set()
        thread.join(5)


@pytest.mark.parametrize(("size", "least", "most"), [(4_096, 1, 40_000), (None, 60_000, 10**9)])
def test_with_a_budget_little_is_on_the_way(size: int | None, least: int, most: int) -> None:
    """With a budget the socket takes little that is not read, from the connect on and uncompressed;
    without one the system decides.
    """
    sent, full = [0], threading.Event()

    def answer(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        sock.sendall(CHUNKED)
        sock.settimeout(0.3)
        with suppress(TimeoutError):
            while sent[0] < 1_000_000:
                sent[0] += sock.send(_chunk(b"x" * 1000 + b"\r\n"))
        full.set()

    class Still(Handler):
        def connected(self, x_time: float | None) -> None:
            """Read nothing for as long as X has anywhere to send."""
            full.wait(20)

    with serving(answer) as (url, heads):
        Stream("some-token", url, Still(), size).read({})
    assert least <= sent[0] <= most
    assert (b"Accept-Encoding: identity" in heads[0]) == (size is not None)


def test_compressed_stream() -> None:
    """A stream that X compresses is read line by line too."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    first = packer.compress(b"one\r\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    second = packer.compress(b"two\r\n") + packer.flush()
    assert gzip.decompress(first + second) == b"one\r\ntwo\r\n"
    wire = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    wire += _chunk(first) + _chunk(second) + b"0\r\n\r\n"
    handler = Handler()
    with serving(lambda sock: sock.sendall(wire)) as (url, _):
        _read(url, handler)
    assert handler.lines == [b"one", b"two"]


def test_huge_line_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than the bound is told with its start and length; the lines around are read."""
    monkeypatch.setattr(transport, "MAX_LINE", 100_000)
    huge = b"x" * 1_000_000
    wire = CHUNKED + _chunk(b"one\r\n" + huge + b"\r\ntwo\r\n") + b"0\r\n\r\n"
    handler = Handler()
    with serving(lambda sock: sock.sendall(wire)) as (url, _):
        _read(url, handler)
    assert handler.lines == [b"one", b"two"]
    ((start, length),) = handler.large
    assert length >= 1_000_000
    assert 100_000 < len(start) < 300_000
    assert huge.startswith(start)


def test_silence_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is silent for the read time-out is ended as stalled; X's 20 s are within it."""
    assert transport.READ_TIMEOUT == 30
    monkeypatch.setattr(transport, "READ_TIMEOUT", 0.3)

    def answer(sock: socket.socket) -> None:
        sock.sendall(CHUNKED + _chunk(b"one\r\n"))
        time.sleep(1)

    with serving(answer) as (url, _):
        assert _read(url, Handler()).reason == "stalled"


def test_calls_have_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rules call that X never answers does not hang for ever, as tweepy's would."""
    monkeypatch.setattr(x_api, "CALL_TIMEOUT", (1, 0.3))
    with (
        serving(lambda _: time.sleep(1)) as (url, _),
        pytest.raises(requests.exceptions.ReadTimeout),
    ):
        XApi("some-token", url).call("GET", "/2/tweets/search/stream/rules")


def test_refusal_is_told_with_words_and_reset() -> None:
    """Status, X's words and its reset time are told; a reset that is not the limit's is not."""
    body = b'{"title":"Too Many Requests"}'

    def answer(remaining: bytes) -> Callable[[socket.socket], None]:
        head = b"HTTP/1.1 429 Too Many\r\nx-rate-limit-reset: 1700000000\r\n"
        head += b"x-rate-limit-remaining: " + remaining + b"\r\n"
        return lambda sock: sock.sendall(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    with serving(answer(b"0")) as (url, _):
        end = _read(url, Handler())
    assert end.reason == "http_429"
    assert end.refusal
    assert (end.refusal.kind, end.refusal.reset) == (Kind.LIMIT, 1_700_000_000)
    assert "Too Many Requests" in end.refusal.words
    with serving(answer(b"44")) as (url, _):
        end = _read(url, Handler())
    assert end.refusal
    assert end.refusal.reset is None


def test_a_reset_is_a_time_of_our_own_clock() -> None:
    """A clock that is set wrong makes a wait of a minute no longer: X's Date tells what it is."""
    body = b'{"title":"Too Many Requests"}'
    head = f"HTTP/1.1 429 Too Many\r\nDate: {formatdate(1_700_000_000, usegmt=True)}\r\n"
    head += f"x-rate-limit-reset: 1700000062\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(lambda sock: sock.sendall(head.encode() + body)) as (url, _):
        refusal = _read(url, Handler()).refusal
    assert refusal
    assert refusal.reset == pytest.approx(time.time() + 62, abs=10)


def test_a_redirect_is_not_followed() -> None:
    """Its posts would come past our reading: paid for, in no budget, row or gap."""
    head = b"HTTP/1.1 308 Moved\r\nLocation: /2/posts/search/stream\r\nContent-Length: 0\r\n\r\n"
    handler = Handler()
    with serving(lambda sock: sock.sendall(head)) as (url, seen):
        end = _read(url, handler)
    assert (end.reason, end.connected, len(seen)) == ("http_308", False, 1)
    assert handler.lines == []


@pytest.mark.parametrize("pause", [0.05, 0.0])
def test_a_refusal_without_an_end_is_read_for_a_while(
    monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    """A body that drips, or has no end, neither holds up the stream for good nor fills memory."""
    monkeypatch.setattr(transport, "PAGE_SECONDS", 0.5)
    sent = [0]

    def answer(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 503 Down\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            part = b"." if pause else b"." * 4096
            sock.sendall(part)
            sent[0] += len(part)
            time.sleep(pause)

    with serving(answer) as (url, _):
        end = _read(url, Handler())
    assert end.reason == "http_503"
    assert end.refusal
    assert end.refusal.words.startswith("HTTP 503: ..")
    assert sent[0] < 10_000_000


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[" * 100_000, "application/json"),
        (b'{"a":' + b"1" * 5000 + b"}", "application/json"),
        (b"x", "text/plain; charset=undefined"),
        (b'{"title":"half \\ud83d"}', "application/json"),
    ],
)
def test_an_odd_body_of_a_refusal_is_a_refusal(body: bytes, kind: str) -> None:
    """Whatever stands in the body, the answer is a line for a person and no crash."""
    head = f"HTTP/1.1 503 Down\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(lambda sock: sock.sendall(head.encode() + body)) as (url, _):
        with pytest.raises(XRefusedError, match="HTTP 503"):
            XApi("some-token", url).call("GET", "/2/usage/tweets")
        assert _read(url, Handler()).reason == "http_503"


def test_half_an_emoji_in_an_answer_is_mended() -> None:
    """What a search gives back can be published as what the stream sends."""
    body = b'{"data":[{"text":"cut \\ud83d"}]}'
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    with serving(lambda sock: sock.sendall(head + body)) as (url, _):
        answer = XApi("some-token", url).call("GET", "/2/tweets/search/recent")
    assert answer["data"][0]["text"] == "cut \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("body", [b"[]", b'"ok"', b"1", b"null", b""])
def test_an_answer_that_is_no_object_is_a_stranger_s(body: bytes) -> None:
    """JSON of another form with 200 is not taken for X's."""
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    with (
        serving(lambda sock: sock.sendall(head + body)) as (url, _),
        pytest.raises(XRefusedError, match="no answer of X"),
    ):
        XApi("some-token", url).call("GET", "/2/usage/tweets")


def test_a_page_with_200_is_no_stream() -> None:
    """HTML in place of a stream, as a proxy sends it, is a refusal in one line: no line of it is
    read, and nothing counts as connected.
    """
    page = b"<html>\n<body>\nSign in to the hotel\n</body>\n</html>"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
    handler = Handler()
    with serving(lambda sock: sock.sendall(head + page)) as (url, _):
        end = _read(url, handler)
    assert (handler.lines, handler.accepted, end.connected) == ([], 0, False)
    assert end.refusal
    assert end.refusal.kind is Kind.STRANGER
    assert "Sign in to the hotel" in str(end.refusal)
    assert "\n" not in str(end.refusal)


def test_netrc_never_replaces_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry for every host in ~/.netrc does not reach X in place of the token."""
    path = tmp_path / "netrc"
    path.write_text("default login somebody password sesame\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    with serving(lambda sock: sock.sendall(HEAD + b"Content-Length: 0\r\n\r\n")) as (url, seen):
        _read(url, Handler())
    assert b"Authorization: Bearer some-token\r\n" in seen[0]
    assert b"Basic" not in seen[0]


def test_unreachable() -> None:
    """No server is told as unreachable."""
    end = _read("http://127.0.0.1:1", Handler())
    assert (end.reason, end.connected) == ("unreachable", False)


def test_a_failing_handler_does_not_end_silently(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in the handler, after which tweepy returns as if all were well, is told."""

    class Failing(Handler):
        def line(self, line: bytes) -> None:
            raise KeyError("no such thing")

    with serving(lambda sock: sock.sendall(CHUNKED + _chunk(b"one\r\n"))) as (url, _):
        end = _read(url, Failing())
    assert end.reason == "fault"
    assert "no such thing" in end.words
    assert "a fault in this program" in caplog.text


def test_stop_is_at_once_and_loses_nothing(make_x: Callable[..., XServer]) -> None:
    """stop() from another thread ends a full stream within the second, and every line that the
    stand-in saw acknowledged was read.
    """
    x = make_x(rate=0)
    reconcile(XApi("some-token", x.url), [Rule("cloud")])
    handler = Handler()
    stream = Stream("some-token", x.url, handler)
    ends: list[End] = []
    thread = threading.Thread(target=lambda: ends.append(stream.read({})))
    thread.start()
    while len(handler.lines) < 2000:
        time.sleep(0.01)
    begin = time.monotonic()
    stream.stop("shutdown")
    thread.join(10)
    assert time.monotonic() - begin < 4
    assert ends[0].reason == "shutdown"
    while x.app.stream.wires:
        time.sleep(0.01)
    assert len(handler.lines) >= len(x.app.ledger.lost) - sum(x.app.ledger.lost)


@pytest.mark.parametrize("polite", [True, False])
def test_stop_of_a_silent_stream(*, polite: bool) -> None:
    """stop() ends a blocked read within a second whether or not the server heeds our close."""
    handler = Handler()
    over = threading.Event()

    def answer(sock: socket.socket) -> None:
        sock.sendall(CHUNKED + _chunk(b"one\r\n"))
        if polite:
            sock.recv(1)
            for line in (b"two\r\n", b"three\r\n", b"four\r\n"):
                sock.sendall(_chunk(line))
                time.sleep(0.05)
            sock.sendall(b"0\r\n\r\n")
        else:
            over.wait(5)

    with serving(answer) as (url, _):
        stream = Stream("some-token", url, handler)
        thread = threading.Thread(target=stream.read, args=({},))
        thread.start()
        while not handler.lines:
            time.sleep(0.01)
        begin = time.monotonic()
        stream.stop("shutdown")
        thread.join(5)
        took = time.monotonic() - begin
        over.set()
    assert took < 2
    # What X had still to say is read as well.
    rest = [b"two", b"three", b"four"] if polite else []
    assert handler.lines == [b"one", *rest]


def test_stop_of_a_stream_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """stop() ends, in its time, a stream that goes on and on, and does not connect again."""
    monkeypatch.setattr("producer.stream.PATIENCE", 0.1)
    monkeypatch.setattr("producer.stream.DRAIN", 0.0)
    handler = Handler()

    def answer(sock: socket.socket) -> None:
        sock.sendall(CHUNKED)
        while True:
            sock.sendall(_chunk(b"line\r\n" * 1000))

    with serving(answer) as (url, seen):
        stream = Stream("some-token", url, handler)
        thread = threading.Thread(target=stream.read, args=({},))
        thread.start()
        while not handler.lines:
            time.sleep(0.01)
        stream.stop("shutdown")
        thread.join(5)
        assert not thread.is_alive()
        time.sleep(0.1)
        assert len(seen) == 1


def test_stop_before_the_answer() -> None:
    """stop() while X has not answered yet ends the connection as soon as it does."""
    gate = threading.Event()

    def answer(sock: socket.socket) -> None:
        gate.wait(5)
        sock.sendall(CHUNKED + _chunk(b"one\r\n"))
        time.sleep(0.5)

    handler = Handler()
    ends: list[End] = []
    with serving(answer) as (url, seen):
        stream = Stream("some-token", url, handler)
        thread = threading.Thread(target=lambda: ends.append(stream.read({})))
        thread.start()
        while not seen:
            time.sleep(0.01)
        stream.stop("shutdown")
        gate.set()
        thread.join(5)
    assert ends[0].reason == "shutdown"
    assert handler.lines == []


def test_tls_keeps_what_has_arrived(tls: tuple[ssl.SSLContext, str], monkeypatch: Any) -> None:
    """Over TLS a stop still decrypts what has arrived (SSLSocket.shutdown() would not)."""
    context, authority = tls
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority)
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(CHUNKED + _chunk(b"one\r\n"))
            stopped.wait(5)
            with suppress(OSError):
                for number in range(50):
                    secure.sendall(_chunk(b"line%d\r\n" % number))
            time.sleep(0.2)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    handler = Handler()
    stream = Stream("some-token", f"https://localhost:{listener.getsockname()[1]}", handler)
    reader = threading.Thread(target=stream.read, args=({},))
    reader.start()
    while not handler.lines:
        time.sleep(0.01)
    stream.stop("shutdown")
    stopped.set()
    reader.join(10)
    thread.join(10)
    listener.close()
    assert handler.lines == [b"one", *(b"line%d" % number for number in range(50))]
    assert handler.parts == []


def test_a_used_up_budget_ends_with_the_chunk() -> None:
    """Nothing more is read then, not even what X has sent meanwhile: X would go on sending."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(CHUNKED + _chunk(b"one\r\ntwo\r\n"))
        for _ in range(1000):
            time.sleep(0.001)
            sock.sendall(_chunk(b"more\r\n" * 100))

    handler = Handler()
    handler.enough = 2
    with serving(answer) as (url, _):
        _read(url, handler)
    assert handler.lines[:2] == [b"one", b"two"]
    assert len(handler.lines) == handler.ends[0]
