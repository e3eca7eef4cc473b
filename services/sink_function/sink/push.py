"""The wrapped Pub/Sub push body: read within bounds, decode, or say why not.

Source: https://cloud.google.com/pubsub/docs/push#wrapped-unwrapped-push. Whoever may invoke the
function may send anything, so each bound is enforced before the memory is spent.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from sink.faults import PassingError, RefusedError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

# A Pub/Sub message is at most 10 MB (https://cloud.google.com/pubsub/quotas#resource_limits):
# 13.4 MB in base64, and up to 0.8 MB for attributes that JSON has to escape.
MAX_BODY_BYTES = 15_000_000
# Seconds for a body: Pub/Sub has it at hand, so one that takes longer is not from there.
BODY_SECONDS = 5.0
# Values of an envelope (at most 100 attributes), and of a record with its raw line (some thousand).
MAX_ENVELOPE_VALUES = 10_000
MAX_RECORD_VALUES = 200_000
# What a message takes until it is answered, at most: its text in some forms one after the other, an
# object for each value.
BODY_COST = 5
VALUE_COST = 150
# Memory for all messages at one time; more are sent again later. Whatever large ones do, ordinary
# ones keep a share of their own: one of 4 KB, of which 500 may be in flight, costs about 60 KB.
# Both shares and the process itself have to fit into the function's memory (sinkMemory, 512 MiB).
ORDINARY_COST = 250_000
ORDINARY_SHARE = 80_000_000
LARGE_SHARE = 160_000_000

_PUBLISHED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?\d*Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PushedMessage:
    """One Pub/Sub message.

    Attributes:
        id: Pub/Sub's message id.
        data: payload, may be empty.
        attributes: as published.
        published_at: RFC 3339 UTC with at most microseconds, None where the body has none.
        attempt: delivery attempt, None where the subscription has no dead-letter policy.
    """

    id: str
    data: bytes
    attributes: dict[str, str] = field(default_factory=dict)
    published_at: str | None = None
    attempt: int | None = None


def memory() -> dict[str, int]:
    """What all requests may take at one time, in two shares: of ordinary and of large messages."""
    return {"ordinary": ORDINARY_SHARE, "large": LARGE_SHARE}


@dataclass(slots=True)
class Claim:
    """One request's part of memory(), from its first byte to its answer; a context manager.

    A message that grows large moves to the other share.
    """

    _free: dict[str, int]
    cost: int = 0

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.change(-self.cost)

    def change(self, cost: int) -> None:
        """Take so much more.

        Raises:
            PassingError: the share is used up at the moment.
        """
        self._free[self._share()] += self.cost
        self.cost += cost
        self._free[self._share()] -= self.cost
        if self._free[self._share()] < 0:
            raise PassingError("too much is being written at the moment: send it later")

    def values(self, text: bytes) -> None:
        """Take what the values of a record need that is parsed from this text; see change()."""
        self.change(VALUE_COST * min(values_in(text), MAX_RECORD_VALUES))

    def _share(self) -> str:
        return "ordinary" if self.cost <= ORDINARY_COST else "large"


async def read(scope: Scope, receive: Receive, claim: Claim) -> bytes:
    """Body of the request; memory is claimed as its bytes arrive, not as they are announced.

    Raises:
        RefusedError: 405, 408, 413, 415 or 400, before the body is read where possible.
        PassingError: too much is held at the moment.
    """
    _check_head(scope)
    parts, size, more = [], 0, True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "disconnected", "the client went away within the body")
                part = message.get("body", b"")
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise _too_large(size)
                claim.change(BODY_COST * len(part))
                parts.append(part)
                more = message.get("more_body", False)
    except TimeoutError:
        raise RefusedError(
            408, "stalled", f"{size} bytes of the body came in {BODY_SECONDS:.0f} s, not all of it"
        ) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(size: int) -> RefusedError:
    return RefusedError(
        413, "too_large", f"body of {size} bytes or more, a push has at most {MAX_BODY_BYTES}"
    )


def _check_head(scope: Scope) -> None:
    if scope["method"] != "POST":
        raise RefusedError(405, "method", f"{scope['method']} is not for here: Pub/Sub sends POST")
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        raise RefusedError(
            415, "content_type", f"Content-Type is {kind[:50]!r}, a push is application/json"
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RefusedError(415, "content_encoding", "a push is not compressed")
    try:
        length = int(headers.get(b"content-length", b"0"))
    except ValueError:
        raise RefusedError(400, "content_length", "Content-Length is not a number") from None
    if length > MAX_BODY_BYTES:
        raise _too_large(length)


def values_in(text: bytes) -> int:
    """Upper bound of the values that parsing this JSON makes, without parsing it.

    Each value but the first follows a comma or opens a list or an object; those inside strings are
    counted too, which does no harm: it is a bound.
    """
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def decode(body: bytes) -> PushedMessage:
    """The message in a wrapped push body.

    Raises:
        RefusedError: 400 with what is wrong; there is no message that could be kept.
    """

    def refuse(detail: str) -> RefusedError:
        return RefusedError(400, "malformed_push", detail)

    if values_in(body) > MAX_ENVELOPE_VALUES:
        raise refuse(f"more than {MAX_ENVELOPE_VALUES} values in the envelope")
    try:
        envelope = orjson.loads(body)
    except ValueError as error:
        raise refuse(f"body is not JSON: {error}") from None
    message = envelope.get("message") if isinstance(envelope, dict) else None
    if not isinstance(message, dict):
        raise refuse("body is not a push: it has no object `message`")
    identity = message.get("messageId") or message.get("message_id")
    if not isinstance(identity, str) or len(identity) > 1000:
        raise refuse("`message.messageId` is missing or not a string")
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, dict) or not all(
        type(value) is str for value in attributes.values()
    ):
        raise refuse("`message.attributes` is not an object of strings")
    data = message.get("data") or ""
    try:
        decoded = binascii.a2b_base64(data, strict_mode=True) if data else b""
    except (ValueError, TypeError):
        raise refuse("`message.data` is not base64") from None
    published = _PUBLISHED.fullmatch(str(message.get("publishTime") or message.get("publish_time")))
    attempt = envelope.get("deliveryAttempt")
    return PushedMessage(
        identity,
        decoded,
        attributes,
        f"{published[1]}{published[2] or ''}Z" if published else None,
        attempt if type(attempt) is int else None,
    )
