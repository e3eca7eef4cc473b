"""The function as it is deployed, its tables, and the messages that it gets."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import signal
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import psutil
from google.cloud import bigquery

from tests.bigquery_server import BigQueryServer

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "services" / "sink_function"
SCHEMAS = SOURCE / "sink" / "schema"
TOPIC = "projects/local-project/topics/dead"
READER = "projects/local-project/subscriptions/dead-reader"


def post(identity: int, **changes: Any) -> dict[str, Any]:
    """A record as the producer publishes it (every column it fills)."""
    return {
        "id": identity,
        "created_at": "2024-01-15T10:35:00.000",
        "text": "안녕 🌊 #바다",
        "author_id": 5,
        "author_username": "a",
        "lang": "ko",
        "conversation_id": identity,
        "in_reply_to_user_id": None,
        "possibly_sensitive": False,
        "hashtags": ["바다"],
        "mentions": [],
        "urls": [],
        "referenced_posts": [{"type": "quoted", "id": 7}],
        "edit_history_ids": [identity],
        "original_id": identity,
        "public_metrics": {"likes": 1, "reposts": 0},
        "rule_tags": ["sea"],
        "raw": json.dumps({"data": {"id": str(identity)}}),
        "source": "stream",
        "ingested_at": "2024-01-15T10:35:01.123456Z",
    } | changes


def event(identity: str, **changes: Any) -> dict[str, Any]:
    """A stream event as the producer publishes it."""
    return {"event_id": identity, "kind": "gap", "at": "2024-01-15T10:35:01.123456Z"} | changes


def push(
    data: bytes | dict[str, Any],
    *,
    kind: str | None = "post",
    message_id: str = "m1",
    **attributes: str,
) -> bytes:
    """Wrapped push body as Google documents it."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    given = {"schema": "1", **attributes} | ({"kind": kind} if kind else {})
    message = {
        "data": base64.b64encode(raw).decode(),
        "attributes": given,
        "messageId": message_id,
        "message_id": message_id,
        "publishTime": "2024-01-15T10:35:02.345Z",
        "publish_time": "2024-01-15T10:35:02.345Z",
    }
    body = {"message": message, "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 1}
    return json.dumps(body).encode()


@dataclass(frozen=True)
class Answer:
    """HTTP answer: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Function:
    """The function's process, started as Cloud Run starts it."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/"

    def request(
        self, method: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
        with contextlib.closing(connection):
            connection.request(method, "/", body, headers or {})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read().decode())

    def push(self, body: bytes) -> Answer:
        """One push request."""
        return self.request("POST", body, {"Content-Type": "application/json"})

    def logs(self) -> list[dict[str, Any]]:
        """Its structured log lines so far."""
        lines = self.output.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def plain_output(self) -> str:
        """What it wrote that is not structured: should be empty."""
        lines = self.output.read_text().splitlines()
        return "\n".join(line for line in lines if not line.startswith("{"))

    def memory(self) -> int:
        """Resident bytes of the server and its worker."""
        process = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in [process, *process.children()])

    def kill(self) -> None:
        """SIGKILL to server and worker, as when an instance is lost."""
        if self.process.poll() is not None:
            return
        process = psutil.Process(self.process.pid)
        for each in [process, *process.children()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM, as at a scale-down; exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


class Dataset:
    """Tables and view of one test."""

    def __init__(self, server: BigQueryServer) -> None:
        self.server = server
        self.client = server.client()
        self.name = f"{self.client.project}.t{uuid.uuid4().hex[:10]}"
        self.tweets, self.events = f"{self.name}.tweets", f"{self.name}.stream_events"
        self.client.create_dataset(self.name)
        for name in (self.tweets, self.events):
            schema = self.client.schema_from_json(SCHEMAS / f"{name.rpartition('.')[2]}.json")
            self.client.create_table(bigquery.Table(name, schema=schema))
        view = bigquery.Table(f"{self.name}.tweets_latest")
        sql = (ROOT / "infra" / "views" / "tweets_latest.sql").read_text()
        view.view_query = Template(sql).substitute(dataset=self.name)
        self.client.create_table(view)

    def rows(self, sql: str) -> list[Any]:
        """Rows of a query; `{tweets}`, `{events}`, `{latest}` are the tables."""
        latest = f"`{self.name}.tweets_latest`"
        query = sql.format(tweets=f"`{self.tweets}`", events=f"`{self.events}`", latest=latest)
        return list(self.client.query_and_wait(query))

    def count(self, table: str = "{tweets}") -> int:
        """Rows of a table."""
        return int(self.rows(f"SELECT COUNT(*) AS n FROM {table}")[0].n)


Start = Callable[..., Function]
