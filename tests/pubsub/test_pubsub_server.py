"""The server as a process and its faults: what only the embedded one has."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.pubsub_v1.services.publisher import PublisherClient

from local.pubsub import PubSubServer, push
from local.standin import PortBusyError
from tests.pubsub.conftest import Clients, Endpoint, wait_until

Connect = Callable[[str], Clients]


@contextmanager
def process(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m local.pubsub` and its address; killed at the end if it still runs."""
    command = [sys.executable, "-m", "local.pubsub", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("control http://127.0.0.1:")
        words = child.stdout.readline().split()
        try:
            assert words[0] == "ready", words
            yield child, words[1]
        finally:
            child.kill()


def control(server: PubSubServer, path: str, body: object = None) -> Any:
    """A request to the control port; POST when there is a body."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(server.control_url + path, data) as response:
        return json.load(response)


def test_stats(connect: Connect) -> None:
    """Stats count what was published, what is still owed, and what of that is leased."""
    with PubSubServer() as server:
        pubsub = connect(server.address)
        topic = pubsub.topic()
        name = pubsub.subscription(topic)
        pubsub.publish(topic, b"a", b"b", b"c")
        first, second, _ = pubsub.pull(name, 3)
        pubsub.ack(name, first)
        pubsub.nack(name, second)
        stats = control(server, "/stats")
        assert stats == server.stats()
        assert stats["topics"][topic] == {"published": 3}
        assert stats["subscriptions"][name] == {"backlog": 2, "outstanding": 1}


def test_publish_outage(connect: Connect) -> None:
    """During the fault Publish is UNAVAILABLE; the official client retries it through."""
    with PubSubServer() as server:
        pubsub = connect(server.address)
        topic = pubsub.topic()
        name = pubsub.subscription(topic)
        control(server, "/faults", {"publish_unavailable_seconds": 0.3})
        request = {"topic": topic, "messages": [{"data": b"x"}]}
        with pytest.raises(exceptions.ServiceUnavailable):
            PublisherClient.publish(pubsub.publisher, request=request, retry=None)
        pubsub.publish(topic, b"through")
        assert [item.message.data for item in pubsub.pull(name)] == [b"through"]
        assert server.stats()["faults"]["refused_publishes"] >= 2


def test_redelivery_of_acknowledged_messages(connect: Connect, endpoint: Endpoint) -> None:
    """The redelivery fault pushes acknowledged messages a second time, as many as asked."""
    with PubSubServer() as server:
        pubsub = connect(server.address)
        topic = pubsub.topic()
        name = pubsub.subscription(topic, push_config={"push_endpoint": endpoint.url})
        server.faults.redeliver(1.0, 3)
        pubsub.publish(topic, *[b"x"] * 10)
        wait_until(lambda: len(endpoint.bodies) == 13)
        wait_until(lambda: server.stats()["subscriptions"][name]["backlog"] == 0)
        time.sleep(0.3)
        assert len(endpoint.bodies) == 13
        assert len({body["message"]["messageId"] for body in endpoint.bodies}) == 10
        assert server.stats()["faults"]["redelivered"] == 3


@pytest.mark.parametrize(
    "body", [{"nonsense": 1}, [], {"redeliver": 2, "count": 1}, {"redeliver": "x"}]
)
def test_bad_fault_request(body: object) -> None:
    """A fault request that is not understood answers 400 with the reason."""
    with PubSubServer() as server:
        with pytest.raises(urllib.error.HTTPError) as caught:
            control(server, "/faults", body)
        with caught.value as answer:
            assert answer.code == 400
            assert json.load(answer)["error"].startswith("/faults: ")


def test_backlog_survives_kill(connect: Connect, tmp_path: Path) -> None:
    """After kill -9 topics, subscriptions and unacknowledged messages are back, acked ones not."""
    flags = ["--data-dir", str(tmp_path)]
    with process(*flags) as (child, address):
        pubsub = connect(address)
        topic = pubsub.topic()
        name = pubsub.subscription(topic)
        old = pubsub.publish(topic, *[b"%d" % n for n in range(100)], kind="post")
        pubsub.ack(name, *pubsub.pull(name, 40))
        time.sleep(1.0)  # an acknowledgement is written with the next tick
        child.send_signal(signal.SIGKILL)
        child.wait()
    with process(*flags) as (child, address):
        pubsub = connect(address)
        assert pubsub.subscriber.get_subscription(subscription=name).topic == topic
        new = pubsub.publish(topic, b"new", kind="post")
        received = pubsub.pull(name, 61)
        assert {item.message.data for item in received} == {
            *(b"%d" % n for n in range(40, 100)),
            b"new",
        }
        assert received[0].message.attributes == {"kind": "post"}
        assert not set(old) & set(new)
        pubsub.ack(name, *received)
        pubsub.subscriber.delete_subscription(subscription=name)
    with process(*flags) as (child, address):
        pubsub = connect(address)
        assert pubsub.publisher.get_topic(topic=topic).name == topic
        with pytest.raises(exceptions.NotFound):
            pubsub.peek(name)


def test_journal_shrinks_when_acknowledged(connect: Connect, tmp_path: Path) -> None:
    """Acknowledged messages leave the data directory, so that it does not grow for ever."""
    with PubSubServer(data_dir=tmp_path) as server:
        pubsub = connect(server.address)
        topic = pubsub.topic()
        name = pubsub.subscription(topic)
        for _ in range(5):
            pubsub.publish(topic, *[os.urandom(100_000)] * 20)
            for _ in range(20):
                pubsub.ack(name, *pubsub.pull(name))
            time.sleep(0.1)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) < 5_000_000


def test_sigterm_ends_with_a_pull_waiting(connect: Connect) -> None:
    """SIGTERM ends the process with exit 0, though a pull waits for its first message."""
    with process() as (child, address):
        pubsub = connect(address)
        name = pubsub.subscription(pubsub.topic())
        ended: list[exceptions.GoogleAPICallError] = []

        def wait() -> None:
            try:
                pubsub.subscriber.pull(subscription=name, max_messages=1, retry=None, timeout=20)
            except exceptions.GoogleAPICallError as error:
                ended.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        pubsub.publish(pubsub.topic(), b"the pull has had time to arrive")
        child.terminate()
        assert child.wait(timeout=20) == 0
        waiting.join(20)
        assert ended


@pytest.mark.parametrize("flag", ["--port", "--control-port"])
def test_busy_port(flag: str) -> None:
    """A port in use is one line on stderr and exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        other = [] if flag == "--port" else ["--port", "0"]
        command = [sys.executable, "-m", "local.pubsub", flag, str(port), *other]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"pubsub: cannot listen on 127.0.0.1:{port} (Address already in use): "
        "end what listens there, or name another --port"
    ]


