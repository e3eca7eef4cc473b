"""`tweets compliance` against the X, Pub/Sub and BigQuery stand-ins."""

import argparse
import io
import json
import os
import re
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web
from google.api_core.exceptions import BadRequest

from local.x import XServer
from operations.dataset import Dataset, Purge
from operations.letter import DeadLetter
from operations.settings import Settings
from operations.withdrawals import Withdrawals
from operations.x_account import XAccount
from tests.operations.conftest import READER, ROOT, TOKEN, Stack, line, patch_route

FAST = ("--wait", "0.1")
JOB = {"type": "tweets", "name": "tweets-compliance"}


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No letter is leased by others, so none is waited for; tests of leases say otherwise."""
    monkeypatch.setattr("operations.compliance.SETTLE_SECONDS", 0.0)


def fill(stack: Stack) -> None:
    """Posts 1..9 in the table, some of them about others, and three dead letters."""
    quote = [{"type": "quoted", "id": "1"}]
    stack.insert_posts(
        line(1, author=70),
        line(2, author=71),
        line(3, author=72, referenced_tweets=[{"type": "retweeted", "id": "1"}]),
        line(7, author=72, referenced_tweets=[{"type": "reposted", "id": "1"}]),
        line(4, author=73, referenced_tweets=quote)
        | {"includes": {"tweets": [{"id": "1", "author_id": "70", "text": "post 1"}]}},
        line(5, author=74, edit_history_tweet_ids=["2", "5"]),
        line(6, author=75, geo={"place_id": "abc"}) | {"includes": {"places": [{"id": "abc"}]}},
        line(8, author=80, referenced_tweets=[{"type": "replied_to", "id": "999"}])
        | {"includes": {"posts": [{"id": "999", "author_id": "99", "text": "gone"}]}},
        line(9, author=99),
    )
    stack.insert_posts(line(2, author=71))  # delivered twice
    stack.dead_letter(
        json.dumps({"id": 1, "author_id": 70, "text": "t"}).encode(), kind="post", id="1"
    )
    stack.dead_letter(json.dumps(line(20, author=99)).encode(), kind="line", id="l" * 32)
    stack.dead_letter(json.dumps(line(21, author=50)).encode(), kind="line", id="m" * 32)


def ids(stack: Stack, table: str = "tweets") -> list[int]:
    """Post ids in the table or a view."""
    return [row[0] for row in stack.query(f"SELECT id FROM `${{dataset}}.{table}` ORDER BY id")]


def gone(x: XServer, kind: str, *numbers: int, reason: str = "deleted") -> None:
    """Tell X's stand-in what is gone."""
    x.app.compliance.forget(kind, map(str, numbers), reason)


def test_what_x_reports_goes_everywhere(stack: Stack, x: XServer) -> None:
    """Posts, their versions, retweets and copies, users' posts, locations and dead letters go."""
    fill(stack)
    gone(x, "tweets", 1, 2)
    gone(x, "tweets", 6, reason="scrub_geo")
    gone(x, "users", 99, reason="suspended")
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert done.code == 0, done.err
    assert ids(stack) == ids(stack, "tweets_latest") == [4, 6, 8]
    raw = dict(stack.query("SELECT id, raw FROM `${dataset}.tweets`"))
    assert raw[4] is None
    assert raw[8] is None
    assert "geo" not in raw[6]["data"]
    assert "places" not in raw[6]["includes"]
    assert raw[6]["data"]["text"] == "post 6"
    assert (stack.backlog(), stack.held()) == (1, 0)
    assert "X reports: 2 posts and 1 users gone, 1 locations to remove" in done.out
    assert "table: 7 rows removed, 3 cleared" in done.out
    assert "dead letters: 2 removed" in done.out
    assert "time travel" in done.out
    stack.sink()
    ((detail,),) = stack.query(
        "SELECT detail FROM `${dataset}.stream_events` WHERE kind='compliance'"
    )
    assert detail["rows_removed"] == 7
    assert detail["dead_letters_removed"] == 2
    again = stack.run("compliance", "run", "--yes", *FAST)
    assert again.code == 0
    assert "table: 0 rows removed, 0 cleared" in again.out


