"""/_standin/: what tests and the demo ask of the stand-in, and what no real API has."""

import time
from dataclasses import fields
from typing import Any

from aiohttp import web

from local.standin import does, shows
from local.x.compliance import ComplianceEndpoints
from local.x.faults import XFaults
from local.x.ledger import Ledger
from local.x.problems import answer
from local.x.settings import CHANGEABLE, Settings
from local.x.stream import StreamEndpoint
from local.x.timeline import Timeline


class Control:
    """Serves the control endpoints; none of them wants a token."""

    def __init__(
        self,
        settings: Settings,
        timeline: Timeline,
        ledger: Ledger,
        faults: XFaults,
        stream: StreamEndpoint,
        compliance: ComplianceEndpoints,
    ) -> None:
        self._settings = settings
        self._timeline = timeline
        self._ledger = ledger
        self._faults = faults
        self._stream = stream
        self._compliance = compliance

    def routes(self) -> list[web.RouteDef]:
        """Return the routes under /_standin."""
        return [
            web.get("/_standin/stats", shows(self.snapshot)),
            web.get("/_standin/delivered", self.delivered),
            web.get("/_standin/poison", self.poison),
            web.get("/_standin/missed", self.missed),
            web.get("/_standin/reposts", self.reposts),
            web.get("/_standin/faults", shows(lambda: self._faults.pending)),
            web.post("/_standin/faults", does(self.add_faults)),
            web.delete("/_standin/faults", shows(self.clear_faults)),
            web.post("/_standin/settings", does(self.change)),
            web.post("/_standin/deleted", does(self.forget)),
        ]

    def snapshot(self) -> dict[str, Any]:
        """Return the figures of GET /_standin/stats."""
        ledger, stream = self._ledger, self._stream
        return {
            "made": self._timeline.made,
            "delivered": ledger.delivered - ledger.unacknowledged,
            "unacknowledged": ledger.unacknowledged,
            "poison": len(ledger.poison),
            "missed": len(ledger.missed),
            "bytes": ledger.bytes,
            "keepalives": ledger.keep_alives,
            "connected": sum(item.disconnected_at is None for item in stream.connections),
            "connects": [{"at": at, "status": status} for at, status in ledger.connects],
            "faults": dict(self._faults.injected),
            "pending_faults": len(self._faults.pending),
            "usage": ledger.usage.used,
            "rate": self._settings.rate,
            "count": self._settings.count,
            "now": time.time(),
        }

    async def delivered(self, request: web.Request) -> web.Response:
        """Return deliveries from position `since` (at most `limit`), a line each: id, unix time.

        X-Next is the position to go on from. Deliveries that the client's machine never
        acknowledged are left out.
        """
        ledger = self._ledger
        start = max(0, int(request.query.get("since", "0")))
        end = min(ledger.delivered, start + int(request.query.get("limit", "1000000")))
        lines = [
            f"{ledger.ids[at]} {ledger.times[at]:.6f}\n"
            for at in range(start, end)
            if not ledger.lost[at]
        ]
        return web.Response(text="".join(lines), headers={"X-Next": str(end)})

    async def poison(self, _: web.Request) -> web.Response:
        """Return the poison lines sent, as {"lines": [...]}."""
        return answer({"lines": [line.decode() for line in self._ledger.poison]})

    async def missed(self, _: web.Request) -> web.Response:
        """Return ids of posts made and not delivered: cut, poisoned, missed, unacknowledged."""
        ledger = self._ledger
        lost = (
            [ledger.ids[at] for at, flag in enumerate(ledger.lost) if flag]
            if ledger.unacknowledged
            else []
        )
        return web.Response(text="".join(f"{number}\n" for number in (*ledger.missed, *lost)))

    async def reposts(self, _: web.Request) -> web.Response:
        """Return ids of the kept posts that search leaves out, since they are reposts."""
        posts = self._timeline.posts
        found = (post.id for post in posts if "is:retweet" in post.template.post.subject.marks)
        return web.Response(text="".join(f"{number}\n" for number in found))

    def add_faults(self, faults: object) -> dict[str, int]:
        """Add one fault or a list of them."""
        return {"pending": self._faults.add(faults)}

    def clear_faults(self) -> dict[str, int]:
        """Forget the faults still to come."""
        self._faults.pending.clear()
        return {"pending": 0}

    def change(self, wanted: dict[str, Any]) -> dict[str, list[str]]:
        """Change settings while it runs, and `usage`, `usage_cap`, `cap_reset_day`."""
        usage = {"usage": "used", "usage_cap": "cap", "cap_reset_day": "cap_reset_day"}
        if unknown := sorted(set(wanted) - set(CHANGEABLE) - set(usage)):
            raise ValueError(f"cannot change {unknown}: only {[*CHANGEABLE, *usage]}")
        current = {item.name: getattr(self._settings, item.name) for item in fields(Settings)}
        checked = Settings(**{**current, **wanted})
        for name in set(wanted) & set(CHANGEABLE):
            setattr(self._settings, name, getattr(checked, name))
        for name in set(wanted) & set(usage):
            setattr(self._ledger.usage, usage[name], wanted[name])
        return {"changed": sorted(wanted)}

    def forget(self, gone: dict[str, Any]) -> dict[str, int]:
        """Mark posts or users as gone: {"type": "tweets", "ids": [...], "reason": "deleted"}."""
        self._compliance.forget(gone["type"], gone["ids"], gone.get("reason", "deleted"))
        return {"marked": len(gone["ids"])}
