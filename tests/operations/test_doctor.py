"""`tweets doctor` against the stand-ins: a sound pipeline, and one fault at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from google.cloud import bigquery

from local.x import XServer
from operations import monitoring
from producer.messages import Entry, Message, event
from producer.record import to_record
from producer.revision import code_digest
from producer.store import Store
from tests.operations.conftest import ROOT, TOPIC, Stack, line, patch_route, post_at
from tests.x.clients import Collector

SINK = "projects/demo-project/subscriptions/tweets-t-sink"
PRODUCER = ROOT / "services" / "producer" / "producer"
RULES = [{"value": "data", "tag": "tech"}, {"value": "고양이", "tag": "cats"}]


def report(stack: Stack) -> dict[str, dict[str, Any]]:
    """The findings by check."""
    found = json.loads(stack.run("doctor", "--json").out)
    return {item["check"]: item for item in found["checks"]}


def starts(stack: Stack, **detail: str) -> None:
    """The reader has started, and says so."""
    stack.insert("stream_events", [event("started", "producer-0", detail={"rules": 2, **detail})])


@pytest.fixture
def sound(stack: Stack, x: XServer, tmp_path: Path) -> Stack:
    """A stack in which all is well: a connection, posts of the last hour, a compliance run."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(RULES))
    stack.environ |= {
        "RULES_FILE": str(rules),
        "POST_BUDGET": "10000",
        "TABLE_EXPIRATION_DAYS": "0",
    }
    stack.subscriber.create_subscription(name=SINK, topic=TOPIC, ack_deadline_seconds=60)
    now = datetime.now(UTC)
    stack.insert_posts(*(line(post_at(now - timedelta(seconds=30 * n))) for n in range(60)))
    x.app.ledger.usage.used = 60
    x.app.ledger.usage.add_to_day(60)
    stack.insert("stream_events", [event("compliance", "job", detail={"unfinished": False})])
    starts(stack, revision=code_digest(PRODUCER))
    return stack


@pytest.fixture
def reading(sound: Stack, x: XServer) -> Iterator[Stack]:
    """The sound stack, with a reader's connection to the stream."""
    x.settings.count = 0  # the connection alone
    reader = Collector(x)
    thread = reader.filter(threaded=True)
    while not x.app.stream.live:
        time.sleep(0.01)
    yield sound
    reader.disconnect()
    x.stop()
    thread.join(10)


def test_a_sound_pipeline_is_all_ok(reading: Stack) -> None:
    """Where all is well each check is ok, a line each, and the exit code is 0."""
    done = reading.run("doctor")
    assert done.code == 0, done.out + done.err
    lines = done.out.splitlines()
    assert len(lines) == 12
    assert all(text.startswith("ok ") for text in lines)
    assert "60 posts used this month ($0.30)" in done.out
    assert "0 are missing" in done.out
    assert {item["state"] for item in report(reading).values()} == {"ok"}


def wrong_token(stack: Stack, x: XServer) -> None:
    """X knows another token."""
    x.settings.token = "another-token-0123456789"


def not_enrolled(stack: Stack, x: XServer) -> None:
    """The app is in no project."""
    fault = {"kind": "http", "issue": "ClientNotEnrolled", "status": 0, "count": 9}
    x.app.faults.add(fault | {"path": "/2/tweets/search/stream/rules"})


def foreign_rules(stack: Stack, x: XServer) -> None:
    """The configuration has one rule that X has not, X one that it has not."""
    Path(stack.environ["RULES_FILE"]).write_text(json.dumps([RULES[0], {"value": "dogs"}]))


def no_rules_file(stack: Stack, x: XServer) -> None:
    """Nobody says what the rules should be."""
    del stack.environ["RULES_FILE"]


def nearly_spent(stack: Stack, x: XServer) -> None:
    """Nine tenths of the budget."""
    x.app.ledger.usage.used = 9_000


def spent(stack: Stack, x: XServer) -> None:
    """All of the budget."""
    x.app.ledger.usage.used = 10_000


def capped(stack: Stack, x: XServer) -> None:
    """X's own cap is nearly used up, the budget is not."""
    x.app.ledger.usage.cap = 70


def two_connections(stack: Stack, x: XServer) -> None:
    """A second program reads with this app, as X allows in its larger plans."""

    async def both(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "1"}, {"id": "2"}]})

    patch_route(x, "/2/connections", both)


def emptied(stack: Stack, x: XServer) -> None:
    """Posts come by backfill alone: none of the stream's is left."""
    stack.query("UPDATE `${dataset}.tweets` SET source = 'backfill' WHERE TRUE")


def disconnected(stack: Stack, x: XServer) -> None:
    """No connection to the stream."""
    x.app.faults.add({"kind": "close"})
    while x.app.stream.live:
        time.sleep(0.01)


def silent(stack: Stack, x: XServer) -> None:
    """No post for two hours, where each half minute brought one."""
    stack.query("DELETE FROM `${dataset}.tweets` WHERE TRUE")
    then = datetime.now(UTC) - timedelta(hours=2)
    stack.insert_posts(*(line(post_at(then - timedelta(seconds=30 * n))) for n in range(600)))


