"""A line of the stream as a row: the schema file is the contract."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from producer.messages import cut, dead_letter, event_message, post_message
from producer.record import RecordError, created_at, timestamp, to_record

SCHEMA = Path(__file__).parents[2] / "services/sink_function/sink/schema"
SINKS = {"published_at", "inserted_at", "message_id", "sink"}
AT = 1_705_314_900_123_456

TWEETS: dict[str, Any] = {
    "data": {
        "id": "1746837261548851200",
        "text": "데이터 😀 #GCP @googlecloud https://t.co/x",
        "created_at": "2024-01-15T10:35:00.000Z",
        "author_id": "42",
        "lang": "ko",
        "conversation_id": "1746837261548851100",
        "in_reply_to_user_id": "43",
        "possibly_sensitive": False,
        "entities": {
            "hashtags": [{"start": 1, "end": 2, "tag": "GCP"}],
            "mentions": [{"username": "googlecloud", "id": "9"}],
            "urls": [{"url": "https://t.co/x", "expanded_url": "https://example.org/"}],
        },
        "referenced_tweets": [{"type": "replied_to", "id": "1746837261548851100"}],
        "edit_history_tweet_ids": ["1746837261548851100", "1746837261548851200"],
        "public_metrics": {
            "retweet_count": 1, "reply_count": 2, "like_count": 3,
            "quote_count": 4, "bookmark_count": 5, "impression_count": 6,
        },
    },
    "includes": {"users": [{"id": "42", "username": "hong", "name": "홍길동"}]},
    "matching_rules": [{"id": "7", "tag": "gcp"}, {"id": "8"}, {"id": "9", "tag": ""}],
}  # fmt: skip


def _posts_generation() -> dict[str, Any]:
    """The same line with the names of OpenAPI 2.167."""
    line = json.loads(json.dumps(TWEETS))
    post = line["data"]
    post["referenced_posts"] = post.pop("referenced_tweets")
    post["edit_history_post_ids"] = post.pop("edit_history_tweet_ids")
    post["public_metrics"]["repost_count"] = post["public_metrics"].pop("retweet_count")
    return dict(line)


def _row(line: dict[str, Any]) -> dict[str, Any]:
    return to_record(line, json.dumps(line, ensure_ascii=False), AT)


def _check(field: dict[str, Any], value: Any) -> None:
    if field["mode"] == "REPEATED":
        assert isinstance(value, list), field["name"]
        for item in value:
            _check({**field, "mode": "REQUIRED"}, item)
        return
    if value is None:
        assert field["mode"] == "NULLABLE", field["name"]
        return
    kind = field["type"]
    if kind == "RECORD":
        assert set(value) == {inner["name"] for inner in field["fields"]}
        for inner in field["fields"]:
            _check(inner, value[inner["name"]])
    elif kind == "INTEGER":
        assert type(value) is int
        assert abs(value) < 1 << 63
    elif kind == "BOOLEAN":
        assert type(value) is bool
    else:
        assert type(value) is str, field["name"]
        if kind == "DATETIME":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", value)
        if kind == "TIMESTAMP":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value)
        if kind == "JSON":
            json.loads(value)


@pytest.mark.parametrize("line", [TWEETS, _posts_generation(), {"data": {"id": "5", "text": ""}}])
def test_row_is_the_schema(line: dict[str, Any]) -> None:
    """Each column of the schema file but the sink's is there in its form; no other is."""
    schema = json.loads((SCHEMA / "tweets.json").read_text())
    row = _row(line)
    assert set(row) == {field["name"] for field in schema} - SINKS
    for field in schema:
        if field["name"] not in SINKS:
            _check(field, row[field["name"]])


def test_event_is_the_schema() -> None:
    """An event row has the columns of its schema file that are the producer's."""
    from producer.messages import event

    schema = json.loads((SCHEMA / "stream_events.json").read_text())
    row = event("gap", "me", gap_from=AT, gap_to=AT, last_id_before=1, detail={"a": [1]})
    assert set(row) == {field["name"] for field in schema} - SINKS
    for field in schema:
        if field["name"] not in SINKS:
            _check(field, row[field["name"]])
    assert event_message(row).attributes == {
        "kind": "event", "id": row["event_id"], "schema": "1",
    }  # fmt: skip