def test_two_servers_never_share_a_port() -> None:
    """A second server on the port of a first is refused, not balanced with it."""
    with PubSubServer() as server:
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(PortBusyError), PubSubServer(port=port):
            pass


def test_data_directory_in_use(tmp_path: Path) -> None:
    """A data directory that another server holds is one line on stderr and exit code 2."""
    with PubSubServer(data_dir=tmp_path):
        command = [sys.executable, "-m", "local.pubsub", "--port", "0", "--data-dir", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "another server" in line


@pytest.mark.parametrize("value", ["http", "70000", "-1"])
def test_bad_port(value: str) -> None:
    """A port that is none is refused with the rule and exit code 2."""
    command = [sys.executable, "-m", "local.pubsub", f"--port={value}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "0 (any free) to 65535" in line


def test_a_large_backlog_stays_small(connect: Connect) -> None:
    """30,000 waiting messages of 1.5 KB cost less than 3 KB each in the server's memory."""
    psutil = pytest.importorskip("psutil")
    with process() as (child, address):
        pubsub = connect(address)
        topic = pubsub.topic()
        name = pubsub.subscription(topic)
        pubsub.publish(topic, b"warm")
        before = psutil.Process(child.pid).memory_info().rss
        threads = [
            threading.Thread(target=_fill, args=(pubsub, topic, os.urandom(1500))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        grown = psutil.Process(child.pid).memory_info().rss - before
        assert pubsub.subscriber.get_subscription(subscription=name)
    assert grown < 30_000 * 3000


def _fill(pubsub: Clients, topic: str, data: bytes) -> None:
    request = {"topic": topic, "messages": [{"data": data}] * 500}
    for _ in range(30):
        PublisherClient.publish(pubsub.publisher, request=request, timeout=10)


def test_push_limit(connect: Connect, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Push never has more requests in flight than its limit."""
    monkeypatch.setattr(push, "MOST_IN_FLIGHT", 7)
    endpoint.delay = 0.05
    with PubSubServer() as server:
        pubsub = connect(server.address)
        topic = pubsub.topic()
        pubsub.subscription(topic, push_config={"push_endpoint": endpoint.url})
        pubsub.publish(topic, *[b"x"] * 100)
        wait_until(lambda: len(endpoint.bodies) == 100)
        assert endpoint.most_in_flight == 7
