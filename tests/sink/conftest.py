"""Fixtures: the function as it is deployed, the BigQuery stand-in, the Pub/Sub stand-in."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1

from local.machine.runtime import Runtime
from local.pubsub import PubSubServer
from operations.dead_letters import subscriber_client
from tests.bigquery_server import BigQueryServer
from tests.producer.parts import wait_for
from tests.sink.deployed import READER, SOURCE, TOPIC, Dataset, Function, Start


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Only the packages of the function's requirements.txt."""
    return Runtime(tmp_path_factory.mktemp("runtime") / "venv", SOURCE / "requirements.txt")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The function's source away from the repository."""
    folder = tmp_path_factory.mktemp("source") / "function"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def warehouse() -> Iterator[BigQueryServer]:
    """One BigQuery stand-in; each test has its own dataset."""
    with BigQueryServer() as server:
        yield server


@pytest.fixture(autouse=True)
def emulator(pubsub: PubSubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of each test here go to the stand-in."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.address)


@pytest.fixture
def dead_letters(pubsub: PubSubServer) -> Iterator[Callable[[], list[Any]]]:
    """A call that takes what is in the dead-letter topic."""
    with pubsub_v1.PublisherClient() as publisher, subscriber_client(pubsub.address) as subscriber:
        publisher.create_topic(name=TOPIC)
        subscriber.create_subscription(name=READER, topic=TOPIC)

        def pull() -> list[Any]:
            try:
                answer = subscriber.pull(
                    subscription=READER, max_messages=100, timeout=2, retry=None
                )
            except DeadlineExceeded:
                return []
            return [received.message for received in answer.received_messages]

        yield pull
        subscriber.delete_subscription(subscription=READER)
        publisher.delete_topic(topic=TOPIC)


@pytest.fixture
def dataset(warehouse: BigQueryServer) -> Iterator[Dataset]:
    """Empty tables, and no faults left behind."""
    dataset = Dataset(warehouse)
    yield dataset
    warehouse.faults()
    dataset.client.delete_dataset(dataset.name, delete_contents=True)
    dataset.client.close()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def launch(runtime: Runtime, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts a function with an environment and waits until it listens."""

    def start(environment: dict[str, str], port: int = 0) -> Function:
        if not port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        folder = tmp_path_factory.mktemp("function")
        output = folder / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [str(runtime.bin / "functions-framework")],
                cwd=source,
                env={
                    "PATH": f"{runtime.bin}:/usr/bin:/bin",
                    "HOME": str(folder),
                    "HOST": "127.0.0.1",
                    "PORT": str(port),
                    "FUNCTION_TARGET": "sink",
                    "FUNCTION_USE_ASGI": "true",
                    **environment,
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )

        def listens() -> bool:
            assert process.poll() is None, output.read_text()
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        wait_for(listens, 30)
        return Function(process, port, output)

    return start


@pytest.fixture(scope="module")
def shared(launch: Start, warehouse: BigQueryServer, pubsub: PubSubServer) -> Iterator[Function]:
    """A running function for tests that leave it as it was."""
    dataset = Dataset(warehouse)
    running = launch(declared(dataset, pubsub))
    yield running
    running.kill()
    dataset.client.close()  # type: ignore[no-untyped-call]


def declared(dataset: Dataset, pubsub: PubSubServer) -> dict[str, str]:
    """What the stack declares, and where the stand-ins are."""
    return {
        "TWEETS_TABLE": dataset.tweets,
        "EVENTS_TABLE": dataset.events,
        "DEAD_LETTER_TOPIC": TOPIC,
        "BIGQUERY_EMULATOR_HOST": dataset.server.url,
        "PUBSUB_EMULATOR_HOST": pubsub.address,
    }


@pytest.fixture
def environment(dataset: Dataset, pubsub: PubSubServer) -> dict[str, str]:
    """The environment for the test's own dataset."""
    return declared(dataset, pubsub)


@pytest.fixture
def function(launch: Start, environment: dict[str, str]) -> Iterator[Function]:
    """A running function for one test."""
    running = launch(environment)
    yield running
    running.kill()
