"""What the producer does about faults of X and of Pub/Sub: real ones, made by the stand-ins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.pubsub import PubSubServer
from local.x import XServer
from local.x.pace import BATCH
from producer import lines, outbox, service
from producer.backoff import Waits
from producer.budget import Budget
from producer.record import created_ms, timestamp
from producer.store import Store
from tests.producer.parts import Here, Topic, delivered, kept, settled, wait_for
from tests.producer.test_producer_store import break_row

RunHere = Callable[..., Here]
MakeX = Callable[..., XServer]


def _ids(rows: list[dict[str, Any]]) -> set[int]:
    return {row["id"] for row in rows}


def test_reads_on_behind_a_dead_pubsub(
    here: RunHere, make_x: MakeX, topic: Topic, pubsub: PubSubServer
) -> None:
    """Behind a dead Pub/Sub it stays connected, holds what it reads, and publishes all later."""
    x = make_x(rate=200)
    producer = here(x)
    wait_for(lambda: producer.metric("posts_total") > 50)
    pubsub.faults.publish_unavailable(2)
    wait_for(lambda: producer.metric("publish_failed_total") > 0)
    wait_for(lambda: producer.metric("held_messages") > 200)
    assert producer.get("/readyz") == (200, "streaming\n")
    wait_for(lambda: producer.metric("held_messages") < 50, 15, what="published")
    assert producer.stop() == 0
    assert settled(x) <= _ids(topic.posts())
    assert topic.events("gap") == []


def test_full_volume_disconnects(
    here: RunHere,
    make_x: MakeX,
    topic: Topic,
    pubsub: PubSubServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is held is bounded: when the volume is full X is left on purpose, and nothing of what it
    sent is lost.
    """
    monkeypatch.setattr(Store, "room", property(lambda each: 1_000_000 - sum(each.held) * 1000))
    monkeypatch.setattr(outbox, "ROOM_AGAIN", 900_000)
    x = make_x(rate=2000)
    pubsub.faults.publish_unavailable(60)
    producer = here(x)
    wait_for(lambda: producer.get("/readyz")[1] == "paused_publish\n", 30, what="paused")
    assert producer.get("/healthz")[0] == 200
    # What X had sent when we left is taken too: it is paid.
    assert producer.metric("held_messages") < 10_000
    assert producer.metric("room_bytes") < 0
    pubsub.faults.publish_unavailable(0)
    wait_for(lambda: topic.events("publish_stalled"), 30, what="recovered")
    wait_for(lambda: producer.get("/readyz")[1] == "streaming\n", 15, what="streaming again")
    assert producer.stop() == 0
    assert settled(x) <= _ids(topic.posts())
    assert topic.events("publish_stalled")[0]["reason"] == "volume_full"
    assert "volume_full" in [row["reason"] for row in topic.events("gap")]


def test_missing_dead_letter_topic_does_not_stop_posts(
    here: RunHere, make_x: MakeX, topic: Topic, environ: dict[str, str]
) -> None:
    """A dead-letter topic that does not exist is told; posts go on, and the bad line is kept."""
    x = make_x(rate=0, count=50)
    x.app.faults.add({"kind": "malformed"})
    producer = here(x, DEAD_LETTER_TOPIC="projects/test/topics/not-there")
    wait_for(lambda: len(topic.posts()) >= 49, what="posts")
    assert not producer.service.ended.is_set()
    wait_for(lambda: any("not-there" in line for line in producer.log), what="the line in the log")
    assert producer.stop() == 0
    assert kept(environ)[1] == 1


