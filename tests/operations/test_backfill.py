"""`tweets backfill` against the X, Pub/Sub and BigQuery stand-ins."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from local.x import XServer
from local.x.query import parse
from operations.search import RECENT
from operations.topic import TopicPublisher
from producer.messages import Message
from tests.operations.conftest import TOKEN, Outage, Stack, patch_route, post_at

LAST_HOUR = ("--from", "2026-11-22T10:00:00Z", "--to", "2126-11-22T10:00:00Z")


def used(x: XServer) -> int:
    """Posts that X has charged."""
    return x.app.ledger.usage.used


def events(stack: Stack) -> list[dict[str, Any]]:
    """The backfilled events in the table."""
    return [
        {"gap_from": row[0], "gap_to": row[1], "detail": row[2]}
        for row in stack.query(
            "SELECT gap_from, gap_to, detail FROM `${dataset}.stream_events` "
            "WHERE kind = 'backfilled' ORDER BY gap_to"
        )
    ]


def test_gaps_are_listed(stack: Stack, outage: Outage) -> None:
    """Without a gap named, the open ones are listed with their ids."""
    done = stack.run("backfill")
    assert done.code == 0, done.err
    assert outage.gap in done.out
    assert "http_503" in done.out
    assert "open 300.0 s" in done.out


def test_a_gap_of_unknown_begin_is_listed_until_its_end_is_filled(
    stack: Stack, x: XServer, outage: Outage
) -> None:
    """After damaged state nobody knows the begin: it shows as `?`, and a person names one."""
    stack.run("backfill", "--gap", outage.gap, "--yes")
    stack.sink()
    end = outage.end + timedelta(seconds=60.7)
    gap = stack.insert_gap(None, end, "state_damaged")
    (row,) = [text for text in stack.run("backfill").out.splitlines() if gap in text]
    assert re.split("  +", row)[1] == "?"
    assert "open, since when is not known: fill by --from --to" in row
    to = re.split("  +", row)[2]
    assert datetime.fromisoformat(to) - end < timedelta(seconds=1)
    named = stack.run("backfill", "--gap", gap)
    assert (named.code, named.err.count("\n")) == (2, 1)
    assert "since when is not known: fill by --from --to" in named.err
    every = stack.run("backfill", "--all")
    assert (every.code, f"Not read: gap {gap}" in every.out) == (0, True)
    done = stack.run("backfill", "--from", outage.end.isoformat(), "--to", to, "--yes")
    assert done.code == 0, done.err
    stack.sink()
    (row,) = [text for text in stack.run("backfill").out.splitlines() if gap in text]
    assert "filled but for reposts" in row
    assert stack.run("backfill", "--gap", gap).out == "Nothing to read.\n"


def test_no_gap_is_a_sentence(stack: Stack) -> None:
    """A stream without gaps says so."""
    done = stack.run("backfill")
    assert (done.code, done.out) == (0, "No gap in the last 30 days.\n")


def test_dry_run_costs_nothing(stack: Stack, x: XServer, outage: Outage) -> None:
    """Naming a gap shows rules, expected posts and dollars, and neither reads nor publishes."""
    done = stack.run("backfill", "--gap", outage.gap)
    assert done.code == 0, done.err
    assert "rule  tech: data" in done.out
    assert "rule  cats: 고양이" in done.out
    # The posts of the hour before the gap, for five minutes.
    before = sum(post < post_at(outage.start) for post in outage.every_post)
    assert f"about {before * 5 / 60:.0f} posts ($" in done.out
    assert "at most 1,000 posts, $5.00" in done.out
    assert "X's searches return no reposts" in done.out
    assert "Dry run: no post was read" in done.out
    assert (used(x), stack.messages()) == (0, [])


def test_x_counts_on_request(stack: Stack, x: XServer, outage: Outage) -> None:
    """--count asks X, and what those requests cost is told."""
    done = stack.run("backfill", "--gap", outage.gap, "--count")
    assert done.code == 0, done.err
    assert "by X's counts" in done.out
    assert "paid  $0.010 for 2 count requests" in done.out
    assert used(x) == 0


def test_counts_that_lead_in_a_circle_are_paid_once(
    stack: Stack, x: XServer, outage: Outage, tmp_path: Path
) -> None:
    """A count's page token that X gave before ends the count: each request costs."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps([{"value": "data", "tag": "a"}]))
    asked: list[str | None] = []

    async def circle(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("next_token"))
        token = "b" if asked[-1] == "a" else "a"
        body = {"data": [], "meta": {"total_tweet_count": 2, "next_token": token}}
        return web.json_response(body, status=200 if len(asked) < 9 else 400)

    patch_route(x, "/counts/recent", circle)
    done = stack.run("backfill", "--gap", outage.gap, "--rules", str(rules), "--count")
    assert done.code == 0, done.err
    assert asked == [None, "a", "b"]
    assert "paid  $0.015 for 3 count requests" in done.out


