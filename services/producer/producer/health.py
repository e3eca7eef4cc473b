"""The port for Kubernetes and Prometheus: /healthz, /readyz and /metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from producer.stats import Stats

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

# A probe is answered in milliseconds; who connects and says nothing must not keep a thread.
CONNECTIONS = 16
PATIENCE = 2.0


class PortError(ValueError):
    """PORT cannot be listened on: why, and what to do, in one line."""


class HealthServer:
    """Answers on its own thread.

    /healthz: 200 while the threads turn; a back-off and a pause are healthy, a restart would not
    help them. /readyz: 200 while streaming or paused on purpose. Both say the state in words.

    Args:
        host: address to listen on.
        port: 0 takes a free one; `port` says which.
        live: what is wrong with the process, or None.

    Raises:
        PortError: the port is taken or not allowed.
    """

    def __init__(self, host: str, port: int, stats: Stats, live: Callable[[], str | None]) -> None:
        self._stats = stats
        self._live = live
        registry = CollectorRegistry()
        registry.register(stats)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._metrics = make_wsgi_app(registry)
        try:
            self._server = make_server(host, port, self._answer, _Server, _QuietHandler)
        except (OSError, OverflowError) as error:
            raise PortError(
                f"PORT is {port} (HOST {host}): {getattr(error, 'strerror', None) or error}. Stop "
                "what listens there, or set PORT to a free port (1024 to 65535)."
            ) from None
        self.port: int = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            metrics: Iterable[bytes] = self._metrics(environ, start_response)
            return metrics
        state = self._stats.state
        if path == "/healthz":
            fault = self._live()
            status, text = ("503 Service Unavailable", fault) if fault else ("200 OK", state)
        elif path == "/readyz":
            ready = state in ("streaming", "paused_budget", "paused_publish")
            status, text = ("200 OK" if ready else "503 Service Unavailable"), state
        else:
            status, text = "404 Not Found", "see /healthz, /readyz and /metrics"
        body = f"{text}\n".encode()
        start_response(
            status,
            [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
        )
        return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = threading.BoundedSemaphore(CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, or close it where too many say nothing."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class _QuietHandler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a probe each few seconds is no news."""