def test_bad_lines_are_dead_lettered(
    here: RunHere, make_x: MakeX, topic: Topic, letters: Topic
) -> None:
    """Each poison line is one dead letter with its bytes and one event; posts around it go on, and
    control messages are events and no dead letters.
    """
    x = make_x(rate=0, count=400)
    x.app.faults.add(
        [
            {"kind": "malformed", "after_posts": 50, "count": 2},
            {"kind": "truncated", "after_posts": 100},
            {"kind": "not_json", "after_posts": 150},
            {"kind": "unknown_message", "after_posts": 200},
            {"kind": "error_payload", "after_posts": 210},
            {"kind": "no_matching_rules", "after_posts": 220},
            {"kind": "untagged_rule", "after_posts": 230},
            {"kind": "huge_line", "after_posts": 300, "bytes": 2_000_000, "poison": False},
        ]
    )
    producer = here(x)
    wait_for(lambda: len(x.app.ledger.poison) == 4 and producer.metric("posts_total") >= 396)
    wait_for(lambda: producer.metric("held_messages") == 0)
    assert producer.stop() == 0
    assert settled(x) <= _ids(topic.posts())
    found = letters.pull()
    assert sorted(m.data for m in found) == sorted(x.app.ledger.poison)
    for letter in found:
        assert letter.attributes["dead_letter_reason"] == "malformed_line"
        assert letter.attributes["dead_letter_source"] == "producer"
        assert letter.attributes["kind"] == "line"
        assert letter.attributes["dead_letter_detail"]
        assert letter.attributes["dead_letter_at"].endswith("Z")
    events = topic.events("dead_letter")
    assert {json.loads(row["detail"])["id"] for row in events} == {
        letter.attributes["id"] for letter in found
    }
    reasons = sorted(row["reason"] for row in topic.events("control_message"))
    assert reasons == ["Internal Server Error", "unknown"]


def test_line_that_fits_nowhere_is_dead_lettered(
    here: RunHere, make_x: MakeX, topic: Topic, letters: Topic
) -> None:
    """A line longer than any message can hold costs no other post and is dead-lettered, cut."""
    x = make_x(rate=0, count=20)
    x.app.faults.add({"kind": "huge_line", "after_posts": 10})
    producer = here(x)
    wait_for(lambda: len(letters.pull()) == 1, what="the dead letter")
    wait_for(lambda: producer.metric("posts_total") >= 19)
    assert producer.stop() == 0
    assert letters.messages[0].attributes["dead_letter_reason"] == "too_large"
    assert x.app.ledger.poison[0].startswith(letters.messages[0].data)
    assert settled(x) <= _ids(topic.posts())


@pytest.mark.parametrize("kind", ["close", "reset", "cut", "disconnect"])
def test_drops_become_gaps(here: RunHere, make_x: MakeX, topic: Topic, kind: str) -> None:
    """However the stream breaks, it is taken up again, no delivered post is lost, and the time
    between is one gap that names the posts before and after.
    """
    x = make_x(rate=500, count=400)
    x.app.faults.add({"kind": kind, "after_posts": 200})
    producer = here(x)
    wait_for(lambda: len(delivered(x)) >= 399, what="all posts")
    wait_for(lambda: producer.metric("held_messages") == 0)
    assert producer.stop() == 0
    ids = _ids(topic.posts())
    assert settled(x) - ids == set()
    (gap,) = topic.events("gap")
    assert gap["reason"] == "disconnected"
    assert gap["gap_from"] <= gap["gap_to"]
    (told,) = topic.events("disconnected")
    assert (told["reason"], told["gap_from"], told["gap_to"]) == (
        "disconnected", gap["gap_from"], None,
    )  # fmt: skip
    assert gap["last_id_before"] in ids
    assert gap["first_id_after"] in ids
    if kind == "disconnect":
        assert json.loads(gap["detail"])["control"] == "OperationalDisconnect"
        assert [r["reason"] for r in topic.events("control_message")] == ["OperationalDisconnect"]
    if kind == "cut":
        assert json.loads(gap["detail"])["truncated_line"]["bytes"] > 0


