"""One small stack for each test: the stand-ins, the official clients, and the command line."""

import json
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any, cast
from uuid import uuid4

import pytest
import requests
from aiohttp import web
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import bigquery
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from local.bigquery import PROJECT
from local.pubsub import PubSubServer
from local.x import XServer
from local.x.snowflake import first_at
from operations.__main__ import main
from producer.messages import event
from producer.record import to_record
from sink.revision import code_digest
from tests.bigquery_server import BigQueryServer

ROOT = Path(__file__).resolve().parents[2]
SINK = ROOT / "services" / "sink_function" / "sink"
SCHEMAS = SINK / "schema"
VIEWS = ROOT / "infra" / "views"
TOPIC = "projects/demo-project/topics/tweets-t"
DEAD_LETTERS = "projects/demo-project/topics/tweets-t-dead-letters"
READER = "projects/demo-project/subscriptions/tweets-t-dead-letters-reader"
ROWS = "projects/demo-project/subscriptions/tweets-t-rows"
TOKEN = "secret-bearer-token-0123456789"


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class Stack:
    """Names and clients of one test's stack.

    Attributes:
        environ: what the commands read.
        run: the command line in this process.
    """

    pubsub: PubSubServer
    bigquery: bigquery.Client
    dataset: str
    environ: dict[str, str]
    run: Callable[..., Outcome]
    publisher: PublisherClient = field(default_factory=PublisherClient)
    subscriber: SubscriberClient = field(default_factory=SubscriberClient)

    def dead_letter(self, data: bytes, **attributes: str) -> None:
        """Set a message aside, as the producer or the sink does."""
        self.publisher.publish(DEAD_LETTERS, data, **attributes).result(10)

    def backlog(self) -> int:
        """Dead letters that are waiting."""
        return int(self.pubsub.stats()["subscriptions"][READER]["backlog"])

    def held(self) -> int:
        """Dead letters that are leased, so hidden from others."""
        return int(self.pubsub.stats()["subscriptions"][READER]["outstanding"])

    def messages(self) -> list[Any]:
        """Take every message that waits on the topic's subscription."""
        taken: list[Any] = []
        while self.pubsub.stats()["subscriptions"][ROWS]["backlog"]:
            try:
                found = self.subscriber.pull(
                    subscription=ROWS, max_messages=1000, timeout=5
                ).received_messages
            except DeadlineExceeded:
                continue
            self.subscriber.acknowledge(subscription=ROWS, ack_ids=[item.ack_id for item in found])
            taken += [item.message for item in found]
        return taken

    def sink(self) -> list[Any]:
        """Write every waiting message as its row, as the function does; return the messages."""
        messages = self.messages()
        tables: dict[str, list[dict[str, Any]]] = {"tweets": [], "stream_events": []}
        for message in messages:
            row = {**json.loads(message.data), "message_id": message.message_id}
            tables["tweets" if message.attributes["kind"] == "post" else "stream_events"].append(
                row
            )
        for table, rows in tables.items():
            self.insert(table, rows)
        return messages

    def insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Insert rows as the sink does."""
        if rows:
            name = f"{self.dataset}.{table}"
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            own = {"inserted_at": now}
            if table == "stream_events":
                own["sink"] = code_digest(SINK)
            sent = [exact(own | row) for row in rows]
            assert self.bigquery.insert_rows_json(name, sent, timeout=20) == []

    def insert_posts(self, *lines: dict[str, Any], **columns: Any) -> None:
        """Insert the rows of lines of the stream; further columns by name."""
        rows = [
            {**to_record(line, json.dumps(line), time.time_ns() // 1000), **columns}
            for line in lines
        ]
        self.insert("tweets", rows)

    def insert_gap(self, start: datetime | None, end: datetime, reason: str = "http_503") -> str:
        """Record a gap, from an unknown moment without a start; return its id."""
        row = event(
            "gap",
            "producer-1",
            gap_from=int(start.timestamp() * 1e6) if start else None,
            gap_to=int(end.timestamp() * 1e6),
            reason=reason,
        )
        self.insert("stream_events", [row])
        return str(row["event_id"])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query; `${dataset}` is the test's dataset."""
        text = Template(sql).safe_substitute(dataset=self.dataset)
        return [tuple(row.values()) for row in self.bigquery.query(text).result(timeout=20)]


Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


