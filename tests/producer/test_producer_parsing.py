"""What a line is: a post, a message of X, or nothing usable."""

from __future__ import annotations

import json

import pytest

from producer.parsing import LineError, control_reason, control_words, is_farewell, parse
from producer.record import to_record

HALF = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb"cut here \ud83d...", f"cut here {HALF}..."),
        (rb"\uDE00 first", f"{HALF} first"),
        (rb"\ud83d\ud83d\ude00", f"{HALF}😀"),
        (rb"whole \ud83d\ude00, half \uD83D", f"whole 😀, half {HALF}"),
        (rb"a written \\ud83d stays, \ud83d", f"a written \\ud83d stays, {HALF}"),
        (b"bytes \xed\xa0\xbd of it", f"bytes {HALF} of it"),
    ],
)
def test_half_an_emoji_costs_nothing(text: bytes, expected: str) -> None:
    """A line that is sound but for a lone surrogate is a post with U+FFFD in its place, and its
    raw text is JSON that every reader takes.
    """
    line = parse(b'{"data":{"id":"5","text":"' + text + b'"}}')
    row = to_record(line.body, line.raw, 0)
    assert row["text"] == expected
    assert json.loads(row["raw"])["data"]["text"] == expected
    row["raw"].encode()


@pytest.mark.parametrize("line", [b"", b"{", b"<html>", b'{"a": "\xff"}', rb'{"a": "\ud83d"', b"["])
def test_what_is_no_json_is_refused(line: bytes) -> None:
    """A line that is no JSON for another reason than half an emoji is refused with the place."""
    with pytest.raises(LineError, match="not JSON"):
        parse(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'[{"title": "operational-disconnect", "detail": "Bye."}]', "operational-disconnect"),
        (b'{"data": null, "errors": [{"title": "Not Found Error"}]}', "Not Found Error"),
        (b'{"errors": [{"connection_issue": "TooManyConnections"}]}', "TooManyConnections"),
        (b'{"system": {"type": "new"}}', "unknown"),
        (b"[]", "error"),
        (b"null", "unknown"),
        (b'"words"', "unknown"),
    ],
)
def test_sound_json_without_a_post_is_a_message(line: bytes, reason: str) -> None:
    """Whatever X sends that is JSON and carries no post is a message about the stream."""
    said = parse(line)
    assert not said.is_post
    assert control_reason(said.body) == reason
    assert control_words(said.body)


def test_a_post_beside_errors_is_a_post() -> None:
    """Errors about a part of a post (a deleted original, say) do not make it a message."""
    assert parse(b'{"data": {"id": "5"}, "errors": [{"title": "Not Found Error"}]}').is_post


@pytest.mark.parametrize(
    ("message", "farewell"),
    [
        ({"errors": [{"disconnect_type": "OperationalDisconnect"}]}, True),
        ({"errors": [{"type": "https://api.x.com/2/problems/operational-disconnect"}]}, True),
        ({"errors": [{"connection_issue": "TooManyConnections"}]}, True),
        ({"disconnect": {"code": 12}}, True),
        ({"errors": [{"title": "Internal Server Error", "status": 500}]}, False),
        ({"system": {"type": "not_yet_documented"}}, False),
    ],
)
def test_farewell(message: dict[str, object], farewell: bool) -> None:
    """X's own word that the connection has ended is told from any other message."""
    assert is_farewell(message) is farewell
