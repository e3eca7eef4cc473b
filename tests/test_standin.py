"""What the stand-in servers share."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local import standin
from local.pubsub import PubSubServer
from local.standin import bypass_proxies
from local.x import XServer


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"no_proxy": "ours", "NO_PROXY": "corp, localhost"}, "ours,corp,localhost,127.0.0.1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_loopback_is_reached_without_a_proxy(environ: dict[str, str], expected: str) -> None:
    """Hosts that the environment excepts stay so, in the spelling that each library reads."""
    bypass_proxies(environ)
    assert environ == {"no_proxy": expected, "NO_PROXY": expected}


@pytest.fixture(params=["x", "pubsub"])
def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The control page of a stand-in that has less patience than usual."""
    monkeypatch.setattr(standin, "HEAD_SECONDS", 0.5)
    if request.param == "x":
        with XServer() as x:
            yield f"{x.url}/_standin/stats"
    else:
        with PubSubServer() as pubsub:
            yield f"{pubsub.control_url}/stats"


def hold(port: int, begun: bytes) -> socket.socket:
    """A connection whose request is not whole."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(begun)
    return connection


BEGUN = (b"", b"GET /_standin/stats HTTP/1.1\r\nHost: x\r\n")


def test_half_open_connections_keep_nothing(address: str) -> None:
    """400 that say nothing, or half of it, take no thread each, and are ended; others go on."""
    port = int(address.split(":")[2].split("/")[0])
    before = psutil.Process().num_threads()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as kept:
        page = address.rpartition(":")[2].partition("/")[2]
        whole = f"GET /{page} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        kept.sendall(whole)
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        held = [hold(port, BEGUN[number % 2]) for number in range(400)]
        assert "{" in standin.ask(address)
        assert psutil.Process().num_threads() - before < 10
        for each in held:
            with each:
                assert each.recv(1) == b""
        kept.sendall(whole)  # it has asked before, and may wait before it asks again
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")


def test_half_open_connections_to_bigquery_are_ended() -> None:
    """Its server is another library's, and has the same limit."""
    root = Path(standin.__file__).parents[1]
    code = (
        "import sys; from local import standin; standin.HEAD_SECONDS = 0.5; "
        "from local.bigquery.__main__ import main; sys.exit(main(['--port', '0']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout
            url = child.stdout.readline().split()[1]
            for begun in BEGUN:
                with hold(int(url.rpartition(":")[2]), begun) as held:
                    assert held.recv(1) == b""
            assert '"inserts":0' in standin.ask(f"{url}/_standin/stats")
        finally:
            child.terminate()