def test_a_limit_that_stays_is_told_in_x_s_words(
    stack: Stack, x: XServer, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last try nothing is waited for, and X's own words say what it was about."""
    slept: list[float] = []
    monkeypatch.setattr("operations.x_account.time.sleep", slept.append)
    body = json.dumps({"title": "Too Many Requests", "detail": "of the day's posts"})
    x.app.faults.add(
        {"kind": "http", "status": 429, "body": body, "path": "/2/tweets/search/recent", "count": 9}
    )
    done = stack.run("backfill", "--gap", outage.gap, "--yes")
    assert done.code == 1
    assert "HTTP 429: Too Many Requests: of the day's posts" in done.err.splitlines()[-1]
    assert len([pause for pause in slept if pause >= 1]) == 3


def test_a_gap_is_filled_exactly(stack: Stack, x: XServer, outage: Outage) -> None:
    """After a backfill every post is there once, marked as such, and the gap is closed."""
    done = stack.run("backfill", "--gap", outage.gap, "--yes")
    assert done.code == 0, done.err
    messages = stack.sink()
    sent = [m.attributes["id"] for m in messages if m.attributes["kind"] == "post"]
    assert {int(number) for number in sent} == outage.missed
    assert len(sent) == len(outage.missed)
    counts = Counter(number for (number,) in stack.query("SELECT id FROM `${dataset}.tweets`"))
    assert set(counts) == outage.every_post
    assert max(counts.values()) == 1
    sources = stack.query(
        "SELECT source, COUNT(*) FROM `${dataset}.tweets` GROUP BY source ORDER BY source"
    )
    assert sources == [
        ("backfill", len(outage.missed)),
        ("stream", len(outage.every_post) - len(outage.missed)),
    ]
    # X's searches return no reposts: what is filled lacks them, and says so.
    filled = stack.query("SELECT backfilled, reposts_missing FROM `${dataset}.stream_gaps`")
    assert filled == [(True, True)]
    assert "filled but for reposts" in stack.run("backfill").out
    again = stack.run("backfill", "--gap", outage.gap, "--yes")
    assert (again.code, again.out) == (0, "Nothing to read.\n")


def test_a_post_of_two_rules_is_one_message_with_both_tags(
    stack: Stack, x: XServer, outage: Outage, tmp_path: Path
) -> None:
    """Rules that match the same posts give each post once, with every tag, and X's text."""
    rules = tmp_path / "rules.json"
    rules.write_text(
        json.dumps([{"value": "data", "tag": "a"}, {"value": "data OR 고양이", "tag": "b"}])
    )
    done = stack.run("backfill", "--gap", outage.gap, "--rules", str(rules), "--yes")
    assert done.code == 0, done.err
    posts = [m for m in stack.messages() if m.attributes["kind"] == "post"]
    assert {int(m.attributes["id"]) for m in posts} == outage.missed
    assert len(posts) == len(outage.missed)
    rows = {int(m.attributes["id"]): json.loads(m.data) for m in posts}
    tags = Counter(tuple(sorted(row["rule_tags"])) for row in rows.values())
    assert set(tags) == {("a", "b"), ("b",)}
    for row in rows.values():
        raw = json.loads(row["raw"])
        assert raw["data"]["text"]
        assert row["author_username"] == raw["includes"]["users"][0]["username"]


def test_the_cap_leaves_a_clean_shorter_gap(stack: Stack, x: XServer, outage: Outage) -> None:
    """--max-posts is never passed; what is left stays a gap and the next runs finish it."""
    first = stack.run("backfill", "--gap", outage.gap, "--max-posts", "100", "--yes")
    assert first.code == 3
    assert "is a gap still; run the command again" in first.err
    assert 0 < used(x) <= 100
    stack.sink()
    assert stack.query("SELECT backfilled FROM `${dataset}.stream_gaps`") == [(False,)]
    (event,) = events(stack)
    assert outage.start < event["gap_from"] < outage.end
    covered = {post for post in outage.missed if post >= post_at(event["gap_from"])}
    there = {number for (number,) in stack.query("SELECT id FROM `${dataset}.tweets`")}
    assert covered
    assert covered <= there
    for _ in range(4):
        done = stack.run("backfill", "--gap", outage.gap, "--max-posts", "100", "--yes")
        stack.sink()
        if done.code == 0:
            break
    assert done.code == 0
    counts = Counter(
        number for (number,) in stack.query("SELECT id FROM `${dataset}.tweets_latest`")
    )
    assert set(counts) == outage.every_post
    assert stack.query("SELECT backfilled FROM `${dataset}.stream_gaps`") == [(True,)]


def test_a_cap_with_rules_that_overlap(
    stack: Stack, x: XServer, outage: Outage, tmp_path: Path
) -> None:
    """Rules advance together: no paid post is lost, none claimed unread, every tag comes in."""
    rules = tmp_path / "rules.json"
    values = {"a": "data OR 고양이", "b": "(data OR 고양이) -is:retweet", "c": "고양이"}
    rules.write_text(json.dumps([{"value": value, "tag": tag} for tag, value in values.items()]))
    command = ("backfill", "--gap", outage.gap, "--rules", str(rules), "--max-posts", "60", "--yes")
    runs = 0
    while (done := stack.run(*command)).code == 3:
        runs += 1
        paid = {post.id for post in x.app.timeline.posts if post.charged}
        stack.sink()
        there = {number for (number,) in stack.query("SELECT id FROM `${dataset}.tweets`")}
        assert paid & outage.missed <= there
        for event in events(stack):
            unread = {post for post in outage.missed if post >= post_at(event["gap_from"])}
            assert unread <= there
        assert runs < 20
    assert done.code == 0, done.err
    stack.sink()
    assert runs > 3
    posts = {post.id: post for post in x.app.timeline.posts}
    queries = {tag: parse(value) for tag, value in values.items()}
    found = dict(
        stack.query("SELECT id, rule_tags FROM `${dataset}.tweets_latest` WHERE source='backfill'")
    )
    assert set(found) == outage.missed
    for number, tags in found.items():
        post = posts[number]
        subject = post.template.subject(post.tail)
        assert set(tags) == {tag for tag, query in queries.items() if query.matches(subject)}


def test_an_interval_by_time(stack: Stack, x: XServer, outage: Outage) -> None:
    """--from and --to fill an interval that no event names."""
    start, end = outage.start.isoformat(), outage.end.isoformat()
    done = stack.run("backfill", "--from", start, "--to", end, "--yes")
    assert done.code == 0, done.err
    ids = {int(m.attributes["id"]) for m in stack.sink() if m.attributes["kind"] == "post"}
    assert ids == outage.missed


def test_the_last_minute_is_left_for_later(stack: Stack, x: XServer, outage: Outage) -> None:
    """X's index may lack the newest posts: the last minute is not read, and stays a gap."""
    asked = answering_ends(x)
    gap = stack.insert_gap(outage.start, datetime.now(UTC))
    before = datetime.now(UTC)
    done = stack.run("backfill", "--gap", gap, "--yes")
    assert (done.code, done.out.count("Too new: ")) == (0, 1)
    assert max(asked) < before - timedelta(seconds=55)
    stack.sink()
    (event,) = events(stack)
    assert event["gap_to"] < before - timedelta(seconds=55)


def test_all_open_gaps_once(stack: Stack, x: XServer, outage: Outage) -> None:
    """--all fills every open gap; where two overlap, the shared part is read once."""
    stack.insert_gap(outage.start - timedelta(seconds=30), outage.start + timedelta(seconds=30))
    done = stack.run("backfill", "--all", "--yes")
    assert done.code == 0, done.err
    ids = [int(m.attributes["id"]) for m in stack.sink() if m.attributes["kind"] == "post"]
    assert sorted(ids) == sorted(outage.missed)
    assert stack.query("SELECT DISTINCT backfilled FROM `${dataset}.stream_gaps`") == [(True,)]


def test_seven_days_are_said(stack: Stack, x: XServer) -> None:
    """What lies further back than recent search reaches is told, and nothing is asked for."""
    now = datetime.now(UTC)
    gap = stack.insert_gap(now - timedelta(days=9), now - timedelta(days=8))
    assert "by --archive alone (over 7 days ago)" in stack.run("backfill").out
    done = stack.run("backfill", "--gap", gap, "--yes")
    assert done.code == 0
    assert "Out of reach" in done.out
    assert "Nothing to read." in done.out


def test_the_month_s_budget_holds(stack: Stack, x: XServer, outage: Outage) -> None:
    """A backfill that could pass the post budget is refused before anything is read."""
    x.app.ledger.usage.used = 9_500
    stack.environ["POST_BUDGET"] = "10000"
    done = stack.run("backfill", "--gap", outage.gap, "--yes")
    assert done.code == 2
    assert "at most --max-posts 500 fits" in done.err
    assert (used(x), stack.messages()) == (9_500, [])
    assert stack.run("backfill", "--gap", outage.gap, "--max-posts", "500", "--yes").code == 0


def test_a_refused_publish_leaves_the_gap_open(
    stack: Stack, x: XServer, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the topic does not take the posts, the gap is not marked as filled."""
    monkeypatch.setattr("operations.topic.PUBLISH_SECONDS", 0.5)
    stack.pubsub.faults.publish_unavailable(30)
    done = stack.run("backfill", "--gap", outage.gap, "--yes")
    assert (done.code, done.err.count("\n")) == (1, 1)
    stack.pubsub.faults.publish_unavailable(0)
    stack.sink()
    assert events(stack) == []
    assert stack.run("backfill", "--gap", outage.gap, "--yes").code == 0
    stack.sink()
    ids = {number for (number,) in stack.query("SELECT id FROM `${dataset}.tweets_latest`")}
    assert ids == outage.every_post


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gap", "none"), "no gap of the last 30 days has the id 'none'"),
        (("--from", "2026-11-22T10:00:00Z"), "--from and --to go together"),
        (("--all", "--from", "2026-11-22T10:00:00Z"), "an interval of their own"),
        (("--from", "yesterday", "--to", "2026-11-22T10:00:00Z"), "'yesterday' is no time"),
        (("--all", "--max-posts", "5"), "smallest page has 10 posts"),
        (("--all", "--max-posts", "many"), "'many' is no whole number"),
        (("--query", "cats"), "give --from and --to"),
        (("--query", "a" * 513, *LAST_HOUR), "and recent search takes 512"),
        (("--query", "a" * 1025, "--archive", *LAST_HOUR), "--query has 1025 characters"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_input_is_one_line(stack: Stack, arguments: tuple[str, ...], said: str) -> None:
    """Each wrong command line is exit code 2 and one line that says what to do."""
    done = stack.run("backfill", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err


def test_x_s_own_words_for_a_wrong_rule(
    stack: Stack, x: XServer, outage: Outage, tmp_path: Path
) -> None:
    """A rule that recent search refuses is told in X's words; an overlong one before X is asked."""
    rules = tmp_path / "rules.json"
    for value, said in (("(cats", "There were errors processing"), ("a" * 513, "takes 512")):
        rules.write_text(json.dumps([{"value": value}]))
        done = stack.run("backfill", "--gap", outage.gap, "--rules", str(rules), "--yes")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert said in done.err


def test_the_configured_rules_go_before_those_active_on_x(
    stack: Stack, x: XServer, outage: Outage, tmp_path: Path
) -> None:
    """A gap is of the stack's rules: RULES_FILE before X's active ones, --rules first."""
    files = [tmp_path / "rules.json", tmp_path / "mine.json"]
    for file, tag in zip(files, ("configured", "mine"), strict=True):
        file.write_text(json.dumps([{"value": "data", "tag": tag}]))
    stack.environ["RULES_FILE"] = str(files[0])
    done = stack.run("backfill", "--gap", outage.gap)
    assert re.findall("^rule  (.*)", done.out, re.MULTILINE) == ["configured: data"]
    done = stack.run("backfill", "--gap", outage.gap, "--rules", str(files[1]))
    assert re.findall("^rule  (.*)", done.out, re.MULTILINE) == ["mine: data"]
    files[0].unlink()
    done = stack.run("backfill", "--gap", outage.gap)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"RULES_FILE ({files[0]}) cannot be read" in done.err


def test_a_cap_below_a_page_a_rule(stack: Stack, x: XServer, outage: Outage) -> None:
    """A cap with which not every rule could be read once is refused before anything is paid."""
    done = stack.run("backfill", "--gap", outage.gap, "--max-posts", "19", "--yes")
    assert (done.code, done.err.count("\n"), used(x)) == (2, 1, 0)
    assert "give 20 or more" in done.err


def answering(x: XServer, *pages: dict[str, Any]) -> list[str | None]:
    """Let X's search answer with these pages, then the last again and again; collect the tokens."""
    asked: list[str | None] = []

    async def search(request: web.Request) -> web.Response:
        asked.append(request.query.get("next_token"))
        return web.json_response(pages[min(len(asked), len(pages)) - 1])

    patch_route(x, "/search/recent", search)
    return asked


def answering_ends(x: XServer) -> list[datetime]:
    """Collect the ends of the intervals that X's search is asked for."""
    ends: list[datetime] = []

    async def noting(request: web.Request) -> web.StreamResponse:
        ends.append(datetime.fromisoformat(request.query["end_time"]))
        return await real(request)

    real = patch_route(x, "/search/recent", noting)
    return ends


def page(*posts: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """A page of X's search."""
    return {"data": list(posts), "meta": {"result_count": len(posts), **meta}}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": "ok"},
        {"errors": [{"title": "Service Unavailable", "status": 503}]},
        {"meta": {"result_count": 10}},
        {"meta": {"result_count": "many"}},
    ],
)
def test_an_answer_that_is_no_page_closes_no_gap(
    stack: Stack, x: XServer, outage: Outage, answer: dict[str, Any]
) -> None:
    """JSON with status 200 that is no page of a search is an error, and the gap stays open."""
    answering(x, answer)
    done = stack.run("backfill", "--gap", outage.gap, "--yes")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "recent search of X gave no page" in done.err
    stack.sink()
    assert events(stack) == []


def test_half_a_page_is_published_and_not_called_complete(
    stack: Stack, x: XServer, outage: Outage, tmp_path: Path
) -> None:
    """Of a page with fewer posts than it says, those that are there are paid for and go out."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps([{"value": "data", "tag": "a"}]))
    numbers = [post_at(outage.end) - n for n in (1, 2)]
    posts = [{"id": str(number), "text": "t", "author_id": "1"} for number in numbers]
    answering(x, page(*posts, result_count=3))
    done = stack.run("backfill", "--gap", outage.gap, "--rules", str(rules), "--yes")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "What was read is published" in done.err
    sent = [m.attributes["id"] for m in stack.sink() if m.attributes["kind"] == "post"]
    assert sorted(map(int, sent)) == sorted(numbers)
    assert events(stack) == []


@pytest.mark.parametrize("answer", [{}, {"errors": []}, {"meta": {"total_tweet_count": None}}])
def test_an_answer_that_is_no_count_is_no_zero(
    stack: Stack, x: XServer, outage: Outage, answer: dict[str, Any]
) -> None:
    """A quote is never made from a count that X did not give."""

    async def counts(request: web.Request) -> web.Response:
        return web.json_response(answer)

    patch_route(x, "/counts/recent", counts)
    done = stack.run("backfill", "--gap", outage.gap, "--count")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "recent search of X gave no count" in done.err


def test_a_page_token_that_comes_twice_ends_the_search(
    stack: Stack, x: XServer, outage: Outage, tmp_path: Path
) -> None:
    """X leads round in a circle: the page is bought once more at most, and what came is kept."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps([{"value": "data", "tag": "a"}]))
    post = {"id": str(post_at(outage.end) - 1), "text": "t", "author_id": "1"}
    asked = answering(x, page(post, next_token="again"))
    done = stack.run("backfill", "--gap", outage.gap, "--rules", str(rules), "--yes")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "leads back to a page that was read and paid for" in done.err
    assert "What was read is published" in done.err
    assert asked == [None, "again"]
    sent = [m.attributes["id"] for m in stack.messages() if m.attributes["kind"] == "post"]
    assert sent == [post["id"]]


def test_what_lies_outside_in_the_same_second_is_not_published(
    stack: Stack, x: XServer, outage: Outage, tmp_path: Path
) -> None:
    """X reads whole seconds; a post beside the gap was streamed, and is not sent a second time."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps([{"value": "data", "tag": "a"}]))
    start = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=500_000)
    numbers = [post_at(start + timedelta(milliseconds=ms)) for ms in (600, 499, 0, -1)]
    posts = [{"id": str(number), "text": "t", "author_id": "1"} for number in numbers]
    answering(x, page(*posts))
    times = [(start + timedelta(milliseconds=ms)).isoformat() for ms in (0, 500)]
    interval = ("--from", times[0], "--to", times[1])
    done = stack.run("backfill", *interval, "--rules", str(rules), "--yes")
    assert done.code == 0, done.err
    sent = [m.attributes["id"] for m in stack.messages() if m.attributes["kind"] == "post"]
    assert sorted(map(int, sent)) == sorted(numbers[1:3])


def test_empty_pages_are_paced_and_have_an_end(
    stack: Stack, x: XServer, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages without a post that lead on are asked for in X's pace, and not for ever."""
    slept: list[float] = []
    monkeypatch.setattr("operations.search.time", SimpleNamespace(sleep=slept.append))
    pages = [{"meta": {"result_count": 0, "next_token": f"t{n}"}} for n in range(500)]
    asked = answering(x, *pages)
    done = stack.run("backfill", "--gap", outage.gap, "--yes")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "empty pages, one after another" in done.err
    assert len(asked) < 100
    assert slept == [2.0] * (len(asked) - 1)  # two rules share 450 requests in 15 minutes
    stack.sink()
    assert events(stack) == []


def test_what_was_paid_for_is_published_when_x_fails_midway(
    stack: Stack, x: XServer, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X fails on a later page: the posts read so far go out, their part of the gap is closed."""
    monkeypatch.setattr("operations.x_account._TRIES", 1)
    calls: list[web.Request] = []

    async def failing(request: web.Request) -> web.StreamResponse:
        calls.append(request)
        return web.Response(status=503) if len(calls) > 3 else await real(request)

    real = patch_route(x, "/search/recent", failing)
    command = ("backfill", "--gap", outage.gap, "--max-posts", "100", "--yes")
    done = stack.run(*command)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "503" in done.err
    assert "is a gap still; run the command again to go on" in done.err
    paid = {post.id for post in x.app.timeline.posts if post.charged}
    assert paid
    stack.sink()
    there = {number for (number,) in stack.query("SELECT id FROM `${dataset}.tweets`")}
    assert paid & outage.missed <= there


class EndedError(Exception):
    """What ends a run from outside."""


@pytest.mark.parametrize("how", ["interrupted", "killed", "refused"])
def test_what_is_published_is_noted_however_a_run_ends(
    stack: Stack, x: XServer, outage: Outage, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Ctrl-C, kill -9 or a topic that refuses late: what was complete is not read again."""
    monkeypatch.setattr("operations.filling._POSTS_A_NOTE", 20 if how == "killed" else 10**6)
    publish, rounds = TopicPublisher.publish, 0

    def ending(self: TopicPublisher, messages: Iterable[Message]) -> list[str | None]:
        nonlocal rounds
        batch = list(messages)
        if not batch or batch[0].attributes["kind"] == "event":
            if how == "killed" and rounds > 6:
                raise EndedError  # the process is no more: its last event is not published
            return publish(self, batch)
        rounds += 1
        if rounds <= 6:
            return publish(self, batch)
        if how == "refused":
            return ["Unavailable: 503"] * len(batch)
        raise KeyboardInterrupt if how == "interrupted" else EndedError

    monkeypatch.setattr(TopicPublisher, "publish", ending)
    command = ("backfill", "--gap", outage.gap, "--yes")
    small = RECENT._replace(largest_page=10)
    monkeypatch.setattr("operations.backfill.RECENT", small)
    if how == "killed":
        with pytest.raises(EndedError):
            stack.run(*command)
    else:
        assert stack.run(*command).code == (130 if how == "interrupted" else 1)
    monkeypatch.setattr(TopicPublisher, "publish", publish)
    stack.sink()
    reached = min(event["gap_from"] for event in events(stack))
    assert outage.start < reached < outage.end
    asked = answering_ends(x)
    done = stack.run(*command)
    assert done.code == 0, done.err
    assert max(asked) < reached + timedelta(seconds=1)
    stack.sink()
    found = [event["detail"] for event in events(stack)]
    there = [number for (number,) in stack.query("SELECT id FROM `${dataset}.tweets_latest`")]
    assert set(there) == outage.every_post
    if how != "killed":
        assert sum(detail["posts_published"] for detail in found) <= len(outage.missed)
    assert stack.query("SELECT backfilled FROM `${dataset}.stream_gaps`") == [(True,)]


def test_the_archive_reaches_further_than_seven_days(stack: Stack, x: XServer) -> None:
    """--archive fills a gap that recent search cannot, at one request a second, price first."""
    begin = datetime.now(UTC) - timedelta(days=9)
    made = [x.app.timeline.make((begin + timedelta(seconds=n)).timestamp()) for n in range(100)]
    posts = {
        post.id
        for post in made
        if post and "is:retweet" not in post.template.subject(post.tail).marks
    }
    gap = stack.insert_gap(begin - timedelta(seconds=1), begin + timedelta(seconds=200))
    dry = stack.run("backfill", "--gap", gap, "--archive", "--count")
    assert dry.code == 0, dry.err
    assert f"about {len(posts)} posts" in dry.out
    assert "$5.00 (--max-posts) by full-archive search" in dry.out
    assert used(x) == 0
    done = stack.run("backfill", "--gap", gap, "--archive", "--yes")
    assert done.code == 0, done.err
    assert "rate limit" not in done.err
    stack.sink()
    assert {number for (number,) in stack.query("SELECT id FROM `${dataset}.tweets`")} == posts
    assert stack.query("SELECT backfilled, reposts_missing FROM `${dataset}.stream_gaps`") == [
        (True, True)
    ]


def test_a_history_that_no_gap_asked_for(stack: Stack, x: XServer, outage: Outage) -> None:
    """--query reads what it finds between two times, after X's count, and closes no gap."""
    times = ("--from", outage.start.isoformat(), "--to", outage.end.isoformat())
    dry = stack.run("backfill", "--query", "data -고양이", *times)
    assert dry.code == 0, dry.err
    assert "by X's counts" in dry.out
    assert "paid  $0.005 for 1 count requests" in dry.out
    assert (used(x), stack.messages()) == (0, [])
    capped = stack.run("backfill", "--query", "data", *times, "--max-posts", "20", "--yes")
    assert capped.code == 3
    (reached,) = re.findall(r"go on by --to (\S+)", capped.err)
    rest = (*times[:3], reached)
    done = stack.run("backfill", "--query", "data", *rest, "--yes")
    assert done.code == 0, done.err
    stack.sink()
    query = parse("data")
    wanted = {
        post.id
        for post in x.app.timeline.posts
        if post.id in outage.missed and query.matches(post.template.subject(post.tail))
    }
    found = stack.query("SELECT id, rule_tags FROM `${dataset}.tweets` WHERE source = 'backfill'")
    assert {number for number, _ in found} == wanted
    assert {tuple(tags) for _, tags in found} == {("data",)}
    assert stack.query(
        "SELECT kind, COUNT(*) FROM `${dataset}.stream_events` WHERE kind <> 'gap' GROUP BY kind"
    ) == [("history", 2)]
    assert stack.query("SELECT backfilled FROM `${dataset}.stream_gaps`") == [(False,)]


@pytest.mark.parametrize(
    ("issue", "said"),
    [
        ("UsageCapExceeded", "Usage cap exceeded: Monthly product cap"),
        ("CreditsDepleted", "credits depleted"),
        ("SpendCapReached", "billing cycle spend cap"),
        ("ClientNotEnrolled", "attached to a Project"),
    ],
)
def test_a_spent_month_is_told_at_once_in_x_s_words(
    stack: Stack, x: XServer, outage: Outage, monkeypatch: pytest.MonkeyPatch, issue: str, said: str
) -> None:
    """A refusal that no waiting mends is exit code 1 at once, in X's words and with what to do."""
    slept: list[float] = []
    monkeypatch.setattr("operations.x_account.time.sleep", slept.append)
    x.app.faults.add(
        {"kind": "http", "issue": issue, "status": 0, "path": "/2/tweets/search/recent"}
    )
    done = stack.run("backfill", "--gap", outage.gap, "--yes")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert said in done.err
    assert "console" in done.err
    assert not [pause for pause in slept if pause >= 1]


def test_the_token_is_never_shown(stack: Stack, x: XServer, outage: Outage) -> None:
    """A refused token is told without the token, and so is a missing one."""
    x.settings.token = "another-token"
    done = stack.run("backfill", "--gap", outage.gap)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "401" in done.err
    assert TOKEN not in done.out + done.err
    del stack.environ["X_BEARER_TOKEN"]
    done = stack.run("backfill", "--gap", outage.gap)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "X_BEARER_TOKEN" in done.err


def test_no_log_level_shows_the_token(stack: Stack, x: XServer, outage: Outage) -> None:
    """A real process that asks X, with DEBUG in its environment, prints the token nowhere."""
    done = subprocess.run(
        [sys.executable, "-m", "operations", "backfill", "--gap", outage.gap, "--count"],
        env={
            **os.environ,
            **stack.environ,
            "LOG_LEVEL": "DEBUG",
            "PYTHONPATH": "services/producer",
        },
        cwd=Path(__file__).resolve().parents[2] / "services" / "producer",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "by X's counts" in done.stdout
    assert TOKEN not in done.stdout + done.stderr


def test_unreachable_x_is_one_line(
    stack: Stack, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody at X's address is exit code 1 and one line."""
    monkeypatch.setattr("operations.x_account._TRIES", 1)
    stack.environ["X_API_BASE_URL"] = "http://127.0.0.1:9"
    done = stack.run("backfill", "--gap", outage.gap)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "X is not reached" in done.err


def test_unreachable_bigquery_is_one_line(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at BigQuery's address is exit code 1 and one line."""
    monkeypatch.setattr("operations.dataset.CALL_SECONDS", 0.5)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    done = stack.run("backfill")
    assert (done.code, done.err.count("\n")) == (1, 1)
