"""Recent search over what the stand-in made."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import tweepy

from local.x import XServer
from tests.x.clients import TOKEN, Rewrite, delivered, get, read

Start = Callable[..., XServer]


def search(server: XServer, **params: str) -> httpx.Response:
    """Call recent search."""
    return get(f"{server.url}/2/tweets/search/recent", params=params, headers=TOKEN)


def test_pages_give_every_post_once_newest_first(start: Start) -> None:
    """Following next_token gives each delivered post exactly once, newest first."""
    server = start(rate=0.0, count=230)
    read(server, 230)
    found: list[str] = []
    params = {"query": "data", "max_results": "100"}
    sizes = []
    while True:
        page = search(server, **params).json()
        found += [post["id"] for post in page["data"]]
        sizes.append(page["meta"]["result_count"])
        assert page["meta"]["newest_id"] == page["data"][0]["id"]
        assert page["meta"]["oldest_id"] == page["data"][-1]["id"]
        if "next_token" not in page["meta"]:
            break
        params["next_token"] = page["meta"]["next_token"]
    assert sizes == [100, 100, 30]
    assert found == delivered(server)[::-1]


def test_tweepy_s_client_pages_too(start: Start) -> None:
    """tweepy.Client and its Paginator work against it, with includes."""
    server = start(rate=0.0, count=150)
    read(server, 150)
    client = tweepy.Client("any-token")
    client.session.mount("https://api.twitter.com", Rewrite(server.url))
    pages = list(
        tweepy.Paginator(
            client.search_recent_tweets,
            "data",
            max_results=100,
            expansions="author_id",
            tweet_fields="created_at",
        )
    )
    client.session.close()
    assert [len(page.data) for page in pages] == [100, 50]
    users = {user.id for user in pages[0].includes["users"]}
    assert {post.author_id for post in pages[0].data if post.author_id} <= users


def test_the_query_filters(start: Start) -> None:
    """Only posts that the query matches come back, whatever rule they were streamed for."""
    server = start(rate=0.0, count=400, rules=(("data", "a"), ("고양이", "b")))
    read(server, 400)
    page = search(
        server, query="고양이 -is:retweet", max_results="100", **{"tweet.fields": "lang"}
    ).json()
    assert page["data"]
    assert all(
        "고양이" in post["text"] and not post["text"].startswith("RT") for post in page["data"]
    )
    assert search(server, query="nowhere").json() == {"meta": {"result_count": 0}}


def test_time_and_id_limits(start: Start) -> None:
    """start_time is inclusive, end_time and until_id exclusive, since_id exclusive."""
    server = start(rate=0.0, count=50)
    read(server, 50)
    ids = delivered(server)

    def count(**limits: str) -> int:
        return int(
            search(server, query="data", max_results="100", **limits).json()["meta"]["result_count"]
        )

    assert count(since_id=ids[9]) == 40
    assert count(until_id=ids[9]) == 9
    assert count(since_id=ids[9], until_id=ids[20]) == 10
    now = datetime.now(UTC)
    assert count(start_time=(now - timedelta(minutes=5)).isoformat().replace("+00:00", "Z")) == 50
    assert count(end_time=(now - timedelta(minutes=5)).isoformat().replace("+00:00", "Z")) == 0


def test_search_of_unstreamed_posts_is_charged(start: Start) -> None:
    """Posts missed in a pause cost when search reads them, as at X."""
    server = start(rate=300.0, keep_posting=True)
    read(server, 5)
    import time

    time.sleep(0.3)
    before = server.app.ledger.usage.used
    page = search(server, query="data", max_results="100").json()
    missed = set(get(f"{server.url}/_standin/missed").text.split())
    found = {post["id"] for post in page["data"]}
    assert missed & found
    assert server.app.ledger.usage.used == before + len(missed & found)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"query": "(data"}, "missing ')'"),
        ({"query": ""}, "must have 1 to"),
        ({"query": "data", "max_results": "9"}, "between 10 and 100"),
        ({"query": "data", "max_results": "many"}, "[many] is not a number"),
        ({"query": "data", "start_time": "yesterday"}, "not a valid RFC3339"),
        ({"query": "data", "start_time": "2020-01-01T00:00:00Z"}, "7 days ago"),
        ({"query": "data", "next_token": "zz"}, "Invalid 'next_token'"),
        ({"query": "data", "tweet.fields": "zz"}, "is not one of"),
    ],
)
def test_wrong_parameters_are_400(start: Start, params: dict[str, Any], message: str) -> None:
    """Each wrong parameter gets X's Invalid Request with the reason."""
    answer = search(start(), **params)
    assert answer.status_code == 400
    assert message in answer.json()["errors"][0]["message"]
