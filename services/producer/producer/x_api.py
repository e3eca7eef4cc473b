"""Calls to X's API, and what X's refusals mean: each has X's own words, and what a person can do.

Sources: https://docs.x.com/x-api/fundamentals/response-codes-and-errors for the bodies; caps,
credits and enrollment as people reported them in 2026 (`docs/operate.md` has the table).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Protocol

import requests

from producer.log import redact
from producer.parsing import LineError, loads

CONNECT_TIMEOUT = 10.0
CALL_TIMEOUT = (CONNECT_TIMEOUT, 15.0)
# Bytes of an answer that are looked through for secrets; a line shows 500 characters of them.
_SHOWN = 65_536


class Kind(StrEnum):
    """What a refusal is about; the value says what to do about it."""

    BEARER = "Check the bearer token (X_BEARER_TOKEN or X_BEARER_TOKEN_FILE): X does not know it"
    ENROLLMENT = (
        "Attach the app of this bearer token to a project with the filtered stream in X's console "
        "(console.x.com), then take its token anew"
    )
    FORBIDDEN = (
        "The X app of this bearer token has no right to this: see its project in X's console"
    )
    REQUEST = (
        "Check the settings of the stream, BACKFILL_MINUTES and X_FIELDS first: not every X plan "
        "allows all"
    )
    ADDRESS = "X has no such address: check X_API_BASE_URL (unset, it is https://api.x.com)"
    CREDITS = "X's credits are spent: add some in X's console (console.x.com)"
    SPENDING = (
        "X's spending limit of this account is reached: raise it in X's console (console.x.com), "
        "or wait for its reset"
    )
    CAP = "The month's cap of posts is used up: raise it in X's console, or wait for its reset"
    LIMIT = "A rate limit of X is used up"
    CONNECTIONS = (
        "Another connection of this app is open; a stale one is ended by DELETE "
        "/2/connections/filtered_stream"
    )
    RULES = "X has no rules for this app: they are sent again"
    RULES_CAP = "X allows this app no more rules: delete some, or join some with OR"
    STRANGER = "This is no answer of X: check the proxy (HTTPS_PROXY, NO_PROXY) and X_API_BASE_URL"
    OTHER = "X's own trouble"


FINAL = frozenset({Kind.BEARER, Kind.ENROLLMENT, Kind.FORBIDDEN, Kind.REQUEST, Kind.ADDRESS})
"""What no waiting mends; at a first start, the process ends with it."""
MONTHLY = frozenset({Kind.CREDITS, Kind.SPENDING, Kind.CAP})
"""What a person or the month's end mends: looked at again each hour, not as a rate limit."""
_BY_STATUS = {
    400: Kind.REQUEST,
    401: Kind.BEARER,
    402: Kind.CREDITS,
    403: Kind.FORBIDDEN,
    404: Kind.ADDRESS,
    409: Kind.RULES,
    429: Kind.LIMIT,
}
_BY_WORD = {
    "usage-capped": Kind.CAP,
    "UsageCapExceeded": Kind.CAP,
    "credits-depleted": Kind.CREDITS,
    "CreditsDepleted": Kind.CREDITS,
    "SpendCapReached": Kind.SPENDING,
    "rule-cap": Kind.RULES_CAP,
    "RulesCapExceeded": Kind.RULES_CAP,
    "client-not-enrolled": Kind.ENROLLMENT,
    "TooManyConnections": Kind.CONNECTIONS,
    "RuleConfigurationIssue": Kind.RULES,
}