@pytest.mark.parametrize("embedded", ["tweets", "posts"])
def test_a_repost_keeps_no_word_of_a_gone_author(stack: Stack, x: XServer, embedded: str) -> None:
    """An author whose posts came only inside reposts is asked about, and the reposts go whole."""
    whole = {"id": "999", "author_id": "99", "text": "my secret is that I write all night"}
    includes = {"includes": {embedded: [whole]}}
    for number, kind in ((11, "retweeted"), (12, "reposted"), (13, "quoted")):
        reference = [{"type": kind, "id": "999"}]
        own = {"text": "RT @bob: my secret is"} if kind != "quoted" else {}
        stack.insert_posts(line(number, author=70, referenced_tweets=reference, **own) | includes)
    two = {"includes": {embedded: [whole, whole | {"id": "998", "author_id": "98"}]}}
    stack.insert_posts(
        line(14, author=71, referenced_tweets=[{"type": "retweeted", "id": "998"}]) | two
    )
    gone(x, "users", 99)
    dry = stack.run("compliance", "run", *FAST)
    assert "table: 2 rows would be removed, 2 would be cleared" in dry.out
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert done.code == 0, done.err
    assert stack.query("SELECT id, raw FROM `${dataset}.tweets` ORDER BY id") == [
        (13, None),
        (14, None),
    ]
    assert "table: 2 rows removed, 2 cleared" in done.out


def test_without_yes_nothing_changes(stack: Stack, x: XServer) -> None:
    """The dry run counts what would go, and leaves table, dead letters and topic alone."""
    fill(stack)
    gone(x, "tweets", 1, 2)
    gone(x, "users", 99)
    before = ids(stack)
    done = stack.run("compliance", "run", *FAST)
    assert done.code == 0, done.err
    assert "rows would be removed" in done.out
    assert "dead letters: 2 would be removed" in done.out
    assert ids(stack) == before
    assert (stack.backlog(), stack.held(), stack.messages()) == (3, 0, [])


def test_x_is_asked_about_everything_held(stack: Stack, x: XServer) -> None:
    """Ids of rows, of posts they refer to and of dead letters are uploaded; each once."""
    fill(stack)
    assert stack.run("compliance", "run", "--yes", *FAST).code == 0
    jobs = {job.type: job.ids for job in x.app.compliance._jobs.values()}
    assert sorted(map(int, jobs["tweets"])) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 999]
    assert sorted(map(int, jobs["users"])) == [50, 70, 71, 72, 73, 74, 75, 80, 99]


def test_a_result_from_a_file(stack: Stack, tmp_path: Path) -> None:
    """--result needs no X, reads both generations of results, and passes over what is unknown."""
    fill(stack)
    result = tmp_path / "result.json"
    lines: list[dict[str, Any]] = [
        {"id": "9", "action": "delete", "reason": "deleted", "redacted_at": None},
        {"id": "6", "action": "scrub_geo"},
        {"id": "4", "action": "rehydrate"},
        {"id": "not_a_valid_id", "error": "invalid_id"},
    ]
    result.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    arguments = ("compliance", "run", "--result", str(result), "--type", "tweets")
    done = stack.run(*arguments, "--yes", *FAST)
    assert done.code == 0, done.err
    assert ids(stack) == [1, 2, 2, 3, 4, 5, 6, 7, 8]
    assert "1 posts edited since" in done.out
    assert "1 lines of the result say nothing known" in done.out


