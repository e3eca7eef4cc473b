"""Real clients of the X stand-in: tweepy, requests, httpx."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import requests
import tweepy
from requests.adapters import HTTPAdapter

from local.x import XServer

TOKEN = {"Authorization": "Bearer any-token"}
STREAM = "/2/tweets/search/stream"
RULES = f"{STREAM}/rules"
ALL_FIELDS = {
    "tweet.fields": "created_at,author_id,lang,conversation_id,in_reply_to_user_id,"
    "possibly_sensitive,entities,referenced_tweets,edit_history_tweet_ids,public_metrics,note_tweet",
    "expansions": "author_id",
    "user.fields": "username,name",
}


_TLS = ssl.create_default_context()  # httpx would load the certificates again for each call


def get(url: str, **options: Any) -> httpx.Response:
    """Call GET."""
    return httpx.get(url, verify=_TLS, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """Call POST."""
    return httpx.post(url, verify=_TLS, **options)


def put(url: str, **options: Any) -> httpx.Response:
    """Call PUT."""
    return httpx.put(url, verify=_TLS, **options)


def delete(url: str, **options: Any) -> httpx.Response:
    """Call DELETE."""
    return httpx.delete(url, verify=_TLS, **options)


class Rewrite(HTTPAdapter):
    """Sends what is meant for https://api.twitter.com to the stand-in."""

    def __init__(self, base: str) -> None:
        self.base = base
        super().__init__()

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Change the address of a prepared request."""
        assert request.url
        request.url = request.url.replace("https://api.twitter.com", self.base)
        return super().send(request, *args, **kwargs)


class Collector(tweepy.StreamingClient):  # type: ignore[misc]  # tweepy has no types
    """tweepy's own client: keeps lines, stops after some lines or when the connection ends."""

    def __init__(self, server: XServer, stop_after: int = 10**9, **options: Any) -> None:
        super().__init__("any-token", **options)
        self.session.mount("https://api.twitter.com", Rewrite(server.url))
        self.stop_after = stop_after
        self.lines: list[bytes] = []
        self.keep_alives = 0
        self.statuses: list[int] = []
        self.ends: list[str] = []

    def on_data(self, raw_data: bytes) -> None:
        """Keep the line as it came."""
        self.lines.append(raw_data)
        if len(self.lines) >= self.stop_after:
            self.disconnect()

    def on_keep_alive(self) -> None:
        """Count it."""
        self.keep_alives += 1

    def on_closed(self, response: requests.Response) -> None:
        """Stop: one connection a call."""
        self.ends.append("closed")
        self.disconnect()

    def on_connection_error(self) -> None:
        """Stop: one connection a call."""
        self.ends.append("connection_error")
        self.disconnect()

    def on_request_error(self, status_code: int) -> None:
        """Stop: one connection a call."""
        self.statuses.append(status_code)
        self.disconnect()


@contextmanager
def connected(server: XServer, **params: str) -> Iterator[httpx.Response]:
    """Open the stream with httpx; the response is closed at the end."""
    with httpx.stream(
        "GET", server.url + STREAM, headers=TOKEN, params=params, timeout=5, verify=_TLS
    ) as response:
        yield response


def read(server: XServer, count: int, **params: str) -> list[dict[str, Any]]:
    """Connect, read that many lines with content, and disconnect."""
    with connected(server, **params) as response:
        assert response.status_code == 200, response.read()
        found: list[dict[str, Any]] = []
        for line in response.iter_lines():
            if line:
                found.append(json.loads(line))
                if len(found) == count:
                    break
        return found


def inject(server: XServer, *faults: dict[str, Any]) -> None:
    """Ask for faults."""
    answer = post(f"{server.url}/_standin/faults", json=list(faults))
    assert answer.status_code == 200, answer.text


def stats(server: XServer) -> dict[str, Any]:
    """Return the stand-in's figures."""
    found: dict[str, Any] = get(f"{server.url}/_standin/stats").json()
    return found


def delivered(server: XServer) -> list[str]:
    """Return the ids that the stand-in delivered, in order."""
    text = get(f"{server.url}/_standin/delivered").text
    return [line.split()[0] for line in text.splitlines()]


def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """Wait for a condition, and fail when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
