"""The stream: chunks, keep-alives, limits, fields, pace, backfill, slow readers."""

import json
import socket
import time
from collections.abc import Callable

from local.x import XServer
from tests.x.clients import (
    ALL_FIELDS,
    STREAM,
    Collector,
    connected,
    delivered,
    get,
    read,
    stats,
    until,
)

Start = Callable[..., XServer]


def test_tweepy_reads_what_was_delivered(start: Start) -> None:
    """Every post that tweepy's client reads stands in the delivered list, in the same order."""
    server = start(rate=0.0, count=2000)
    client = Collector(server, stop_after=2000, chunk_size=65536)
    client.filter(tweet_fields="created_at,lang", expansions="author_id")
    ids = [json.loads(line)["data"]["id"] for line in client.lines]
    assert len(ids) == 2000
    assert ids == delivered(server)
    assert len(set(ids)) == 2000
    assert ids == sorted(ids, key=int)


def test_tweepy_builds_its_own_objects(start: Start) -> None:
    """Tweepy's default on_data understands a line: tweet, includes and matching rules."""
    found = []

    class Responses(Collector):
        def on_response(self, response: object) -> None:
            found.append(response)
            self.disconnect()

    client = Responses(start())
    client.on_data = super(Collector, client).on_data  # type: ignore[method-assign]
    client.filter(tweet_fields="created_at,author_id,public_metrics", expansions="author_id")
    response = found[0]
    assert response.data.created_at.tzinfo is not None  # type: ignore[attr-defined]
    assert response.includes["users"][0].id == response.data.author_id  # type: ignore[attr-defined]
    assert response.matching_rules[0].tag == "tech"  # type: ignore[attr-defined]


def test_only_requested_fields_are_sent(start: Start) -> None:
    """The default is id, text and edit history; the producer's request brings the rest."""
    server = start()
    (bare,) = read(server, 1)
    assert set(bare) == {"data", "matching_rules"}
    assert set(bare["data"]) == {"id", "text", "edit_history_tweet_ids"}
    full = read(server, 300, **ALL_FIELDS)
    seen = set().union(*(line["data"] for line in full))
    assert seen == set(ALL_FIELDS["tweet.fields"].split(",")) | {"id", "text"}
    assert all(set(line["includes"]["users"][0]) == {"id", "name", "username"} for line in full)


def test_expansions_bring_users_and_referenced_posts(start: Start) -> None:
    """Each supported expansion fills includes."""
    server = start(rate=0.0)
    names = "referenced_tweets.id,referenced_tweets.id.author_id,entities.mentions.username"
    lines = read(server, 200, **{"expansions": names, "tweet.fields": "referenced_tweets,entities"})
    retweet = next(
        line
        for line in lines
        if line["data"].get("referenced_tweets", [{}])[0].get("type") == "retweeted"
    )
    assert retweet["includes"]["tweets"][0]["id"] == retweet["data"]["referenced_tweets"][0]["id"]
    mentioned = retweet["data"]["entities"]["mentions"][0]["id"]
    assert mentioned in [user["id"] for user in retweet["includes"]["users"]]


def test_an_unknown_field_is_a_400(start: Start) -> None:
    """A field that X does not know is named in the problem."""
    with connected(start(), **{"tweet.fields": "created_at,nonsense"}) as response:
        assert response.status_code == 400
        assert "[nonsense] is not one of" in response.read().decode()


def test_the_stream_is_chunked_and_kept_alive(start: Start) -> None:
    """An idle stream sends CRLF in chunks, which tweepy sees as keep-alives."""
    server = start(count=0, keep_alive=0.05)
    with connected(server) as response:
        assert response.headers["transfer-encoding"] == "chunked"
        raw = response.iter_raw()
        assert [next(raw) for _ in range(3)] == [b"\r\n"] * 3


def test_a_busy_stream_sends_no_keep_alives(start: Start) -> None:
    """Keep-alives are for silence only."""
    with connected(start(rate=200.0, keep_alive=0.3)) as response:
        lines = response.iter_lines()
        assert all(next(lines) for _ in range(120))


def test_without_rules_a_connect_is_a_409(start: Start) -> None:
    """No rules: ConnectionException with RuleConfigurationIssue, and tweepy sees 409."""
    server = start(rules=())
    client = Collector(server)
    client.filter()
    assert client.statuses == [409]
    with connected(server) as response:
        assert json.loads(response.read())["connection_issue"] == "RuleConfigurationIssue"


