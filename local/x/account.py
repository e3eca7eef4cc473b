"""The account's endpoints: usage, and the connections of its streams."""

from typing import Any

from aiohttp import web

from local.x.ledger import MonthUsage
from local.x.problems import InvalidRequestError, answer, one_of, wrong
from local.x.stream import StreamEndpoint

PROJECT = "1369785403853424"
APP = "29910001"
FIELDS = (
    "cap_reset_day",
    "daily_client_app_usage",
    "daily_project_usage",
    "project_cap",
    "project_id",
    "project_usage",
)
STATUSES = ("active", "inactive", "all")
DEFAULT_FIELDS = ("cap_reset_day", "project_cap", "project_id", "project_usage")


class AccountEndpoints:
    """GET /2/usage/tweets, GET and DELETE /2/connections."""

    def __init__(self, usage: MonthUsage, stream: StreamEndpoint) -> None:
        self._usage = usage
        self._stream = stream

    async def usage(self, request: web.Request) -> web.Response:
        """Return the usage: cap_reset_day an integer, counts strings, as X's page shows."""
        asked = [name for name in request.query.get("usage.fields", "").split(",") if name]
        for name in asked:
            if name not in FIELDS:
                raise wrong("usage.fields", name, one_of(FIELDS))
        days = request.query.get("days", "7")
        if not days.isdecimal() or not 1 <= int(days) <= 90:
            raise wrong("days", days, "between 1 and 90")
        usage = self._usage
        by_day = [
            {"date": f"{day}T00:00:00.000Z", "usage": str(count)}
            for day, count in sorted(usage.days.items())[-int(days) :]
        ]
        full: dict[str, Any] = {
            "cap_reset_day": usage.cap_reset_day,
            "daily_client_app_usage": [
                {"client_app_id": APP, "usage": by_day, "usage_result_count": len(by_day)}
            ],
            "daily_project_usage": {"project_id": PROJECT, "usage": by_day},
            "project_cap": str(usage.cap),
            "project_id": PROJECT,
            "project_usage": str(usage.used),
        }
        wanted = (*DEFAULT_FIELDS, *asked)
        return answer({"data": {name: value for name, value in full.items() if name in wanted}})

    async def connections(self, request: web.Request) -> web.Response:
        """List stream connections, newest first; `status` is active (default), inactive or all."""
        status = request.query.get("status", "active")
        if status not in STATUSES:
            raise wrong("status", status, one_of(STATUSES))
        found = [
            connection.shown()
            for connection in reversed(self._stream.connections)
            if status == "all" or connection.occupies == (status == "active")
        ]
        return answer({"data": found, "meta": {"result_count": len(found)}})

    async def end_connections(self, request: web.Request) -> web.Response:
        """End the stream's connections, stale ones too."""
        endpoint = request.match_info["endpoint_id"]
        if endpoint not in ("filtered_stream", "all"):
            raise InvalidRequestError(f"Unknown endpoint id: {endpoint}", "endpoint_id", endpoint)
        results = []
        for connection in self._stream.live:
            connection.killed = True
            connection.hold = 0.0
            results.append({"uuid": connection.id, "success": True})
        return answer(
            {"data": {"successful_kills": len(results), "failed_kills": 0, "results": results}}
        )
