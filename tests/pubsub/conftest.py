"""Fixtures: the embedded server and Google's emulator behind the same official clients."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from google.cloud import pubsub_v1

from local.pubsub import PubSubServer

GOOGLE = Path("/usr/lib/google-cloud-sdk/platform/pubsub-emulator/bin/cloud-pubsub-emulator")
PROJECT = "projects/demo"


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Return once `condition` holds; fail the test after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still not so after {seconds} s"
        time.sleep(0.01)


@contextlib.contextmanager
def google_emulator() -> Iterator[str]:
    """Google's emulator on a free loopback port; skips where it is not installed."""
    if not GOOGLE.exists() or shutil.which("java") is None:
        pytest.skip("Google's emulator (gcloud component pubsub-emulator) or java is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(GOOGLE), "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, 30)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session", params=["embedded", "google"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that must pass the test: ours, then Google's emulator."""
    if request.param == "google":
        with google_emulator() as address:
            yield address
    else:
        with PubSubServer() as server:
            yield server.address


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of behaviour that Google's service has and its emulator has not."""
    config.addinivalue_line(
        "markers", "service_only(reason): the service does this and Google's emulator does not"
    )


@pytest.fixture(autouse=True)
def service_only(request: pytest.FixtureRequest) -> None:
    """Skip a marked test on Google's emulator, with the marker's reason."""
    marker = request.node.get_closest_marker("service_only")
    callspec = getattr(request.node, "callspec", None)
    if marker and callspec and callspec.params.get("backend") == "google":
        pytest.skip(f"Google's emulator differs from the service: {marker.args[0]}")


class Clients:
    """Official clients and short forms for what tests repeat; names are unique to a test."""

    def __init__(self, address: str) -> None:
        os.environ["PUBSUB_EMULATOR_HOST"] = address
        self.publisher = pubsub_v1.PublisherClient()
        self.subscriber = pubsub_v1.SubscriberClient()
        del os.environ["PUBSUB_EMULATOR_HOST"]

    def topic(self, **config: Any) -> str:
        """Create a topic; returns its name."""
        name = f"{PROJECT}/topics/t-{uuid.uuid4().hex}"
        self.publisher.create_topic(request={"name": name, **config})
        return name

    def subscription(self, topic: str, **config: Any) -> str:
        """Create a subscription; returns its name."""
        name = f"{PROJECT}/subscriptions/s-{uuid.uuid4().hex}"
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **config})
        return name

    def publish(self, topic: str, *data: bytes, **attributes: str) -> Any:
        """Publish and wait; returns the message ids."""
        futures = [self.publisher.publish(topic, item, **attributes) for item in data]
        return [future.result(timeout=10) for future in futures]

    def pull(self, subscription: str, count: int = 1, seconds: float = 10.0) -> list[Any]:
        """Pull until `count` messages came; fail after `seconds`."""
        messages: list[Any] = []
        end = time.monotonic() + seconds
        while len(messages) < count:
            assert time.monotonic() < end, f"{len(messages)} of {count} messages in {seconds} s"
            messages += self.peek(subscription, count - len(messages))
        return messages

    def peek(self, subscription: str, count: int = 100) -> list[Any]:
        """What is there at this moment, empty when nothing is."""
        request = {
            "subscription": subscription,
            "max_messages": count,
            "return_immediately": True,
        }
        with contextlib.suppress(DeprecationWarning):
            return list(self._pull_at_once(request).received_messages)
        return []

    def _pull_at_once(self, request: dict[str, Any]) -> Any:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # no other way to look and not wait
            return self.subscriber.pull(request=request, timeout=10)

    def ack(self, subscription: str, *received: Any) -> None:
        """Acknowledge pulled messages."""
        self.subscriber.acknowledge(
            subscription=subscription, ack_ids=[message.ack_id for message in received]
        )

    def nack(self, subscription: str, *received: Any, seconds: int = 0) -> None:
        """Move the deadline of pulled messages; 0 gives them back."""
        self.subscriber.modify_ack_deadline(
            subscription=subscription,
            ack_ids=[message.ack_id for message in received],
            ack_deadline_seconds=seconds,
        )

    def push_to(self, subscription: str, push_config: dict[str, str]) -> None:
        """Change where a subscription's messages go; an empty configuration makes it a pull one."""
        self.subscriber.update_subscription(
            subscription={"name": subscription, "push_config": push_config},
            update_mask={"paths": ["push_config"]},
        )

    def close(self) -> None:
        """Close the channels."""
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()


@pytest.fixture
def connect() -> Iterator[Callable[[str], Clients]]:
    """Official clients for an address, closed after the test."""
    with contextlib.ExitStack() as stack:

        def clients(address: str) -> Clients:
            made = Clients(address)
            stack.callback(made.close)
            return made

        yield clients


@pytest.fixture
def pubsub(backend: str, connect: Callable[[str], Clients]) -> Clients:
    """Official clients of the backend."""
    return connect(backend)


class Endpoint:
    """A real aiohttp push endpoint; `answer` maps a push body to a status, `delay` in seconds."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.headers: list[Any] = []
        self.times: list[float] = []
        self.answer: Callable[[Any], int] = lambda _: 204
        self.delay = 0.0
        self.in_flight = 0
        self.most_in_flight = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Record the push and answer."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        body = json.loads(await request.read())
        self.headers.append(dict(request.headers))
        self.times.append(time.monotonic())
        self.bodies.append(body)
        await asyncio.sleep(self.delay)
        self.in_flight -= 1
        return web.Response(status=self.answer(body))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A push endpoint on a free port, in a thread of its own."""
    served = Endpoint()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    app = web.Application(client_max_size=20_000_000)
    app.router.add_post("/push", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/push"

    asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield served
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
