"""Entry point of the Cloud Function: Pub/Sub push in, rows in BigQuery out.

Deployed with entry point `sink` and FUNCTION_USE_ASGI=true; `functions-framework` finds it here.
"""

from __future__ import annotations

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from sink.endpoint import Endpoint

_endpoint = Endpoint()


@functions_framework.aio.http
async def sink(request: Request) -> Response:
    """Take one push request and answer when its message is durable; see `sink.endpoint`."""
    return await _endpoint.answer(request)
