"""Records into rows, and BigQuery's answers to a row into words."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.bigquery.rows import columns, row_errors
from sink.faults import UNNAMED, PoisonError
from sink.push import PushedMessage
from sink.rows import OWN, Row, TableSchema
from tests.sink.deployed import SCHEMAS, event, post

SECRET = "SECRETTEXT"
VALID: dict[str, Any] = {
    "STRING": "바다",
    "INTEGER": 2**63 - 1,
    "BOOLEAN": True,
    "DATETIME": "2024-01-15T10:35:00.000",
    "TIMESTAMP": "2024-01-15T10:35:00.123456Z",
    "JSON": '{"a": 1}',
}
INVALID: dict[str, list[Any]] = {
    "STRING": [{SECRET: SECRET}],
    "INTEGER": [SECRET, 1.5, True, 2**63, -(2**63) - 1],
    "BOOLEAN": [SECRET, 1],
    "DATETIME": ["2024-01-15T10:35:00Z", SECRET, "2024-13-01T00:00:00", 1, ""],
    "TIMESTAMP": [SECRET, "2024-02-30T10:35:00Z", {}],
    "JSON": ["{" + SECRET, {SECRET: 1}, ""],
    "RECORD": [SECRET, 1, True],
}


def schema_fields(name: str) -> list[dict[str, Any]]:
    """The schema file's columns."""
    fields: list[dict[str, Any]] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return fields


def record(name: str) -> dict[str, Any]:
    """A good record of the table."""
    return post(1) if name == "tweets" else event("e")


def sample(field: dict[str, Any]) -> Any:
    """A valid value of a column."""
    if field["type"] == "RECORD":
        one: Any = {inner["name"]: sample(inner) for inner in field["fields"]}
    else:
        one = VALID[field["type"]]
    return [one, one] if field["mode"] == "REPEATED" else one


def exact(value: Any) -> Any:
    """The value with its integers as strings."""
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return str(value) if type(value) is int else value


def answer(name: str, values: dict[str, Any]) -> list[dict[str, str]]:
    """BigQuery's errors for a row, as the stand-in gives them."""

    def field(raw: dict[str, Any]) -> Any:
        return SimpleNamespace(**(raw | {"fields": [field(f) for f in raw.get("fields", [])]}))

    return row_errors(columns([field(raw) for raw in schema_fields(name)]), values)


def table(name: str) -> TableSchema:
    """The table's schema as the sink reads it."""
    return TableSchema(SCHEMAS / f"{name}.json", f"p.d.{name}")


def row(name: str, record: dict[str, Any]) -> Row:
    """The row that the sink would insert."""
    data = json.dumps(record).encode()
    return table(name).row(PushedMessage("m", data, {}, "2024-01-15T10:35:02.345Z"))


CASES = [
    pytest.param(name, field, id=f"{name}.{field['name']}")
    for name in ("tweets", "stream_events")
    for field in schema_fields(name)
    if field["name"] not in OWN
]


@pytest.mark.parametrize(("name", "field"), CASES)
def test_column_takes_its_type_and_the_rest_is_told_by_name(
    name: str, field: dict[str, Any]
) -> None:
    """A value of the column's type reaches BigQuery, null is left out; a wrong one is named."""
    column, value = field["name"], sample(field)
    good = row(name, record(name) | {column: value}).values
    assert good[column] == exact(value)
    assert answer(name, good) == []
    wrong: list[Any] = [[bad] for bad in INVALID[field["type"]]]
    if field["mode"] != "REPEATED":
        wrong = [*INVALID[field["type"]], [value]]
    without = row(name, record(name) | {column: None}).values
    assert column not in without
    assert bool(answer(name, without)) == (field["mode"] == "REQUIRED")
    for bad in [*wrong, *([None] if field["mode"] == "REQUIRED" else [])]:
        errors = answer(name, row(name, record(name) | {column: bad}).values)
        poison = table(name).refusal(errors)
        assert (poison.reason, set(poison.columns)) == ("schema", {column}), bad
        assert str(poison).startswith(f"{name}.{column}")
        assert SECRET not in str(poison)


@pytest.mark.parametrize(
    ("location", "message", "words"),
    [
        ("id", "Cannot convert value to integer (bad value): x1", "tweets.id is not an integer"),
        ("", "Missing required field: Msg_0_CLOUD_QUERY_TABLE.text.", "tweets.text is required"),
        ("hashtags[3]", "Invalid value", "tweets.hashtags has an element that is not a string"),
        (
            "referenced_posts[0].id",
            "Cannot convert value to integer (bad value): x",
            "tweets.referenced_posts.id is not an integer",
        ),
        ("raw", "Invalid JSON literal: {SECRETTEXT", "tweets.raw is not a string of JSON"),
        ("public_metrics", "This field: x is not a record.", "tweets.public_metrics is not an obj"),
    ],
)
def test_bigquerys_words_become_ours(location: str, message: str, words: str) -> None:
    """Whatever form BigQuery's error has, the letter names the field and what it is not."""
    poison = table("tweets").refusal([{"location": location, "message": message}])
    assert str(poison).startswith(words)
    assert (poison.reason, SECRET in str(poison)) == ("schema", False)


