"""What X and strangers do to the stream and its rules, and what the producer makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

import pytest

from local.x import XServer
from producer import rulebook, service
from producer.reconcile import active_rules, reconcile
from producer.rules import Rule
from producer.x_api import XApi
from tests.producer.parts import RULES, TOKEN, Here, Topic, delivered, wait_for

RunHere = Callable[..., Here]
MakeX = Callable[..., XServer]
STREAM = "/2/tweets/search/stream"
OURS = {Rule(rule["value"], rule["tag"]) for rule in RULES}


def _take_over(x: XServer, *rules: Rule) -> None:
    """Replace X's rules, as another script with the same app does."""
    reconcile(XApi("other-script", x.url), rules or [Rule("foreign OR storm", "theirs")])


def _ours(x: XServer) -> bool:
    return set(active_rules(XApi(TOKEN, x.url))) == OURS


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_another_script_s_rules_are_noticed_by_its_posts(
    here: RunHere, make_x: MakeX, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first post that matched a rule which is not ours puts the rules right, at once; there is
    an event, a gap for the time without ours, a log line and a metric, and our posts come again.
    """
    monkeypatch.setattr(service, "RULES_EVERY", 600.0)
    x = make_x(rate=200)
    producer = here(x)
    wait_for(lambda: len(topic.posts()) > 20)
    _take_over(x)
    wait_for(lambda: _ours(x), what="our rules")
    (told,) = wait_for(lambda: topic.events("rules_taken_over"))
    assert json.loads(told["detail"])["deleted"] == [{"value": "foreign OR storm", "tag": "theirs"}]
    (gap,) = wait_for(lambda: topic.events("gap"))
    assert gap["reason"] == "rules_taken_over"
    assert 0 < _moment(gap["gap_to"]) - _moment(gap["gap_from"]) < 10
    assert producer.metric("rules_taken_over_total") == 1
    assert any("'foreign OR storm'" in line and "app of its own" in line for line in producer.log)
    seen = len(topic.posts())
    wait_for(lambda: any({"data", "en"} & set(p["rule_tags"]) for p in topic.posts()[seen:]))
    assert producer.stop() == 0


@pytest.mark.parametrize("how", ["reconnect", "time"])
def test_another_script_s_rules_are_noticed_without_a_post(
    here: RunHere, make_x: MakeX, topic: Topic, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Rules are compared at each reconnect, and from time to time, also when nothing comes."""
    if how == "time":
        monkeypatch.setattr(rulebook, "COMPARE_SECONDS", 0.5)
    x = make_x(rate=10, count=0)
    producer = here(x)
    wait_for(lambda: producer.get("/readyz")[0] == 200)
    _take_over(x)
    if how == "reconnect":
        x.app.faults.add({"kind": "close"})
    wait_for(lambda: _ours(x), what="our rules")
    wait_for(lambda: topic.events("rules_taken_over"))
    gaps = wait_for(lambda: [g for g in topic.events("gap") if g["reason"] == "rules_taken_over"])
    assert _moment(gaps[0]["gap_to"]) >= _moment(gaps[0]["gap_from"])
    assert producer.stop() == 0


def test_rules_that_only_stand_beside_ours_are_no_gap(
    here: RunHere, make_x: MakeX, topic: Topic
) -> None:
    """Another's rules beside ours are deleted and told; ours were in force, so there is no gap."""
    x = make_x(rate=200)
    producer = here(x)
    wait_for(lambda: len(topic.posts()) > 20)
    _take_over(x, *OURS, Rule("storm", "theirs"))
    wait_for(lambda: topic.events("rules_taken_over"))
    assert _ours(x)
    assert producer.stop() == 0
    assert topic.events("gap") == []


def test_an_open_stream_without_posts_is_told_once(
    here: RunHere, make_x: MakeX, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs of life alone, for longer than posts let one wait, are told as an event, once for each
    silence: without it nobody knows whether the rules match nothing or the sink is behind.
    """
    monkeypatch.setattr(service, "QUIET", 0.5)
    x = make_x(rate=100, count=30, keep_alive=0.2)
    producer = here(x)
    (quiet,) = wait_for(lambda: topic.events("quiet"), what="the event")
    [last] = [post["created_at"] for post in topic.posts()][-1:]
    assert json.loads(quiet["detail"])["since"] >= last
    keep_alives = producer.metric("keep_alives_total")
    wait_for(lambda: producer.metric("keep_alives_total") > keep_alives + 5)
    assert len(topic.events("quiet")) == 1
    x.settings.count = 60
    wait_for(lambda: len(topic.events("quiet")) == 2, what="the next silence")
    assert len(topic.posts()) == 60
    assert producer.stop() == 0
    assert topic.events("gap") == []


def test_rules_that_cannot_be_compared_hold_nothing_up(
    here: RunHere, make_x: MakeX, topic: Topic
) -> None:
    """When X's rules cannot be read at a reconnect, the stream is read all the same."""
    x = make_x(rate=200)
    producer = here(x)
    wait_for(lambda: len(topic.posts()) > 20)
    x.app.faults.add(
        [{"kind": "http", "path": f"{STREAM}/rules", "status": 503, "count": 50}, {"kind": "close"}]
    )
    seen = len(topic.posts())
    wait_for(lambda: len(topic.posts()) > seen + 50)
    assert producer.stop() == 0


def test_it_leaves_when_x_says_that_it_is_over(here: RunHere, make_x: MakeX, topic: Topic) -> None:
    """After X's own word it leaves, though X would send keep-alives for long, and these cover
    nothing: the gap begins before the word.
    """
    x = make_x(rate=500, count=200, keep_alive=0.1)
    x.app.faults.add({"kind": "disconnect", "after_posts": 100, "linger": 60.0})
    producer = here(x)
    wait_for(lambda: len(topic.posts()) == 200, what="posts of a second connection")
    (gap,) = topic.events("gap")
    (word,) = topic.events("control_message")
    assert gap["reason"] == "disconnected"
    assert json.loads(gap["detail"])["control"] == "OperationalDisconnect"
    assert gap["gap_from"] <= word["at"] <= gap["gap_to"]
    assert producer.stop() == 0


def test_messages_in_any_form_are_neither_posts_nor_letters(
    here: RunHere, make_x: MakeX, topic: Topic, letters: Topic
) -> None:
    """An array at the top of a line, and `data: null` beside errors, are told as X's messages:
    not counted as paid, not dead-lettered. Half an emoji costs nothing either.
    """
    x = make_x(rate=500, count=100)
    x.app.faults.add([{"kind": k, "after_posts": 20} for k in ("array", "null_data", "half_emoji")])
    producer = here(x, POST_BUDGET="1000")
    posts = wait_for(lambda: (found := topic.posts()) and len(found) == 100 and found)
    assert len(topic.events("control_message")) == 2
    assert any(post["text"].startswith("\N{REPLACEMENT CHARACTER} ") for post in posts)
    assert {post["id"] for post in posts} == delivered(x)
    wait_for(lambda: producer.metric("budget_used") == 100)
    assert producer.stop() == 0
    assert letters.pull() == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            {"status": 200, "body": "<html>\nSign in\n</html>", "content_type": "text/html"},
            "This is no answer of X",
        ),
        ({"issue": "UsageCapExceeded"}, "The month's cap of posts is used up"),
        ({"issue": "CreditsDepleted"}, "X's credits are spent"),
        ({"issue": "SpendCapReached"}, "X's spending limit of this account is reached"),
        (
            {
                "status": 200,
                "body": "\n<html>\nSign in\n</html>",
                "content_type": "application/json",
            },
            "This is no answer of X",
        ),
    ],
)
@pytest.mark.parametrize("path", [STREAM, f"{STREAM}/rules"])
def test_what_will_pass_is_waited_out_with_one_line(
    here: RunHere, make_x: MakeX, topic: Topic, letters: Topic, path: str,
    fault: dict[str, object], says: str,
) -> None:  # fmt: skip
    """A stranger's page, a used-up cap and spent credits are told in a line with what to do, at
    the first start too; then the stream is read, and nothing of the answer is a letter.
    """
    x = make_x(rate=500, count=50)
    x.app.faults.add({"kind": "http", "path": path, **fault})
    producer = here(x)
    wait_for(lambda: len(topic.posts()) == 50)
    (line,) = [line for line in producer.log if says in line]
    assert "\n" not in line
    assert producer.stop() == 0
    assert letters.pull() == []


def test_reposts_come_whole(here: RunHere, make_x: MakeX, topic: Topic) -> None:
    """With the default fields no repost's text is X's cut one; without the expansion they are."""
    x = make_x(rate=0, count=300)
    producer = here(x)
    posts = wait_for(lambda: (found := topic.posts()) and len(found) == 300 and found, 20)
    assert producer.stop() == 0
    reposts = [p for p in posts if any(r["type"] == "retweeted" for r in p["referenced_posts"])]
    assert len(reposts) > 20
    assert not any(post["text"].endswith("…") for post in posts)
    cut = [p for p in reposts if json.loads(p["raw"])["data"]["text"].endswith("…")]
    assert cut
    assert all(len(post["text"]) > 140 for post in cut)
    x.settings.count = 600
    second = here(x, X_FIELDS="")
    wait_for(lambda: len(topic.posts()) == 600, 20)
    assert second.stop() == 0
    assert any(post["text"].endswith("…") for post in topic.posts()[300:])