def test_a_user_s_scrubbed_locations_cost_no_post(stack: Stack, tmp_path: Path) -> None:
    """Both generations of a user's scrub_geo clear that user's places: by user, never by post id.

    Post 74 has the number of a user, and keeps its own place.
    """
    fill(stack)
    place = {"includes": {"places": [{"id": "abc"}]}}
    for number, author in ((74, 76), (75, 74), (76, 74)):
        stack.insert_posts(line(number, author=author, geo={"place_id": "abc"}) | place)
    before = ids(stack)
    result = tmp_path / "result.json"
    lines = [
        {"id": "74", "action": "delete", "reason": "scrub_geo"},
        {"id": "75", "action": "scrub_geo"},
    ]
    result.write_text("\n".join(map(json.dumps, lines)))
    done = stack.run(
        "compliance", "run", "--result", str(result), "--type", "users", "--yes", *FAST
    )
    assert done.code == 0, done.err
    assert "2 locations to remove" in done.out
    assert "table: 0 rows removed, 3 cleared" in done.out
    assert ids(stack) == before
    raw = dict(stack.query("SELECT id, raw FROM `${dataset}.tweets`"))
    assert {number for number in raw if "geo" in raw[number]["data"]} == {74}
    assert {number for number in raw if raw[number].get("includes", {}).get("places")} == {74}


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("{}\n", "both", "--result needs --type"),
        ("<html>", "tweets", "is no compliance result"),
        (None, "users", "cannot be read"),
    ],
)
def test_a_bad_file_is_one_line(
    stack: Stack, tmp_path: Path, text: str | None, kind: str, said: str
) -> None:
    """A file that is no result is exit code 2 and one line; nothing is removed."""
    fill(stack)
    before = ids(stack)
    result = tmp_path / "result.json"
    if text is not None:
        result.write_text(text)
    done = stack.run("compliance", "run", "--result", str(result), "--type", kind, "--yes", *FAST)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err
    assert ids(stack) == before


def in_streaming_buffer() -> BadRequest:
    """BigQuery's refusal of a change to rows that it has just taken."""
    return BadRequest(  # type: ignore[no-untyped-call]
        "UPDATE or DELETE statement over table d.tweets would affect rows in the "
        "streaming buffer, which is not supported"
    )


