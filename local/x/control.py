"""/_standin/: what tests and the demo ask of the stand-in, and what no real API has."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aiohttp import web

from local.standin import does, shows
from local.x.problems import answer
from local.x.settings import CHANGEABLE
from local.x.state import XState


class Control:
    """Serves the control endpoints; none of them wants a token."""

    def __init__(self, state: XState) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        """Return the routes under /_standin."""
        faults = self._state.faults
        return [
            web.get("/_standin/stats", shows(self.snapshot)),
            web.get("/_standin/delivered", self.delivered),
            web.get("/_standin/poison", self.poison),
            web.get("/_standin/missed", self.missed),
            web.get("/_standin/reposts", self.reposts),
            web.get("/_standin/faults", shows(lambda: faults.pending)),
            web.post("/_standin/faults", does(lambda wanted: {"pending": faults.add(wanted)})),
            web.delete("/_standin/faults", shows(lambda: faults.pending.clear())),
            web.post("/_standin/settings", does(self.change)),
        ]

    def snapshot(self) -> dict[str, Any]:
        """Return the figures of GET /_standin/stats."""
        ledger, faults = self._state.ledger, self._state.faults
        return {
            "made": self._state.timeline.made,
            "count": self._state.settings.count,
            "delivered": ledger.delivered - ledger.unacknowledged,
            "unacknowledged": ledger.unacknowledged,
            "usage": ledger.usage.used,
            "connects": [{"at": at, "status": status} for at, status in ledger.connects],
            "faults": dict(faults.injected),
            "pending_faults": len(faults.pending),
        }

    async def delivered(self, request: web.Request) -> web.Response:
        """Return deliveries from position `since` (at most `limit`), a line each: id, unix time.

        Deliveries that the client's machine never acknowledged are left out.
        """
        ledger = self._state.ledger
        start = int(request.query.get("since", "0"))
        end = min(ledger.delivered, start + int(request.query.get("limit", "1000000")))
        lines = (
            f"{ledger.ids[at]} {ledger.times[at]:.6f}"
            for at in range(start, end)
            if not ledger.lost[at]
        )
        return _lines(lines)

    async def poison(self, _: web.Request) -> web.Response:
        """Return the poison lines sent, as {"lines": [...]}."""
        return answer({"lines": [line.decode() for line in self._state.ledger.poison]})

    async def missed(self, _: web.Request) -> web.Response:
        """Return ids of posts made and not delivered: cut, poisoned, unacknowledged."""
        ledger = self._state.ledger
        lost = (post for post, lost in zip(ledger.ids, ledger.lost, strict=True) if lost)
        return _lines([*ledger.missed, *lost])

    async def reposts(self, _: web.Request) -> web.Response:
        """Return ids of the kept posts that search leaves out, since they are reposts."""
        posts = self._state.timeline.posts
        return _lines(post.id for post in posts if "is:retweet" in post.template.post.subject.marks)

    def change(self, wanted: dict[str, Any]) -> dict[str, list[str]]:
        """Change settings while it runs."""
        if unknown := sorted(set(wanted) - set(CHANGEABLE)):
            raise ValueError(f"cannot change {unknown}: only {[*CHANGEABLE]}")
        replace(self._state.settings, **wanted)  # checks them
        for name, value in wanted.items():
            setattr(self._state.settings, name, value)
        return {"changed": sorted(wanted)}


def _lines(items: Iterable[object]) -> web.Response:
    return web.Response(text="".join(f"{item}\n" for item in items))
