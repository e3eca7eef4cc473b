"""A record becomes a row; what BigQuery says against a row becomes words.

The schema file (`sink/schema/*.json`, BigQuery's own JSON form) is the contract with the producer
and the table: it says which columns there are. Whether a value is of its column's type is
BigQuery's to say, which answers for each row. A field that has no column never loses the row: it is
kept, under `unmapped_fields`, in the table's first JSON column (`raw` of tweets, `detail` of
stream_events).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from sink.faults import UNNAMED, PoisonError
from sink.log import logger
from sink.push import MAX_RECORD_VALUES, PushedMessage, values_in

UNMAPPED = "unmapped_fields"
# Columns that the sink itself fills, whatever the record says.
OWN = frozenset({"published_at", "inserted_at", "message_id", "sink"})
# A longer insertId makes BigQuery refuse the request
# (https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery#dataconsistency).
MAX_INSERT_ID = 128

_NOT_ASCII = bytes(range(128, 256))
_MISSING = re.compile(r"Missing required field: (?:\w+\.)*?(\w+)\.?$")
_NOT = {
    "STRING": "a string",
    "INTEGER": "an integer of 64 bits",
    "FLOAT": "a number",
    "BOOLEAN": "true or false",
    "DATETIME": "of the form 2024-01-15T10:35:00.000",
    "TIMESTAMP": "of the form 2024-01-15T10:35:00.123456Z",
    "JSON": "a string of JSON",
    "RECORD": "an object",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row ready to insert.

    Attributes:
        values: column to JSON value, `inserted_at` (and `sink`) still missing.
        insert_id: id of the event, or of the post with the moment at which it was read, by which
            BigQuery drops an early repetition. A post that was read again may tell more.
        size: upper bound of its bytes in the insert request.
    """

    values: dict[str, Any]
    insert_id: str
    size: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the schema file; `fields` is not empty for a RECORD."""

    kind: str
    repeated: bool
    fields: dict[str, Column]


class TableSchema:
    """Shapes the records of one table.

    Args:
        path: schema file; its first column is the id, its first JSON column takes what has no
            column.
        table: `project.dataset.table`.

    Raises:
        ValueError: there is no JSON column.
    """

    def __init__(self, path: Path, table: str) -> None:
        fields = json.loads(path.read_text())
        self.table = table
        self._name = path.stem
        self._columns = _columns(fields)
        self._key = fields[0]["name"]
        overflow = [field["name"] for field in fields if field["type"] == "JSON"]
        if not overflow:
            raise ValueError(f"{path} has no JSON column to keep fields without a column")
        self.overflow: str = overflow[0]
        self._told: set[str] = set()

    def row(self, message: PushedMessage) -> Row:
        """The row for a message.

        Raises:
            PoisonError: malformed_message, or schema where it is nested too deep for any column.
        """
        if values_in(message.data) > MAX_RECORD_VALUES:
            raise PoisonError("malformed_message", f"more than {MAX_RECORD_VALUES} values")
        try:
            record = orjson.loads(message.data)
        except ValueError as error:
            raise PoisonError("malformed_message", f"data is not JSON: {error}") from None
        if type(record) is not dict:
            raise PoisonError("malformed_message", "data is not a JSON object")
        values: dict[str, Any] = {}
        unmapped: dict[str, Any] = {}
        for name, value in record.items():
            column = self._columns.get(name)
            if column is None:
                unmapped[name] = value
            elif value is not None and name not in OWN:
                unknown: list[str] = []
                values[name] = _taken(column, value, unknown)
                if unknown:
                    unmapped[name] = value
        if unmapped:
            self._keep(values, unmapped)
        values["message_id"] = message.id
        if message.published_at:
            values["published_at"] = message.published_at
        parts = [values[name] for name in (self._key, "ingested_at") if name in values]
        insert_id = "/".join(map(str, parts))
        if type(values.get(self._key)) is not str or len(insert_id) > MAX_INSERT_ID:
            insert_id = message.id
        return Row(values, insert_id[:MAX_INSERT_ID], _size(values))

    def without_overflow(self, row: Row) -> Row | None:
        """The row without its JSON column; None where it has none."""
        if self.overflow not in row.values:
            return None
        values = {name: value for name, value in row.values.items() if name != self.overflow}
        return replace(row, values=values, size=_size(values))

    def refusal(self, errors: Sequence[Mapping[str, str]]) -> PoisonError:
        """BigQuery's errors of one row in words: fields and what they are not, never a value."""
        words, columns, reason = [], frozenset[str](), "schema"
        for error in errors:
            message = error.get("message", "")
            missing = _MISSING.search(message)
            # An element is named hashtags[1] or referenced_posts[0].id.
            path = re.sub(r"\[\d+\]", "", error.get("location") or (missing[1] if missing else ""))
            column = self._column(path)
            columns |= {path.partition(".")[0]} if column else UNNAMED
            if column is None:
                reason = "row_rejected"
                words.append(re.split(r"['\":(]", message)[0].strip() or "no reason given")
            elif missing:
                words.append(f"{self._name}.{path} is required")
            else:
                what = _NOT.get(column.kind, column.kind)
                verb = "has an element that is not" if column.repeated else "is not"
                words.append(f"{self._name}.{path} {verb} {what}")
        return PoisonError(reason, "; ".join(words)[:1000], columns)

    def _column(self, path: str) -> Column | None:
        found, columns = None, self._columns
        for name in path.split("."):
            found = columns.get(name)
            columns = found.fields if found else {}
        return found

    def _keep(self, values: dict[str, Any], unmapped: dict[str, Any]) -> None:
        for name in unmapped.keys() - self._told:
            if len(self._told) < 100:  # a hostile sender must not fill the memory or the log
                self._told.add(name)
                logger.warning(
                    "field %s has no column in %s: kept in %s.%s (said once)",
                    name[:100],
                    self._name,
                    self.overflow,
                    UNMAPPED,
                    extra={"reason": "unmapped_field"},
                )
        # The text is joined, not parsed: what a small text means may need far more memory than it.
        whole = values.get(self.overflow, "{}")
        whole = whole.strip() if isinstance(whole, str) else _dumped(whole).decode()
        if not (whole.startswith("{") and whole.endswith("}")):
            whole = f'{{"value":{whole}}}'
        comma = "" if whole[1:-1].isspace() or whole == "{}" else ","
        values[self.overflow] = f'{whole[:-1]}{comma}"{UNMAPPED}":{_dumped(unmapped).decode()}}}'