def test_rows_in_the_streaming_buffer_are_told(
    stack: Stack, x: XServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where BigQuery refuses fresh rows, the settled ones go and exit code 3 says when to return.

    The stand-in has no streaming buffer: its refusal, in BigQuery's words, is put in its place.
    """
    fill(stack)
    stack.insert_posts(line(30, author=70), inserted_at="2026-01-01T00:00:00Z")
    gone(x, "tweets", 1, 30)
    rows = Dataset.rows

    def refusing(self: Dataset, sql: str, **values: Any) -> Any:
        if sql.startswith("DELETE") and "@settled" not in sql:
            raise in_streaming_buffer()
        return rows(self, sql, **values)

    monkeypatch.setattr(Dataset, "rows", refusing)
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert done.code == 3
    assert "3 rows are in BigQuery's streaming buffer" in done.err
    assert "90 minutes" in done.err
    assert ids(stack) == [1, 2, 2, 3, 4, 5, 6, 7, 8, 9]
    monkeypatch.setattr(Dataset, "rows", rows)
    assert stack.run("compliance", "run", "--yes", *FAST).code == 0
    assert ids(stack) == [2, 2, 4, 5, 6, 8, 9]


def test_rows_that_bigquery_refuses_twice_hold_up_no_other(
    stack: Stack, x: XServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part whose settled rows are refused too is counted as left, and the parts after it go."""
    monkeypatch.setattr("operations.dataset._IDS_A_STATEMENT", 1)
    fill(stack)
    gone(x, "tweets", 1, 2)
    rows = Dataset.rows

    def refusing(self: Dataset, sql: str, **values: Any) -> Any:
        if sql.startswith("DELETE") and values["ids"] == array("q", [1]):
            raise in_streaming_buffer()
        return rows(self, sql, **values)

    monkeypatch.setattr(Dataset, "rows", refusing)
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert done.code == 3
    assert "3 rows are in BigQuery's streaming buffer" in done.err
    assert ids(stack) == [1, 3, 4, 6, 7, 8, 9]


def open_job(x: XServer, **body: str) -> dict[str, Any]:
    """A job that another run, or another program, has made."""
    made = requests.post(
        f"{x.url}/2/compliance/jobs",
        json=body,
        headers={"Authorization": "Bearer t"},
        timeout=10,
    )
    assert made.ok
    job: dict[str, Any] = made.json()["data"]
    return job


def test_another_program_s_job_is_one_line(stack: Stack, x: XServer) -> None:
    """X allows one job of a kind at a time: its refusal is told and nothing is removed."""
    fill(stack)
    x.settings.compliance_delay = 600
    open_job(x, type="tweets", name="another program's")
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert done.code == 1
    assert "409" in done.err.splitlines()[-1]
    assert ids(stack) == [1, 2, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("uploaded", [None, b"2\n"])
def test_the_open_job_of_a_killed_run_is_adopted(
    stack: Stack, x: XServer, uploaded: bytes | None
) -> None:
    """A job that a killed run left is used, or its answer acted on: it never refuses the next."""
    fill(stack)
    gone(x, "tweets", 1, 2)
    job = open_job(x, **JOB)
    x.settings.compliance_delay = 0.3
    if uploaded:
        assert requests.put(job["upload_url"], data=uploaded, timeout=10).ok
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert done.code == 0, done.err
    assert ids(stack) == [4, 6, 8, 9]
    jobs = [job for job in x.app.compliance._jobs.values() if job.type == "tweets"]
    assert len(jobs) == (2 if uploaded else 1)


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html><html><body>Sign in to the network</body></html>",
        b'{"errors":[{"message":"The service is over capacity"}],"title":"Service Unavailable"}',
        b'[{"id":"1","action":"delete"}]',
        b'{"id":"1","action":"delete"}\n{"id":"2","act',
        b'{"id":"1","action":"delete"}\n' + b"a" * 200_000,
    ],
    ids=["html", "error", "array", "cut", "endless"],
)
def test_garbage_as_x_s_result_removes_nothing(
    stack: Stack, x: XServer, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """An answer with 200 that is no result is exit code 1: no row goes, no event says all is well.

    A result that is cut, or begins well and goes on as garbage, is none either.
    """
    fill(stack)
    before = ids(stack)

    async def download(request: web.Request) -> web.Response:
        return web.Response(body=body)

    patch_route(x, "results", download)
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert (done.code, done.err.splitlines()[-1].startswith("tweets: ")) == (1, True)
    assert "compliance job" in done.err
    assert ids(stack) == before
    assert (stack.backlog(), stack.messages()) == (3, [])


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"data": []},
        {"data": {"id": "7"}},
        {"data": {"id": "7", "upload_url": "ftp://x/"}},
        {"data": {"id": "7/../../evil", "upload_url": "http://x/"}},
    ],
)
def test_garbage_as_x_s_job_is_one_line(stack: Stack, x: XServer, job: dict[str, Any]) -> None:
    """A job without an id, or without an address to upload to, is exit code 1 and one line."""
    fill(stack)

    async def create(request: web.Request) -> web.Response:
        return web.json_response(job)

    patch_route(x, "jobs", create, "POST")
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert done.code == 1
    assert "compliance job" in done.err.splitlines()[-1]


