"""Where producers are measured: a saturated stream before them, a topic behind them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child import BenchError, Child, clean_environment
from bench.posts import RULES, write_lines
from local.machine.process import free_port

TOPIC = "projects/bench/topics/posts"
CONNECT_SECONDS = 30.0
RUN_SECONDS = 120.0


@dataclass(frozen=True)
class Run:
    """One run: posts a second, CPU ms a post, peak MB, the topic server's share of a core."""

    rate: float
    cpu: float
    peak: float
    topic_share: float


class Ground:
    """Stream server and topic server of one size of line, and a folder for the runs."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder = folder
        self.lines = folder / "lines"
        self.size = write_lines(kind, self.lines)
        self._runs = 0
        self.stream = Child("bench.stream_server", self.lines, log=folder / "stream.log")
        self.topic = Child("bench.topic_server", log=folder / "topic.log")
        self.url = f"http://127.0.0.1:{self.stream.hear()['port']}"
        self.address = f"127.0.0.1:{self.topic.hear()['port']}"

    def close(self) -> None:
        """End both."""
        self.stream.stop()
        self.topic.stop()

    def environment(self) -> dict[str, str]:
        """Settings of our producer, as the Deployment gives them; a state directory of its own."""
        self._runs += 1
        state = self.folder / f"state-{self._runs}"
        rules = self.folder / "rules.json"
        rules.write_text(json.dumps(RULES))
        return clean_environment(
            TOPIC=TOPIC,
            DEAD_LETTER_TOPIC=TOPIC + "-dead-letters",
            RULES_FILE=str(rules),
            X_BEARER_TOKEN="bench",
            X_API_BASE_URL=self.url,
            STATE_DIR=str(state),
            PUBSUB_EMULATOR_HOST=self.address,
            PORT=str(free_port()),
            LOG_LEVEL="ERROR",
        )

    @contextmanager
    def ours(self) -> Iterator[Child]:
        """Our producer, connected."""
        environment = self.environment()
        log = self.folder / "producer.log"
        with Child("producer", env=environment, log=log, talks=False) as child:
            self._connected(child)
            yield child

    @contextmanager
    def seed(self) -> Iterator[Child]:
        """The seed's way, connected."""
        environment = clean_environment(PUBSUB_EMULATOR_HOST=self.address)
        words = ("bench.seed_producer", self.url, TOPIC)
        with Child(*words, env=environment, log=self.folder / "seed.log", talks=False) as child:
            self._connected(child)
            yield child

    @contextmanager
    def ceiling(self, how: str) -> Iterator[Child]:
        """Publishing alone, ready."""
        environment = clean_environment(PUBSUB_EMULATOR_HOST=self.address)
        words = ("bench.ceiling", self.lines, TOPIC, how)
        with Child(*words, env=environment, log=self.folder / "ceiling.log") as child:
            child.hear()
            yield child

    def measure(self, child: Child, source: Child, count: int) -> Run:
        """From the word to `source` until the topic has `count` posts; the usage is `child`'s."""
        time.sleep(0.2)
        self.topic.ask(reset=0)
        before, topic_before = child.usage(), self.topic.usage()
        began = time.monotonic()
        source.tell(go=count)
        told = self.topic.ask(wait=count, seconds=RUN_SECONDS)
        if told["posts"] < count:
            raise BenchError(
                f"{child.name}: {told['posts']} of {count} posts: {child.last_words()}"
            )
        after, topic_after = child.usage(), self.topic.usage()
        seconds = told["last"] - began
        return Run(
            rate=told["posts"] / seconds,
            cpu=(after.cpu - before.cpu) / told["posts"] * 1000,
            peak=after.peak,
            topic_share=(topic_after.cpu - topic_before.cpu) / seconds,
        )

    def _connected(self, child: Child) -> None:
        end = time.monotonic() + CONNECT_SECONDS
        while not self.stream.hear().get("connected"):
            if time.monotonic() > end:
                raise BenchError(f"{child.name} does not connect: {child.last_words()}")
