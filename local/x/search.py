"""Search and counts over the posts that the stand-in made, of seven days or all of them.

GET /2/tweets/search/recent and /all, /2/tweets/counts/recent and /all. Of pay per use: recent takes
queries of 512 characters and 100 posts a page; all takes 1,024, 500 a page, one request a second
(the setting `archive_wait`). Reposts are left out, as X does since 2026-05-04; the stream has them.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from local.x.ledger import MonthUsage
from local.x.problems import (
    InvalidRequestError,
    answer,
    one_of,
    rate_headers,
    too_many_requests,
    wrong,
)
from local.x.projection import Projection
from local.x.query import Node, QueryError, parse
from local.x.settings import Settings
from local.x.snowflake import first_at, made_at
from local.x.stream import StreamEndpoint
from local.x.timeline import SyntheticPost, Timeline

GRANULARITIES = {"minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True)
class Reach:
    """Limits of an endpoint: days back, the query's characters, posts a page."""

    days: float
    query: int
    page: int


RECENT = Reach(7, 512, 100)
ALL = Reach(36_500, 1024, 500)


class Search:
    """Serves search and counts; every post that search returns is charged, as X charges."""

    def __init__(
        self, settings: Settings, timeline: Timeline, usage: MonthUsage, stream: StreamEndpoint
    ) -> None:
        self._settings = settings
        self._timeline = timeline
        self._usage = usage
        self._stream = stream
        self._archive_asked = 0.0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of search and counts."""
        return [
            web.get("/2/tweets/search/recent", self.recent),
            web.get("/2/tweets/search/all", self.all),
            web.get("/2/tweets/counts/recent", self.count_recent),
            web.get("/2/tweets/counts/all", self.count_all),
        ]

    async def recent(self, request: web.Request) -> web.Response:
        """Return a page, newest first: data, includes and meta with next_token."""
        return self._page(request.query, RECENT)

    async def all(self, request: web.Request) -> web.Response:
        """Return a page as `recent` does, from the whole archive."""
        return self._too_soon() or self._page(request.query, ALL)

    async def count_recent(self, request: web.Request) -> web.Response:
        """Return how many posts a search would find, for each minute, hour (default) or day."""
        return self._counts(request.query, RECENT)

    async def count_all(self, request: web.Request) -> web.Response:
        """Return counts as `count_recent` does, from the whole archive."""
        return self._too_soon() or self._counts(request.query, ALL)

    def _too_soon(self) -> web.Response | None:
        now, since = time.time(), self._archive_asked
        if now - since < self._settings.archive_wait:
            return too_many_requests(rate_headers(1, 0, since + self._settings.archive_wait))
        self._archive_asked = now
        return None

    def _page(self, query: Mapping[str, str], reach: Reach) -> web.Response:
        self._stream.catch_up()
        projection = Projection.of(query, self._settings.naming)
        node, first, end, size = _read(query, reach)
        page: list[SyntheticPost] = []
        more = False
        for post in self._found(node, first, end):
            if len(page) == size:
                more = True
                break
            page.append(post)
        return answer(self._body(page, more, projection))

    def _counts(self, query: Mapping[str, str], reach: Reach) -> web.Response:
        self._stream.catch_up()
        width = _width(query)
        node, first, end, _ = _read({**query, "max_results": "10"}, reach)
        found = Counter(made_at(post.id) // 1000 // width for post in self._found(node, first, end))
        data = [
            {"start": _stamp(slot * width), "end": _stamp((slot + 1) * width), "tweet_count": count}
            for slot, count in sorted(found.items())
        ]
        return answer({"data": data, "meta": {"total_tweet_count": found.total()}})

    def _found(self, node: Node, first: int, end: int) -> Iterator[SyntheticPost]:
        """Yield what the query matches, newest first."""
        for post in reversed(self._timeline.between(first, end)):
            seen = post.template.subject(post.tail)
            if "is:retweet" not in seen.marks and node.matches(seen):
                yield post

    def _body(
        self, page: list[SyntheticPost], more: bool, projection: Projection
    ) -> dict[str, Any]:
        meta: dict[str, Any] = {"result_count": len(page)}
        if not page:
            return {"meta": meta}
        before = self._usage.used
        data: list[dict[str, Any]] = []
        includes: dict[str, dict[str, Any]] = {}
        for post in page:
            self._usage.charge(post)
            line = orjson.loads(self._timeline.line(post, projection))
            data.append(line["data"])
            for kind, items in line.get("includes", {}).items():
                includes.setdefault(kind, {}).update({item["id"]: item for item in items})
        self._usage.add_to_day(self._usage.used - before)
        meta |= {"newest_id": data[0]["id"], "oldest_id": data[-1]["id"]}
        if more:
            meta["next_token"] = f"b26v{page[-1].id:x}"
        body: dict[str, Any] = {"data": data, "meta": meta}
        if includes:
            body["includes"] = {kind: list(items.values()) for kind, items in includes.items()}
        return body


def _read(query: Mapping[str, str], reach: Reach) -> tuple[Node, int, int, int]:
    """Return the query, the first id, the id after the last, and the page's size."""
    text = query.get("query", "")
    if not 1 <= len(text) <= reach.query:
        raise InvalidRequestError(
            f"The `query` query parameter must have 1 to {reach.query} characters", "query", text
        )
    try:
        node = parse(text)
    except QueryError as error:
        words = f"There were errors processing your request: {error}"
        raise InvalidRequestError(words, "query", text) from None
    size = _integer(query, "max_results", 10)
    if not 10 <= size <= reach.page:
        raise wrong("max_results", size, f"between 10 and {reach.page}")
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
    first, last = first_at(start * 1000), first_at(end * 1000)
    first = max(first, _integer(query, "since_id", 0) + 1)
    last = min(last, _integer(query, "until_id", 1 << 62))
    if token := query.get("next_token") or query.get("pagination_token"):
        try:
            last = min(last, int(token.removeprefix("b26v"), 16))
        except ValueError:
            raise InvalidRequestError("Invalid 'next_token'", "next_token", token) from None
    return node, first, last, size


def _width(query: Mapping[str, str]) -> int:
    """Return the seconds of a count's slot."""
    granularity = query.get("granularity", "hour")
    if granularity not in GRANULARITIES:
        raise wrong("granularity", granularity, one_of(GRANULARITIES))
    return GRANULARITIES[granularity]


def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name)
    if value is None:
        return default
    if not value.isdecimal():
        raise wrong(name, value, "a number")
    return int(value)


def _moment(query: Mapping[str, str], name: str, default: float) -> float:
    value = query.get(name)
    if value is None:
        return default
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise wrong(name, value, "a valid RFC3339 time")
    return moment.timestamp()
