"""The two BigQuery schema files are the contract between producer, sink and warehouse."""

import json
from pathlib import Path

import pytest
from google.cloud.bigquery import SchemaField

SCHEMAS = Path(__file__).parents[1] / "services/sink_function/sink/schema"


def _fields(name: str) -> dict[str, SchemaField]:
    entries = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return {entry["name"]: SchemaField.from_api_repr(entry) for entry in entries}


def test_tweets_has_the_tutorials_three_columns() -> None:
    """The learner's table holds: id INTEGER, created_at DATETIME, text STRING."""
    fields = _fields("tweets")
    assert (fields["id"].field_type, fields["id"].mode) == ("INTEGER", "REQUIRED")
    assert fields["created_at"].field_type == "DATETIME"
    assert fields["text"].field_type == "STRING"


@pytest.mark.parametrize("name", ["tweets", "stream_events"])
def test_every_column_says_what_it_holds(name: str) -> None:
    """A person who opens the table in the console reads a description beside each column."""

    def described(field: SchemaField) -> bool:
        return bool(field.description) and all(described(child) for child in field.fields)

    assert [column for column, field in _fields(name).items() if not described(field)] == []
