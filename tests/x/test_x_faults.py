"""Faults on request: each kind does what it says, and is counted."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.x import XServer
from local.x.faults import KINDS
from tests.x.clients import (
    ALL_FIELDS,
    Collector,
    connected,
    delete,
    delivered,
    get,
    inject,
    post,
    read,
    stats,
)

Start = Callable[..., XServer]


def lines_until_end(server: XServer) -> tuple[list[bytes], list[str]]:
    """Read with tweepy until the connection ends; returns the lines and how it ended."""
    client = Collector(server, chunk_size=65536)
    client.filter()
    return client.lines, client.ends


def ids(lines: list[bytes]) -> list[str]:
    """Return the ids of lines that are whole posts."""
    return [json.loads(line)["data"]["id"] for line in lines if line.startswith(b'{"data"')]


@pytest.mark.parametrize(
    ("kind", "end"), [("close", "closed"), ("reset", "connection_error"), ("disconnect", "closed")]
)
def test_a_drop_loses_nothing_that_was_delivered(start: Start, kind: str, end: str) -> None:
    """Close, reset and disconnect come at their post, after every delivered line arrived."""
    server = start(rate=0.0)
    inject(server, {"kind": kind, "after_posts": 500})
    lines, ends = lines_until_end(server)
    assert ends == [end]
    assert ids(lines) == delivered(server)
    assert len(ids(lines)) == 500
    assert stats(server)["faults"] == {kind: 1}
    assert len(read(server, 3)) == 3


def test_a_cut_ends_in_the_middle_of_a_line(start: Start) -> None:
    """The half line's post is not delivered: it is listed as missed, and search still has it."""
    server = start(rate=0.0)
    inject(server, {"kind": "cut", "after_posts": 100})
    lines, ends = lines_until_end(server)
    whole = [line for line in lines if line.endswith(b"]}")]
    assert ends == ["connection_error"]
    assert ids(whole) == delivered(server)
    assert len(whole) == 100
    (missed,) = get(f"{server.url}/_standin/missed").text.split()
    assert missed not in delivered(server)


def test_a_disconnect_names_its_type(start: Start) -> None:
    """X's message before the end is the last line."""
    server = start(rate=0.0)
    inject(
        server,
        {
            "kind": "disconnect",
            "disconnect_type": "UpstreamOperationalDisconnect",
            "after_posts": 5,
        },
    )
    lines, _ = lines_until_end(server)
    error = json.loads(lines[-1])["errors"][0]
    assert error["title"] == "operational-disconnect"
    assert error["disconnect_type"] == "UpstreamOperationalDisconnect"


def test_a_stall_is_silent_and_keeps_the_connection(start: Start) -> None:
    """During a stall neither posts nor keep-alives come; after it the stream goes on."""
    server = start(rate=200.0, keep_alive=0.05)
    inject(server, {"kind": "stall", "seconds": 0.6, "after_posts": 5})
    longest, last = 0.0, time.monotonic()
    with connected(server) as response:
        for number, line in enumerate(response.iter_lines()):
            assert line
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            if number > 20:
                break
    assert longest > 0.5


@pytest.mark.parametrize("kind", ["malformed", "truncated", "not_json"])
def test_poison_lines_are_listed_and_carry_no_delivered_post(start: Start, kind: str) -> None:
    """Poison is no JSON, stands between whole posts, and is listed word for word."""
    server = start(rate=0.0, count=200)
    inject(server, {"kind": kind, "count": 2, "after_posts": 50})
    client = Collector(server, stop_after=202, chunk_size=65536)
    client.filter()
    bad = client.lines[50:52]
    for line in bad:
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)
    listed = get(f"{server.url}/_standin/poison").json()["lines"]
    assert listed == [line.decode() for line in bad]
    assert len(set(listed)) == 2
    assert ids(client.lines[:50] + client.lines[52:]) == delivered(server)


def test_a_huge_line_is_poison_by_default(start: Start) -> None:
    """A huge line is a valid post of the asked size; with poison false it counts as delivered."""
    server = start(rate=0.0, count=20)
    inject(
        server,
        {"kind": "huge_line", "bytes": 300_000, "after_posts": 10},
        {"kind": "huge_line", "bytes": 200_000, "after_posts": 11, "poison": False},
    )
    client = Collector(server, stop_after=21, chunk_size=65536)
    client.filter()
    huge = [line for line in client.lines if len(line) > 100_000]
    assert [round(len(line), -4) for line in huge] == [300_000, 200_000]
    assert json.loads(huge[0])["data"]["id"] not in delivered(server)
    assert json.loads(huge[1])["data"]["id"] in delivered(server)


