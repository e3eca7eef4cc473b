"""Whoever may call the function may send anything: refused, in bounded memory, never a crash."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from sink.endpoint import Endpoint, MessageWriter
from sink.faults import PassingError, PoisonError, RefusedError
from sink.push import (
    BODY_COST,
    LARGE_SHARE,
    MAX_BODY_BYTES,
    VALUE_COST,
    Claim,
    decode,
    memory,
    read,
)
from sink.rows import TableSchema
from tests.sink.deployed import SCHEMAS, Function, event, post, push

T = TypeVar("T")
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_only_post(shared: Function, method: str) -> None:
    """Any other method is answered 405 with what is allowed."""
    answer = shared.request(method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {},
        {"Content-Type": "application/x-www-form-urlencoded"},
        JSON | {"Content-Encoding": "gzip"},
    ],
)
def test_only_plain_json(shared: Function, headers: dict[str, str]) -> None:
    """Another content type or a compressed body is answered 415."""
    assert shared.request("POST", gzip.compress(push(post(1))), headers).status == 415


def test_charset_is_welcome(shared: Function) -> None:
    """A content type with a parameter is JSON all the same."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert shared.request("POST", push(post(1)), headers).status == 204


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"message": 1}',
        b'{"message": {}}',
        b'{"message": {"messageId": 5}}',
        b'{"message": {"messageId": "m", "data": "####"}}',
        b'{"message": {"messageId": "m", "data": "YQ"}}',
        b'{"message": {"messageId": "m", "data": {"a": 1}}}',
        '{"message": {"messageId": "m", "data": "바"}}'.encode(),
        b'{"message": {"messageId": "m", "attributes": [1]}}',
        b'{"message": {"messageId": "m", "attributes": {"kind": 1}}}',
        b'{"message": {"messageId": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"a": [' + b"[]," * 20_000 + b"1]}",
    ],
    ids=lambda body: body[:60].decode("latin-1"),
)
def test_body_that_is_no_push(shared: Function, body: bytes) -> None:
    """A body without a message in it is answered 400 with the reason, in a line of the log too."""
    answer = shared.push(body)
    assert (answer.status, answer.text.split(":")[0]) == (400, "malformed_push")
    line = shared.logs()[-1]
    assert line["logging.googleapis.com/labels"]["reason"] == "malformed_push"
    assert shared.plain_output() == ""


def raw_request(function: Function, head: bytes, chunks: Iterator[bytes] | list[bytes]) -> bytes:
    """Send a request by hand until the function answers; the status line."""
    with socket.create_connection(("127.0.0.1", function.port), timeout=20) as sender:
        sender.sendall(head)
        try:
            for chunk in chunks:
                sender.sendall(chunk)
        except OSError:
            pass  # it answered and closed: what we want to see
        return sender.recv(200).split(b"\r\n")[0]


def test_declared_size_is_refused_unread(shared: Function) -> None:
    """A Content-Length above the bound is answered 413 before a byte of the body is sent."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: %d\r\n\r\n"
    assert b" 413 " in raw_request(shared, head % (MAX_BODY_BYTES + 1), [])


def test_undeclared_size_is_refused_on_the_way(shared: Function) -> None:
    """A chunked body that goes on for ever is answered 413 when it passes the bound."""
    head = (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
    assert b" 413 " in raw_request(shared, head, [chunk] * 200)


def record_push(data: bytes) -> bytes:
    """A push of these bytes as a post, as small as it can be."""
    message = {"messageId": "m", "data": base64.b64encode(data).decode()}
    return json.dumps({"message": message | {"attributes": {"kind": "post"}}}).encode()


def hostile_bodies() -> Iterator[bytes]:
    """Bodies at the bound that cost most once parsed."""
    size = MAX_BODY_BYTES - 100
    yield b'{"a":[' + b"[]," * (size // 3) + b"1]}"
    yield (
        b'{"message":{"messageId":"m","attributes":{'
        + b",".join(b'"%d":"x"' % n for n in range(1_000_000))
        + b"}}}"
    )
    yield b'{"x":' + b'{"x":' * (size // 6)
    yield b'{"x":' + (b"[" * 900 + b"]" * 900) * 8000
    for inner in (b"[]," * 3_000_000, b'{"a":1},' * 1_200_000, b"[" * 9_000_000):
        yield record_push(b'{"id":[' + inner + b"1]}")
    # A JSON column is a text whose meaning is BigQuery's: commas in it may be written otherwise.
    for inner in (rb"[]\u002c" * 1_200_000, rb"\u005b\u005d\u002c" * 500_000, b"[]," * 66_000):
        yield record_push(b'{"id":1,"new":1,"raw":"[' + inner + b'1]"}')
    yield record_push(b'{"id":1,"text":[' + b'{"a":1},' * 90_000 + b"1]}")
    yield record_push(b'{"id":1,"text":[' + (b"[" * 900 + b"]" * 900) * 200 + b"]}")


def peak_while(function: Function, work: Callable[[], T]) -> tuple[int, T]:
    """The function's largest memory while `work` goes on in another thread, and its result."""
    peak = 0
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        while not working.done():
            peak = max(peak, function.memory())
            time.sleep(0.005)
        return peak, working.result()


