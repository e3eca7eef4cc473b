"""What the stand-in servers share."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Coroutine, MutableMapping
from typing import Any, TypeVar

T = TypeVar("T")
LOOPBACK = ("127.0.0.1", "localhost")


def bypass_proxies(environ: MutableMapping[str, str] = os.environ) -> None:
    """Reach loopback directly, though the environment names a company's proxy.

    What is in no_proxy stays. Both spellings are set to the same: urllib and requests prefer the
    one that gRPC does not read. Children that inherit the environment do as this process.
    """
    names = ("no_proxy", "NO_PROXY")
    known = [host.strip() for name in names for host in environ.get(name, "").split(",")]
    hosts = dict.fromkeys([host for host in known if host] + [*LOOPBACK])
    environ.update(dict.fromkeys(names, "*" if "*" in hosts else ",".join(hosts)))


def ask(url: str, content: object = None, method: str | None = None) -> str:
    """The body of a control page's answer: to GET, or to POST of `content` as JSON.

    Raises:
        OSError: it does not answer, or refuses; the message holds its words.
    """
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, method=method)  # noqa: S310 - our own loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            raise OSError(f"{url}: {error.read().decode()}") from error


class LoopThread:
    """An event loop in a thread of its own: a stand-in beside the test that asks it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop; returns what it returns, raises what it raises."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def end(self) -> None:
        """Stop the loop and the thread; what runs on the loop must have ended."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
