"""A BigQuery whose inserts take a set time: tabledata.insertAll and no more.

    python -m bench.insert_server MILLISECONDS

Says {"port"}; hears {"stats"}, answers {"inserts", "rows"} since the last one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections import Counter

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.child import say, told


def main() -> None:
    """Serve until the parent goes."""
    delay, counts = float(sys.argv[1]) / 1000, Counter[str]()

    async def insert(request: Request) -> JSONResponse:
        rows = len(orjson.loads(await request.body())["rows"])
        counts.update(inserts=1, rows=rows)
        await asyncio.sleep(delay)
        return JSONResponse({"kind": "bigquery#tableDataInsertAllResponse"})

    def listen() -> None:
        while told():
            say(inserts=counts["inserts"], rows=counts["rows"])
            counts.clear()
        os.kill(os.getpid(), signal.SIGTERM)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        say(port=listener.getsockname()[1])
        threading.Thread(target=listen, daemon=True).start()
        app = Starlette(routes=[Route("/{path:path}", insert, methods=["POST"])])
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])


if __name__ == "__main__":
    main()
