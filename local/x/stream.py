"""GET /2/tweets/search/stream: the one long connection, its limits, its pace and its faults."""

import asyncio
import contextlib
import time
from collections import deque

from aiohttp import web

from local.x.injection import Injection
from local.x.pace import BATCH, Pace
from local.x.problems import problem, rate_headers, refusal, wrong
from local.x.projection import Projection
from local.x.snowflake import first_at
from local.x.state import XState
from local.x.wire import Wire

_TICK = 0.05  # seconds: how soon a new fault or setting is seen


class StreamEndpoint:
    """Serves the filtered stream; `wires` are the connections that are not yet closed."""

    def __init__(self, state: XState) -> None:
        self.wires: list[Wire] = []
        self._state = state
        self._pace = Pace(state)
        self._injection = Injection(state, self._pace)
        self._attempts: deque[float] = deque()

    @property
    def live(self) -> list[Wire]:
        """Return the connections that occupy the account's place."""
        return [wire for wire in self.wires if wire.alive]

    def close(self) -> None:
        """End every connection, at the end of the server."""
        for wire in self.wires:
            wire.transport.close()

    def _refusal(self) -> tuple[web.Response | None, dict[str, str]]:
        """Count a connect; return X's answer where it would not take it, and its headers."""
        limit, window = self._state.settings.connect_limit, self._state.settings.connect_window
        now = time.time()
        while self._attempts and self._attempts[0] <= now - window:
            self._attempts.popleft()
        used_up = len(self._attempts) >= limit
        if not used_up:
            self._attempts.append(now)
        headers = rate_headers(limit, limit - len(self._attempts), self._attempts[0] + window)
        if used_up:
            return problem(429, headers), headers
        if self.live:
            return refusal("TooManyConnections", headers), headers
        if not self._state.timeline.rules:
            return refusal("RuleConfigurationIssue", headers), headers
        return None, headers

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer a connect: a refusal, or the stream until either side ends it."""
        projection = Projection.of(request.query)
        backfill = request.query.get("backfill_minutes", "0")
        if backfill not in ("0", "1", "2", "3", "4", "5"):
            raise wrong("backfill_minutes", backfill, "between 0 and 5")
        refused, headers = self._refusal()
        self._state.ledger.connect(refused.status if refused else 200)
        if refused:
            return refused
        response = web.StreamResponse(
            headers={"Content-Type": "application/json; charset=utf-8", **headers}
        )
        response.enable_chunked_encoding()
        with contextlib.suppress(ConnectionError):  # the client went away: so a stream ends
            await response.prepare(request)
            if isinstance(request.transport, asyncio.Transport):
                wire = Wire(request.transport, self._state.ledger)
                self.wires.append(wire)
                try:
                    await self._serve(wire, projection, int(backfill))
                finally:
                    wire.close()
                    self.wires.remove(wire)
        return response

    async def _serve(self, wire: Wire, projection: Projection, backfill: int) -> None:
        self._pace.begin()
        if backfill:
            await self._replay(wire, projection, backfill)
        timeline, faults = self._state.timeline, self._state.faults
        while wire.alive:
            if fault := faults.due(self._state.ledger.delivered):
                if not await self._injection.inject(fault, wire, projection):
                    return
            elif wire.waiting:
                await asyncio.sleep(0.001)
            elif posts := self._pace.take():
                wire.deliver(posts, [timeline.line(post, projection) for post in posts])
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(self._pause(wire))

    def _pause(self, wire: Wire) -> float:
        """Keep the connection alive; return the seconds until there may be something to do."""
        keep_alive, idle = self._state.settings.keep_alive, time.monotonic() - wire.last_write
        if idle >= keep_alive:
            wire.write(b"\r\n")
            idle = 0.0
        return max(min(_TICK, keep_alive - idle, self._pace.wait()), 0.0005)

    async def _replay(self, wire: Wire, projection: Projection, minutes: int) -> None:
        timeline = self._state.timeline
        posts = timeline.between(first_at((time.time() - minutes * 60) * 1000), 1 << 63)
        for begin in range(0, len(posts), BATCH):
            while wire.waiting and wire.alive:
                await asyncio.sleep(0.001)
            batch = posts[begin : begin + BATCH]
            wire.deliver(batch, [timeline.line(post, projection) for post in batch])
            await asyncio.sleep(0)
