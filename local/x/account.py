"""The account's endpoints: usage, and the connections of its streams."""

from typing import Any

from aiohttp import web

from local.x.problems import answer, one_of, wrong
from local.x.snowflake import stamp
from local.x.state import XState
from local.x.stream import StreamEndpoint

PROJECT = "1369785403853424"


class AccountEndpoints:
    """GET /2/usage/tweets and GET /2/connections."""

    def __init__(self, state: XState, stream: StreamEndpoint) -> None:
        self._state = state
        self._stream = stream

    async def usage(self, request: web.Request) -> web.Response:
        """Return the usage: cap_reset_day an integer, counts strings, as X's page shows."""
        usage = self._state.ledger.usage
        days = int(request.query.get("days", "7"))
        by_day = [
            {"date": f"{day}T00:00:00.000Z", "usage": str(count)}
            for day, count in sorted(usage.days.items())[-days:]
        ]
        usual: dict[str, Any] = {
            "cap_reset_day": usage.cap_reset_day,
            "project_cap": str(usage.cap),
            "project_id": PROJECT,
            "project_usage": str(usage.used),
        }
        full = {**usual, "daily_project_usage": {"project_id": PROJECT, "usage": by_day}}
        asked = [name for name in request.query.get("usage.fields", "").split(",") if name]
        for name in asked:
            if name not in full:
                raise wrong("usage.fields", name, one_of(full))
        return answer({"data": {name: full[name] for name in (*usual, *asked)}})

    async def connections(self, _: web.Request) -> web.Response:
        """List the stream connections that are open."""
        found = [
            {
                "id": wire.id,
                "endpoint_name": "filtered_stream",
                "connected_at": stamp(int(wire.opened * 1000)),
            }
            for wire in self._stream.live
        ]
        return answer({"data": found, "meta": {"result_count": len(found)}})
