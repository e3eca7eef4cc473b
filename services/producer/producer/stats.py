"""Plain counters of the producer: the hot path adds to integers, Prometheus reads them if asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from producer.record import created_ms
from producer.store import Store

STATES = (
    "starting",
    "connecting",
    "streaming",
    "backoff",
    "paused_budget",
    "paused_publish",
    "stopped",
)


def _counted(words: str) -> int:
    """Return the field of a counter, which is a metric of the same name with these words."""
    counter: int = field(default=0, metadata={"counts": words})
    return counter


@dataclass(eq=False)
class Stats(Collector):
    """What the producer counts. Moments are seconds since 1970; 0 means never."""

    posts: int = _counted("Posts read from X, each charged.")
    published: int = _counted("Messages that Pub/Sub took: posts, events, dead letters.")
    publish_failed: int = _counted("Publish requests that failed and are tried again.")
    rejected: int = _counted("Messages that Pub/Sub refused as invalid.")
    dead_letters: int = _counted("Lines that could not be used.")
    control_messages: int = _counted("Messages of X about the stream itself.")
    keep_alives: int = _counted("Blank lines, X's sign of life.")
    created_at_derived: int = _counted("Posts without created_at; taken from the id.")
    events: int = _counted("Rows written for stream_events.")
    received_bytes: int = _counted("Bytes read from the stream.")
    connects: int = _counted("Requests for the stream; X allows 50 in 15 minutes.")
    reconnects: int = _counted("Requests for the stream after the first.")
    rules_taken_over: int = _counted("Times that X's rules were found to be another's.")
    replayed: int = _counted("Messages that an earlier process left in STATE_DIR.")
    ends: Counter[str] = field(default_factory=Counter)
    last_byte: float = 0.0
    last_post: float = 0.0
    # Read time in microseconds and id of the last post.
    lag_from: tuple[int, int] = (0, 0)
    backoff: float = 0.0
    budget_used: int = 0
    budget_limit: int = 0
    budget_paused_until: float = 0.0
    rules: int = 0
    state: str = "starting"
    store: Store | None = None
    started: float = field(default_factory=time.time)

    @property
    def held(self) -> int:
        """Messages read and not published yet."""
        return sum(self.store.held) if self.store else 0

    @property
    def lag(self) -> float:
        """Seconds between X's making of the last post and our reading of it."""
        at, post_id = self.lag_from
        return at / 1e6 - created_ms(post_id) / 1e3 if at else 0.0

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics for one scrape."""
        now = time.time()
        for each in fields(self):
            if words := each.metadata.get("counts"):
                count = getattr(self, each.name)
                yield CounterMetricFamily(f"tweets_producer_{each.name}", words, count)
        ends = CounterMetricFamily(
            "tweets_producer_stream_ends", "Connections that ended, by reason.", labels=["reason"]
        )
        for reason, count in dict(self.ends).items():
            ends.add_metric([reason], count)
        yield ends
        for name, text, value in (
            ("last_byte_age_seconds", "Since the last byte of the stream; X sends one each 20 s.",
             now - (self.last_byte or self.started)),
            ("last_post_age_seconds", "Since the last post.",
             now - (self.last_post or self.started)),
            ("lag_seconds", "Read time of the last post minus its created_at.", self.lag),
            ("backoff_seconds", "The wait before the next connect; 0 while connected.",
             self.backoff),
            ("held_messages", "Messages read and not published yet.", self.held),
            ("memory_bytes", "Bytes of them that STATE_DIR did not take: a kill would lose them.",
             self.store.in_memory if self.store else 0),
            ("room_bytes", "What STATE_DIR takes before X is left on purpose.",
             self.store.room if self.store else 0),
            ("budget_used", "Posts of X's month: X's count or ours, the larger.", self.budget_used),
            ("budget_limit", "Posts allowed a month; 0 without a budget.", self.budget_limit),
            ("budget_paused_until_seconds", "When a budget pause ends, since 1970; 0 without one.",
             self.budget_paused_until),
            ("rules", "Rules of the stream.", self.rules),
            ("start_time_seconds", "When the process started, since 1970.", self.started),
        ):  # fmt: skip
            yield GaugeMetricFamily(f"tweets_producer_{name}", text, value)
        state = GaugeMetricFamily(
            "tweets_producer_stream_state", "1 for the state the stream is in.", labels=["state"]
        )
        for name in STATES:
            state.add_metric([name], float(name == self.state))
        yield state
