"""Whoever may call the function may send anything: refused, in bounded memory, never a crash."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sink.faults import PoisonError, RefusedError
from sink.push import MAX_BODY_BYTES, Message, decode
from sink.rows import RowSchema
from tests.sink.deployed import SCHEMAS, Function, post, push

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
    for inner in (b"[]," * 3_000_000, b'{"a":1},' * 1_200_000, b"[" * 9_000_000):
        data = base64.b64encode(b'{"id":[' + inner + b"1]}").decode()
        message = {"messageId": "m", "data": data, "attributes": {"kind": "post"}}
        yield json.dumps({"message": message}).encode()


@pytest.mark.usefixtures("dead_letters")
def test_memory_does_not_grow(shared: Function) -> None:
    """Bodies made to blow up once parsed are answered, and the memory never rises much."""
    assert shared.push(push(post(1))).status == 204
    before = shared.memory()
    with ThreadPoolExecutor(1) as pool:
        for body in hostile_bodies():
            answer, peak = pool.submit(shared.push, body), 0
            while not answer.done():
                peak = max(peak, shared.memory())
                time.sleep(0.005)
            assert answer.result().status in {204, 400}
            # Body, decoded data and dead letter of 15 MB each; parsed, they are 300 MB and more.
            assert peak - before < 150e6
    assert shared.push(push(post(1))).status == 204


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
            RowSchema(schema).row(decode(body))


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
    assert shared.plain_output() == ""


def test_row_of_the_largest_message(shared: Function) -> None:
    """A post near Pub/Sub's limit is written or dead-lettered with its size, never refused."""
    with pytest.raises(PoisonError, match="BigQuery takes") as caught:
        RowSchema(SCHEMAS / "tweets.json").row(
            Message("m", json.dumps(post(1, text="x" * 9_950_000)).encode())
        )
    assert caught.value.reason == "too_large"
    assert shared.push(push(post(1, text="x" * 9_700_000))).status == 204
