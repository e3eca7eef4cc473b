"""GET /2/tweets/search/recent over the posts that the stand-in made (at most 7 days back)."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from local.x.ledger import Usage
from local.x.problems import answer, invalid_request
from local.x.projection import FieldError, Projection
from local.x.query import Node, QueryError, parse
from local.x.settings import Settings
from local.x.snowflake import first_at
from local.x.stream import Stream
from local.x.timeline import KEPT_DAYS, Post, Timeline

MAX_QUERY = 4096


class ParameterError(ValueError):
    """A request that X answers with 400; has the parameter and its value."""

    def __init__(self, parameter: str, value: str, message: str) -> None:
        self.parameter = parameter
        self.value = value
        super().__init__(message)


class Search:
    """Serves recent search; every post returned is charged, as X charges."""

    def __init__(
        self, settings: Settings, timeline: Timeline, usage: Usage, stream: Stream
    ) -> None:
        self._settings = settings
        self._timeline = timeline
        self._usage = usage
        self._stream = stream

    async def get(self, request: web.Request) -> web.Response:
        """Return a page, newest first: data, includes and meta with next_token."""
        self._stream.catch_up()
        try:
            projection = Projection.of(request.query, self._settings.naming)
            node, first, end, size = _read(request.query)
        except (FieldError, ParameterError) as error:
            return invalid_request(str(error), error.parameter, error.value)
        page: list[Post] = []
        more = False
        for post in reversed(self._timeline.between(first, end)):
            if node.matches(post.template.subject(post.tail)):
                if len(page) == size:
                    more = True
                    break
                page.append(post)
        return answer(self._body(page, more, projection))

    def _body(self, page: list[Post], more: bool, projection: Projection) -> dict[str, Any]:
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


def _read(query: Mapping[str, str]) -> tuple[Node, int, int, int]:
    """Return the query, the first id, the id after the last, and the page's size."""
    text = query.get("query", "")
    if not 1 <= len(text) <= MAX_QUERY:
        raise ParameterError(
            "query", text, f"The `query` query parameter must have 1 to {MAX_QUERY} characters"
        )
    try:
        node = parse(text)
    except QueryError as error:
        raise ParameterError(
            "query", text, f"There were errors processing your request: {error}"
        ) from None
    size = _integer(query, "max_results", 10)
    if not 10 <= size <= 100:
        raise ParameterError(
            "max_results",
            str(size),
            f"The `max_results` query parameter value [{size}] is not between 10 and 100",
        )
    now = time.time()
    start = _moment(query, "start_time", now - KEPT_DAYS * 86400)
    end = _moment(query, "end_time", now + 60)
    if start >= end:
        raise ParameterError(
            "start_time", query.get("start_time", ""), "'start_time' must be before 'end_time'"
        )
    if "start_time" in query and start < now - KEPT_DAYS * 86400 - 60:
        raise ParameterError(
            "start_time",
            query["start_time"],
            f"Invalid 'start_time':'{query['start_time']}'. It must be at most 7 days ago",
        )
    first, last = first_at(start * 1000), first_at(end * 1000)
    first = max(first, _integer(query, "since_id", 0) + 1)
    last = min(last, _integer(query, "until_id", 1 << 62))
    token = query.get("next_token") or query.get("pagination_token")
    if token:
        try:
            last = min(last, int(token.removeprefix("b26v"), 16))
        except ValueError:
            raise ParameterError("next_token", token, "Invalid 'next_token'") from None
    return node, first, last, size


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name)
    if value is None:
        return default
    if not value.isdecimal():
        raise ParameterError(
            name, value, f"The `{name}` query parameter value [{value}] is not a number"
        )
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
        raise ParameterError(
            name, value, f"The `{name}` query parameter value [{value}] is not a valid RFC3339 time"
        )
    return moment.timestamp()
