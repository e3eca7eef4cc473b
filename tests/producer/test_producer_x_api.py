"""Calls to X: the token alone, and each refusal with what to do."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.credentials import Credentials

from local.x import XServer
from operations.__main__ import main as operations_main
from producer.__main__ import main as producer_main
from producer.log import hide
from producer.settings import base_url
from producer.x_api import FINAL, MONTHLY, Kind, XApi, XRefusedError, XSession

MakeX = Callable[..., XServer]
ROUTE = "/2/usage/tweets"
TOKEN = "AAAAtoken%3Dof-this-test"


@contextmanager
def echo(context: ssl.SSLContext | None = None, **headers: str) -> Iterator[tuple[str, list[Any]]]:
    """A server that keeps each request's headers and answers an empty object."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, dict(self.headers)))
            moved = headers.get("location") if len(seen) == 1 else None
            self.send_response(302 if moved else 200)
            if moved:
                self.send_header("Location", moved)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        scheme = "https" if context else "http"
        host = "localhost" if context else "127.0.0.1"
        yield f"{scheme}://{host}:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc with an entry for every host."""
    path = tmp_path / "netrc"
    path.write_text("default login somebody password sesame\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.usefixtures("netrc")
def test_netrc_never_replaces_the_token() -> None:
    """An entry in ~/.netrc goes nowhere: not in place of the token, and not without one."""
    with echo() as (url, seen):
        XApi(TOKEN, url).call("GET", ROUTE)
        XSession(None).get(url)
    assert seen[0][1]["Authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in seen[1][1]


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("start", [producer_main, operations_main])
def test_netrc_never_replaces_google_s_token(start: Callable[..., int]) -> None:
    """Once a program of ours has begun, Google's own sessions show no entry of ~/.netrc either."""
    arguments = [] if start is producer_main else ["redrive", "list"]
    assert start(arguments, {}) == 2
    session = AuthorizedSession(Credentials("google-s-token"))  # type: ignore[no-untyped-call]
    with echo() as (url, seen):
        session.get(url)
    assert [headers["authorization"] for _, headers in seen] == ["Bearer google-s-token"]


@pytest.mark.usefixtures("netrc")
def test_redirects_show_nothing_to_another_host() -> None:
    """A redirect within a host keeps the token; one to another host gets neither it nor netrc."""
    with echo(location="/again") as (url, seen):
        XApi(TOKEN, url).call("GET", ROUTE)
    assert [headers["Authorization"] for _, headers in seen] == [f"Bearer {TOKEN}"] * 2
    with echo() as (other, there), echo(location=other.replace("127.0.0.1", "localhost")) as (
        url, _,
    ):  # fmt: skip
        XApi(TOKEN, url).call("GET", ROUTE)
    assert "Authorization" not in there[0][1]


def test_address_with_the_end_of_its_line() -> None:
    """White space around X_API_BASE_URL, as a file or a pasted line leaves it, is none of it."""
    assert base_url({"X_API_BASE_URL": " https://api.x.example/\n"}) == "https://api.x.example"
    assert base_url({"X_API_BASE_URL": "\n"}) == "https://api.x.com"


def test_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and NO_PROXY are heeded, and the proxy sees the request with the token."""
    with echo() as (proxy, seen):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        XApi(TOKEN, "http://api.x.example").call("GET", ROUTE)
    (path, headers) = seen[0]
    assert path == f"http://api.x.example{ROUTE}"
    assert headers["Authorization"] == f"Bearer {TOKEN}"


def test_private_authority_of_the_environment(
    tls: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE is heeded."""
    context, authority = tls
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority)
    with echo(context) as (url, seen):
        XApi(TOKEN, url).call("GET", ROUTE)
    assert seen[0][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ({"issue": "UsageCapExceeded"}, Kind.CAP, "Monthly product cap"),
        ({"issue": "CreditsDepleted"}, Kind.CREDITS, "credits depleted"),
        ({"issue": "CreditsDepleted", "status": 403}, Kind.CREDITS, "credits depleted"),
        ({"status": 402}, Kind.CREDITS, "402"),
        ({"issue": "SpendCapReached"}, Kind.SPENDING, "billing cycle spend cap"),
        ({"issue": "ClientNotEnrolled"}, Kind.ENROLLMENT, "attached to a Project"),
        ({"issue": "RulesCapExceeded", "status": 400}, Kind.RULES_CAP, "maximum number of rules"),
        ({"issue": "RulesCapExceeded", "status": 422}, Kind.RULES_CAP, "maximum number of rules"),
        ({"issue": "TooManyConnections"}, Kind.CONNECTIONS, "maximum allowed connection"),
        ({"issue": "RuleConfigurationIssue"}, Kind.RULES, "no rules"),
        (
            {"status": 400, "body": '{"title": "Invalid", "errors": [{"message": "no x"}]}'},
            Kind.REQUEST, "Invalid; no x",
        ),
        ({"status": 401}, Kind.BEARER, "Unauthorized"),
        ({"status": 403}, Kind.FORBIDDEN, "Forbidden"),
        ({"status": 404}, Kind.ADDRESS, "404"),
        ({"status": 429}, Kind.LIMIT, "Too Many Requests"),
        ({"status": 503}, Kind.OTHER, "Service Unavailable"),
        ({"status": 404, "body": "no json"}, Kind.ADDRESS, "no json"),
        ({"status": 400, "body": "[1]"}, Kind.REQUEST, "[1]"),
        ({"status": 500, "body": "null"}, Kind.OTHER, "null"),
        (
            {"status": 403, "body": "<html>Blocked</html>", "content_type": "text/html"},
            Kind.STRANGER, "Blocked",
        ),
        ({"status": 200, "body": "<html>\nSign in</html>"}, Kind.STRANGER, "Sign in"),
        ({"status": 200, "body": "[]"}, Kind.STRANGER, "[]"),
    ],
)  # fmt: skip
def test_each_refusal_says_what_to_do(
    make_x: MakeX, fault: dict[str, Any], kind: Kind, says: str
) -> None:
    """A refusal is told in one line with X's own words and what a person can do."""
    x = make_x()
    x.app.faults.add({"kind": "http", "path": ROUTE, **fault})
    with pytest.raises(XRefusedError) as caught:
        XApi(TOKEN, x.url).call("GET", ROUTE)
    assert caught.value.refusal.kind is kind
    assert says in str(caught.value)
    assert str(kind) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_a_used_up_limit_has_a_reset(make_x: MakeX) -> None:
    """The reset of a rate limit is told; a monthly cap has the same headers and is none."""
    x = make_x()
    x.app.faults.add({"kind": "http", "path": ROUTE, "status": 429, "reset_seconds": 70})
    x.app.faults.add({"kind": "http", "path": ROUTE, "issue": "UsageCapExceeded"})
    resets = []
    for _ in range(2):
        with pytest.raises(XRefusedError) as caught:
            XApi(TOKEN, x.url).call("GET", ROUTE)
        resets.append(caught.value.refusal.reset)
    assert resets[0]
    assert resets[1] is None
    assert not MONTHLY & FINAL


@pytest.mark.parametrize("issue", ["UsageCapExceeded", "CreditsDepleted", "SpendCapReached"])
def test_what_is_spent_is_looked_at_by_the_hour(make_x: MakeX, issue: str) -> None:
    """Whatever of the account's money is used up, it is no rate limit, and ends no first start."""
    x = make_x()
    x.app.faults.add({"kind": "http", "path": ROUTE, "issue": issue})
    with pytest.raises(XRefusedError) as caught:
        XApi(TOKEN, x.url).call("GET", ROUTE)
    assert caught.value.refusal.kind in MONTHLY - FINAL


def test_an_echoed_token_is_hidden_before_it_is_cut(make_x: MakeX) -> None:
    """A proxy that sends the request back does not bring the token, or a part of it, into words."""
    token = "B" * 60 + "%3D" + "C" * 60
    hide(token)
    x = make_x()
    body = json.dumps("x" * 430 + f" Authorization: {token}")
    x.app.faults.add({"kind": "http", "path": ROUTE, "status": 403, "body": body})
    with pytest.raises(XRefusedError) as caught:
        XApi(token, x.url).call("GET", ROUTE)
    assert "BBBB" not in str(caught.value)