def test_a_second_connection_is_refused(start: Start) -> None:
    """One connection is allowed; the second gets TooManyConnections with rate-limit headers."""
    server = start()
    with connected(server), connected(server) as second:
        assert second.status_code == 429
        assert json.loads(second.read())["connection_issue"] == "TooManyConnections"
        assert int(second.headers["x-rate-limit-remaining"]) == 48
    assert len(read(server, 3)) == 3


def test_connects_are_limited_in_a_window(start: Start) -> None:
    """Beyond the limit a connect gets 429 and the time of reset, after which it works again."""
    server = start(connect_limit=2, connect_window=2.0)
    read(server, 1)
    read(server, 1)
    with connected(server) as refused:
        assert refused.status_code == 429
        assert json.loads(refused.read())["title"] == "Too Many Requests"
        assert refused.headers["x-rate-limit-remaining"] == "0"
        assert 0 < int(refused.headers["x-rate-limit-reset"]) - time.time() <= 3
    assert [connect["status"] for connect in stats(server)["connects"]] == [200, 200, 429]
    time.sleep(2)
    assert read(server, 1)


def test_the_default_window_is_x_s_own() -> None:
    """50 connects in 15 minutes, a keep-alive each 20 s."""
    settings = XServer().settings
    assert (settings.connect_limit, settings.connect_window, settings.keep_alive) == (50, 900, 20)


def test_the_rate_is_kept(start: Start) -> None:
    """Posts come spread over time: 50 posts at 100/s cannot be there much before half a second."""
    server = start(rate=100.0)
    began = time.monotonic()
    read(server, 50)
    assert time.monotonic() - began > 0.45


def test_count_ends_the_posts_but_not_the_stream(start: Start) -> None:
    """After --count posts only keep-alives come, and the connection stays."""
    server = start(rate=0.0, count=30, keep_alive=0.05)
    with connected(server) as response:
        lines = response.iter_lines()
        assert all(next(lines) for _ in range(30))
        assert [next(lines) for _ in range(3)] == [""] * 3
    assert len(delivered(server)) == 30


def test_no_posts_are_made_without_a_reader(start: Start) -> None:
    """Between two connections nothing is made, so nothing is missed."""
    server = start(rate=0.0, count=5000)
    read(server, 1)
    until(lambda: not server.app.stream.wires)
    made = stats(server)["made"]
    time.sleep(0.2)
    assert stats(server)["made"] == made
    assert get(f"{server.url}/_standin/missed").text.count("\n") == stats(server)["unacknowledged"]


def test_backfill_sends_again_what_was_made(start: Start) -> None:
    """With backfill_minutes the posts of that time come first, doubles among them."""
    server = start(rate=0.0, count=30)
    before = [line["data"]["id"] for line in read(server, 30)]
    until(lambda: not server.app.stream.live)
    assert [line["data"]["id"] for line in read(server, 30, backfill_minutes="1")] == before


def test_backfill_is_one_to_five_minutes(start: Start) -> None:
    """Other values of backfill_minutes are refused."""
    server = start()
    for value in ("6", "-1", "soon"):
        with connected(server, backfill_minutes=value) as response:
            assert response.status_code == 400


def made_later(server: XServer) -> int:
    """Return how many posts were made, a moment from now."""
    time.sleep(0.3)
    return int(stats(server)["made"])


def test_a_slow_reader_pauses_the_posts(start: Start) -> None:
    """A client that does not read holds the making of posts up; memory does not grow."""
    server = start(rate=0.0)
    with connected(server) as response:
        raw = response.iter_raw()
        next(raw)
        until(lambda: stats(server)["made"] == made_later(server))
        assert server.app.stream.live[0].waiting < 512 * 1024


def test_what_never_reached_the_client_is_not_delivered(start: Start) -> None:
    """When a client dies, lines stuck in buffers are taken back from the delivered ones."""
    server = start(rate=0.0)
    client = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n".encode())
    time.sleep(0.5)
    written = stats(server)["delivered"]
    client.close()
    until(lambda: not server.app.stream.wires)
    after = stats(server)
    assert after["unacknowledged"] > 0
    assert after["delivered"] + after["unacknowledged"] >= written
    assert len(delivered(server)) == after["delivered"]


def test_delivered_can_be_read_from_a_position(start: Start) -> None:
    """Since and limit choose among the delivered posts, each with its time."""
    server = start(rate=0.0, count=25)
    read(server, 25)
    asked = {"since": 10, "limit": 10}
    some = get(f"{server.url}/_standin/delivered", params=asked).text.splitlines()
    assert [line.split()[0] for line in some] == delivered(server)[10:20]
    assert abs(float(some[0].split()[1]) - time.time()) < 30
    assert abs(stats(server)["connects"][0]["at"] - time.time()) < 30
