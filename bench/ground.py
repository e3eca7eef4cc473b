"""Where producers are measured: a saturated stream before them, a topic behind them."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child import BenchError, Child, clean_environment
from bench.posts import RULES, write_lines
from local.machine.process import free_port

TOPIC = "projects/bench/topics/posts"
ALONE = ("outbox", "client")
"""Ways to publish without a stream: the words go to them."""
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
        self._runs = self._port = 0
        self.stream = Child("bench.stream_server", self.lines, log=folder / "stream.log")
        self.topic = Child("bench.topic_server", log=folder / "topic.log")
        self.url = f"http://127.0.0.1:{self.stream.hear()['port']}"
        self.address = f"127.0.0.1:{self.topic.hear()['port']}"

    def close(self) -> None:
        """End both."""
        self.stream.stop()
        self.topic.stop()

    @contextmanager
    def started(self, way: str) -> Iterator[Child]:
        """A way to publish, connected or ready: ours, seed, outbox or client."""
        self._runs += 1
        environment = clean_environment(PUBSUB_EMULATOR_HOST=self.address)
        log = self.folder / f"{way}.log"
        alone = way in ALONE
        words: tuple[object, ...] = ("producer",)
        if way == "ours":
            environment |= self._settings()
        elif alone:
            words = ("bench.publishing", way, self.lines, TOPIC, self._state)
        else:
            words = ("bench.seed_producer", self.url, TOPIC)
        with Child(*words, env=environment, log=log, talks=alone) as child:
            if alone:
                child.hear()
            else:
                self._connected(child)
            yield child

    def _settings(self) -> dict[str, str]:
        """Settings of our producer, as the Deployment gives them; a state directory of its own."""
        rules = self.folder / "rules.json"
        rules.write_text(json.dumps(RULES))
        self._port = free_port()
        return {
            "TOPIC": TOPIC,
            "DEAD_LETTER_TOPIC": TOPIC + "-dead-letters",
            "RULES_FILE": str(rules),
            "X_BEARER_TOKEN": "bench",
            "X_API_BASE_URL": self.url,
            "STATE_DIR": str(self._state),
            "PORT": str(self._port),
            "LOG_LEVEL": "ERROR",
        }

    @property
    def _state(self) -> Path:
        return self.folder / f"state-{self._runs}"

    def stored(self) -> int:
        """Bytes that the running producer of ours has on disk."""
        return sum(file.stat().st_size for file in self._state.rglob("*") if file.is_file())

    def read(self) -> int:
        """Posts that the running producer of ours has read, by its own metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as page:
            text: str = page.read().decode()
        found = re.search(r"^tweets_producer_posts_total (\S+)", text, re.MULTILINE)
        return int(float(found[1])) if found else 0

    def measure(self, way: str, count: int, rate: float = 0.0) -> Run:
        """Of a way: from the word to its source until the topic has `count` posts.

        Args:
            way: as of started().
            count: posts.
            rate: posts a second; 0 for as fast as they are read.
        """
        with self.started(way) as child:
            time.sleep(0.2)
            self.topic.ask(reset=True, away=False)
            before, topic_before = child.usage(), self.topic.usage()
            began = time.monotonic()
            (child if way in ALONE else self.stream).tell(go=count, rate=rate)
            told = self.topic.ask(wait=count, seconds=RUN_SECONDS)
            if told["posts"] < count:
                raise BenchError(f"{way}: {told['posts']} of {count} posts: {child.last_words()}")
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
