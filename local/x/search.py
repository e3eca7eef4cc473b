"""Search and counts over the posts that the stand-in made, of seven days or all of them.

GET /2/tweets/search/recent and /all, /2/tweets/counts/recent and /all. Of pay per use: recent takes
queries of 512 characters and 100 posts a page; all takes 1,024, 500 a page, one request a second
(the setting `archive_wait`). Reposts are left out, as X does since 2026-05-04; the stream has them.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
from aiohttp import web

from local.x.problems import InvalidRequestError, answer, problem, rate_headers, wrong
from local.x.projection import Projection
from local.x.query import QueryError, parse
from local.x.snowflake import first_at
from local.x.state import XState
from local.x.timeline import SyntheticPost


@dataclass(frozen=True)
class Reach:
    """Limits of an endpoint: days back, the query's characters, posts a page."""

    days: int
    query: int
    page: int


REACHES = {"recent": Reach(7, 512, 100), "all": Reach(36_500, 1024, 500)}


class Search:
    """Serves search and counts; every post that search returns is charged, as X charges."""

    def __init__(self, state: XState) -> None:
        self._state = state
        self._archive_asked = 0.0

    async def search(self, request: web.Request) -> web.Response:
        """Return a page, newest first: data, includes and meta with next_token."""
        return self._archive_limit(request) or self._page(request)

    async def count(self, request: web.Request) -> web.Response:
        """Return how many posts a search would find; X's numbers by the hour are left out."""
        return self._archive_limit(request) or self._total(request)

    def _total(self, request: web.Request) -> web.Response:
        total = sum(1 for _ in self._found(request))
        return answer({"data": [], "meta": {"total_tweet_count": total}})

    def _archive_limit(self, request: web.Request) -> web.Response | None:
        if request.path.endswith("/recent"):
            return None
        now, reset = time.time(), self._archive_asked + self._state.settings.archive_wait
        if now < reset:
            return problem(429, rate_headers(1, 0, reset))
        self._archive_asked = now
        return None

    def _page(self, request: web.Request) -> web.Response:
        projection = Projection.of(request.query)
        size, most = request.query.get("max_results", "10"), _reach(request)
        if not size.isdecimal() or not 10 <= int(size) <= most.page:
            raise wrong("max_results", size, f"between 10 and {most.page}")
        found = self._found(request)
        page = list(islice(found, int(size)))
        meta: dict[str, Any] = {"result_count": len(page)}
        if not page:
            return answer({"meta": meta})
        self._state.ledger.usage.charge(page)
        lines = [orjson.loads(self._state.timeline.line(post, projection)) for post in page]
        data = [line["data"] for line in lines]
        meta |= {"newest_id": data[0]["id"], "oldest_id": data[-1]["id"]}
        if next(found, None):
            meta["next_token"] = f"b26v{page[-1].id:x}"
        includes: dict[str, dict[str, Any]] = {}
        for line in lines:
            for kind, items in line.get("includes", {}).items():
                includes.setdefault(kind, {}).update({item["id"]: item for item in items})
        body: dict[str, Any] = {"data": data, "meta": meta}
        if includes:
            body["includes"] = {kind: list(items.values()) for kind, items in includes.items()}
        return answer(body)

    def _found(self, request: web.Request) -> Iterator[SyntheticPost]:
        """Return what the query matches in its interval, newest first."""
        query, reach = request.query, _reach(request)
        text = query.get("query", "")
        if not 1 <= len(text) <= reach.query:
            raise InvalidRequestError(
                f"The `query` query parameter must have 1 to {reach.query} characters",
                "query",
                text,
            )
        try:
            node = parse(text)
        except QueryError as error:
            words = f"There were errors processing your request: {error}"
            raise InvalidRequestError(words, "query", text) from None
        posts = self._state.timeline.between(*_interval(query, reach))
        seen = ((post, post.template.subject(post.tail)) for post in reversed(posts))
        return (
            post
            for post, subject in seen
            if "is:retweet" not in subject.marks and node.matches(subject)
        )


def _reach(request: web.Request) -> Reach:
    return REACHES[request.path.rpartition("/")[2]]


def _interval(query: Mapping[str, str], reach: Reach) -> tuple[int, int]:
    """Return the first id and the id after the last."""
    now = time.time()
    oldest = now - reach.days * 86400
    start = _moment(query, "start_time", oldest)
    end = _moment(query, "end_time", now + 60)
    asked = query.get("start_time", "")
    if start >= end:
        raise InvalidRequestError("'start_time' must be before 'end_time'", "start_time", asked)
    if asked and start < oldest - 60:
        words = f"Invalid 'start_time':'{asked}'. It must be at most {reach.days:,.0f} days ago"
        raise InvalidRequestError(words, "start_time", asked)
    last = first_at(end * 1000)
    if token := query.get("next_token"):
        last = min(last, int(token.removeprefix("b26v"), 16))
    return first_at(start * 1000), last


def _moment(query: Mapping[str, str], name: str, default: float) -> float:
    value = query.get(name)
    try:
        return default if value is None else datetime.fromisoformat(value).timestamp()
    except ValueError:
        raise wrong(name, value, "a valid RFC3339 time") from None
