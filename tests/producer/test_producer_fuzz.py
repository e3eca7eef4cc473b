"""Any line at all: nothing raises, nothing is lost, nothing is queued that is no JSON row."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.lines import Line
from producer.messages import LETTERS

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
IDS = st.integers(0, (1 << 63) - 1).map(str) | VALUES
POST = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS, "text": st.text() | VALUES, "created_at": st.datetimes().map(str) | VALUES,
        "author_id": IDS, "entities": st.dictionaries(
            st.sampled_from(["hashtags", "mentions", "urls"]), VALUES) | VALUES,
        "referenced_tweets": VALUES, "edit_history_tweet_ids": st.lists(IDS) | VALUES,
        "public_metrics": VALUES, "note_tweet": VALUES, "lang": VALUES,
    },
)  # fmt: skip
LINES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {}, optional={"data": POST | VALUES, "includes": VALUES, "matching_rules": VALUES,
                      "errors": VALUES},
    ).map(lambda value: json.dumps(value).encode()),
    st.integers(1, 100_000).map(lambda depth: b"[" * depth),
    st.integers(1, 2000).map(lambda depth: b'{"data":' * depth + b"1" + b"}" * depth),
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(line=LINES, letters=st.booleans())
def test_any_line_is_one_thing(line: bytes, *, letters: bool) -> None:
    """Whatever a line holds, it becomes exactly one post, control event, or dead letter with its
    bytes and its event; each message can be encoded.
    """
    found = Line.of(line, 1_790_000_000_000_000, "me", letters=letters)
    kinds = [message.attributes["kind"] for _, message, _ in found.entries]
    if found.post_id is not None:
        assert kinds == ["post"]
    elif found.control is not None:
        assert kinds == ["event"]
    else:
        assert found.reason
        assert kinds == (["line", "event"] if letters else ["event"])
    for topic, message, made_at in found.entries:
        assert made_at > 0
        assert all(len(value.encode()) <= 1024 for value in message.attributes.values())
        if topic == LETTERS:
            assert message.data == line
        else:
            json.loads(message.data.decode())
