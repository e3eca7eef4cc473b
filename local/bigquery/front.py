"""The ASGI front of the BigQuery stand-in: strict inserts, honest query errors, faults on request.

It wraps bqemulator's own application and answers some things itself:

- `insertAll`: rows are checked as BigQuery checks them (`rows`), the good ones go on.
- `jobs.query`: bqemulator answers 200 with an empty result to SQL that fails; BigQuery answers 400.
- SQL that uses a reserved word as a name without backticks, which the engine takes (`reserved`).
- `POST /_standin/faults` and `GET /_standin/stats`, so that other processes can break it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from local.bigquery.faults import BigQueryFaults, InsertStats
from local.bigquery.reserved import refusal
from local.bigquery.rows import RowError, as_read, columns, row_error, row_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from bqemulator.api.dependencies import AppContext
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Answer = tuple[int, dict[str, Any]]
# https://cloud.google.com/bigquery/quotas#streaming_inserts
MAX_REQUEST_BYTES = 10 * 1024 * 1024
_REASONS = {
    404: "notFound",
    413: "uploadTooLarge",
    429: "rateLimitExceeded",
    500: "internalError",
    503: "backendError",
}


class Front:
    """ASGI application around bqemulator's.

    Args:
        context: bqemulator's container, for the table schemas.
        app: bqemulator's application.
        after_query: called with the project after each query job, to bound what is kept of them.
    """

    def __init__(
        self, context: AppContext, app: ASGIApp, after_query: Callable[[str], None]
    ) -> None:
        self._context = context
        self._app = app
        self._after_query = after_query
        self._faults = BigQueryFaults()
        self._stats = InsertStats()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = (scope.get("method"), scope.get("path", ""))
        match asked:
            case ("GET" | "POST", path) if path.startswith("/_standin/"):
                answer = self._control(path, await Request(scope, receive).body())
            case ("POST", path) if path.endswith("/insertAll"):
                answer = await self._insert(scope, await Request(scope, receive).body())
            case ("POST", path) if path.endswith(("/queries", "/jobs", "/tables")):
                answer = await self._statement(scope, await Request(scope, receive).body())
            case _:
                await self._app(scope, receive, send)
                return
        status, content = answer
        response = Response(orjson.dumps(content), status, media_type="application/json")
        await response(scope, receive, send)

    async def _statement(self, scope: Scope, body: bytes) -> Answer:
        path: str = scope["path"]
        if (words := refusal(_sql(body))) is not None:
            return _error(400, words, "invalidQuery")
        status, answer = await self._inner(scope, body)
        if not path.endswith("/tables"):
            self._after_query(path.split("/")[4])
        errors = answer.get("errors")
        if path.endswith("/queries") and status == 200 and errors and not answer.get("rows"):
            first = errors[0]
            words = first.get("message", "Invalid query.")
            return _error(400, words, first.get("reason", "invalidQuery"))
        return status, answer

    def _control(self, path: str, body: bytes) -> Answer:
        if path == "/_standin/stats":
            return 200, vars(self._stats)
        try:
            self._faults.set(orjson.loads(body))
        except (ValueError, TypeError) as error:
            return 400, {"error": str(error)}
        return 200, {}

    async def _insert(self, scope: Scope, body: bytes) -> Answer:
        faults, stats = self._faults, self._stats
        stats.inserts += 1
        if delay := faults.get("insert_delay_ms"):
            stats.faults["insert_delay_ms"] += 1
            await asyncio.sleep(delay / 1000)
        status = faults.get("insert_status")
        if status and not faults.get("stored"):
            stats.faults[f"insert_status_{status}"] += 1
            return _error(status, "The stand-in was asked to fail.")
        answer = await self._insert_rows(scope, body)
        if status:
            stats.faults[f"insert_status_{status}_stored"] += 1
            return _error(status, "The stand-in was asked to store and then fail.")
        return answer

    async def _insert_rows(self, scope: Scope, body: bytes) -> Answer:
        if len(body) > MAX_REQUEST_BYTES:
            return _error(
                413, f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes."
            )
        try:
            request = orjson.loads(body)
            payloads = [row["json"] for row in request["rows"]]
        except (ValueError, KeyError, TypeError):
            return _error(400, "Invalid JSON payload received.")
        if not payloads:
            return _error(400, "No rows present in the request.")
        _, _, _, _, project, _, dataset, _, table, _ = scope["path"].split("/")
        meta = self._context.catalog.get_table(project, dataset, table)
        if meta is None:
            return _error(404, f"Not found: Table {project}:{dataset}.{table}")
        known = columns(meta.schema_.fields)
        refused = {str(value) for value in self._faults.get("reject_ids") or ()}
        errors: dict[int, list[RowError]] = {}
        for index, payload in enumerate(payloads):
            found = row_errors(known, payload)
            if refused and str(payload.get("id", payload.get("event_id"))) in refused:
                self._stats.faults["reject_ids"] += 1
                found.append(row_error("", "The stand-in was asked to reject this row."))
            if found:
                errors[index] = found
        if errors and not request.get("skipInvalidRows"):
            stopped = [row_error("", "", "stopped")]
            errors = {index: errors.get(index, stopped) for index in range(len(payloads))}
        repeated = {column.name: () for column in known.values() if column.repeated}
        good = []
        for index, payload in enumerate(payloads):
            if index not in errors:
                row = as_read(known, payload)
                given = {name: value for name, value in row.items() if value is not None}
                good.append({"json": {**repeated, **given}})
        if good:
            status, answer = await self._inner(scope, orjson.dumps({"rows": good}))
            if status != 200 or answer.get("insertErrors"):
                return status, answer
            self._stats.largest_insert = max(self._stats.largest_insert, len(good))
        result: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
        if errors:
            result["insertErrors"] = [
                {"index": index, "errors": found} for index, found in errors.items()
            ]
        return 200, result

    async def _inner(self, scope: Scope, body: bytes) -> Answer:
        """Status and JSON of bqemulator's answer to this request with this body."""
        kept = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        headers = [*kept, (b"content-length", str(len(body)).encode())]
        coming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            return coming.pop() if coming else {"type": "http.disconnect"}

        async def collect(message: Message) -> None:
            sent.append(message)

        await self._app({**scope, "headers": headers}, receive, collect)
        parts = [message.get("body", b"") for message in sent[1:]]
        return sent[0]["status"], orjson.loads(b"".join(parts) or b"{}")


def _error(status: int, message: str, reason: str | None = None) -> Answer:
    reason = reason or _REASONS.get(status, "invalid")
    detail = {"message": message, "domain": "global", "reason": reason}
    return status, {"error": {"code": status, "message": message, "errors": [detail]}}


def _sql(body: bytes) -> str:
    """The statement of a query, of a query job or of a new view; none in anything else."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    for path in (("query",), ("configuration", "query", "query"), ("view", "query")):
        found: Any = content
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
    return ""