@pytest.mark.parametrize("message", ["Odd (bad value): SECRETTEXT", "Odd 'SECRETTEXT'", ""])
@pytest.mark.parametrize("location", ["", "elsewhere", "id.x"])
def test_unknown_error_keeps_no_value(location: str, message: str) -> None:
    """An error without a column of ours is a rejected row; what it quotes is left out."""
    poison = table("tweets").refusal([{"location": location, "message": message}])
    assert (poison.reason, poison.columns) == ("row_rejected", UNNAMED)
    assert str(poison) == ("Odd" if message else "no reason given")


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from([*VALID.values(), *(bad for values in INVALID.values() for bad in values)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "type", "likes", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(["tweets", "stream_events"]))
def test_any_record_is_a_row_that_bigquery_can_answer(data: st.DataObject, name: str) -> None:
    """No field is unknown to the table, and each refusal is words without a value in them."""
    names = [field["name"] for field in schema_fields(name)]
    changes = data.draw(st.dictionaries(st.sampled_from([*names, "other"]), ANY, max_size=4))
    made = row(name, record(name) | changes)
    assert len(made.insert_id) <= 128
    errors = answer(name, made.values)
    assert [error for error in errors if "no such field" in error["message"]] == []
    if errors:
        poison = table(name).refusal(errors)
        assert poison.reason == "schema"
        assert SECRET not in str(poison)


@pytest.mark.parametrize(
    ("raw", "whole"),
    [
        ('{"a": 1}', {"a": 1}),
        (' {"a": {"b": [1]}}\n', {"a": {"b": [1]}}),
        ("{}", {}),
        ("{ }", {}),
        (None, {}),
        ("[1]", {"value": [1]}),
        ('"text}"', {"value": "text}"}),
        ({"a": 1}, {"a": 1}),
        (5, {"value": 5}),
    ],
)
def test_fields_without_a_column_join_the_raw_text(raw: object, whole: dict[str, Any]) -> None:
    """The JSON column keeps what it had, beside the fields that have no column."""
    kept = row("tweets", post(1, raw=raw, new=[1])).values["raw"]
    assert json.loads(kept) == whole | {"unmapped_fields": {"new": [1]}}


@pytest.mark.parametrize("raw", ["{", '{"a":{"b":1}', '{"a":1}{"b":2}', "}{", "{}}", "{,}", "{{}"])
def test_broken_raw_text_stays_broken(raw: str) -> None:
    """Text that is not JSON is BigQuery's to refuse: joining must not make it look sound."""
    kept = row("tweets", post(1, raw=raw, new=[1])).values["raw"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(kept)


def test_size_is_an_upper_bound() -> None:
    """The size that groups are made by is never below what goes over the wire."""
    schema = table("tweets")
    for text in ("plain", "바다" * 500, "é" * 500, "🌊" * 500, '"\\\n' * 500, "\u007f\x01" * 300):
        for ascii_only in (True, False):
            record = post(1, text=text, edit_history_ids=[2**62] * 500, hashtags=[text] * 3)
            data = json.dumps(record, ensure_ascii=ascii_only).encode()
            made = schema.row(PushedMessage("m" * 20, data, {}, "2024-01-15T10:35:02.345Z"))
            made.values["inserted_at"] = "2024-01-15T10:35:02.345678Z"
            sent = {"json": made.values, "insertId": made.insert_id}
            assert made.size >= len(json.dumps(sent))


def test_row_is_known_by_its_id_or_by_its_message() -> None:
    """BigQuery drops a repeated insertId, so an id that it would have to be cut for is none: of two
    long ids that begin alike one row would be gone.
    """
    assert row("tweets", post(7)).insert_id == "7/2024-01-15T10:35:01.123456Z"
    assert row("stream_events", event("e" * 128)).insert_id == "e" * 128
    data = json.dumps(event("e" * 129)).encode()
    assert table("stream_events").row(PushedMessage("m1", data)).insert_id == "m1"


def test_a_post_read_again_is_another_row() -> None:
    """What a backfill reads anew, maybe with more tags, is no repetition that BigQuery may drop; a
    record that comes in another message is one.
    """
    schema, data = table("tweets"), json.dumps(post(7)).encode()
    first = schema.row(PushedMessage("m1", data)).insert_id
    assert schema.row(PushedMessage("m2", data)).insert_id == first
    later = post(7, ingested_at="2024-01-15T10:35:31.000000Z", rule_tags=["sea", "sky"])
    assert row("tweets", later).insert_id != first


def test_own_columns_are_never_a_record_s() -> None:
    """Even where the push tells no time of publishing, the record's word for it is not taken."""
    data = json.dumps(post(1, **dict.fromkeys(OWN, "2024-01-15T10:35:00Z"))).encode()
    values = table("tweets").row(PushedMessage("m1", data)).values
    assert {name: values[name] for name in OWN if name in values} == {"message_id": "m1"}


def test_record_nested_too_deep_is_poison() -> None:
    """What cannot be written as JSON again ends alone, not with its group."""
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    for field in ("text", "raw", "new", "public_metrics"):
        with pytest.raises(PoisonError, match="nested too deep"):
            row("tweets", post(1, **{field: deep}))


def test_schema_without_a_json_column_is_refused(tmp_path: Path) -> None:
    """Each table needs a place for fields that have no column."""
    path = tmp_path / "new.json"
    path.write_text('[{"name": "g", "type": "STRING"}]')
    with pytest.raises(ValueError, match=r"new.json has no JSON column"):
        TableSchema(path, "p.d.new")