def lost(stack: Stack, x: XServer) -> None:
    """X charged more than came here."""
    x.app.ledger.usage.add_to_day(500)


def behind(stack: Stack, x: XServer) -> None:
    """A message waits for the sink."""
    stack.publisher.publish(TOPIC, b"{}", kind="post").result(10)


def letters(stack: Stack, x: XServer) -> None:
    """A dead letter waits."""
    stack.dead_letter(b"{}", kind="post", id="1", dead_letter_reason="row_rejected")
    stack.insert("stream_events", [event("dead_letter", "sink", reason="row_rejected")])


def beginless_gap(stack: Stack, x: XServer) -> None:
    """The reader's state was damaged, and nobody knows since when posts lack."""
    stack.insert_gap(None, datetime.now(UTC) - timedelta(minutes=5), "state_damaged")


def open_gap(stack: Stack, x: XServer) -> None:
    """Ten minutes of an hour ago were not read."""
    at = datetime.now(UTC) - timedelta(minutes=15)
    stack.insert_gap(at, at + timedelta(minutes=10))


def other_columns(stack: Stack, x: XServer) -> None:
    """The table lacks a column of the program."""
    name = f"{stack.dataset}.tweets"
    columns = [item for item in stack.bigquery.get_table(name).schema if item.name != "lang"]
    stack.bigquery.delete_table(name)
    stack.bigquery.create_table(bigquery.Table(name, columns))
    first, at = post_at(datetime.now(UTC)), time.time_ns() // 1000
    rows = [to_record(line(first + n), "{}", at) for n in range(60)]
    stack.insert("tweets", [row for row in rows if row.pop("lang", "") != ""])


def other_expiry(stack: Stack, x: XServer) -> None:
    """The program declares 30 days, the table keeps for ever."""
    stack.environ["TABLE_EXPIRATION_DAYS"] = "30"


def no_compliance(stack: Stack, x: XServer) -> None:
    """The only finished run is two days old."""
    stack.query("DELETE FROM `${dataset}.stream_events` WHERE kind = 'compliance'")
    old = int((time.time() - 2 * 86400) * 1e6)
    run = event("compliance", "job", at=old, detail={"unfinished": False})
    left = event("compliance", "job", detail={"unfinished": True})
    stack.insert("stream_events", [run, left])


def other_reader(stack: Stack, x: XServer) -> None:
    """The reader was started again, from other code."""
    starts(stack, revision="0123456789ab")


def nameless_reader(stack: Stack, x: XServer) -> None:
    """The reader was started again, from code that does not say which it is."""
    starts(stack)


def no_start(stack: Stack, x: XServer) -> None:
    """The rows of the reader's start are gone."""
    stack.query("DELETE FROM `${dataset}.stream_events` WHERE kind = 'started'")


def other_function(stack: Stack, x: XServer) -> None:
    """The newest row of an event was written by other code."""
    stack.insert("stream_events", [event("usage", "producer-0") | {"sink": "0123456789ab"}])


def nameless_function(stack: Stack, x: XServer) -> None:
    """The newest row of an event was written by code that does not say which it is."""
    stack.insert("stream_events", [event("usage", "producer-0") | {"sink": None}])


Fault = Callable[[Stack, XServer], None]


@pytest.mark.parametrize(
    ("fault", "check", "state", "seen"),
    [
        (wrong_token, "token", "fail", "401"),
        (not_enrolled, "token", "fail", "attached to a Project"),
        (foreign_rules, "rules", "fail", "configured but not on X: 1; on X but not configured: 1"),
        (no_rules_file, "rules", "warn", "not compared"),
        (nearly_spent, "budget", "warn", "90% of the budget of 10,000"),
        (spent, "budget", "fail", "100% of the budget"),
        (capped, "budget", "warn", "86% of X's cap of 70"),
        (two_connections, "connection", "warn", "2 connections to the stream are open"),
        (emptied, "newest post", "warn", "no post of the last seven days is in the table"),
        (disconnected, "connection", "fail", "no connection to the stream is open"),
        (silent, "newest post", "fail", "newest post 2 h 0 min old, 600 in 24 hours"),
        (lost, "received", "fail", "X charged 560 posts; 60 are rows"),
        (letters, "dead letters", "warn", "waiting: 1; set aside in seven days: 1 row_rejected"),
        (open_gap, "gaps", "warn", "open gaps of the last 30 days: 1, 10 min 0 s in all"),
        (beginless_gap, "gaps", "fail", "and 1 whose begin nobody knows"),
        (other_columns, "table", "fail", "tweets.lang is missing, must be STRING"),
        (other_expiry, "table", "fail", "tweets keeps rows unlimited days, not 30"),
        (no_compliance, "compliance", "warn", "the last finished run is 2 d 0 h old"),
        (other_reader, "revision", "warn", "the reader runs 0123456789ab, not "),
        (nameless_reader, "revision", "warn", "the reader runs code that has no digest, not "),
        (no_start, "revision", "warn", "no start of the reader is in the table"),
        (other_function, "revision", "warn", "the function runs 0123456789ab, not "),
        (nameless_function, "revision", "warn", "the function runs code that has no digest, not "),
    ],
)
def test_each_fault_is_seen(
    reading: Stack, x: XServer, fault: Fault, check: str, state: str, seen: str
) -> None:
    """One fault at a time: its check says so with figures and what to do; the others stay ok."""
    fault(reading, x)
    findings = report(reading)
    assert findings[check]["state"] == state
    assert seen in findings[check]["seen"]
    assert findings[check]["todo"]
    code = reading.run("doctor").code
    worst = max(("ok", "warn", "fail").index(item["state"]) for item in findings.values())
    assert code == worst
    if fault not in (wrong_token, not_enrolled):
        others = {item["check"] for item in findings.values() if item["state"] != "ok"} - {check}
        # Posts that came late are missing from today where the test runs shortly after midnight.
        assert others <= {"received"}