@pytest.mark.usefixtures("dead_letters")
def test_memory_does_not_grow(shared: Function) -> None:
    """Bodies made to blow up once parsed are answered, and the memory never rises much."""
    # The Pub/Sub client is loaded with the first dead letter.
    assert {shared.push(body).status for body in (push(post(1)), push(b"{"))} == {204}
    before = shared.memory()
    for body in hostile_bodies():
        peak, status = peak_while(shared, lambda: shared.push(body).status)  # noqa: B023 - it ends
        assert status in {204, 400}
        # Body, decoded data and dead letter of 15 MB each; parsed, they are 300 MB and more.
        assert peak - before < 150e6, body[:100]
    assert shared.push(push(post(1))).status == 204


@pytest.mark.usefixtures("dead_letters")
def test_hostile_bodies_together_leave_room_for_posts(shared: Function) -> None:
    """Sent all at once and again, they stay within the function's 512 MiB; posts are written."""
    bodies = list(hostile_bodies())

    def sent(body: bytes) -> int:
        try:
            return shared.push(body).status
        except OSError:
            return 503  # it was answered and closed before its end

    def attack() -> tuple[set[int], set[int]]:
        ordinary = set()
        with ThreadPoolExecutor(len(bodies)) as pool:
            hostile = [pool.submit(sent, body) for body in bodies * 2]
            while not all(answer.done() for answer in hostile):
                ordinary.add(shared.push(push(post(1))).status)
        return {answer.result() for answer in hostile}, ordinary

    peak, (hostile, ordinary) = peak_while(shared, attack)
    assert peak < 450e6
    assert hostile <= {204, 400, 503}
    assert ordinary == {204}


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("sent", [0, 100_000, MAX_BODY_BYTES - 1])
def test_stalled_bodies_keep_no_one_waiting(shared: Function, sent: int) -> None:
    """Bodies that stop on the way are ended in seconds; posts are written meanwhile."""
    with contextlib.ExitStack() as stack:
        stalled = [
            stack.enter_context(socket.create_connection(("127.0.0.1", shared.port), timeout=20))
            for _ in range(8)
        ]
        for sender in stalled:
            with contextlib.suppress(OSError):  # the share of large bodies may be used up
                sender.sendall(HEAD % MAX_BODY_BYTES + b" " * sent)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(shared.push, [push(post(n)) for n in range(100)]))
        assert [answer.status for answer in answers] == [204] * 100
        for sender in stalled:
            with contextlib.suppress(ConnectionResetError):
                answer = b"".join(iter(lambda sender=sender: sender.recv(4096), b""))  # type: ignore[misc]
                assert answer.split()[1] in ({b"408"} if sent < 10_000_000 else {b"408", b"503"})
    assert shared.push(push(post(1))).status == 204


SCOPE: dict[str, Any] = {"method": "POST", "headers": [(b"content-type", b"application/json")]}


def received(size: int, part: int = 1_000_000) -> Any:
    """An ASGI receive for a body that comes in parts, and then is at its end."""
    sent = 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        now = min(part, size - sent)
        sent += now
        return {"type": "http.request", "body": b" " * now, "more_body": sent < size}

    return receive