def patch_route(x: XServer, ending: str, handler: Handler, method: str = "GET") -> Handler:
    """Let another handler answer a route of the running X stand-in; return the one before."""
    (route,) = (
        route
        for route in x.app.web.router.routes()
        if route.method == method
        and route.resource is not None
        and route.resource.canonical.endswith(ending)
    )
    before = cast("Handler", route.handler)
    route._handler = handler
    return before


def exact(value: Any) -> Any:
    """The value with integers as strings, as BigQuery wants those above 2**53."""
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return str(value) if type(value) is int else value


def line(post_id: int, author: int = 70, **post: Any) -> dict[str, Any]:
    """A line of the stream."""
    return {
        "data": {"id": str(post_id), "text": f"post {post_id}", "author_id": str(author), **post},
        "matching_rules": [{"id": "1", "tag": "cats"}],
    }


def post_at(at: datetime, number: int = 0) -> int:
    """A post id of that time."""
    return first_at(at.timestamp() * 1000) + number


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[BigQueryServer]:
    """One BigQuery stand-in for all tests here."""
    with BigQueryServer() as server:
        yield server


@pytest.fixture
def stack(
    bigquery_server: BigQueryServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Stack]:
    """A stack with topics, subscriptions, tables and the views that the commands read."""
    client = bigquery_server.client()
    dataset = f"{PROJECT}.t{uuid4().hex[:12]}"
    client.create_dataset(dataset)
    for name, day in (("tweets", "created_at"), ("stream_events", "at")):
        table = bigquery.Table(
            f"{dataset}.{name}", client.schema_from_json(SCHEMAS / f"{name}.json")
        )
        table.time_partitioning = bigquery.TimePartitioning(field=day)
        client.create_table(table)
    for name in ("tweets_latest", "stream_events_latest", "stream_gaps"):
        view = bigquery.Table(f"{dataset}.{name}")
        sql = (VIEWS / f"{name}.sql").read_text("utf-8")
        view.view_query = Template(sql).substitute(dataset=dataset)
        client.create_table(view)
    with PubSubServer() as pubsub:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.address)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_server.url)
        environ = {
            "TOPIC": TOPIC,
            "DEAD_LETTER_TOPIC": DEAD_LETTERS,
            "DATASET": dataset,
            "X_BEARER_TOKEN": TOKEN,
            "MONITORING_ENDPOINT": pubsub.control_url,
        }

        def run(*arguments: str) -> Outcome:
            capsys.readouterr()
            code = main(arguments, environ)
            printed = capsys.readouterr()
            return Outcome(code, printed.out, printed.err)

        made = Stack(pubsub, client, dataset, environ, run)
        for topic, subscription in ((TOPIC, ROWS), (DEAD_LETTERS, READER)):
            made.publisher.create_topic(name=topic)
            made.subscriber.create_subscription(
                name=subscription, topic=topic, ack_deadline_seconds=60
            )
        yield made
        made.publisher.stop()
        made.subscriber.close()
    client.delete_dataset(dataset, delete_contents=True)
    client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def x(stack: Stack) -> Iterator[XServer]:
    """X with two rules."""
    server = XServer(seed=5)
    with server:
        stack.environ["X_API_BASE_URL"] = server.url
        answer = requests.post(
            f"{server.url}/2/tweets/search/stream/rules",
            json={"add": [{"value": "data", "tag": "tech"}, {"value": "고양이", "tag": "cats"}]},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )
        assert answer.status_code == 201
        yield server


@dataclass(frozen=True)
class Outage:
    """Posts of ten minutes an hour ago, and the five minutes in them that the stream missed."""

    gap: str
    start: datetime
    end: datetime
    every_post: set[int]
    missed: set[int]


@pytest.fixture
def outage(stack: Stack, x: XServer) -> Outage:
    """Posts that X made; those outside the gap (and ten inside) are in the table.

    Reposts are left out: search does not return them.
    """
    begin = datetime.now(UTC) - timedelta(hours=1)
    posts = []
    for second in range(0, 600, 2):
        post = x.app.timeline.make((begin + timedelta(seconds=second)).timestamp())
        assert post is not None
        if "is:retweet" not in post.template.post.subject.marks:
            posts.append(post.id)
    start, end = begin + timedelta(seconds=120.5), begin + timedelta(seconds=420.5)
    missed = {post for post in posts if post_at(start) <= post < post_at(end)}
    there = [post for post in posts if post not in missed] + sorted(missed)[:10]
    stack.insert_posts(*(line(post) for post in there))
    return Outage(stack.insert_gap(start, end), start, end, set(posts), missed - set(there))
