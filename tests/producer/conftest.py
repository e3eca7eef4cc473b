"""Fixtures of the producer's tests."""

from __future__ import annotations

import json
import os
import ssl
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local.pubsub import PubSubServer
from local.x import XServer
from producer import service
from producer.store import Store
from tests.producer.parts import FAST, RULES, TOKEN, Here, Producer, Topic, free_port


@pytest.fixture(autouse=True)
def emulator(pubsub: PubSubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of each test here go to the stand-in."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.address)


@pytest.fixture
def make_topic(pubsub: PubSubServer) -> Iterator[Callable[[], Topic]]:
    """Makes topics of this test's own."""
    channel = grpc.insecure_channel(
        pubsub.address, [("grpc.max_receive_message_length", 64_000_000)]
    )
    publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))

    def make() -> Topic:
        name = f"projects/test/topics/tweets-{uuid.uuid4().hex[:12]}"
        subscription = name.replace("/topics/", "/subscriptions/")
        publisher.create_topic(name=name)
        subscriber.create_subscription(name=subscription, topic=name, ack_deadline_seconds=60)
        return Topic(name, subscription, subscriber)

    yield make
    pubsub.faults.publish_unavailable(0)
    channel.close()


@pytest.fixture
def topic(make_topic: Callable[[], Topic]) -> Topic:
    """The topic for posts and events."""
    return make_topic()


@pytest.fixture
def letters(make_topic: Callable[[], Topic]) -> Topic:
    """The topic for dead letters."""
    return make_topic()


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    """Two rules that the stand-in's synthetic posts match."""
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(RULES))
    return path


@pytest.fixture
def make_x() -> Iterator[Callable[..., XServer]]:
    """Starts stand-ins for X."""
    servers: list[XServer] = []

    def make(**settings: Any) -> XServer:
        server = XServer(**settings)
        server.start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def environ(tmp_path: Path, rules_file: Path, topic: Topic, letters: Topic) -> dict[str, str]:
    """The environment of a producer, all but X_API_BASE_URL."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("X_", "POST_", "RULES"))},
        "X_BEARER_TOKEN": TOKEN,
        "TOPIC": topic.name,
        "DEAD_LETTER_TOPIC": letters.name,
        "RULES_FILE": str(rules_file),
        "STATE_DIR": str(tmp_path / "state"),
        "PORT": str(free_port()),
        "INSTANCE": "producer-test",
    }


@pytest.fixture
def run(environ: dict[str, str]) -> Iterator[Callable[..., Producer]]:
    """Starts producers; what is left of them is killed."""
    started: list[Producer] = []

    def start(x: XServer | None = None, *arguments: str, **more: str) -> Producer:
        base = {"X_API_BASE_URL": x.url} if x else {}
        producer = Producer({**environ, **base, **more}, *arguments)
        started.append(producer)
        return producer

    yield start
    for producer in started:
        if producer.process.poll() is None:
            producer.process.kill()
        producer.wait()


@pytest.fixture
def here(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Here]]:
    """Starts producers in this process."""
    monkeypatch.setattr(service, "RULES_EVERY", 0.3)
    monkeypatch.setattr(service, "STOP_WITHIN", 4.0)
    monkeypatch.setattr(service, "WAITS", FAST)
    started: list[Here] = []

    def start(x: XServer, **more: str) -> Here:
        started.append(Here({**environ, "X_API_BASE_URL": x.url, **more}))
        return started[-1]

    yield start
    for producer in started:
        producer.stop()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's TLS context for localhost, and the file of the authority to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, str(folder / "cert.pem")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store."""
    made = Store(tmp_path / "state")
    yield made
    made.close()