async def test_memory_is_claimed_as_bytes_arrive_and_given_back() -> None:
    """What is announced costs nothing; what has come is held until its request is over."""
    shares = memory()
    announced = {**SCOPE, "headers": [*SCOPE["headers"], (b"content-length", b"15000000")]}
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            claim = stack.enter_context(Claim(shares))
            await read(announced, received(2_000), claim)
        for _ in range(LARGE_SHARE // (BODY_COST * MAX_BODY_BYTES)):
            await read(SCOPE, received(MAX_BODY_BYTES), stack.enter_context(Claim(shares)))
        with pytest.raises(PassingError), Claim(shares) as claim:
            await read(SCOPE, received(MAX_BODY_BYTES), claim)
        # With nothing left for large ones, ordinary ones have a share of their own.
        stack.enter_context(Claim(shares)).change(LARGE_SHARE % (BODY_COST * MAX_BODY_BYTES))
        with Claim(shares) as claim:
            assert len(await read(SCOPE, received(2_000), claim)) == 2_000
    with Claim(shares) as claim:
        assert len(await read(SCOPE, received(MAX_BODY_BYTES), claim)) == MAX_BODY_BYTES


async def test_what_parsing_makes_of_a_body_is_claimed_too() -> None:
    """A small body of many values holds what they take in memory until its answer."""
    endpoint, go_on = Endpoint(), asyncio.Event()
    body = push(b"[" + b"1," * 100_000 + b"1]")
    held = 0

    class Waiting:
        async def write(self, _: object) -> Response:
            nonlocal held
            held += 1
            await go_on.wait()
            return Response(status_code=204)

    async def whole() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    endpoint._writer = cast("MessageWriter", Waiting())
    asked = [endpoint.answer(Request({"type": "http", **SCOPE}, whole)) for _ in range(30)]
    tasks = [asyncio.create_task(each) for each in asked]
    while held + sum(task.done() for task in tasks) < len(tasks):
        await asyncio.sleep(0)
    assert held == LARGE_SHARE // (BODY_COST * len(body) + VALUE_COST * 100_002)
    go_on.set()
    codes = [answer.status_code for answer in await asyncio.gather(*tasks)]
    assert codes == [204] * held + [503] * (30 - held)


async def test_refused_bodies_hold_nothing() -> None:
    """However a body is refused, what it held is given back."""
    shares = memory()

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    for _ in range(20):
        for receive in (received(MAX_BODY_BYTES + 1), gone):
            with pytest.raises(RefusedError), Claim(shares) as claim:
                await read(SCOPE, receive, claim)
    with Claim(shares) as first, Claim(shares) as second:
        await read(SCOPE, received(MAX_BODY_BYTES), first)
        await read(SCOPE, received(MAX_BODY_BYTES), second)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
COLUMNS = [c["name"] for c in json.loads((SCHEMAS / "tweets.json").read_text())]
RECORDS = st.builds(
    lambda changes: post(1) | changes,
    st.dictionaries(st.sampled_from(COLUMNS) | st.text(), JSON_VALUES, max_size=3),
)
DATA = st.one_of(
    st.binary(max_size=200),
    JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    RECORDS.map(lambda record: json.dumps(record).encode()),
)


def envelope(data: bytes, attributes: Any, message_id: Any, extra: Any) -> bytes:
    """A push body with any of its parts wrong."""
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": attributes,
        "messageId": message_id,
        "publishTime": extra,
    }
    return json.dumps({"message": message, "deliveryAttempt": extra}).encode()


ATTRIBUTES = st.one_of(
    st.fixed_dictionaries({"kind": st.sampled_from(["post", "event"])}),
    st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5),
    JSON_VALUES,
)
BODIES = st.one_of(
    st.binary(max_size=300),
    JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    st.builds(envelope, DATA, ATTRIBUTES, st.just("m") | JSON_VALUES, JSON_VALUES),
    st.builds(lambda body, end: body[:end], RECORDS.map(push), st.integers(0, 2000)),
)


@settings(max_examples=250, deadline=None)
@given(BODIES)
def test_any_body_is_row_poison_or_refused(body: bytes) -> None:
    """Decoding and checking end in a row or one of the two known faults, whatever comes."""
    for schema in SCHEMAS.iterdir():
        with contextlib.suppress(RefusedError, PoisonError):
            TableSchema(schema, "p.d.t").row(decode(body))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=BODIES)
def test_any_body_is_answered(
    shared: Function,
    dead_letters: object,  # the topic has to be there
    body: bytes,
) -> None:
    """Over HTTP no body makes the function crash, hang, or write a traceback."""
    assert shared.push(body).status in {204, 400}
    # A table that takes nothing for long is doubted: posts go on between the bad bodies.
    assert {
        shared.push(push(post(1))).status,
        shared.push(push(event("e"), kind="event")).status,
    } == {204}
    assert shared.plain_output() == ""


def test_row_of_the_largest_message(shared: Function) -> None:
    """A post near Pub/Sub's limit becomes a row."""
    assert shared.push(push(post(1, text="x" * 9_700_000))).status == 204
