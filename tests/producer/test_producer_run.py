"""The producer as a process, between the X stand-in and the embedded Pub/Sub server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.pubsub import PubSubServer
from local.x import XServer
from producer.revision import code_digest
from producer.sender import BATCH_MESSAGES
from tests.producer.parts import TOKEN, Producer, Topic, kept, settled, wait_for

Run = Callable[..., Producer]
MakeX = Callable[..., XServer]


def _ids(rows: list[dict[str, Any]]) -> set[int]:
    return {row["id"] for row in rows}


def test_sigterm_publishes_all_that_was_read(
    run: Run, make_x: MakeX, topic: Topic, environ: dict[str, str]
) -> None:
    """SIGTERM in a full stream ends with 0 within 10 s, and no delivered post is lost."""
    x = make_x(rate=0)
    producer = run(x)
    wait_for(lambda: producer.metric("posts_total") > 2000, what="2,000 posts")
    begin = time.monotonic()
    assert producer.stop() == 0
    assert time.monotonic() - begin < 10
    posts = topic.posts()
    assert settled(x) - _ids(posts) == set()
    (started,) = topic.events("started")
    code = Path(__file__).parents[2] / "services" / "producer" / "producer"
    assert json.loads(started["detail"])["revision"] == code_digest(code)
    assert [row["kind"] for row in topic.events("stopped")] == ["stopped"]
    assert kept(environ) == [0, 0]


def test_kill_loses_nothing_that_was_read(
    run: Run, make_x: MakeX, topic: Topic, pubsub: PubSubServer
) -> None:
    """After kill -9 with Pub/Sub away, twice, the next start publishes all that was read, and the
    gap.
    """
    x = make_x(rate=0, count=3000)
    pubsub.faults.publish_unavailable(60)
    first = run(x)
    wait_for(lambda: first.metric("posts_total") == 3000, what="3,000 posts")
    assert topic.posts() == []
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    again = run(x)
    wait_for(lambda: again.metric("replayed_total") >= 3000, what="the store")
    again.process.kill()
    again.wait()
    pubsub.faults.publish_unavailable(0)
    second = run(x)
    wait_for(lambda: second.metric("replayed_total") >= 3000, what="the store")
    x.settings.count = 3200
    wait_for(lambda: len(x.app.ledger.ids) >= 3200 and second.metric("held_messages") == 0)
    assert second.stop() == 0
    posts = topic.posts()
    assert settled(x) <= _ids(posts)
    assert len(_ids(posts)) == 3200
    gaps = topic.events("gap")
    assert [gap["reason"] for gap in gaps] == ["killed"]
    assert gaps[0]["gap_from"] < gaps[0]["gap_to"]
    assert gaps[0]["last_id_before"] in _ids(posts)
    assert gaps[0]["first_id_after"] in _ids(posts)


def test_a_kill_doubles_what_was_in_flight_at_most(run: Run, make_x: MakeX, topic: Topic) -> None:
    """Killed while it publishes, it sends again no more than its open requests held."""
    x = make_x(rate=0, count=6000)
    first = run(x)
    wait_for(lambda: first.metric("published_total") > 2000, what="publishing")
    first.process.kill()
    first.wait()
    second = run(x)
    x.settings.count = 6500
    wait_for(lambda: len(x.app.ledger.ids) >= 6500 and second.metric("held_messages") == 0)
    assert second.stop() == 0
    posts = topic.posts()
    assert len(posts) - len(_ids(posts)) <= 4 * BATCH_MESSAGES


def test_published_posts_are_not_sent_again(run: Run, make_x: MakeX, topic: Topic) -> None:
    """A kill at rest, when all is published, doubles nothing at the next start."""
    x = make_x(rate=0, count=500)
    first = run(x)
    wait_for(lambda: first.metric("published_total") >= 503, what="all published")
    time.sleep(0.3)
    first.process.kill()
    first.wait()
    second = run(x)
    wait_for(lambda: second.get("/readyz")[0] == 200, what="ready")
    assert second.metric("replayed_total") == 0
    assert second.stop() == 0
    assert len(topic.posts()) == 500


def test_sigterm_while_the_store_is_looked_through(make_x: MakeX, environ: dict[str, str]) -> None:
    """A large store takes a while at the start: SIGTERM in it ends with 0, and X is not asked."""
    program = (
        "import sys, time\nfrom producer import database\nfrom producer.__main__ import main\n"
        "real = database.problem\n"
        "def slow(db):\n    print('looking', flush=True)\n    time.sleep(1)\n    return real(db)\n"
        "database.problem = slow\nsys.exit(main([]))\n"
    )
    x = make_x()
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**environ, "X_API_BASE_URL": x.url},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "looking\n"
        process.terminate()
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert not x.app.ledger.connects


def test_sigterm_keeps_what_cannot_be_published(
    run: Run, make_x: MakeX, topic: Topic, pubsub: PubSubServer
) -> None:
    """Behind a dead Pub/Sub SIGTERM still ends within 10 s with 0, says how many posts it keeps,
    and the next start sends them.
    """
    x = make_x(rate=0, count=300)
    pubsub.faults.publish_unavailable(60)
    first = run(x)
    wait_for(lambda: first.metric("posts_total") == 300)
    begin = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - begin < 10
    assert any("are kept in" in line for line in first.log)
    pubsub.faults.publish_unavailable(0)
    second = run(x)
    wait_for(lambda: len(topic.posts()) == 300, what="the kept posts")
    assert second.stop() == 0
    assert settled(x) <= _ids(topic.posts())
    # A stop that was asked for is a gap by its own name.
    x.settings.count = 310
    third = run(x)
    wait_for(lambda: len(topic.posts()) == 310)
    assert third.stop() == 0
    assert {gap["reason"] for gap in topic.events("gap")} == {"shutdown"}


def test_missing_topic_ends_with_one_line(run: Run, make_x: MakeX, environ: dict[str, str]) -> None:
    """A topic that does not exist ends with 1 and one clear line; the posts are kept."""
    x = make_x(rate=0, count=20)
    producer = run(x, TOPIC="projects/test/topics/not-there")
    assert producer.wait() == 1
    critical = [json.loads(line) for line in producer.log if '"CRITICAL"' in line]
    assert len(critical) == 1
    assert "Pub/Sub refuses projects/test/topics/not-there" in critical[0]["message"]
    assert kept(environ)[0] > 0


def test_token_is_never_logged(run: Run, make_x: MakeX, topic: Topic) -> None:
    """With all logged at DEBUG, by every library, the token is not there."""
    x = make_x(rate=0, count=20)
    producer = run(x, LOG_LEVEL="DEBUG")
    wait_for(lambda: len(topic.posts()) == 20)
    assert producer.stop() == 0
    text = "\n".join(producer.log)
    assert "Starting new HTTP connection" in text, "the libraries' DEBUG log is what this is about"
    assert TOKEN not in text
    assert "secret+token" not in text
    assert TOKEN[:20] not in text
    assert all(json.loads(line)["severity"] for line in producer.log)


def test_print_needs_a_token_only(run: Run, make_x: MakeX) -> None:
    """--print writes each post as X sent it, uses the rules X has, and leaves them alone."""
    x = make_x(rate=0, count=30)
    nothing = {"TOPIC": "", "DEAD_LETTER_TOPIC": "", "RULES_FILE": "", "STATE_DIR": "", "PORT": ""}
    none = run(x, "--print", **nothing)
    assert none.wait() == 2
    assert "X has no rules" in none.log[-1]
    producer = run(x, "--print", "--rule", "cloud", **nothing)
    wait_for(lambda: len(producer.out) == 30, what="30 posts")
    assert producer.stop(signal.SIGINT) == 0
    assert {int(json.loads(line)["data"]["id"]) for line in producer.out} == settled(x)
    x.settings.count = 40
    again = run(x, "--print", **nothing)
    wait_for(lambda: len(again.out) == 10, what="10 posts")
    assert again.stop() == 0
    assert [rule.value for rule in x.app.rules.active.values()] == ["cloud"]


def test_print_publishes_too(run: Run, make_x: MakeX, topic: Topic) -> None:
    """--print with a TOPIC does both."""
    x = make_x(rate=0, count=30)
    producer = run(x, "--print")
    wait_for(lambda: len(producer.out) == 30 and len(topic.posts()) == 30)
    assert producer.stop() == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"X_BEARER_TOKEN": ""}, "X_BEARER_TOKEN is empty"),
        ({"X_BEARER_TOKEN_FILE": "/not/there"}, "X_BEARER_TOKEN_FILE (/not/there) cannot be read"),
        ({"X_BEARER_TOKEN": "two words"}, "white space"),
        ({"X_BEARER_TOKEN": f'"{TOKEN}"'}, "quotes"),
        ({"X_BEARER_TOKEN": f"BEARER_TOKEN={TOKEN}"}, "'BEARER_TOKEN='"),
        ({"X_BEARER_TOKEN": f"Bearer {TOKEN}"}, "'Bearer'"),
        ({"X_API_BASE_URL": "https://api.x.com/2/"}, "Set it to https://api.x.com,"),
        ({"X_FIELDS": "expansions=nonsense"}, "X_FIELDS: 'nonsense' is no expansions"),
        ({"TOPIC": ""}, "TOPIC is not set"),
        ({"TOPIC": "tweets"}, "projects/PROJECT/topics/TOPIC"),
        ({"DEAD_LETTER_TOPIC": "projects/p/topics/x y"}, "DEAD_LETTER_TOPIC is"),
        ({"RULES_FILE": ""}, "RULES_FILE is not set"),
        ({"RULES_FILE": "/not/there.json"}, "No such file"),
        ({"X_API_BASE_URL": "api.x.com"}, "X_API_BASE_URL is 'api.x.com'"),
        ({"X_API_BASE_URL": "http://[::1"}, "X_API_BASE_URL is"),
        ({"X_API_BASE_URL": "http://me:sesame@localhost"}, "X_API_BASE_URL holds a user name"),
        ({"X_API_BASE_URL": "http://proxy.example"}, "http:// is for this machine alone"),
        ({"X_API_BASE_URL": "http://127.0.0.1.example"}, "http:// is for this machine alone"),
        ({"PORT": "80a"}, "PORT is '80a'"),
        ({"POST_BUDGET": "-1"}, "POST_BUDGET is '-1'"),
        ({"BACKFILL_MINUTES": "6"}, "from 0 to 5"),
        ({"STATE_DIR": "/proc/nothing"}, "STATE_DIR (/proc/nothing) is not writable"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL is 'LOUD'"),
    ],
)
def test_bad_settings_get_one_line(
    environ: dict[str, str], capfd: pytest.CaptureFixture[str], change: dict[str, str], says: str
) -> None:
    """A setting that cannot work ends with 2 and one line that names it."""
    from producer.__main__ import main

    assert main([], {**environ, **change}) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert says in lines[0]


def test_busy_port_and_state(run: Run, make_x: MakeX) -> None:
    """A second producer on the same port, or on the same STATE_DIR, ends with 2 and one line."""
    x = make_x(rate=10)
    first = run(x)
    wait_for(lambda: first.get("/readyz")[0] == 200)
    second = run(x)
    assert second.wait() == 2
    assert len(second.log) == 1
    assert f"PORT is {first.port}" in second.log[0]
    third = run(x, PORT="0")
    assert third.wait() == 2
    assert len(third.log) == 1
    assert "is in use by another producer" in third.log[0]
    assert first.stop() == 0


@pytest.mark.parametrize(
    ("value", "token", "fault", "says"),
    [
        ("lang:en", TOKEN, {}, "cannot be used as a standalone operator"),
        ("cat", "bad-token", {}, "Check the bearer token"),
        ("cat", TOKEN, {"issue": "ClientNotEnrolled"}, "Attach the app of this bearer token"),
        ("cat", TOKEN, {"status": 404}, "check X_API_BASE_URL"),
        (
            "cat",
            TOKEN,
            {"issue": "RulesCapExceeded", "method": "POST"},
            "X allows this app no more",
        ),
    ],
)
def test_what_x_refuses_gets_one_line(
    run: Run, make_x: MakeX, rules_file: Path, value: str, token: str, fault: dict[str, str],
    says: str,
) -> None:  # fmt: skip
    """What no waiting mends ends the start with 2, and one line with what to do."""
    x = make_x()
    if fault:
        x.app.faults.add({"kind": "http", "path": "/2/tweets/search/stream/rules", **fault})
    rules_file.write_text(json.dumps([{"value": value}]))
    producer = run(x, X_BEARER_TOKEN=token)
    assert producer.wait() == 2
    (line,) = [json.loads(line) for line in producer.log]
    assert line["severity"] == "CRITICAL"
    assert says in line["message"]
    assert len(x.app.rules.active) == 0
