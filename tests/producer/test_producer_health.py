"""The health port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from producer import health
from producer.health import HealthServer, PortError
from producer.settings import Settings, XToken
from producer.stats import Stats
from tests.producer.parts import HealthPort, wait_for


class Port(HealthPort):
    """A health port with its parts."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.fault: str | None = None
        self.server = HealthServer("127.0.0.1", 0, self.stats, lambda: self.fault)
        self.port = self.server.port


@pytest.fixture
def port() -> Iterator[Port]:
    """A health port."""
    made = Port()
    yield made
    made.server.close()


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        ("starting", 503), ("connecting", 503), ("streaming", 200), ("backoff", 503),
        ("paused_budget", 200), ("paused_publish", 200), ("stopped", 503),
    ],
)  # fmt: skip
def test_live_and_ready(port: Port, state: str, ready: int) -> None:
    """Every state is live, as a restart mends none; streaming and pauses on purpose are ready."""
    port.stats.state = state
    assert port.get("/healthz") == (200, f"{state}\n")
    assert port.get("/readyz") == (ready, f"{state}\n")


def test_fault_is_not_live(port: Port) -> None:
    """A thread that no longer turns fails the liveness probe, with the reason."""
    port.fault = "the clock thread has not turned for 60 s"
    assert port.get("/healthz") == (503, "the clock thread has not turned for 60 s\n")
    assert port.get("/nothing")[0] == 404


def test_metrics(port: Port) -> None:
    """Prometheus' own parser reads the metrics; counters and the state are there by name."""
    port.stats.posts = 7
    port.stats.ends["http_503"] = 2
    port.stats.state = "backoff"
    families = {f.name: f for f in text_string_to_metric_families(port.get("/metrics")[1])}
    assert families["tweets_producer_posts"].samples[0].value == 7
    ends = families["tweets_producer_stream_ends"].samples[0]
    assert (ends.labels, ends.value) == ({"reason": "http_503"}, 2)
    states = {s.labels["state"]: s.value for s in families["tweets_producer_stream_state"].samples}
    assert [name for name, value in states.items() if value] == ["backoff"]
    for name in (
        "published", "publish_failed", "reconnects", "dead_letters", "last_byte_age_seconds",
        "last_post_age_seconds", "lag_seconds", "backoff_seconds", "held_messages", "budget_used",
        "budget_limit",
    ):  # fmt: skip
        assert f"tweets_producer_{name}" in families
    assert "process_resident_memory_bytes" in families


def test_busy_port(port: Port) -> None:
    """A taken port is one line with the port in it."""
    with pytest.raises(PortError, match=f"PORT is {port.port}"):
        HealthServer("127.0.0.1", port.port, Stats(), lambda: None)


def test_half_open_connections_keep_no_threads(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 connections that say nothing take a bounded number of threads, and none for long."""
    monkeypatch.setattr(health._QuietHandler, "timeout", 0.5)
    before = threading.active_count()
    open_ones = [socket.create_connection(("127.0.0.1", port.port)) for _ in range(400)]
    wait_for(lambda: threading.active_count() > before)
    assert threading.active_count() - before <= health.CONNECTIONS
    wait_for(lambda: port.get("/healthz")[0] == 200, what="an answer again")
    wait_for(lambda: threading.active_count() <= before, what="the threads' end")
    for each in open_ones:
        each.close()


def test_listens_where_it_is_told(port: Port) -> None:
    """On this machine alone, unless the pod says otherwise."""
    assert port.server._server.server_address[0] == "127.0.0.1"
    assert Settings(XToken(value="some-token")).host == "127.0.0.1"