@dataclass(frozen=True)
class XRefusal:
    """An answer that is not what was asked for.

    Attributes:
        status: HTTP status, 200 too for an answer that is not X's.
        words: status and X's own words, one line.
        kind: what it is about.
        reset: when X's rate limit allows the request again, seconds since 1970 by our own clock,
            however wrong it is; None where it is not the limit that refused it (a 429 for a second
            connection has the headers too).
        errors: what X lists in `errors`, or the body itself.
    """

    status: int
    words: str
    kind: Kind
    reset: float | None = None
    errors: tuple[Mapping[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.words}. {self.kind}."

    @classmethod
    def of(cls, response: requests.Response) -> XRefusal:
        """Return what an answer refuses; reads its body.

        Raises:
            requests.RequestException: the body did not come.
        """
        status, body = response.status_code, _json(response)
        text = response.content[:_SHOWN].decode("utf-8", "replace")
        if status < 400 or (body is None and "html" in response.headers.get("content-type", "")):
            return cls.stranger(status, text)
        errors = _errors(body)
        kind = _BY_STATUS.get(status, Kind.OTHER)
        for error in errors:
            for key in ("title", "type", "reason", "connection_issue"):
                kind = _BY_WORD.get(str(error.get(key)).rpartition("/")[2], kind)
        said = "; ".join(dict.fromkeys(_said(error) for error in errors)) or text
        return cls(status, _line(f"HTTP {status}: {said}"), kind, _reset(response), errors)

    @classmethod
    def stranger(cls, status: int, text: str) -> XRefusal:
        """Return the refusal of an answer that is not X's."""
        return cls(status, _line(f"HTTP {status} with {text or 'nothing'}"), Kind.STRANGER)


class XRefusedError(Exception):
    """X refused a call: `refusal` says why and what to do."""

    def __init__(self, refusal: XRefusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Caller(Protocol):
    """Who can call X (XApi; the commands' own, which waits out limits)."""

    def call(
        self,
        method: str,
        route: str,
        params: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Return the JSON object that X answers."""


def ignore_netrc() -> None:
    """Let no entry of ~/.netrc take the place of a bearer token in this process.

    Google's clients and the renewal of their tokens are sessions of requests too, and not ours.
    """
    os.environ["NETRC"] = os.devnull


class XSession(requests.Session):
    """A session that shows X the bearer token and nobody anything else: requests lets an entry of
    ~/.netrc replace the header. Proxies and CAs of the environment work as ever.

    Args:
        token: bearer token; None shows none.
    """

    def __init__(self, token: str | None) -> None:
        super().__init__()
        self.auth = _Bearer(token)

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Drop the token on the way to another host; look nothing up for that host."""
        there, here = str(response.request.url), str(prepared_request.url)
        if self.should_strip_auth(there, here):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)


class XApi:
    """Calls of X's API v2.

    Attributes:
        answered_at: X's own time of the last answer, seconds since 1970; None where it told none.

    Args:
        base_url: such as https://api.x.com.
    """

    def __init__(self, token: str, base_url: str) -> None:
        self._session = XSession(token)
        self._base_url = base_url
        self.answered_at: float | None = None

    def call(
        self,
        method: str,
        route: str,
        params: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Return the JSON object that X answers.

        Raises:
            XRefusedError: X refuses the call, or the answer is no JSON object.
            requests.RequestException: X was not reached.
        """
        response = self._session.request(
            method, self._base_url + route, params=params, json=json, timeout=CALL_TIMEOUT
        )
        if not response.ok:
            raise XRefusedError(XRefusal.of(response))
        body = _json(response)
        if not isinstance(body, dict):
            raise XRefusedError(
                XRefusal.stranger(
                    response.status_code, response.content[:_SHOWN].decode("utf-8", "replace")
                )
            )
        self.answered_at = x_time(response.headers)
        return body


def x_time(headers: Mapping[str, str]) -> float | None:
    """Return X's time of an answer, seconds since 1970, by its Date header."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _json(response: requests.Response) -> object:
    """Return what an answer holds as JSON, read as the stream's lines are; None for no JSON."""
    try:
        return loads(response.content)[0]
    except LineError:
        return None


def _errors(body: object) -> tuple[Mapping[str, Any], ...]:
    if isinstance(body, dict) and isinstance(body.get("errors"), list):
        errors = (body, *body["errors"]) if body.get("title") else tuple(body["errors"])
    else:
        errors = tuple(body) if isinstance(body, list) else (body,)
    return tuple(error for error in errors if isinstance(error, dict))


def _said(error: Mapping[str, Any]) -> str:
    words = (error.get("title"), error.get("detail") or error.get("message"))
    return ": ".join(dict.fromkeys(str(word) for word in words if word))


def _line(text: str) -> str:
    # Hidden first: half of a token that somebody echoes would no longer be known for one.
    return redact(" ".join(text.split()))[:500]


def _reset(response: requests.Response) -> float | None:
    if response.headers.get("x-rate-limit-remaining", "0") != "0":
        return None
    value = response.headers.get("x-rate-limit-reset", "")
    if not value.isascii() or not value.isdigit():
        return None
    now = time.time()
    return float(value) + (now - (x_time(response.headers) or now))