def test_both_naming_generations_give_the_same_row() -> None:
    """The names of today and those of OpenAPI 2.167 give the same row but for `raw`."""
    old, new = _row(TWEETS), _row(_posts_generation())
    assert {**old, "raw": ""} == {**new, "raw": ""}
    assert old == {
        "id": 1746837261548851200,
        "created_at": "2024-01-15T10:35:00.000",
        "text": "데이터 😀 #GCP @googlecloud https://t.co/x",
        "author_id": 42,
        "author_username": "hong",
        "lang": "ko",
        "conversation_id": 1746837261548851100,
        "in_reply_to_user_id": 43,
        "possibly_sensitive": False,
        "hashtags": ["GCP"],
        "mentions": ["googlecloud"],
        "urls": ["https://example.org/"],
        "referenced_posts": [{"type": "replied_to", "id": 1746837261548851100}],
        "edit_history_ids": [1746837261548851100, 1746837261548851200],
        "original_id": 1746837261548851100,
        "public_metrics": {
            "reposts": 1, "replies": 2, "likes": 3, "quotes": 4, "bookmarks": 5, "impressions": 6,
        },
        "rule_tags": ["gcp", "8", "9"],
        "raw": json.dumps(TWEETS, ensure_ascii=False),
        "source": "stream",
        "ingested_at": "2024-01-15T10:35:00.123456Z",
    }  # fmt: skip


def test_long_posts_are_whole() -> None:
    """A long post's full text is taken, and the entities of both its parts, each once."""
    line = json.loads(json.dumps(TWEETS))
    line["data"]["note_tweet"] = {
        "text": "all of it #GCP #BigQuery",
        "entities": {"hashtags": [{"tag": "GCP"}, {"tag": "BigQuery"}]},
    }
    row = _row(line)
    assert row["text"] == "all of it #GCP #BigQuery"
    assert row["hashtags"] == ["GCP", "BigQuery"]


def _repost(includes: str = "tweets", **original: Any) -> dict[str, Any]:
    """A repost as X sends it: cut at 140 characters, the original among the includes."""
    start = "RT @other_one: "
    reference = {"type": "retweeted", "id": "1990000000000000005"}
    return {
        "data": {
            "id": "1990000000000000010",
            "text": start + ("The library " * 20)[: 139 - len(start)] + "…",
            "referenced_tweets": [reference],
            "entities": {
                "mentions": [{"username": "other_one"}],
                "hashtags": [{"tag": "books"}],
            },
        },
        "includes": {
            includes: [
                {"id": "1", "text": "another"},
                {
                    "id": "1990000000000000005",
                    "text": "The library " * 20 + "#books #cats https://t.co/x",
                    "entities": {
                        "hashtags": [{"tag": "books"}, {"tag": "cats"}],
                        "urls": [{"url": "https://t.co/x", "expanded_url": "https://e.org/"}],
                    },
                    **original,
                },
            ]
        },
    }


@pytest.mark.parametrize("includes", ["tweets", "posts"])
def test_reposts_are_whole(includes: str) -> None:
    """A repost has the whole text of its original behind X's `RT @name: `, and the entities of
    both, each once, whichever names X uses.
    """
    line = _repost(includes)
    if includes == "posts":
        (reference,) = line["data"].pop("referenced_tweets")
        line["data"]["referenced_posts"] = [{**reference, "type": "reposted"}]
    row = _row(line)
    assert row["text"] == ("RT @other_one: " + "The library " * 20 + "#books #cats https://t.co/x")
    assert row["hashtags"] == ["books", "cats"]
    assert row["mentions"] == ["other_one"]
    assert row["urls"] == ["https://e.org/"]
    assert "…" in json.loads(row["raw"])["data"]["text"]