def test_letters_that_a_killed_run_holds(
    stack: Stack, x: XServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a killed run's lease hides withdrawn posts the rerun says so; the next is clean."""
    fill(stack)
    gone(x, "tweets", 1, 20)
    held = stack.subscriber.pull(subscription=READER, max_messages=10, timeout=5)
    assert len(held.received_messages) == 3
    stack.subscriber.modify_ack_deadline(
        subscription=READER,
        ack_ids=[item.ack_id for item in held.received_messages],
        ack_deadline_seconds=2,
    )
    # What the killed run held is back within this; X's stand-in answers at once.
    monkeypatch.setattr("operations.compliance.SETTLE_SECONDS", 3.0)
    first = stack.run("compliance", "run", "--yes", *FAST)
    assert first.code == 3
    assert "were leased by another subscriber" in first.err
    assert "run the command again" in first.err
    monkeypatch.setattr("operations.compliance.SETTLE_SECONDS", 0.0)
    second = stack.run("compliance", "run", "--yes", *FAST)
    assert second.code == 0, second.err
    assert (stack.backlog(), stack.held()) == (1, 0)


def test_letters_that_another_takes_meanwhile_are_told(
    stack: Stack, x: XServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A letter with a withdrawn post that another subscriber takes meanwhile is exit code 3."""
    fill(stack)
    gone(x, "tweets", 1)
    posts = Purge.posts

    def taking(self: Purge, ids: Iterable[int]) -> Iterator["array[int]"]:
        if not stack.held():
            stack.subscriber.pull(subscription=READER, max_messages=10, timeout=5)
        return posts(self, ids)

    monkeypatch.setattr(Purge, "posts", taking)
    done = stack.run("compliance", "run", "--yes", *FAST)
    assert done.code == 3
    assert "1 dead letters were leased by another subscriber" in done.err


def test_the_token_goes_to_x_alone(
    stack: Stack, x: XServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """X's own addresses get the token, those of a storage service nothing; nor does ~/.netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    x.settings.token = TOKEN
    assert stack.run("compliance", "run", "--yes", *FAST).code == 0
    seen: list[str | None] = []

    class Storage(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seen.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Storage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        for base in (x.url, address):
            stack.environ["X_API_BASE_URL"] = base
            settings = Settings.from_env(stack.environ, argparse.Namespace())
            XAccount(settings).put(f"{address}/upload?signature=s", io.BytesIO(b"1\n"))
        server.shutdown()
        thread.join()
    assert seen == [None, f"Bearer {TOKEN}"]


def test_both_generations_of_results() -> None:
    """Old results scrub locations by a reason, new ones by an action; a type tells users."""
    found = Withdrawals.read(
        "tweets",
        [
            b'{"id": "1", "action": "delete", "reason": "scrub_geo"}',
            b'{"id": "2", "action": "scrub_geo"}',
            b'{"id": "3", "action": "delete", "reason": "bounced"}',
            b'{"id": "4", "action": "rehydrate"}',
            b'{"id": "not_a_valid_id", "error": "invalid_id"}',
            b"",
        ],
    )
    assert (list(found.scrub_geo), list(found.posts)) == ([1, 2], [3])
    assert (found.stale, found.unclear) == (1, 1)
    users = Withdrawals.read(
        "users",
        [
            b'{"id": "4", "action": "delete", "reason": "protected"}',
            b'{"id": "5", "action": "delete", "reason": "scrub_geo"}',
            b'{"id": "6", "action": "scrub_geo"}',
            b'{"id": "7", "action": "rehydrate", "reason": "scrub_geo"}',
        ],
    )
    assert (list(users.authors), list(users.scrub_geo_authors)) == ([4], [5, 6])
    assert (list(users.posts), list(users.scrub_geo), users.stale) == ([], [], 1)


@pytest.mark.parametrize(
    ("data", "posts", "authors"),
    [
        (b'{"id": 5, "author_id": 7, "raw": "{\\"data\\": {\\"id\\": \\"5\\"}}"}', {5}, {7}),
        (json.dumps(line(5, author=7)).encode(), {5}, {7}),
        (b'{"data": {"id": "5", "author_id": "7", "te', {5}, {7}),
        (
            b'{"data": {"id": "5", "referenced_tweets": [{"type": "retweeted", "id": "6"}]}, '
            b'"includes": {"tweets": [{"id": "8", "author_id": "9"}]}}',
            {5, 6, 8},
            {9},
        ),
        (b'{"data": {"id": "9999999999999999999", "author_id": "7", "te', set(), {7}),
        (b'{"data": {"id": "5", "author_id": 9223372036854775808, "te', {5}, set()),
        (b"\xff\x00", set(), set()),
        (b"[1, 2]", set(), set()),
        (b'{"id": true, "raw": 3, "includes": 4}', set(), set()),
    ],
)
def test_ids_inside_a_dead_letter(data: bytes, posts: set[int], authors: set[int]) -> None:
    """A record, a line, a broken line and what they embed all tell whose post they hold."""
    letter = DeadLetter("m", data, {}, datetime.now(UTC))
    assert letter.post_ids() == (posts, authors)


class EveryOther(dict[str, tuple[str, float]]):
    """What is gone on X: each id that is even, without a list of them."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key[-1] in "02468"

    def __getitem__(self, key: str) -> tuple[str, float]:
        return "deleted", 0.0


_MEASURED = """
import sys
from operations import __main__ as command, dataset

held = int(sys.argv.pop(1))
dataset.Dataset.held_posts = lambda self: iter(range(10**18, 10**18 + held))
dataset.Dataset.count = lambda self, condition, ids: 0
code = command.main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(next(line for line in lines if line.startswith("VmHWM")))
sys.exit(code)
"""


def test_memory_does_not_grow_with_what_is_held(stack: Stack, x: XServer) -> None:
    """1.5 million ids, half of them gone, pass through in three jobs below 256 MB.

    The table's pages and deletes are left out: what stays of an id is the command's own.
    """
    x.app.compliance._gone["tweets"] = EveryOther()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _MEASURED,
            "1500000",
            "compliance",
            "run",
            "--type",
            "tweets",
            *FAST,
        ],
        cwd=ROOT / "services" / "producer",
        env={**os.environ, **stack.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "X reports: 750,000 posts" in done.stdout
    jobs = [len(job.ids) for job in x.app.compliance._jobs.values()]
    assert jobs == [500_000] * 3
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert int(peak) < 256 * 1024


_DYING = """
import os, sys
from operations import __main__ as command, compliance, dead_letters
from operations.dataset import Dataset
from operations.dead_letters import DeadLetterQueue
from operations.topic import TopicPublisher
from operations.x_account import XAccount

steps, last = 0, int(sys.argv.pop(1))

def step():
    global steps
    steps += 1
    if steps == last:
        os._exit(9)

def dying(kind, name):
    whole = getattr(kind, name)
    def method(*args, **options):
        step()
        result = whole(*args, **options)
        step()
        return result
    setattr(kind, name, method)

dying(XAccount, "call"), dying(XAccount, "put"), dying(Dataset, "change")
dying(DeadLetterQueue, "_pull"), dying(DeadLetterQueue, "acknowledge")
dying(TopicPublisher, "publish")
compliance.SETTLE_SECONDS = 0.0
dead_letters.LEASE_SECONDS = 2
sys.exit(command.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("step", [5, 14, 26, 40])
def test_a_run_killed_anywhere_is_finished_by_the_next(
    stack: Stack, x: XServer, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Kill -9 at any step: reruns end with 0 only when nothing withdrawn is left, held or not."""
    fill(stack)
    gone(x, "tweets", 1, 2)
    gone(x, "users", 99)
    subprocess.run(
        [sys.executable, "-c", _DYING, str(step), "compliance", "run", "--yes", *FAST],
        cwd=ROOT / "services" / "producer",
        env={**os.environ, **stack.environ},
        capture_output=True,
        check=False,
    )
    monkeypatch.setattr("operations.compliance.SETTLE_SECONDS", 3.0)
    codes: list[int] = []
    while not codes or codes[-1] != 0:
        codes.append(stack.run("compliance", "run", "--yes", *FAST).code)
        assert codes[-1] in (0, 3)
        assert len(codes) < 4
    assert ids(stack) == [4, 6, 8]
    assert (stack.backlog(), stack.held()) == (1, 0)
