"""The wrapped Pub/Sub push body: read within bounds, decode, or say why not.

Source: https://cloud.google.com/pubsub/docs/push#wrapped-unwrapped-push. Whoever may invoke the
function may send anything, so each bound is enforced before the memory is spent.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from sink.faults import PassingError, RefusedError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

# A Pub/Sub message is at most 10 MB (https://cloud.google.com/pubsub/quotas#resource_limits):
# 13.4 MB in base64, and up to 0.8 MB for attributes that JSON has to escape.
MAX_BODY_BYTES = 15_000_000
# Bodies held at one time by all requests; more are sent again later. Decoding multiplies them by
# about five, which has to fit into the function's memory (sinkMemory, 512 MiB).
MAX_HELD_BYTES = 32_000_000
# A body of `[[],[],...]` needs 25 times its size once parsed, so the separators are counted first.
# An envelope has at most 100 attributes; a record with its raw line some thousand values.
MAX_ENVELOPE_COMMAS = 10_000
MAX_RECORD_COMMAS = 200_000

_PUBLISHED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?\d*Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Message:
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


class Intake:
    """Reads request bodies; all bodies together stay within MAX_HELD_BYTES."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Body of the request. The caller gives `len(body)` back by `release`.

        Raises:
            RefusedError: 405, 413, 415 or 400, before the body is read where possible.
            PassingError: too much is held at the moment.
        """
        held = _declared_length(scope)
        self._hold(held)
        parts, size, more = [], 0, True
        try:
            while more:
                message = await receive()
                part = message.get("body", b"")
                size += len(part)
                _check_part(message["type"], size)
                if size > held:
                    self._hold(size - held)
                    held = size
                parts.append(part)
                more = message.get("more_body", False)
        except BaseException:
            self.release(held)
            raise
        self.release(held - size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _hold(self, size: int) -> None:
        if self._held + size > MAX_HELD_BYTES:
            raise PassingError(f"{self._held} bytes of messages are being written: send it later")
        self._held += size

    def release(self, size: int) -> None:
        """Give back bytes that `read` held."""
        self._held -= size


def _check_part(kind: str, size: int) -> None:
    if kind == "http.disconnect":
        raise RefusedError(400, "disconnected", "the client went away within the body")
    if size > MAX_BODY_BYTES:
        raise _too_large(size)


def _too_large(size: int) -> RefusedError:
    return RefusedError(
        413, "too_large", f"body of {size} bytes or more, a push has at most {MAX_BODY_BYTES}"
    )


def _declared_length(scope: Scope) -> int:
    """Content-Length, 0 where the body is chunked."""
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
    return length


def decode(body: bytes) -> Message:
    """The message in a wrapped push body.

    Raises:
        RefusedError: 400 with what is wrong; there is no message that could be kept.
    """

    def refuse(detail: str) -> RefusedError:
        return RefusedError(400, "malformed_push", detail)

    if body.count(b",") > MAX_ENVELOPE_COMMAS:
        raise refuse(f"more than {MAX_ENVELOPE_COMMAS} values in the envelope")
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
    return Message(
        identity,
        decoded,
        attributes,
        _published_at(message.get("publishTime") or message.get("publish_time")),
        _attempt(envelope.get("deliveryAttempt")),
    )


def _published_at(value: Any) -> str | None:
    found = _PUBLISHED.fullmatch(value) if isinstance(value, str) else None
    return f"{found[1]}{found[2] or ''}Z" if found else None


def _attempt(value: Any) -> int | None:
    return value if type(value) is int else None