def test_a_backlog_is_judged_by_its_age(reading: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that waits for the sink is no fault; one that waits for minutes is."""
    reading.publisher.publish(TOPIC, b"{}", kind="post").result(10)
    found = report(reading)["backlog"]
    assert (found["state"], found["seen"][:23]) == ("ok", "waiting for the sink: 1")
    (message,) = reading.pubsub.broker.subscriptions[SINK].pending.values()
    for seconds, state in ((90, "warn"), (900, "fail")):
        message.published = time.time() - seconds
        assert report(reading)["backlog"]["state"] == state


def test_a_backlog_of_unknown_age_is_not_ok(
    reading: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages wait and no age of them is known: that is said, not taken for no wait at all."""
    figure = monitoring._newest

    def without_age(*asked: Any) -> float | None:
        return None if "oldest_unacked_message_age" in asked else figure(*asked)

    monkeypatch.setattr(monitoring, "_newest", without_age)
    assert report(reading)["backlog"]["state"] == "ok"
    reading.publisher.publish(TOPIC, b"{}", kind="post").result(10)
    found = report(reading)["backlog"]
    assert found["state"] == "warn"
    assert found["seen"].startswith("waiting for the sink: 1; Cloud Monitoring does not know")


def test_in_the_image_the_function_is_not_compared(
    reading: Stack, x: XServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where no checkout is beside it, doctor compares the reader, and says where to ask further."""
    other_function(reading, x)
    monkeypatch.setattr("operations.deployed.FUNCTION", tmp_path / "sink")
    found = report(reading)["revision"]
    assert found["state"] == "ok"
    assert f"the reader runs {code_digest(PRODUCER)}" in found["seen"]
    assert "the function (0123456789ab) is compared in a checkout only" in found["seen"]


def test_nothing_is_touched(reading: Stack, x: XServer) -> None:
    """A look leases no letter, publishes nothing and buys no post."""
    letters(reading, x)
    before = x.app.ledger.usage.used
    reading.run("doctor")
    assert (reading.backlog(), reading.held(), reading.messages()) == (1, 0, [])
    assert x.app.ledger.usage.used == before


def test_garbage_from_x_is_a_finding(reading: Stack, x: XServer) -> None:
    """An answer of X that is no usage fails its checks with one line; the other checks go on."""

    async def garbage(request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    patch_route(x, "/usage/tweets", garbage)
    findings = report(reading)
    assert findings["budget"]["state"] == findings["received"]["state"] == "fail"
    assert "X answers with no usage" in findings["budget"]["seen"]
    assert findings["compliance"]["state"] == "ok"


@pytest.mark.parametrize(
    ("paused", "made_ago", "state", "seen"),
    [
        (False, None, "ok", "posts used by the reader's own count: 60; waiting to be published: 0"),
        (False, 5, "ok", "waiting to be published: 1, the oldest"),
        (False, 90, "warn", "waiting to be published: 1, the oldest 1 min"),
        (False, 900, "fail", "waiting to be published: 1, the oldest 15 min"),
        (True, None, "warn", "paused by the budget"),
    ],
)
def test_the_reader_s_store_is_read_where_it_is(
    reading: Stack, tmp_path: Path, paused: bool, made_ago: int | None, state: str, seen: str
) -> None:
    """In the pod, the reader's own count and what it holds are read from its file, unchanged."""
    reading.environ["STATE_DIR"] = str(tmp_path)
    store = Store(tmp_path)
    store.append(states={"budget": {"used": 60, "paused": paused}})
    if made_ago is not None:
        made_at = int((time.time() - made_ago) * 1e6)
        store.append([Entry(0, Message(b"{}", {"kind": "post"}), made_at)])
    found = report(reading)["reader"]
    assert found["state"] == state
    assert seen in found["seen"]
    store.close()


def test_a_store_that_cannot_be_read_is_a_finding(reading: Stack, tmp_path: Path) -> None:
    """A missing or damaged file is told with its path, and the other checks go on."""
    reading.environ["STATE_DIR"] = str(tmp_path)
    assert report(reading)["reader"]["state"] == "fail"
    (tmp_path / "reader.sqlite3").write_bytes(b"no database" * 100)
    findings = report(reading)
    assert "reader.sqlite3 cannot be read" in findings["reader"]["seen"]
    assert findings["connection"]["state"] == "ok"
