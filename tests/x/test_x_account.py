"""Tokens, usage, connections and settings."""

import time
from collections.abc import Callable

import pytest

from local.x import XServer
from tests.x.clients import STREAM, TOKEN, connected, get, post, read, stats, until

Start = Callable[..., XServer]
PATHS = (
    STREAM,
    f"{STREAM}/rules",
    "/2/usage/tweets",
    "/2/connections",
    "/2/tweets/search/recent",
    "/2/compliance/jobs",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer bad-token", "Basic abc", "any-token"])
def test_without_a_good_token_everything_is_401(
    start: Start, path: str, header: str | None
) -> None:
    """A missing, empty or bad token gets X's problem body on every endpoint."""
    headers = {} if header is None else {"Authorization": header}
    answer = get(start(rules=()).url + path, headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {
        "title": "Unauthorized",
        "type": "about:blank",
        "status": 401,
        "detail": "Unauthorized",
    }


def test_a_configured_token_is_the_only_one_and_can_be_rotated(start: Start) -> None:
    """With token set any other is refused, and a changed one takes over at once."""
    server = start(token="first")

    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return get(f"{server.url}{STREAM}/rules", headers=headers).status_code

    assert (status("first"), status("second")) == (200, 401)
    server.settings.token = "second"
    assert (status("first"), status("second")) == (401, 200)


def test_usage_has_the_shape_of_x(start: Start) -> None:
    """cap_reset_day is an integer, caps and counts are strings; days come when asked for."""
    server = start(rate=0.0, count=40, usage=1000, usage_cap=5000, cap_reset_day=10)
    read(server, 40)
    url = f"{server.url}/2/usage/tweets"
    data = get(url, headers=TOKEN).json()["data"]
    assert data == {
        "cap_reset_day": 10,
        "project_cap": "5000",
        "project_id": "1369785403853424",
        "project_usage": "1040",
    }
    asked = {"usage.fields": "daily_project_usage"}
    daily = get(url, params=asked, headers=TOKEN).json()["data"]
    (today,) = daily["daily_project_usage"]["usage"]
    assert today["usage"] == "40"
    assert today["date"] == time.strftime("%Y-%m-%dT00:00:00.000Z", time.gmtime())


def test_a_post_is_charged_once(start: Start) -> None:
    """Backfill and search of a delivered post cost nothing more; a post never sent costs once."""
    server = start(rate=0.0, count=30)
    read(server, 30)
    until(lambda: not server.app.stream.wires)
    read(server, 30, backfill_minutes="5")
    query = {"query": "data", "max_results": "100"}
    get(f"{server.url}/2/tweets/search/recent", params=query, headers=TOKEN)
    assert stats(server)["usage"] == 30


def test_unknown_usage_fields_are_refused(start: Start) -> None:
    """A wrong name gets a 400 that names it."""
    url = f"{start(rules=()).url}/2/usage/tweets"
    answer = get(url, params={"usage.fields": "nonsense"}, headers=TOKEN)
    assert answer.status_code == 400
    assert "nonsense" in answer.text


def test_connections_are_listed(start: Start) -> None:
    """An open connection is told with its beginning, an ended one is not."""
    server = start()
    url = f"{server.url}/2/connections"
    with connected(server):
        (active,) = get(url, headers=TOKEN).json()["data"]
        assert active["endpoint_name"] == "filtered_stream"
        assert active["connected_at"].startswith(time.strftime("%Y-%m-", time.gmtime()))
    until(lambda: not server.app.stream.live)
    assert get(url, headers=TOKEN).json() == {"data": [], "meta": {"result_count": 0}}


def test_settings_change_while_it_runs(start: Start) -> None:
    """The rate can be set; what cannot be changed is refused."""
    server = start(rate=1.0)
    url = f"{server.url}/_standin/settings"
    assert post(url, json={"rate": 500.0}).status_code == 200
    began = time.monotonic()
    read(server, 50)
    assert time.monotonic() - began < 5
    assert post(url, json={"seed": 3}).status_code == 400
    assert "rate is -1" in post(url, json={"rate": -1}).json()["error"]


def test_unknown_paths_are_problems(start: Start) -> None:
    """A path that the stand-in does not have is a 404 problem, not a page."""
    answer = get(f"{start(rules=()).url}/2/nothing", headers=TOKEN)
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")
