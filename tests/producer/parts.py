"""Real parts for the producer's tests: the X stand-in over HTTP, the embedded Pub/Sub server
behind Google's client, and the producer itself as a process.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google import pubsub_v1

from local.x import XServer
from producer.backoff import Waits
from producer.service import Service
from producer.settings import Settings
from producer.store import Store

TOKEN = "AAAAAAAAAAAAAAAAAAAAAsecret%2Btoken%3Dof-this-test"
RULES = [{"value": "데이터 OR bigquery", "tag": "data"}, {"value": "python OR cloud", "tag": "en"}]

FAST = Waits(0.0025, 0.16, 0.05, 3.2, 0.6, 9.0, 0.6, 0.5)
"""X's back-off rules on a clock a hundred times as fast."""


def wait_for(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> Any:
    """Return the condition's first true value; fail when it does not come in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what or condition}")


@dataclass
class Topic:
    """A topic with a reader that keeps every message ever published to it."""

    name: str
    subscription: str
    subscriber: pubsub_v1.SubscriberClient
    messages: list[Any] = field(default_factory=list)

    def pull(self) -> list[Any]:
        """Take what has come and return all messages so far."""
        while True:
            with warnings.catch_warnings():
                # Deprecated for the cloud; here it spares each look a wait.
                warnings.simplefilter("ignore", DeprecationWarning)
                answer = self.subscriber.pull(
                    request={
                        "subscription": self.subscription,
                        "max_messages": 1000,
                        "return_immediately": True,
                    },
                    timeout=20,
                )
            if not answer.received_messages:
                return self.messages
            self.messages += [received.message for received in answer.received_messages]
            self.subscriber.acknowledge(
                subscription=self.subscription,
                ack_ids=[received.ack_id for received in answer.received_messages],
            )

    def posts(self) -> list[dict[str, Any]]:
        """Return the rows of all posts so far."""
        return [json.loads(m.data) for m in self.pull() if m.attributes["kind"] == "post"]

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of all events so far, or those of a kind."""
        rows = [json.loads(m.data) for m in self.pull() if m.attributes["kind"] == "event"]
        return [row for row in rows if kind in (None, row["kind"])]


def delivered(x: XServer) -> set[int]:
    """Return the ids of the posts that the stand-in wrote whole and that arrived."""
    ledger = x.app.ledger
    return {ledger.ids[at] for at in range(len(ledger.lost)) if not ledger.lost[at]}


def settled(x: XServer) -> set[int]:
    """Return the same once no connection is open: until then the stand-in cannot know what of its
    last posts arrived.
    """
    wait_for(lambda: not x.app.stream.wires, what="the stand-in to see the end of the connection")
    return delivered(x)


def kept(environ: dict[str, str]) -> list[int]:
    """Return how many posts and dead letters a producer that has ended left in its STATE_DIR."""
    store = Store(Path(environ["STATE_DIR"]))
    store.close()
    return store.held


class HealthPort:
    """Reads the health port of a producer."""

    port: int

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page of the health port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name: str) -> float:
        """Return a metric's value, -1 while there is none."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(f"tweets_producer_{name} "):
                return float(line.split()[-1])
        return -1.0


class Producer(HealthPort):
    """`python -m producer` as a process of its own."""

    def __init__(self, environ: dict[str, str], *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "producer", *arguments],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.log: list[str] = []
        self.out: list[str] = []
        self._threads = [
            threading.Thread(target=self._collect, args=pair, daemon=True)
            for pair in ((self.process.stderr, self.log), (self.process.stdout, self.out))
        ]
        for thread in self._threads:
            thread.start()
        self.port = int(environ.get("PORT") or 0)

    @staticmethod
    def _collect(pipe: Any, lines: list[str]) -> None:
        with pipe:
            lines.extend(line.decode("utf-8", "replace").rstrip("\n") for line in pipe)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = 15.0) -> int:
        """Return the exit code."""
        code = self.process.wait(seconds)
        for thread in self._threads:
            thread.join(5)
        return code


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Here(HealthPort, logging.Handler):
    """The producer in this process: as Producer, but without the start of a process."""

    def __init__(self, environ: dict[str, str]) -> None:
        logging.Handler.__init__(self)
        self.log: list[str] = []
        logging.getLogger("producer").addHandler(self)
        arguments = argparse.Namespace(print=False, rule=[])
        self.service = Service(Settings.from_env({**environ, "PORT": "0"}, arguments))
        assert self.service.health is not None
        self.port = self.service.health.port
        self._code: int | None = None
        self.service.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was logged."""
        self.log.append(record.getMessage())

    def stop(self) -> int:
        """End it and return the exit code."""
        if self._code is None:
            self._code = self.service.close()
            logging.getLogger("producer").removeHandler(self)
        return self._code
