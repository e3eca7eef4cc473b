"""The control port: stats and faults as JSON over HTTP, for the demo and the chaos run.

GET /stats -> Broker.stats(). POST /faults takes {"publish_unavailable_seconds": number} and/or
{"redeliver": fraction 0..1, "count": n} and answers {}; anything else is 400 with {"error": text}.
GET /v3/projects/P/timeSeries is Cloud Monitoring's, of the two metrics that `tweets doctor` reads.
"""

import re

from aiohttp import web

from local.pubsub.broker import Broker, PubSubFaults
from local.standin import does, shows


def control_app(broker: Broker) -> web.Application:
    """The aiohttp application over one broker; run it on the broker's event loop."""

    async def series(request: web.Request) -> web.Response:
        found = _series(broker, request.match_info["project"], request.query["filter"])
        return web.json_response({"timeSeries": found})

    app = web.Application()
    app.add_routes(
        [
            web.get("/stats", shows(broker.stats)),
            web.post("/faults", does(lambda wanted: _apply(broker.faults, **wanted))),
            web.get("/v3/projects/{project}/timeSeries", series),
        ]
    )
    return app


def _series(broker: Broker, project: str, wanted: str) -> list[dict[str, object]]:
    """Return Monitoring's form of a subscription's figure: int64 as text, the newest point first.

    https://docs.cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list
    """
    named = re.search(r'/subscription/(\w+)".* = "(.*)"', wanted)
    found = broker.subscriptions.get(f"projects/{project}/subscriptions/{named and named[2]}")
    if named is None or found is None:
        return []
    values = {
        "num_undelivered_messages": len(found.pending),
        "oldest_unacked_message_age": round(found.oldest_unacked_seconds),
    }
    return [{"points": [{"value": {"int64Value": str(values[named[1]])}}]}]


def _apply(
    faults: PubSubFaults,
    publish_unavailable_seconds: float | None = None,
    redeliver: float = 0,
    count: int = 0,
) -> dict[str, object]:
    if redeliver or count:
        faults.redeliver(redeliver, count)
    if publish_unavailable_seconds is not None:
        faults.publish_unavailable(publish_unavailable_seconds)
    return {}