def test_gap_under_a_wrong_clock_is_where_it_was(
    here: RunHere, make_x: MakeX, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that is two hours ahead from the first start on puts no gap where nothing was."""
    monkeypatch.setattr(lines, "now", lambda: time.time_ns() // 1_000 + 7_200_000_000)
    x = make_x(rate=500, count=400)
    x.app.faults.add({"kind": "close", "after_posts": 200})
    began = time.time() - 1
    producer = here(x)
    wait_for(lambda: topic.events("gap"), what="the gap")
    assert producer.stop() == 0
    (gap,) = topic.events("gap")
    ended = time.time() + 5
    assert timestamp(int(began * 1e6)) <= gap["gap_from"] <= gap["gap_to"]
    assert gap["gap_to"] <= timestamp(int(ended * 1e6))


def test_refusals_are_waited_out(here: RunHere, make_x: MakeX, topic: Topic) -> None:
    """503, 429 and 401 after a good connection are waited out, and told in the gap."""
    x = make_x(rate=500, count=300)
    x.app.faults.add(
        [
            {"kind": "close", "after_posts": 100},
            {"kind": "http", "after_posts": 100, "status": 503},
            {"kind": "http", "after_posts": 100, "status": 429, "reset_seconds": 1},
            {
                "kind": "http",
                "after_posts": 100,
                "status": 429,
                "issue": "TooManyConnections",
                "reset_seconds": 1,
            },
            {"kind": "http", "after_posts": 100, "status": 401},
        ]
    )
    producer = here(x)
    wait_for(lambda: len(delivered(x)) >= 300, 20, what="all posts")
    wait_for(lambda: producer.metric("held_messages") == 0)
    assert producer.stop() == 0
    assert settled(x) <= _ids(topic.posts())
    (gap,) = topic.events("gap")
    assert json.loads(gap["detail"])["failed_connects"] == {
        "http_503": 1, "http_429": 2, "http_401": 1,
    }  # fmt: skip
    assert any("DELETE /2/connections/filtered_stream" in line for line in producer.log)


def test_budget_pauses_and_survives_restart(here: RunHere, make_x: MakeX, topic: Topic) -> None:
    """The budget disconnects before it is passed, stays live and ready, warns first, and a restart
    stays paused without a connect.
    """
    x = make_x(rate=250, usage=100)  # X's cap
    first = here(x, POST_BUDGET="1000")
    wait_for(lambda: first.get("/readyz") == (200, "paused_budget\n"), 30, what="paused")
    assert first.get("/healthz")[0] == 200
    assert 900 <= x.app.ledger.usage.used <= 1000 + BATCH
    assert first.metric("budget_paused_until_seconds") > time.time()
    assert first.stop() == 0
    used, connects = x.app.ledger.usage.used, len(x.app.ledger.connects)
    # X's number lags: ours must hold.
    x.app.ledger.usage.used = 100
    second = here(x, POST_BUDGET="1000")
    wait_for(lambda: second.get("/readyz") == (200, "paused_budget\n"), what="still paused")
    time.sleep(0.5)
    assert second.metric("budget_used") >= used
    assert second.stop() == 0
    assert len(x.app.ledger.connects) == connects
    (warning,) = topic.events("budget_warning")
    assert warning["posts_used"] >= 800
    (paused,) = topic.events("budget_paused")
    assert paused["post_budget"] == 1000
    assert json.loads(paused["detail"])["until"].endswith("-01T00:00:00Z")
    assert settled(x) <= _ids(topic.posts())
    # More budget: reading goes on, and the pause is a gap.
    third = here(x, POST_BUDGET="100000")
    wait_for(lambda: topic.events("gap"), what="the gap")
    assert third.stop() == 0
    assert [gap["reason"] for gap in topic.events("gap")] == ["budget"]
    assert topic.events("budget_resumed")


@pytest.mark.parametrize(("budget", "share"), [(100, 0.5), (1000, 0.9), (5000, 0.95)])
def test_x_bills_no_more_than_the_budget(
    here: RunHere, make_x: MakeX, topic: Topic, budget: int, share: float
) -> None:
    """As fast as can be read, what X counts is the budget and a chunk at most, what lies in buffers
    included; all of that is published, and most of the budget is used.
    """
    x = make_x(rate=0)
    producer = here(x, POST_BUDGET=str(budget))
    wait_for(lambda: topic.events("budget_paused"), 60, what="paused")
    assert budget * share <= x.app.ledger.usage.used <= budget + BATCH
    assert producer.stop() == 0
    assert len(_ids(topic.posts())) == x.app.ledger.usage.used


@pytest.mark.parametrize("rate", [250, 2000])
def test_a_reader_that_stands_still_buys_no_more(
    here: RunHere, make_x: MakeX, topic: Topic, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    """A reader that stands still before the limit, for as long as X has anywhere to send, finds
    that X has counted the budget and a chunk at most.
    """
    x = make_x(rate=rate)
    read, stood = Budget.read, threading.Event()

    def slow(budget: Budget, posts: int, size: float) -> bool:
        if budget.used >= 900 and not stood.is_set():
            stood.set()
            (wire,) = x.app.stream.live
            wait_for(lambda: wire.waiting, 60, what="X to hold posts back")
        return read(budget, posts, size)

    monkeypatch.setattr(Budget, "read", slow)
    producer = here(x, POST_BUDGET="1000")
    wait_for(lambda: topic.events("budget_paused"), 60, what="paused")
    assert stood.is_set()
    assert 900 <= x.app.ledger.usage.used <= 1000 + BATCH
    assert producer.stop() == 0
    assert len(_ids(topic.posts())) == x.app.ledger.usage.used


def test_usage_endpoint_down(
    here: RunHere, make_x: MakeX, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without X's usage a budget that nothing is known of yet waits for it, and asks again; one
    that is known goes on by our own count. Both are told.
    """
    monkeypatch.setattr(service, "USAGE_AGAIN", 0.5)
    down = {"kind": "http", "path": "/2/usage/tweets", "status": 503}
    x = make_x(rate=0, count=50)
    x.app.faults.add({**down, "count": 3})
    first = here(x, POST_BUDGET="1000")
    wait_for(lambda: first.get("/readyz") == (200, "paused_budget\n"), what="paused")
    assert topic.posts() == []
    wait_for(lambda: len(topic.posts()) == 50, what="reading, once X answers")
    wait_for(lambda: first.metric("budget_used") == 50)
    assert first.stop() == 0
    told = [row["kind"] for row in topic.events() if row["kind"].startswith("budget_")]
    assert told == ["budget_paused", "budget_resumed"]
    (paused,) = topic.events("budget_paused")
    assert (paused["reason"], paused["posts_used"]) == ("usage_unknown", None)
    assert any("nothing is read until X answers" in line for line in first.log)
    x.settings.count = 100
    x.app.faults.add({**down, "count": 50})
    second = here(x, POST_BUDGET="1000")
    wait_for(lambda: len(topic.posts()) == 100)
    assert second.stop() == 0
    assert any("going by our own count, 50" in line for line in second.log)


def test_token_file_is_read_again(
    here: RunHere, make_x: MakeX, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that X revoked is replaced by the file's new one without a restart."""
    x = make_x(rate=300, token="first-token")
    file = tmp_path / "token"
    file.write_text("first-token\n")
    monkeypatch.setattr(service, "WAITS", Waits())
    producer = here(x, X_BEARER_TOKEN_FILE=str(file))
    wait_for(lambda: len(topic.posts()) > 10)
    x.settings.token = "second-token"
    x.app.faults.add({"kind": "close"})
    wait_for(lambda: (200, producer.get("/readyz")[1]) == (200, "backoff\n"), what="back-off")
    file.write_text("second-token\n")
    seen = len(topic.posts())
    wait_for(lambda: len(topic.posts()) > seen + 10, 4, what="posts with the new token")
    assert producer.stop() == 0
    text = "\n".join(producer.log)
    assert "first-token" not in text
    assert "second-token" not in text


def test_changed_rules_file_is_applied(
    here: RunHere, make_x: MakeX, topic: Topic, rules_file: Path
) -> None:
    """A changed RULES_FILE changes the difference at X while the stream goes on; a wrong one is
    told and changes nothing.
    """
    x = make_x(rate=100)
    producer = here(x)
    wait_for(lambda: producer.metric("rules") == 2)
    kept = {rule.value: rule.id for rule in x.app.rules.active.values()}["python OR cloud"]
    new = [{"value": "python OR cloud", "tag": "en"}, {"value": "gcp", "tag": "gcp"}]
    rules_file.write_text(json.dumps(new))
    values = {"python OR cloud", "gcp"}  # the new rule is added before the old one is deleted
    wait_for(lambda: {rule.value for rule in x.app.rules.active.values()} == values, 10)
    now = {rule.value: rule.id for rule in x.app.rules.active.values()}
    assert now["python OR cloud"] == kept
    rules_file.write_text('[{"value": "lang:en"}]')
    wait_for(lambda: any("The changed rules are not used" in line for line in producer.log), 10)
    assert {r.value for r in x.app.rules.active.values()} == {"python OR cloud", "gcp"}
    assert producer.stop() == 0
    changes = [json.loads(row["detail"]) for row in topic.events("rules_changed")]
    assert changes[-1]["added"] == [{"value": "gcp", "tag": "gcp"}]
    assert [rule["tag"] for rule in changes[-1]["deleted"]] == ["data"]
    assert topic.events("gap") == []


def test_damage_under_a_running_reader_is_a_gap(
    here: RunHere, make_x: MakeX, topic: Topic, pubsub: PubSubServer
) -> None:
    """A message that is damaged while it waits costs itself, and a gap of its time tells it."""
    x = make_x(rate=0, count=6000, keep_alive=0.5)
    pubsub.faults.publish_unavailable(60)
    producer = here(x)
    wait_for(lambda: producer.metric("held_messages") > 5000, 60)
    assert producer.service._outbox is not None
    break_row(producer.service._outbox.store, 3000)
    pubsub.faults.publish_unavailable(0)
    (gap,) = wait_for(lambda: topic.events("gap"), what="the gap")
    assert producer.stop() == 0
    assert gap["reason"] == "state_damaged"
    missing = settled(x) - _ids(topic.posts())
    assert len(missing) == 1
    assert gap["gap_from"] <= timestamp(created_ms(missing.pop()) * 1_000) <= gap["gap_to"]


def test_unreachable_pubsub_is_told(
    here: RunHere, make_x: MakeX, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Pub/Sub cannot be reached, it says so in a line, holds the posts and stays live."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setattr(service, "STOP_WITHIN", 0.8)
    producer = here(make_x(rate=50))
    wait_for(lambda: any("Pub/Sub did not take" in line for line in producer.log), what="told")
    wait_for(lambda: producer.metric("held_messages") > 10)
    assert producer.get("/healthz")[0] == 200
    assert producer.stop() == 0
    assert any("are kept in" in line for line in producer.log)


def test_unreachable_x_is_told(here: RunHere, make_x: MakeX) -> None:
    """While X cannot be reached, it says so in a line, waits and tries again: live, not ready."""
    x = make_x(rate=50)
    x.stop()
    producer = here(x)
    wait_for(lambda: any("X cannot be reached" in line for line in producer.log), what="told")
    wait_for(lambda: producer.get("/healthz") == (200, "backoff\n"))
    assert producer.get("/readyz")[0] == 503
    assert producer.stop() == 0


def test_full_disk_is_told_and_nothing_is_lost(
    here: RunHere, make_x: MakeX, topic: Topic, pubsub: PubSubServer
) -> None:
    """When the disk takes no more, reading goes on through memory, what was read is published, and
    the log does not claim more. With a budget X is left: no post may be read off the account.
    """
    x = make_x(rate=500)
    producer = here(x)
    wait_for(lambda: producer.metric("posts_total") > 100)
    assert producer.service._outbox is not None
    disk = producer.service._outbox.store._db
    disk.execute("PRAGMA query_only = ON")
    pubsub.faults.publish_unavailable(1)
    wait_for(lambda: producer.metric("memory_bytes") > 0)
    assert any("STATE_DIR takes no more" in line for line in producer.log)
    assert producer.get("/readyz")[1] == "streaming\n"
    wait_for(lambda: producer.metric("held_messages") < 50, what="published from memory")
    disk.execute("PRAGMA query_only = OFF")
    wait_for(lambda: producer.metric("memory_bytes") == 0)
    assert producer.stop() == 0
    assert settled(x) <= _ids(topic.posts())
    assert topic.events("gap") == []
    careful = here(x, POST_BUDGET="1000000")
    wait_for(lambda: topic.events("gap"), what="streaming")
    assert careful.service._outbox is not None
    disk = careful.service._outbox.store._db
    disk.execute("PRAGMA query_only = ON")
    wait_for(lambda: careful.get("/readyz")[1] == "paused_publish\n", what="paused")
    disk.execute("PRAGMA query_only = OFF")
    wait_for(lambda: careful.get("/readyz")[1] == "streaming\n", what="streaming again")
    assert careful.stop() == 0
    assert settled(x) <= _ids(topic.posts())
    assert topic.events("publish_stalled")[0]["reason"] == "disk_full"
    assert [gap["reason"] for gap in topic.events("gap")] == ["shutdown", "disk_full"]
