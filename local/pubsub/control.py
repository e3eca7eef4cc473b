"""The control port: stats and faults as JSON over HTTP, for the demo and the chaos run.

GET /stats -> Broker.stats(). POST /faults takes {"publish_unavailable_seconds": number} and/or
{"redeliver": fraction 0..1, "count": n} and answers {}; anything else is 400 with {"error": text}.
"""

import json

from aiohttp import web

from local.pubsub.broker import Broker


def control_app(broker: Broker) -> web.Application:
    """The aiohttp application over one broker; run it on the broker's event loop."""

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(broker.stats())

    async def faults(request: web.Request) -> web.Response:
        try:
            wanted = json.loads(await request.read())
            _apply(broker, wanted)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": f"POST /faults: {error}"}, status=400)
        return web.json_response({})

    app = web.Application()
    app.add_routes([web.get("/stats", stats), web.post("/faults", faults)])
    return app


def _apply(broker: Broker, wanted: object) -> None:
    if not isinstance(wanted, dict) or not wanted:
        raise TypeError('the body must be a JSON object, such as {"redeliver": 0.1, "count": 10}')
    unknown = sorted(wanted.keys() - {"publish_unavailable_seconds", "redeliver", "count"})
    if unknown:
        raise TypeError(
            f"unknown key {unknown[0]!r}; known: publish_unavailable_seconds, redeliver, count"
        )
    if "redeliver" in wanted or "count" in wanted:
        broker.faults.redeliver(float(wanted.get("redeliver", 0)), int(wanted.get("count", 0)))
    if "publish_unavailable_seconds" in wanted:
        broker.faults.publish_unavailable(float(wanted["publish_unavailable_seconds"]))