def _columns(fields: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    return {
        field["name"]: Column(
            field["type"], field.get("mode") == "REPEATED", _columns(field.get("fields", ()))
        )
        for field in fields
    }


def _taken(column: Column, value: Any, unknown: list[str]) -> Any:
    """The value with integers as strings and without fields that have no column.

    A JSON number is a double to many readers; BigQuery asks for 64-bit integers as strings
    (https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/insertAll).
    """
    if type(value) is list and column.repeated:
        return [_single(column, item, unknown) for item in value]
    return _single(column, value, unknown)


def _single(column: Column, value: Any, unknown: list[str]) -> Any:
    if column.kind == "INTEGER" and type(value) is int:
        return str(value)
    if type(value) is not dict or not column.fields:
        return value
    unknown += value.keys() - column.fields.keys()
    return {
        name: _taken(column.fields[name], item, unknown)
        for name, item in value.items()
        if name in column.fields
    }


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        raise PoisonError("schema", "the record is nested too deep") from None


def _size(values: dict[str, Any]) -> int:
    """Upper bound of the row in the request: the client writes `, ` and `: `, and escapes.

    It escapes each character outside ASCII (at most three bytes for one), and DEL.
    """
    text = _dumped(values)
    outside = len(text) - len(text.translate(None, _NOT_ASCII))
    spaces = text.count(b",") + text.count(b":")
    return len(text) + spaces + 2 * outside + 5 * text.count(b"\x7f") + 1000