def first_lines(server: XServer, count: int, *faults: dict[str, Any]) -> list[dict[str, Any]]:
    """Inject before connecting and return the first lines, parsed."""
    inject(server, *faults)
    return read(server, count)


def test_posts_may_lack_rules_or_tags_and_are_delivered(start: Start) -> None:
    """no_matching_rules and untagged_rule send real posts in an unusual form."""
    server = start(rate=0.0, count=10)
    bare, untagged, usual = first_lines(
        server, 3, {"kind": "no_matching_rules"}, {"kind": "untagged_rule"}
    )
    assert "matching_rules" not in bare
    assert set(untagged["matching_rules"][0]) == {"id"}
    assert set(usual["matching_rules"][0]) == {"id", "tag"}
    assert [line["data"]["id"] for line in (bare, untagged, usual)] == delivered(server)[:3]


def test_duplicates_and_disorder(start: Start) -> None:
    """Duplicate repeats the last posts; reorder sends the next ones newest first."""
    server = start(rate=0.0, count=12)
    inject(
        server,
        {"kind": "duplicate", "count": 3, "after_posts": 5},
        {"kind": "reorder", "count": 4, "after_posts": 8},
    )
    found = [line["data"]["id"] for line in read(server, 15)]
    assert found[5:8] == found[2:5]
    assert found[8:12] == sorted(found[8:12], key=int, reverse=True)
    assert len(set(found)) == 12
    assert found == delivered(server)
    assert stats(server)["usage"] == 12


def test_messages_that_are_no_posts(start: Start) -> None:
    """unknown_message and error_payload are JSON lines without data; the stream goes on."""
    server = start(rate=0.0, count=10)
    unknown, error, post = first_lines(
        server, 3, {"kind": "unknown_message"}, {"kind": "error_payload"}
    )
    assert "system" in unknown
    assert error["errors"][0]["status"] == 500
    assert post["data"]["id"] == delivered(server)[0]


def test_messages_in_other_forms(start: Start) -> None:
    """An array at the top of a line, and `data: null` beside errors, are no posts either."""
    server = start(rate=0.0, count=10)
    found: list[Any] = [*first_lines(server, 3, {"kind": "null_data"}, {"kind": "array"})]
    null, array, post = found
    assert null["data"] is None
    assert null["errors"][0]["status"] == array[0]["status"] == 500
    assert post["data"]["id"] == delivered(server)[0]


def test_half_an_emoji_is_a_delivered_post(start: Start) -> None:
    """The post's line has a lone surrogate as its escape, and the post counts as delivered."""
    server = start(rate=0.0, count=10)
    (line,) = first_lines(server, 1, {"kind": "half_emoji"})
    assert line["data"]["text"].startswith("\ud83d ")
    assert line["data"]["id"] == delivered(server)[0]


def test_a_disconnect_can_linger(start: Start) -> None:
    """After X's word that it is over, keep-alives go on for a while and no post comes."""
    server = start(rate=0.0, keep_alive=0.05)
    inject(server, {"kind": "disconnect", "after_posts": 20, "linger": 0.5})
    before = time.monotonic()
    lines, ends = lines_until_end(server)
    assert time.monotonic() - before > 0.5
    assert json.loads(lines[-1])["errors"][0]["disconnect_type"] == "OperationalDisconnect"
    assert len(ids(lines)) == 20
    assert ends == ["closed"]


@pytest.mark.parametrize(
    ("issue", "status", "word"),
    [
        ("UsageCapExceeded", 429, "usage-capped"),
        ("CreditsDepleted", 402, "credits-depleted"),
        ("ClientNotEnrolled", 403, "client-not-enrolled"),
        ("RulesCapExceeded", 403, "rule-cap"),
    ],
)
def test_refusals_that_people_meet(start: Start, issue: str, status: int, word: str) -> None:
    """Each issue answers with X's body and usual status; a given status takes its place."""
    server = start()
    rules = f"{server.url}/2/tweets/search/stream/rules"
    fault = {"kind": "http", "issue": issue, "path": "/2/tweets/search/stream/rules"}
    inject(server, fault, {**fault, "status": 422})
    token = {"Authorization": "Bearer x"}
    usual, given = get(rules, headers=token), get(rules, headers=token)
    assert (usual.status_code, given.status_code) == (status, 422)
    assert word in usual.text
    if issue == "UsageCapExceeded":
        assert int(usual.headers["x-rate-limit-remaining"]) > 0