@pytest.mark.parametrize("note", ["note_tweet", "note_post"])
def test_reposts_of_long_posts_are_whole(note: str) -> None:
    """Of a long original the text beyond 280 characters, and its entities, are taken too."""
    text = "The library " * 40 + "#deep"
    whole: Any = {"text": text, "entities": {"hashtags": [{"tag": "deep"}]}}
    row = _row(_repost("tweets", **{note: whole}))
    assert row["text"] == f"RT @other_one: {text}"
    assert row["hashtags"] == ["books", "cats", "deep"]


def test_reposts_without_their_original_are_what_x_sent() -> None:
    """Where X gives no original, or the post only quotes or answers it, the text is X's."""
    for given in ([], [{"id": "7", "text": "no"}]):
        assert _row({**_repost(), "includes": {"tweets": given}})["text"].endswith("…")
    line = _repost()
    line["data"] |= {"text": "see this", "referenced_tweets": [{"type": "quoted", "id": "1"}]}
    assert _row(line)["text"] == "see this"
    line["data"]["referenced_tweets"][0]["id"] = "1990000000000000005"
    assert _row(line)["hashtags"] == ["books"]  # its own alone
    line["data"]["referenced_tweets"] = [{"type": "retweeted", "id": "1"}]
    assert _row(line)["text"] == "see this"


@pytest.mark.parametrize("text", ["", "This post is withheld in Germany."])
def test_reposts_of_withheld_originals_are_what_x_sent(text: str) -> None:
    """An original that says less than X's cut text does not take its place."""
    line = _repost(text=text, withheld={"country_codes": ["DE"]})
    assert _row(line)["text"] == line["data"]["text"]


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("Tom &amp; Jerry &lt;3", "Tom & Jerry <3"),
        ("&amp;lt; is written so", "&lt; is written so"),
        ("&amp;amp;", "&amp;"),
        ("&copy; &quot;", "&copy; &quot;"),
    ],
)
def test_text_is_what_people_wrote(sent: str, written: str) -> None:
    """X's three HTML entities are undone once in the text; `raw` is what X sent."""
    row = _row({"data": {"id": "5", "text": sent}})
    assert row["text"] == written
    assert json.loads(row["raw"])["data"]["text"] == sent
    line = _repost(text=sent)
    line["data"]["text"] = f"RT @other_one: {sent[:2]}…"
    assert _row(line)["text"] == f"RT @other_one: {written}"


def test_one_tag_on_two_rules_is_one_tag() -> None:
    """A post that matched two rules of one tag carries the tag once, in X's order."""
    rules = [{"id": "1", "tag": "b"}, {"id": "2", "tag": "a"}, {"id": "3", "tag": "b"}]
    row = _row({"data": {"id": "5", "text": ""}, "matching_rules": rules})
    assert row["rule_tags"] == ["b", "a"]


def test_entities_of_the_older_form() -> None:
    """Hashtags and mentions of the v1.1 form are read too, and a link without its long form."""
    entities = {
        "hashtags": [{"text": "a"}],
        "mentions": [{"screen_name": "b"}],
        "urls": [{"url": "https://t.co/c"}],
    }
    row = _row({"data": {"id": "5", "text": "", "entities": entities}})
    assert (row["hashtags"], row["mentions"], row["urls"]) == (["a"], ["b"], ["https://t.co/c"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-15T10:35:00.000Z", "2024-01-15T10:35:00.000"),
        ("2024-01-15T10:35:00Z", "2024-01-15T10:35:00.000"),
        ("2024-01-15T19:35:00.5+09:00", "2024-01-15T10:35:00.500"),
        ("0001-01-01T00:00:00+09:00", None),
        ("yesterday", None),
        (1705314900, None),
        (None, None),
    ],
)
def test_created_at(value: object, expected: str | None) -> None:
    """X's time becomes a DATETIME in UTC with milliseconds, and nonsense nothing."""
    assert created_at(value) == expected


