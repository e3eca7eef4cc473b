"""The server of the X stand-in: routes, bearer tokens, http faults."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from local.standin import HOST, StandIn, listen
from local.x.account import AccountEndpoints
from local.x.compliance import ComplianceEndpoints
from local.x.control import Control
from local.x.problems import InvalidRequestError, problem, rate_headers, refusal
from local.x.rules import RulesEndpoint
from local.x.search import REACHES, Search
from local.x.settings import Settings
from local.x.state import XState
from local.x.stream import StreamEndpoint

BAD_TOKEN = "bad-token"  # noqa: S105 - refused by definition, it opens nothing
"""The one token that is never accepted."""
_STREAM = "/2/tweets/search/stream"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Application(XState):
    """The state of one stand-in and the endpoints over it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.rules = RulesEndpoint(self)
        self.stream = StreamEndpoint(self)
        self.compliance = ComplianceEndpoints(self)
        account, search = AccountEndpoints(self, self.stream), Search(self)
        self.web = web.Application(middlewares=[self._guard], client_max_size=256 * 1024**2)
        self.web.add_routes(
            [
                web.get(_STREAM, self.stream.get),
                web.get(f"{_STREAM}/rules", self.rules.get),
                web.post(f"{_STREAM}/rules", self.rules.post),
                *(web.get(f"/2/tweets/search/{reach}", search.search) for reach in REACHES),
                *(web.get(f"/2/tweets/counts/{reach}", search.count) for reach in REACHES),
                web.get("/2/usage/tweets", account.usage),
                web.get("/2/connections", account.connections),
                web.post("/2/compliance/jobs", self.compliance.create),
                web.get("/2/compliance/jobs", self.compliance.list),
                web.get("/2/compliance/jobs/{id}", self.compliance.get),
                web.put("/_standin/compliance/{id}/submission", self.compliance.upload),
                web.get("/_standin/compliance/{id}/results", self.compliance.download),
                *Control(self).routes(),
            ]
        )

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_standin/"):
            return await handler(request)
        refused = self._http_fault(request) or self._token_fault(request)
        if refused:
            if request.path == _STREAM:
                self.ledger.connect(refused.status)
            return refused
        try:
            return await handler(request)
        except InvalidRequestError as error:
            return problem(400, **error.body)
        except web.HTTPError as error:
            return problem(error.status)

    def _token_fault(self, request: web.Request) -> web.Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        good = scheme.lower() == "bearer" and token not in ("", BAD_TOKEN)
        return None if good and self.settings.token in (None, token) else problem(401)

    def _http_fault(self, request: web.Request) -> web.Response | None:
        fault = self.faults.http(request.method, request.path, self.ledger.delivered)
        if fault is None:
            return None
        status = int(fault["status"])
        headers = rate_headers(50, 0, time.time() + fault["reset_seconds"])
        if fault["body"]:
            headers["Content-Type"] = fault["content_type"]
            return web.Response(body=fault["body"].encode(), status=status or 200, headers=headers)
        if fault["issue"]:
            return refusal(fault["issue"], headers, status)
        return problem(status, headers if status == 429 else {})


class XServer(StandIn):
    """The stand-in: `with XServer(rate=100) as server: server.url`.

    Takes the fields of Settings as keyword arguments; port 0 picks a free one. Raises
    PortBusyError on the start, and ValueError for a setting that cannot work.
    """

    def __init__(self, port: int = 0, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.app = Application(self.settings)
        self._port = port
        self._runner = web.AppRunner(self.app.web, access_log=None, shutdown_timeout=0.2)

    @property
    def url(self) -> str:
        """Return the base address, without a slash at the end."""
        return f"http://{HOST}:{self._port}"

    def lines(self) -> list[str]:
        """Return the line that its process prints."""
        return [f"ready {self.url}"]

    async def open(self) -> None:
        """Start serving."""
        self._port = await listen(self._runner, self._port)

    async def shut(self) -> None:
        """End every connection, within about a second."""
        self.app.stream.close()
        await self._runner.cleanup()