def test_an_answer_of_another_server(start: Start) -> None:
    """A fault can answer with any body, for one method of a path."""
    server = start()
    page = {"body": "<html>sign in</html>", "content_type": "text/html"}
    rules = {"path": "/2/tweets/search/stream/rules", "method": "POST", "body": "[]"}
    inject(
        server,
        {"kind": "http", "status": 200, **page},
        {"kind": "http", "status": 200, **rules},
    )
    token = {"Authorization": "Bearer x"}
    with connected(server) as response:
        assert response.headers["content-type"] == "text/html"
        assert b"sign in" in response.read()
    address = server.url + rules["path"]
    assert "meta" in get(address, headers=token).json()
    assert post(address, headers=token, json={"add": [{"value": "cat"}]}).json() == []


@pytest.mark.parametrize(("status", "headers"), [(503, False), (429, True), (401, False)])
def test_the_next_connects_can_fail(start: Start, status: int, headers: bool) -> None:
    """An http fault answers that many connects, 429 with the time of reset."""
    server = start()
    inject(server, {"kind": "http", "status": status, "count": 2, "reset_seconds": 7})
    for _ in range(2):
        with connected(server) as response:
            assert response.status_code == status
            if headers:
                assert 5 <= int(response.headers["x-rate-limit-reset"]) - time.time() <= 9
    assert read(server, 1)
    assert [connect["status"] for connect in stats(server)["connects"]] == [status, status, 200]


def test_other_endpoints_can_fail_too(start: Start) -> None:
    """Path says which endpoint an http fault is for; issue makes it X's ConnectionException."""
    server = start()
    inject(
        server,
        {"kind": "http", "status": 503, "path": "/2/usage/tweets"},
        {"kind": "http", "status": 429, "issue": "TooManyConnections"},
    )
    usage = f"{server.url}/2/usage/tweets"
    token = {"Authorization": "Bearer x"}
    assert get(usage, headers=token).status_code == 503
    assert get(usage, headers=token).status_code == 200
    with connected(server) as response:
        assert json.loads(response.read())["connection_issue"] == "TooManyConnections"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "nonsense"}, "unknown fault {'kind': 'nonsense'}: its kind must be one of close"),
        ({"kind": "stall", "minutes": 3}, "no option 'minutes'"),
        ("close", "unknown fault 'close'"),
        ({"kind": "http", "issue": "Bored"}, "unknown issue 'Bored': one of TooMany"),
    ],
)
def test_a_wrong_fault_is_refused_with_the_reason(
    start: Start, fault: object, message: str
) -> None:
    """A list with one wrong fault adds none of them."""
    server = start()
    answer = post(f"{server.url}/_standin/faults", json=[{"kind": "close"}, fault])
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert get(f"{server.url}/_standin/faults").json() == []


def test_pending_faults_are_listed_and_can_be_cleared(start: Start) -> None:
    """GET shows what is to come in order, DELETE forgets it."""
    server = start()
    inject(server, {"kind": "reset", "after_posts": 10**9}, {"kind": "close", "after_posts": 10**8})
    assert [fault["kind"] for fault in get(f"{server.url}/_standin/faults").json()] == [
        "close",
        "reset",
    ]
    assert delete(f"{server.url}/_standin/faults").status_code == 200
    assert stats(server)["pending_faults"] == 0


def test_every_kind_of_fault_is_tested_here() -> None:
    """A new kind without a test makes this fail."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_x_*.py"))
    assert [kind for kind in KINDS if f'"{kind}"' not in tests] == []


class LateReader(Collector):
    """Reads nothing for a moment after the first line, so that the buffers fill."""

    def on_data(self, raw_data: bytes) -> None:
        """Pause once."""
        if not self.lines:
            time.sleep(1)
        super().on_data(raw_data)


def test_a_reset_waits_until_a_late_reader_has_what_was_delivered(start: Start) -> None:
    """Megabytes written before the reset arrive: it would discard what waits to be sent."""
    server = start(rate=0.0)
    inject(server, {"kind": "reset", "after_posts": 3_000})
    client = LateReader(server, chunk_size=65536)
    client.filter(tweet_fields=ALL_FIELDS["tweet.fields"], expansions="author_id")
    assert client.ends == ["connection_error"]
    assert len(delivered(server)) == 3_000
    assert ids(client.lines) == delivered(server)
