"""The ASGI front of the BigQuery stand-in: strict inserts, honest query errors, faults on request.

It wraps bqemulator's own application and answers some things itself:

- `insertAll`: rows are checked as BigQuery checks them (`bigquery_rows`), the good ones go on.
- `jobs.query`: bqemulator answers 200 with an empty result to SQL that fails; BigQuery answers 400.
- SQL that uses a reserved word as a name without backticks, which the engine takes (`reserved`).
- `POST /_standin/faults` and `GET /_standin/stats`, so that other processes can break it.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import orjson

from local.bigquery.faults import BigQueryFaults, InsertStats
from local.bigquery.reserved import refusal
from local.bigquery.rows import RowError, as_read, columns, row_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from bqemulator.api.dependencies import AppContext
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# https://cloud.google.com/bigquery/quotas#streaming_inserts
MAX_REQUEST_BYTES = 10 * 1024 * 1024
MAX_ROWS = 50_000
_REASONS = {
    400: "invalid",
    403: "accessDenied",
    404: "notFound",
    413: "uploadTooLarge",
    429: "rateLimitExceeded",
    500: "internalError",
    502: "badGateway",
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
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if path.startswith("/_standin/"):
            await self._control(method, path, receive, send)
        elif method == "POST" and path.endswith("/insertAll"):
            await self._insert(scope, await _body(scope, receive), send)
        elif method == "POST" and path.endswith(("/queries", "/jobs", "/tables")):
            await self._statement(scope, path, await _body(scope, receive), send)
        else:
            await self._app(scope, receive, send)

    async def _statement(self, scope: Scope, path: str, body: bytes, send: Send) -> None:
        if (words := refusal(_sql(body))) is not None:
            status, answer = _error(400, words)
            answer["error"]["errors"][0]["reason"] = "invalidQuery"
            await _answer(send, status, answer)
            return
        status, answer = await self._inner(scope, body)
        if not path.endswith("/tables"):
            self._after_query(path.split("/")[4])
        if path.endswith("/queries"):
            status, answer = _query_answer(status, answer)
        await _answer(send, status, answer)

    async def _control(self, method: str, path: str, receive: Receive, send: Send) -> None:
        if method == "GET" and path == "/_standin/stats":
            stats = self._stats
            await _answer(
                send, 200, {name: getattr(stats, name) for name in InsertStats.__dataclass_fields__}
            )
        elif method == "POST" and path == "/_standin/faults":
            try:
                self._faults.set(orjson.loads(await _body({"headers": []}, receive)))
            except (ValueError, TypeError) as error:
                await _answer(send, 400, {"error": str(error)})
                return
            await _answer(send, 200, {"faults": self._faults.names()})
        else:
            await _answer(send, 404, {"error": f"no such control: {method} {path}"})

    async def _insert(self, scope: Scope, body: bytes, send: Send) -> None:
        self._stats.inserts += 1
        if delay := self._faults.get("insert_delay_ms"):
            self._stats.count_fault("insert_delay_ms")
            await asyncio.sleep(delay / 1000)
        status = self._faults.get("insert_status")
        if status and not self._faults.get("stored"):
            self._stats.count_fault(f"insert_status_{status}")
            await _answer(send, *_error(status, "The stand-in was asked to fail."))
            return
        answer = await self._insert_rows(scope, body)
        if status:
            self._stats.count_fault(f"insert_status_{status}_stored")
            answer = _error(status, "The stand-in was asked to store and then fail.")
        await _answer(send, *answer)

    async def _insert_rows(self, scope: Scope, body: bytes) -> tuple[int, dict[str, Any]]:
        if len(body) > MAX_REQUEST_BYTES:
            return _error(
                413, f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes."
            )
        try:
            request = orjson.loads(body)
            rows = request["rows"]
            payloads = [row["json"] for row in rows]
        except (ValueError, KeyError, TypeError):
            return _error(400, "Invalid JSON payload received.")
        if not rows:
            return _error(400, "No rows present in the request.")
        if len(rows) > MAX_ROWS:
            return _error(400, f"Too many rows present in the request, maximum is {MAX_ROWS}.")
        _, _, _, _, project, _, dataset, _, table, _ = scope["path"].split("/")
        meta = self._context.catalog.get_table(project, dataset, table)
        if meta is None:
            return _error(404, f"Not found: Table {project}:{dataset}.{table}")
        fields = meta.schema_.fields
        known = columns(fields)
        ignore_unknown = bool(request.get("ignoreUnknownValues"))
        refused = self._refused(payloads)
        errors: dict[int, list[RowError]] = {}
        for index, payload in enumerate(payloads):
            found = row_errors(known, payload, ignore_unknown=ignore_unknown)
            if index in refused:
                self._stats.count_fault("reject_ids")
                found.append(
                    {
                        "reason": "invalid",
                        "location": "",
                        "debugInfo": "",
                        "message": "The stand-in was asked to reject this row.",
                    }
                )
            if found:
                errors[index] = found
        self._stats.rejected += len(errors)
        if errors and not request.get("skipInvalidRows"):
            stopped = {"reason": "stopped", "location": "", "debugInfo": "", "message": ""}
            for index in range(len(rows)):
                errors.setdefault(index, [stopped])
        repeated = [column.name for column in fields if column.mode == "REPEATED"]
        good = [
            {"json": {**dict.fromkeys(repeated, ()), **_without_nulls(as_read(known, payload))}}
            for index, payload in enumerate(payloads)
            if index not in errors
        ]
        if good:
            status, answer = await self._inner(scope, orjson.dumps({"rows": good}))
            if status != 200 or answer.get("insertErrors"):
                return status, answer
            self._stats.rows += len(good)
            self._stats.largest_insert = max(self._stats.largest_insert, len(good))
        result: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
        if errors:
            result["insertErrors"] = [
                {"index": index, "errors": errors[index]} for index in sorted(errors)
            ]
        return 200, result

    def _refused(self, payloads: list[dict[str, Any]]) -> set[int]:
        ids = {str(value) for value in self._faults.get("reject_ids") or ()}
        if not ids:
            return set()
        return {
            index
            for index, row in enumerate(payloads)
            if str(row.get("id", row.get("event_id"))) in ids
        }

    async def _inner(self, scope: Scope, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON of bqemulator's answer to this request with this body."""
        kept = [
            (name, value)
            for name, value in scope["headers"]
            if name.lower() not in {b"content-length", b"content-encoding"}
        ]
        headers = [*kept, (b"content-length", str(len(body)).encode())]
        status, parts, sent = 500, [], False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def collect(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self._app({**scope, "headers": headers}, receive, collect)
        answer: dict[str, Any] = orjson.loads(b"".join(parts) or b"{}")
        return status, answer


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _error(status: int, message: str) -> tuple[int, dict[str, Any]]:
    detail = {"message": message, "domain": "global", "reason": _REASONS.get(status, "invalid")}
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


def _query_answer(status: int, answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if status == 200 and answer.get("errors") and not answer.get("rows"):
        first = answer["errors"][0]
        code, error = _error(400, first.get("message", "Invalid query."))
        error["error"]["errors"][0]["reason"] = first.get("reason", "invalidQuery")
        return code, error
    return status, answer


async def _body(scope: Scope | dict[str, Any], receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    if (b"content-encoding", b"gzip") in scope["headers"]:
        return gzip.decompress(body)
    return body


async def _answer(send: Send, status: int, content: dict[str, Any]) -> None:
    body = orjson.dumps(content)
    headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
