"""X's problem bodies (the `Problem` schemas of X API v2), and the responses that carry them."""

import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

TYPE = "https://api.twitter.com/2/problems/"
_NO_HEADERS: Mapping[str, str] = {}


def answer(
    body: object, status: int = 200, headers: Mapping[str, str] = _NO_HEADERS
) -> web.Response:
    """Return a JSON response as X writes it."""
    return web.Response(
        body=orjson.dumps(body),
        status=status,
        headers={"Content-Type": "application/json; charset=utf-8", **headers},
    )


def problem(status: int, headers: Mapping[str, str] = _NO_HEADERS, **body: Any) -> web.Response:
    """Return a problem with its status; what is not given is HTTP's own name of the status."""
    phrase = HTTPStatus(status).phrase
    usual = {"title": phrase, "detail": phrase, "type": "about:blank", "status": status}
    return answer(usual | body, status, headers)


class InvalidRequestError(ValueError):
    """A request that X answers with 400 and `body`, which names a parameter where there is one."""

    def __init__(self, message: str, parameter: str = "", value: str = "") -> None:
        super().__init__(message)
        parameters = {parameter: [value]} if parameter else {}
        self.body: dict[str, Any] = {
            "title": "Invalid Request",
            "detail": "One or more parameters to your request was invalid.",
            "type": TYPE + "invalid-request",
            "errors": [{"parameters": parameters, "message": message}],
        }


def wrong(parameter: str, value: object, rule: str) -> InvalidRequestError:
    """Return what to raise for a query parameter whose value breaks the rule."""
    message = f"The `{parameter}` query parameter value [{value}] is not {rule}"
    return InvalidRequestError(message, parameter, str(value))


def one_of(known: Iterable[str]) -> str:
    """Return the rule of a value that must be one of these."""
    return f"one of [{','.join(known)}]"


def _connection(status: int, issue: str, detail: str) -> tuple[int, dict[str, Any]]:
    """Return a ConnectionException (schema ConnectionExceptionProblem)."""
    body = {"title": "ConnectionException", "detail": detail, "connection_issue": issue}
    return status, {**body, "type": TYPE + "streaming-connection"}


REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "TooManyConnections": _connection(
        429,
        "TooManyConnections",
        "This stream is currently at the maximum allowed connection limit.",
    ),
    "RuleConfigurationIssue": _connection(
        409,
        "RuleConfigurationIssue",
        "This stream has no rules. Add rules before you connect to it.",
    ),
    # A monthly cap comes with x-rate-limit-remaining above 0: no rate limit is used up.
    "UsageCapExceeded": (
        429,
        {
            "title": "UsageCapExceeded",
            "detail": "Usage cap exceeded: Monthly product cap",
            "period": "Monthly",
            "scope": "Product",
            "product_name": "standard-basic",
            "type": TYPE + "usage-capped",
        },
    ),
    "CreditsDepleted": (
        402,
        {
            "title": "Payment Required",
            "detail": "credits depleted",
            "type": "https://api.x.com/2/problems/credits-depleted",
        },
    ),
    "SpendCapReached": (
        403,
        {
            "title": "SpendCapReached",
            "detail": "Your enrolled account has reached its billing cycle spend cap.",
            "type": TYPE + "credits",
        },
    ),
    "ClientNotEnrolled": (
        403,
        {
            "title": "Client Forbidden",
            "detail": "When authenticating requests to the Twitter API v2 endpoints, you must use "
            "keys and tokens from a Twitter developer App that is attached to a Project.",
            "reason": "client-not-enrolled",
            "required_enrollment": "Appropriate Level of API Access",
            "registration_url": "https://developer.twitter.com/en/docs/projects/overview",
            "type": TYPE + "client-forbidden",
        },
    ),
    "RulesCapExceeded": (
        403,
        {
            "title": "RulesCapExceeded",
            "detail": "You have exceeded the maximum number of rules (1000).",
            "type": TYPE + "rule-cap",
        },
    ),
}
"""Refusals of a whole request, X's own or met by people (public reports, 2026): status and body."""


def refusal(issue: str, headers: Mapping[str, str], status: int = 0) -> web.Response:
    """Return X's answer for one of REFUSALS; status 0 is the usual one of the issue."""
    usual, body = REFUSALS[issue]
    remaining = {"x-rate-limit-remaining": "49"} if issue == "UsageCapExceeded" else {}
    return problem(status or usual, {**headers, **remaining}, **body)


def rate_headers(limit: int, remaining: int, reset_at: float) -> dict[str, str]:
    """Return x-rate-limit-* headers; reset_at is in seconds since the epoch."""
    return {
        "x-rate-limit-limit": str(limit),
        "x-rate-limit-remaining": str(max(0, remaining)),
        "x-rate-limit-reset": str(int(max(reset_at, time.time()) + 0.999)),
    }
