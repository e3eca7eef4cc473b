"""What a line of X's stream is: a post, or a message of X about the stream itself.

Source: https://docs.x.com/x-api/fundamentals/consuming-streaming-data and, for what X says inside
a stream, https://docs.x.com/x-api/fundamentals/handling-disconnections
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

# Half of a surrogate pair, as an escape or as bytes; whole pairs and other escapes are passed over,
# so that the backslash of "\\ud83d" is not taken for the start of one.
_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\xed[\xa0-\xbf][\x80-\xbf])"
    rb"|\\.",
    re.DOTALL,
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


class LineError(ValueError):
    """A line that cannot be used: what is wrong with it."""


class ParsedLine(NamedTuple):
    """A line that is sound JSON.

    Attributes:
        body: the object; an array at the top stands under `errors`, anything else under `message`.
        raw: the text as X sent it, but for lone surrogates, which no JSON column takes.
    """

    body: dict[str, Any]
    raw: str

    @property
    def is_post(self) -> bool:
        """Whether X sent (and charges) a post; else it is a message about the stream."""
        return self.body.get("data") is not None


def loads(text: bytes) -> tuple[Any, bytes]:
    """Return what JSON holds, and the text; half an emoji in both becomes U+FFFD.

    Raises:
        LineError: it is no JSON.
    """
    try:
        return orjson.loads(text), text
    except orjson.JSONDecodeError as error:
        mended = _SURROGATE.sub(lambda m: _REPLACEMENT if m["lone"] else m[0], text)
        if mended == text:
            raise LineError(f"not JSON: {error}") from None
        return loads(mended)
    except RecursionError as error:
        raise LineError(f"not JSON: {error}") from None


def parse(line: bytes) -> ParsedLine:
    """Return what the line holds.

    Raises:
        LineError: it is no JSON.
    """
    body, line = loads(line)
    if not isinstance(body, dict):
        body = {"errors" if isinstance(body, list) else "message": body}
    return ParsedLine(body, line.decode())


def control_reason(message: Mapping[str, Any]) -> str:
    """Return X's name for what happened, such as OperationalDisconnect or TooManyConnections."""
    for part in _parts(message):
        for key in ("disconnect_type", "connection_issue", "title", "reason"):
            if isinstance(part.get(key), str) and part[key]:
                return str(part[key])[:100]
    return "error" if "errors" in message or "error" in message else "unknown"


def control_words(message: Mapping[str, Any]) -> str:
    """Return X's sentence about it, or all of the message, in one line."""
    for part in _parts(message):
        for key in ("detail", "message", "title"):
            if isinstance(part.get(key), str) and part[key]:
                return f"{control_reason(message)}: {' '.join(part[key].split())[:500]}"
    return orjson.dumps(message).decode()[:500]


def is_farewell(message: Mapping[str, Any]) -> bool:
    """Whether X says that this connection has ended: what comes after is no sign of life."""
    return any(
        part.get("disconnect_type") or part.get("connection_issue")
        or str(part.get("type", "")).endswith("operational-disconnect")
        or part is message.get("disconnect")
        for part in _parts(message)
    )  # fmt: skip


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    errors = message.get("errors")
    parts = [*errors] if isinstance(errors, list) else []
    parts += [message.get("error"), message.get("disconnect"), message]
    return [part for part in parts if isinstance(part, dict)]
