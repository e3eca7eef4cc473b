"""A record becomes a row: checked against the schema file before BigQuery sees it.

The schema file (`sink/schema/*.json`, BigQuery's own JSON form) is the contract with the producer
and the table. A record that breaks it can never be written, so it is known at once and by name,
not after a round trip. A field that has no column never loses the row: it is kept, under
`unmapped_fields`, in the table's first JSON column (`raw` of tweets, `detail` of stream_events).

What each type takes: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from sink.faults import PoisonError
from sink.log import logger
from sink.push import MAX_RECORD_COMMAS, Message

# insertAll takes at most 10 MB a row and a request
# (https://cloud.google.com/bigquery/quotas#streaming_inserts); the rest is the request around it.
MAX_ROW_BYTES = 9_900_000
UNMAPPED = "unmapped_fields"
# Columns that the sink itself fills, whatever the record says.
OWN = frozenset({"published_at", "inserted_at", "message_id"})

_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)
_TIMESTAMP = re.compile(_DATETIME.pattern + r"(Z|[+-]\d\d:\d\d)", re.ASCII)
_NOT_ASCII = bytes(range(128, 256))

# Found inside a record: not a fault, but the field has to be moved away.
_UNKNOWN = "has a field without a column"

Check = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class Row:
    """A row ready to insert.

    Attributes:
        values: column to JSON value, `inserted_at` still missing.
        insert_id: id of the post or event, by which BigQuery drops an early repetition.
        size: upper bound of its bytes in the insert request.
    """

    values: dict[str, Any]
    insert_id: str
    size: int


def _string(value: Any) -> str | None:
    return None if type(value) is str else "is not a string"


def _integer(value: Any) -> str | None:
    if type(value) is not int:
        return "is not an integer"
    return None if -(2**63) <= value < 2**63 else "does not fit 64 bits"


def _float(value: Any) -> str | None:
    return None if type(value) in {int, float} else "is not a number"


def _boolean(value: Any) -> str | None:
    return None if type(value) is bool else "is not true or false"


def _time(form: re.Pattern[str], example: str) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is str and form.fullmatch(value):
            try:
                datetime.fromisoformat(value)
            except ValueError:
                pass
            else:
                return None
        return f"is not of the form {example}"

    return check


def _json(value: Any) -> str | None:
    if type(value) is str:
        try:
            orjson.loads(value)
        except ValueError:
            pass
        else:
            return None
    return "is not a string of JSON"


_CHECKS: Mapping[str, Check] = {
    "STRING": _string,
    "INTEGER": _integer,
    "FLOAT": _float,
    "BOOLEAN": _boolean,
    "DATETIME": _time(_DATETIME, "2024-01-15T10:35:00.000"),
    "TIMESTAMP": _time(_TIMESTAMP, "2024-01-15T10:35:00.123456Z"),
    "JSON": _json,
}


def _record(fields: list[dict[str, Any]], where: str) -> Check:
    columns = {field["name"]: _column(field, where) for field in fields}

    def check(value: Any) -> str | None:
        if type(value) is not dict:
            return "is not an object"
        for name, item in value.items():
            column = columns.get(name)
            if column is None:
                return _UNKNOWN
            fault = column(item)
            if fault:
                return fault if fault is _UNKNOWN else f"field {name} {fault}"
        return None

    return check


def _column(field: Mapping[str, Any], where: str) -> Check:
    """A check of one column; null is taken unless REQUIRED, as BigQuery does."""
    kind, mode, name = field["type"], field.get("mode", "NULLABLE"), f"{where}.{field['name']}"
    if kind == "RECORD":
        one = _record(field["fields"], name)
    elif kind in _CHECKS:
        one = _CHECKS[kind]
    else:
        raise ValueError(f"{name} has type {kind}, which sink/rows.py cannot check: add it there")

    def repeated(value: Any) -> str | None:
        if type(value) is not list:
            return "is not a list"
        for item in value:
            fault = one(item)
            if fault:
                return fault if fault is _UNKNOWN else f"has an element that {fault}"
        return None

    check = repeated if mode == "REPEATED" else one
    if mode == "REQUIRED":
        return lambda value: "is required" if value is None else one(value)
    return lambda value: None if value is None else check(value)


def _known(value: Any, fields: list[dict[str, Any]]) -> Any:
    """The value of a RECORD column without the fields that have no column."""
    if type(value) is list:
        return [_known(item, fields) for item in value]
    if type(value) is not dict:
        return value
    inner = {field["name"]: field.get("fields", []) for field in fields}
    return {name: _known(item, inner[name]) for name, item in value.items() if name in inner}


class RowSchema:
    """Checks and shapes the records of one table.

    Args:
        path: schema file; its first column is the id, its first JSON column takes what has no
            column.

    Raises:
        ValueError: a column's type is unknown, or there is no JSON column.
    """

    def __init__(self, path: Path) -> None:
        fields = json.loads(path.read_text())
        self._table = path.stem
        self._checks = {
            field["name"]: _column(field, self._table)
            for field in fields
            if field["name"] not in OWN
        }
        self._fields = {field["name"]: field.get("fields", []) for field in fields}
        self._required = {field["name"] for field in fields if field.get("mode") == "REQUIRED"}
        self._key = fields[0]["name"]
        overflow = [field["name"] for field in fields if field["type"] == "JSON"]
        if not overflow:
            raise ValueError(f"{path} has no JSON column to keep fields without a column")
        self._overflow = overflow[0]
        self._told: set[str] = set()

    def row(self, message: Message) -> Row:
        """The row for a message.

        Raises:
            PoisonError: malformed_message, schema or too_large; the detail names the field and
                what is wrong, never its value.
        """
        data = message.data
        if data.count(b",") > MAX_RECORD_COMMAS:
            raise PoisonError("malformed_message", f"more than {MAX_RECORD_COMMAS} values")
        try:
            record = orjson.loads(data)
        except ValueError as error:
            raise PoisonError("malformed_message", f"data is not JSON: {error}") from None
        if type(record) is not dict:
            raise PoisonError("malformed_message", "data is not a JSON object")
        values: dict[str, Any] = {}
        unmapped: dict[str, Any] = {}
        checks = self._checks
        for name, value in record.items():
            check = checks.get(name)
            if check is None:
                if name not in OWN:
                    unmapped[name] = value
                continue
            fault = check(value)
            if fault is _UNKNOWN:
                unmapped[name] = value
                value = _known(value, self._fields[name])
                fault = check(value)
            if fault:
                raise PoisonError("schema", f"{self._table}.{name} {fault}")
            if value is not None:
                values[name] = value
        if not self._required <= values.keys():
            missing = ", ".join(sorted(self._required - values.keys()))
            raise PoisonError("schema", f"{self._table}.{missing} is required and missing")
        if unmapped:
            self._keep(values, unmapped)
        values["message_id"] = message.id
        if message.published_at:
            values["published_at"] = message.published_at
        return Row(values, str(values[self._key]), self._size(data, values, bool(unmapped)))

    def _keep(self, values: dict[str, Any], unmapped: dict[str, Any]) -> None:
        for name in unmapped.keys() - self._told:
            if len(self._told) < 100:  # a hostile sender must not fill the memory or the log
                self._told.add(name)
                logger.warning(
                    "field %s has no column in %s: kept in %s.%s (said once)",
                    name[:100],
                    self._table,
                    self._overflow,
                    UNMAPPED,
                    extra={"reason": "unmapped_field"},
                )
        whole = orjson.loads(values.get(self._overflow, "{}"))
        if type(whole) is not dict:
            whole = {"value": whole}
        whole[UNMAPPED] = unmapped
        try:
            values[self._overflow] = orjson.dumps(whole).decode()
        except TypeError:
            raise PoisonError("schema", "fields without a column are nested too deep") from None

    def _size(self, data: bytes, values: dict[str, Any], grown: bool) -> int:
        # The client escapes each character outside ASCII (at most three bytes for one), and DEL.
        outside = len(data) - len(data.translate(None, _NOT_ASCII))
        size = len(data) + 2 * outside + 5 * data.count(b"\x7f") + 200
        if grown or size > MAX_ROW_BYTES:
            size = len(json.dumps(values)) + 100
        if size > MAX_ROW_BYTES:
            raise PoisonError("too_large", f"row of {size} bytes, BigQuery takes {MAX_ROW_BYTES}")
        return size
