"""GET /2/tweets/search/stream: the one long connection, its limits, its pace and its faults."""

import asyncio
import time
from collections import deque

from aiohttp import web

from local.x.connection import StreamConnection
from local.x.faults import XFaults
from local.x.injection import Injection
from local.x.ledger import Ledger
from local.x.pace import BATCH, Pace
from local.x.problems import (
    connection_exception,
    rate_headers,
    too_many_requests,
    wrong,
)
from local.x.projection import Projection
from local.x.rules import RulesEndpoint
from local.x.settings import Settings
from local.x.snowflake import first_at
from local.x.timeline import Timeline
from local.x.wire import Wire

_TICK = 0.05  # seconds: how soon a new fault, setting or kill is seen


class StreamEndpoint:
    """Serves the filtered stream of one timeline."""

    def __init__(
        self,
        settings: Settings,
        timeline: Timeline,
        rules: RulesEndpoint,
        ledger: Ledger,
        faults: XFaults,
    ) -> None:
        self.settings = settings
        self.connections: deque[StreamConnection] = deque(maxlen=200)
        self._timeline = timeline
        self._rules = rules
        self._ledger = ledger
        self._faults = faults
        self._pace = Pace(settings, timeline, rules, ledger, faults)
        self._injection = Injection(settings, timeline, self._pace, ledger)
        self._attempts: deque[float] = deque()

    @property
    def live(self) -> list[StreamConnection]:
        """Return the connections that occupy the account's place."""
        return [connection for connection in self.connections if connection.occupies]

    def note(self, status: int) -> None:
        """Record a connect that was answered before it came here."""
        self._ledger.connects.append((time.time(), status))

    def close(self) -> None:
        """End every connection, at the end of the server."""
        for connection in self.connections:
            if connection.wire and connection.disconnected_at is None:
                connection.wire.transport.close()

    def catch_up(self) -> None:
        """Make the posts of the time since the last connection ended, if none is open."""
        if not any(connection.open for connection in self.connections):
            self._pace.catch_up()

    def limit_headers(self) -> dict[str, str]:
        """Return the x-rate-limit-* headers of stream connects."""
        window = self.settings.connect_window
        while self._attempts and self._attempts[0] <= time.time() - window:
            self._attempts.popleft()
        first = self._attempts[0] if self._attempts else time.time()
        limit = self.settings.connect_limit
        return rate_headers(limit, limit - len(self._attempts), first + window)

    def refusal(self) -> web.Response | None:
        """Return the answer to a connect that X would not accept now, None for one it would."""
        self.limit_headers()  # forgets what left the window
        used_up = len(self._attempts) >= self.settings.connect_limit
        if not used_up:
            self._attempts.append(time.time())
        headers = self.limit_headers()
        if used_up:
            return too_many_requests(headers)
        if self.live:
            return connection_exception("TooManyConnections", headers)
        if not self._rules.active:
            return connection_exception("RuleConfigurationIssue", headers)
        return None

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer a connect: a refusal, or the stream until either side ends it."""
        projection = Projection.of(request.query, self.settings.naming)
        backfill = request.query.get("backfill_minutes", "0")
        if backfill not in ("0", "1", "2", "3", "4", "5"):
            raise wrong("backfill_minutes", backfill, "between 0 and 5")
        refused = self.refusal()
        self.note(refused.status if refused else 200)
        if refused:
            return refused
        response = web.StreamResponse(
            headers={"Content-Type": "application/json; charset=utf-8", **self.limit_headers()}
        )
        response.enable_chunked_encoding()
        connection = StreamConnection(request.remote or "")
        self.connections.append(connection)
        try:
            await response.prepare(request)
            if isinstance(request.transport, asyncio.Transport):
                connection.wire = Wire(request.transport, self._ledger)
                await self._serve(connection, connection.wire, projection, int(backfill))
        except ConnectionError:
            pass  # the client went away: that is how a stream ends
        finally:
            if connection.wire:
                connection.wire.close()
                connection.wire.transport.close()
            connection.disconnected_at = time.time()
        return response

    async def _serve(
        self, connection: StreamConnection, wire: Wire, projection: Projection, backfill: int
    ) -> None:
        self._pace.catch_up()
        self._pace.begin()
        if backfill:
            await self._replay(wire, projection, backfill)
        slow_since: float | None = None
        while wire.alive:
            if connection.killed:
                connection.disconnect_reason = "force_disconnect"
                await self._injection.disconnect(wire, "ForceDisconnect")
                return
            fault = self._faults.due(self._ledger.delivered)
            if fault:
                if not await self._injection.inject(fault, connection, wire, projection):
                    return
                continue
            if wire.waiting:
                slow_since = slow_since or time.monotonic()
                patience = self.settings.slow_reader
                if patience and time.monotonic() - slow_since > patience:
                    connection.disconnect_reason = "slow_reader"
                    self._faults.injected["slow_reader_disconnect"] += 1
                    await self._injection.disconnect(wire, "SlowReader")
                    return
                await asyncio.sleep(0.001)
                continue
            slow_since = None
            posts = self._pace.take()
            if posts:
                wire.deliver(posts, [self._timeline.line(post, projection) for post in posts])
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(self._pause(wire))

    def _pause(self, wire: Wire) -> float:
        """Keep the connection alive; return the seconds until there may be something to do."""
        now = time.monotonic()
        idle = now - wire.last_write
        if idle >= self.settings.keep_alive and wire.waiting == 0:
            wire.write(b"\r\n")
            self._ledger.keep_alives += 1
            idle = 0.0
        return max(min(_TICK, self.settings.keep_alive - idle, self._pace.wait()), 0.0005)

    async def _replay(self, wire: Wire, projection: Projection, minutes: int) -> None:
        start = first_at((time.time() - minutes * 60) * 1000)
        posts = self._timeline.between(start, 1 << 63)
        for begin in range(0, len(posts), BATCH):
            while wire.waiting and wire.alive:
                await asyncio.sleep(0.001)
            batch = posts[begin : begin + BATCH]
            if not wire.deliver(batch, [self._timeline.line(post, projection) for post in batch]):
                return
            await asyncio.sleep(0)
