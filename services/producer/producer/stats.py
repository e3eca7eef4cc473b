"""Plain counters of the producer: the hot path adds to integers, Prometheus reads them if asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

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


@dataclass(eq=False)
class Stats(Collector):
    """What the producer counts. Moments are seconds since 1970; 0 means never."""

    posts: int = 0
    dead_letters: int = 0
    control_messages: int = 0
    keep_alives: int = 0
    created_at_derived: int = 0
    events: int = 0
    bytes: int = 0
    connects: int = 0
    reconnects: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    replayed: int = 0
    last_byte: float = 0.0
    last_post: float = 0.0
    # Read time in microseconds and id of the last post.
    lag_from: tuple[int, int] = (0, 0)
    backoff: float = 0.0
    budget_used: int = 0
    budget_limit: int = 0
    budget_paused_until: float = 0.0
    rules: int = 0
    rules_taken_over: int = 0
    state: str = "starting"
    published: int = 0
    publish_failed: int = 0
    rejected: int = 0
    store: Store | None = None
    started: float = field(default_factory=time.time)

    @property
    def held(self) -> int:
        """Messages read and not published yet."""
        return sum(self.store.waiting) if self.store else 0

    @property
    def lag(self) -> float:
        """Seconds between X's making of the last post and our reading of it."""
        at, post_id = self.lag_from
        return at / 1e6 - created_ms(post_id) / 1e3 if at else 0.0

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics for one scrape."""
        now = time.time()
        for name, text, count in (
            ("posts", "Posts read from X, each charged.", self.posts),
            (
                "published",
                "Messages that Pub/Sub took: posts, events, dead letters.",
                self.published,
            ),
            (
                "publish_failed",
                "Publish requests that failed and are tried again.",
                self.publish_failed,
            ),
            (
                "rejected",
                "Messages that Pub/Sub refused as invalid.",
                self.rejected,
            ),
            ("dead_letters", "Lines that could not be used.", self.dead_letters),
            ("control_messages", "Messages of X about the stream itself.", self.control_messages),
            ("keep_alives", "Blank lines, X's sign of life.", self.keep_alives),
            (
                "created_at_derived",
                "Posts without created_at; taken from the id.",
                self.created_at_derived,
            ),
            ("events", "Rows written for stream_events.", self.events),
            ("received_bytes", "Bytes read from the stream.", self.bytes),
            ("connects", "Requests for the stream; X allows 50 in 15 minutes.", self.connects),
            ("reconnects", "Requests for the stream after the first.", self.reconnects),
            (
                "rules_taken_over",
                "Times that X's rules were found to be another's.",
                self.rules_taken_over,
            ),
            ("replayed", "Messages that an earlier process left in STATE_DIR.", self.replayed),
        ):
            yield _counter(name, text, count)
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
            ("buffered_posts", "Messages read and not published yet.", self.held),
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


def _counter(name: str, text: str, count: int) -> CounterMetricFamily:
    return CounterMetricFamily(f"tweets_producer_{name}", text, count)
