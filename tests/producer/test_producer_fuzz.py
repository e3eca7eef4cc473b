"""Any line at all: nothing raises, nothing is lost, nothing is queued that is no JSON row."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.intake import Intake, classify
from producer.journal import Journal
from producer.message import Message
from producer.stats import Stats

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


class Kept:
    """A publisher that keeps what it is given."""

    full = False

    def __init__(self) -> None:
        self.messages: list[tuple[Message, Any]] = []

    def put(self, message: Message, segment: Any) -> None:
        """Keep."""
        self.messages.append((message, segment))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, max_size=4))
def test_any_line_is_kept_and_settled(lines: list[bytes]) -> None:
    """Whatever a line holds, it becomes exactly one post, control event, or dead letter with its
    bytes; each message can be encoded; and when all are published the journal is empty.
    """
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        posts, letters, stats = Kept(), Kept(), Stats()
        intake = Intake(journal, posts, letters, stats, "me", lambda: None)  # type: ignore[arg-type]
        for line in lines:
            before = len(posts.messages), len(letters.messages)
            read = intake.read(line)
            kinds = [m.attributes["kind"] for m, _ in posts.messages[before[0] :]]
            buried = [m.data for m, _ in letters.messages[before[1] :]]
            if isinstance(read, int):
                assert (kinds, buried) == (["post"], [])
            elif read is not None:
                assert (kinds, buried) == (["event"], [])
            else:
                assert (kinds, buried) == (["event"], [line])
            assert type(classify(line)) is type(read)
        for message, _ in posts.messages:
            json.loads(message.data.decode())
            assert all(len(v.encode()) <= 1024 for v in message.attributes.values())
        for _, segment in posts.messages + letters.messages:
            journal.published(segment)
        journal.close()
        assert list(Path(folder).iterdir()) == []
