"""The row checker against the schema files and against what BigQuery takes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.bigquery.rows import columns, row_errors
from sink.faults import PoisonError
from sink.push import Message
from sink.rows import OWN, RowSchema
from tests.sink.deployed import SCHEMAS, event, post

VALID: dict[str, Any] = {
    "STRING": "바다",
    "INTEGER": 2**63 - 1,
    "BOOLEAN": True,
    "DATETIME": "2024-01-15T10:35:00.000",
    "TIMESTAMP": "2024-01-15T10:35:00.123456Z",
    "JSON": '{"a": 1}',
}
INVALID: dict[str, list[Any]] = {
    "STRING": [1, True, {}],
    "INTEGER": ["1", 1.0, True, 2**63, -(2**63) - 1],
    "BOOLEAN": ["true", 1],
    "DATETIME": ["2024-01-15T10:35:00Z", "2024-01-15", "2024-13-01T00:00:00", 1, ""],
    "TIMESTAMP": ["2024-01-15T10:35:00", "2024-02-30T10:35:00Z", "٢٠٢٤-01-15T10:35:00Z", 1],
    "JSON": ["{", {"a": 1}, ""],
    "RECORD": ["x", 1, True],
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


def bigquery_columns(name: str) -> Any:
    """The columns as the BigQuery stand-in checks them."""

    def field(raw: dict[str, Any]) -> Any:
        return SimpleNamespace(**(raw | {"fields": [field(f) for f in raw.get("fields", [])]}))

    return columns([field(raw) for raw in schema_fields(name)])


def row(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Values of the row that the sink would insert."""
    message = Message("m", json.dumps(record).encode(), {}, "2024-01-15T10:35:02.345Z")
    return RowSchema(SCHEMAS / f"{name}.json").row(message).values


CASES = [
    pytest.param(name, field, id=f"{name}.{field['name']}")
    for name in ("tweets", "stream_events")
    for field in schema_fields(name)
    if field["name"] not in OWN
]


@pytest.mark.parametrize(("name", "field"), CASES)
def test_column_takes_its_type_and_nothing_else(name: str, field: dict[str, Any]) -> None:
    """Each column takes a value of its type as it is, null where it may, and refuses the rest."""
    value = sample(field)
    assert row(name, record(name) | {field["name"]: value})[field["name"]] == value
    wrong = INVALID[field["type"]]
    wrong = [[bad] for bad in [*wrong, None]] + [wrong[0]] if field["mode"] == "REPEATED" else wrong
    if field["mode"] == "REQUIRED":
        wrong = [*wrong, None]
    else:
        assert field["name"] not in row(name, record(name) | {field["name"]: None})
    for bad in [*wrong, [[]]]:
        with pytest.raises(PoisonError) as caught:
            row(name, record(name) | {field["name"]: bad})
        assert caught.value.reason == "schema"
        assert field["name"] in str(caught.value)


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
def test_what_passes_bigquery_takes(data: st.DataObject, name: str) -> None:
    """Whatever the sink lets through has no row error in BigQuery's own terms."""
    names = [field["name"] for field in schema_fields(name)]
    changes = data.draw(st.dictionaries(st.sampled_from([*names, "other"]), ANY, max_size=4))
    try:
        values = row(name, record(name) | changes)
    except PoisonError:
        return
    assert row_errors(bigquery_columns(name), values) == []


def test_size_is_an_upper_bound() -> None:
    """The size that groups are made by is never below what goes over the wire."""
    schema = RowSchema(SCHEMAS / "tweets.json")
    for text in ("plain", "바다" * 500, "é" * 500, "🌊" * 500, '"\\\n' * 500, "\u007f\x01" * 300):
        for ascii_only in (True, False):
            data = json.dumps(post(1, text=text), ensure_ascii=ascii_only).encode()
            made = schema.row(Message("m" * 20, data, {}, "2024-01-15T10:35:02.345Z"))
            made.values["inserted_at"] = "2024-01-15T10:35:02.345678Z"
            assert made.size >= len(json.dumps(made.values))


def test_unknown_type_is_named_at_the_start(tmp_path: Path) -> None:
    """A schema file with a type that the checker does not know is refused at once."""
    path = tmp_path / "new.json"
    path.write_text('[{"name": "g", "type": "GEOGRAPHY"}]')
    with pytest.raises(ValueError, match=r"new.g has type GEOGRAPHY.*add it there"):
        RowSchema(path)
