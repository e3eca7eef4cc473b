"""X's problem bodies (the `Problem` schemas of X API v2), and the responses that carry them."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from aiohttp import web

TYPE = "https://api.twitter.com/2/problems/"


def answer(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON response as X writes it."""
    return web.Response(
        body=orjson.dumps(body),
        status=status,
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


def problem(
    status: int, title: str, detail: str, kind: str = "about:blank", **more: Any
) -> web.Response:
    """Return a problem body with its status; kind is a full address or the last part of one."""
    address = kind if ":" in kind else TYPE + kind
    body = {"title": title, "detail": detail, "type": address, "status": status, **more}
    return answer(body, status)


class InvalidRequestError(ValueError):
    """A request that X answers with 400, because of a parameter's value where one is named."""

    def __init__(self, message: str, parameter: str = "", value: str = "") -> None:
        super().__init__(message)
        parameters = {parameter: [value]} if parameter else {}
        self.errors = [{"parameters": parameters, "message": message}]

    def answer(self) -> web.Response:
        """Return the response."""
        detail = "One or more parameters to your request was invalid."
        return problem(400, "Invalid Request", detail, "invalid-request", errors=self.errors)


def wrong(parameter: str, value: object, rule: str) -> InvalidRequestError:
    """Return what to raise for a query parameter whose value breaks the rule."""
    message = f"The `{parameter}` query parameter value [{value}] is not {rule}"
    return InvalidRequestError(message, parameter, str(value))


def one_of(known: Iterable[str]) -> str:
    """Return the rule of a value that must be one of these."""
    return f"one of [{','.join(known)}]"


def unauthorized() -> web.Response:
    """Return the 401 of a missing, unknown or revoked bearer token."""
    return problem(401, "Unauthorized", "Unauthorized")


def too_many_requests(headers: Mapping[str, str]) -> web.Response:
    """Return the 429 of a used-up rate limit."""
    body = {
        "title": "Too Many Requests",
        "detail": "Too Many Requests",
        "type": "about:blank",
        "status": 429,
    }
    return answer(body, 429, headers)


CONNECTION_ISSUES = {
    "TooManyConnections": (
        429,
        "This stream is currently at the maximum allowed connection limit.",
    ),
    "RuleConfigurationIssue": (
        409,
        "This stream has no rules. Add rules before you connect to it.",
    ),
    "ProvisioningSubscription": (503, "The stream is being provisioned."),
}


def connection_exception(issue: str, headers: Mapping[str, str]) -> web.Response:
    """Return a ConnectionException (schema ConnectionExceptionProblem) for one of its issues."""
    status, detail = CONNECTION_ISSUES[issue]
    body = {
        "title": "ConnectionException",
        "detail": detail,
        "connection_issue": issue,
        "type": TYPE + "streaming-connection",
    }
    return answer(body, status, headers)


REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
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
"""Refusals of a whole request that people met (public reports, 2026): status and body."""
ISSUES = (*CONNECTION_ISSUES, *REFUSALS)


def refusal(issue: str, status: int, headers: Mapping[str, str]) -> web.Response:
    """Return X's answer for one of ISSUES; status 0 is the usual one of the issue."""
    if issue in CONNECTION_ISSUES:
        return connection_exception(issue, headers)
    usual, body = REFUSALS[issue]
    remaining = {"x-rate-limit-remaining": "49"} if issue == "UsageCapExceeded" else {}
    return answer({**body, "status": status or usual}, status or usual, {**headers, **remaining})


def rate_headers(limit: int, remaining: int, reset_at: float) -> dict[str, str]:
    """Return x-rate-limit-* headers; reset_at is in seconds since the epoch."""
    return {
        "x-rate-limit-limit": str(limit),
        "x-rate-limit-remaining": str(max(0, remaining)),
        "x-rate-limit-reset": str(int(max(reset_at, time.time()) + 0.999)),
    }
