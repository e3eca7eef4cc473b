"""Lines of the stream that are no ordinary posts."""

import orjson

from local.x.problems import TYPE

CONTROL = ("unknown_message", "error_payload", "null_data", "array")
"""Kinds whose lines carry no post."""
POISON = ("malformed", "truncated", "not_json", "huge_line")
"""Kinds whose lines a reader must set aside: each is listed at /_standin/poison."""


def disconnect(disconnect_type: str) -> bytes:
    """Return X's message before it ends a connection (schema OperationalDisconnectProblem)."""
    return orjson.dumps(
        {
            "errors": [
                {
                    "title": "operational-disconnect",
                    "disconnect_type": disconnect_type,
                    "detail": "This stream has been disconnected for operational reasons.",
                    "type": TYPE + "operational-disconnect",
                }
            ]
        }
    )


def control(kind: str, number: int) -> bytes:
    """Return a message inside the stream that is no post."""
    error = {
        "title": "Internal Server Error",
        "detail": f"Something went wrong ({number}). The stream goes on.",
        "type": "about:blank",
        "status": 500,
    }
    messages: dict[str, object] = {
        "error_payload": {"errors": [error]},
        "null_data": {"data": None, "errors": [error]},
        "array": [error],
        "unknown_message": {"system": {"type": "not_yet_documented", "sequence": number}},
    }
    return orjson.dumps(messages[kind])


def poison(kind: str, line: bytes, size: int) -> bytes:
    """Return a line that cannot become a row, made from a post's line so that each one differs."""
    if kind == "truncated":
        # Between characters, so that it can be listed as text.
        return line[: len(line) * 2 // 3].decode(errors="ignore").encode()
    if kind == "malformed":
        return line.replace(b'"id":', b'"id"', 1)
    if kind == "not_json":
        return b"<html><body>502 Bad Gateway " + line[16:35].strip(b'":') + b"</body></html>"
    return _padded(line, size)


def unusual(kind: str, line: bytes, size: int) -> bytes:
    """Return a whole post's line in an unusual form."""
    if kind == "half_emoji":
        return line.replace(b'"text":"', b'"text":"\\ud83d ', 1)
    body = orjson.loads(line)
    if kind == "no_matching_rules":
        del body["matching_rules"]
    elif kind == "untagged_rule":
        body["matching_rules"] = [{"id": rule["id"]} for rule in body["matching_rules"]]
    else:
        return _padded(line, size)
    return orjson.dumps(body)


def _padded(line: bytes, size: int) -> bytes:
    body = orjson.loads(line)
    body["data"]["text"] += " " + "x" * max(0, size - len(line) - 1)
    return orjson.dumps(body)