@pytest.mark.parametrize("value", [None, "nonsense"])
def test_created_at_from_the_id(value: object) -> None:
    """Without a usable created_at the time in the id's upper bits is taken."""
    line = {"data": {"id": "1746837261548851200", "text": "", "created_at": value}}
    assert _row(line)["created_at"] == "2024-01-15T10:10:32.477"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-15T10:10:32.000Z", "2024-01-15T10:10:32.477"),
        ("2024-01-15T12:10:32+02:00", "2024-01-15T10:10:32.477"),
        ("2024-01-15T10:10:33.000Z", "2024-01-15T10:10:32.477"),
        ("2024-01-15T10:10:31.000Z", "2024-01-15T10:10:32.477"),
        ("2009-01-15T10:10:40.000Z", "2009-01-15T10:10:40.000"),
    ],
)
def test_created_at_is_the_same_in_each_delivery(value: str, expected: str) -> None:
    """Whole seconds, rounded either way, become the id's moment, as a delivery without created_at
    has it; the time of a post whose id holds none (before November 2010) is X's.
    """
    line = {"data": {"id": "1746837261548851200", "text": "", "created_at": value}}
    assert _row(line)["created_at"] == expected


@pytest.mark.parametrize(
    "line",
    [
        {"data": None},
        {"data": []},
        {"data": {"text": "no id"}},
        {"data": {"id": "12a", "text": ""}},
        {"data": {"id": "٣", "text": ""}},
        {"data": {"id": "9223372036854775808", "text": ""}},
        {"data": {"id": "-1", "text": ""}},
        {"data": {"id": 1.5, "text": ""}},
        {"data": {"id": True, "text": ""}},
        {"data": {"id": "1"}},
        {"data": {"id": "1", "text": 5}},
    ],
)
def test_no_row_without_id_and_text(line: dict[str, Any]) -> None:
    """Only a post without a usable id or text is refused, with the reason."""
    with pytest.raises(RecordError):
        _row(line)


def test_odd_types_leave_columns_empty() -> None:
    """A field of another type than X's leaves its column empty and costs no row."""
    odd = {
        "id": 5, "text": "x", "author_id": {}, "lang": 1, "entities": [], "public_metrics": "many",
        "possibly_sensitive": "no", "referenced_tweets": {"a": 1}, "edit_history_tweet_ids": "5",
    }  # fmt: skip
    row = _row({"data": odd, "includes": [], "matching_rules": "all"})
    assert row["id"] == row["original_id"] == 5
    assert row["author_id"] is row["lang"] is row["public_metrics"] is row["possibly_sensitive"]
    assert row["hashtags"] == row["referenced_posts"] == row["edit_history_ids"] == []


def test_attributes() -> None:
    """A post's message has its routing attributes, cut at 1,024 bytes between characters."""
    line = json.loads(json.dumps(TWEETS))
    line["matching_rules"] = [{"id": str(n), "tag": f"데이터{n}"} for n in range(200)]
    message = post_message(_row(line))
    assert message.attributes["kind"] == "post"
    assert message.attributes["id"] == "1746837261548851200"
    assert message.attributes["lang"] == "ko"
    tags = message.attributes["tags"]
    assert 1020 < len(tags.encode()) <= 1024
    assert tags.startswith("데이터0,데이터1")
    none = post_message(_row({"data": {"id": "5", "text": ""}}))
    assert none.attributes == {"kind": "post", "id": "5", "schema": "1", "lang": "und"}


def test_dead_letter_form() -> None:
    """A dead letter keeps the line's bytes and says why, when, and who; the detail is cut."""
    letter = dead_letter(b"\xff{", "malformed_line", "왜" * 1000, timestamp(AT))
    assert letter.data == b"\xff{"
    assert len(letter.attributes["dead_letter_detail"].encode()) <= 1000
    assert len(letter.attributes["id"]) == 32
    assert letter.attributes["dead_letter_at"] == "2024-01-15T10:35:00.123456Z"
    assert cut("a\ud800b", 10) == "a?b"
