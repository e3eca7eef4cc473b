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


def search(server: XServer, path: str = "search/recent", **params: str) -> httpx.Response:
    """Call recent search, or another path below /2/tweets."""
    return get(f"{server.url}/2/tweets/{path}", params=params, headers=TOKEN)


def originals(server: XServer) -> list[str]:
    """Ids delivered that are no reposts, oldest first: what search may return."""
    reposts = {
        str(post.id)
        for post in server.app.timeline.posts
        if "is:retweet" in post.template.post.subject.marks
    }
    return [number for number in delivered(server) if number not in reposts]


def test_pages_give_every_post_once_newest_first(start: Start) -> None:
    """Following next_token gives each delivered post exactly once, newest first."""
    server = start(rate=0.0, count=290)
    read(server, 290)
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
    assert sizes[:2] == [100, 100]
    assert found == originals(server)[::-1]
    assert len(found) < len(delivered(server)), "the stream has reposts, search has none"


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
    assert [len(page.data) for page in pages] == [100, len(originals(server)) - 100]
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
    """start_time is inclusive, end_time exclusive."""
    server = start(rate=0.0, count=50)
    read(server, 50)
    ids = originals(server)

    def count(**limits: str) -> int:
        return int(
            search(server, query="data", max_results="100", **limits).json()["meta"]["result_count"]
        )

    now = datetime.now(UTC)
    assert count(start_time=(now - timedelta(minutes=5)).isoformat().replace("+00:00", "Z")) == len(
        ids
    )
    assert count(end_time=(now - timedelta(minutes=5)).isoformat().replace("+00:00", "Z")) == 0


def test_search_of_unstreamed_posts_is_charged(start: Start) -> None:
    """Posts that were never streamed cost when search reads them, as at X."""
    server = start(rate=0.0, count=5)
    read(server, 5)
    for _ in range(50):
        server.app.timeline.make()
    found = search(server, query="data", max_results="100").json()["data"]
    assert server.app.ledger.usage.used == 5 + len(found) - len(originals(server))


def test_the_whole_archive_has_larger_pages_longer_queries_and_a_pace(start: Start) -> None:
    """500 posts a page, 1,024 characters, posts of years ago; a second request at once is 429."""
    server = start(rate=0.0, count=700, archive_wait=60.0)
    old = server.app.timeline.make(at=(datetime.now(UTC) - timedelta(days=900)).timestamp())
    read(server, 700)
    long = "data" + " -x" * 300
    assert search(server, query=long).status_code == 400
    page = search(server, "search/all", query=long, max_results="500")
    assert page.json()["meta"]["result_count"] == 500
    refused = search(server, "search/all", query="data")
    assert refused.status_code == 429
    assert refused.headers["x-rate-limit-remaining"] == "0"
    server.settings.archive_wait = 0.0
    rest = search(
        server,
        "search/all",
        query="data",
        max_results="500",
        next_token=page.json()["meta"]["next_token"],
    ).json()
    assert old is not None
    assert ("is:retweet" in old.template.post.subject.marks) or (
        rest["data"][-1]["id"] == str(old.id)
    )
    token = f"b26v{old.id + 1:x}"
    assert str(old.id) not in str(search(server, query="data", next_token=token).json())


def test_counts_say_what_search_would_find(start: Start) -> None:
    """Both counts endpoints give the sum, and charge none."""
    server = start(rate=0.0, count=120)
    read(server, 120)
    wanted = len(originals(server))
    for path in ("counts/recent", "counts/all"):
        counted = search(server, path, query="data", granularity="day").json()
        assert counted["meta"]["total_tweet_count"] == wanted
    assert server.app.ledger.usage.used == 120


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"query": "(data"}, "missing ')'"),
        ({"query": ""}, "must have 1 to"),
        ({"query": "data" + " -x" * 170}, "must have 1 to 512 characters"),
        ({"query": "data", "max_results": "9"}, "between 10 and 100"),
        ({"query": "data", "max_results": "many"}, "[many] is not between"),
        ({"query": "data", "start_time": "yesterday"}, "not a valid RFC3339"),
        ({"query": "data", "start_time": "2020-01-01T00:00:00Z"}, "7 days ago"),
        ({"query": "data", "tweet.fields": "zz"}, "is not one of"),
    ],
)
def test_wrong_parameters_are_400(start: Start, params: dict[str, Any], message: str) -> None:
    """Each wrong parameter gets X's Invalid Request with the reason."""
    answer = search(start(), **params)
    assert answer.status_code == 400
    assert message in answer.json()["errors"][0]["message"]
