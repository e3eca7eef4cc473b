"""What each type of column takes, as a check of one value.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)
_TIMESTAMP = re.compile(_DATETIME.pattern + r"(Z|[+-]\d\d:\d\d)", re.ASCII)

# Found inside a record: not a fault, but the field has to be moved away.
UNKNOWN = "has a field without a column"

Check = Callable[[Any], str | None]


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
    columns = {field["name"]: column_check(field, where) for field in fields}

    def check(value: Any) -> str | None:
        if type(value) is not dict:
            return "is not an object"
        for name, item in value.items():
            column = columns.get(name)
            if column is None:
                return UNKNOWN
            fault = column(item)
            if fault:
                return fault if fault is UNKNOWN else f"field {name} {fault}"
        return None

    return check


def column_check(field: Mapping[str, Any], where: str) -> Check:
    """A check of one column: None, or what is wrong with the value, never the value itself.

    Null is taken unless the column is REQUIRED, as BigQuery does.

    Args:
        field: column of the schema file.
        where: name of the table or record, for messages.

    Raises:
        ValueError: the column's type is unknown here.
    """
    kind, mode, name = field["type"], field.get("mode", "NULLABLE"), f"{where}.{field['name']}"
    if kind == "RECORD":
        one = _record(field["fields"], name)
    elif kind in _CHECKS:
        one = _CHECKS[kind]
    else:
        raise ValueError(
            f"{name} has type {kind}, which sink/columns.py cannot check: add it there"
        )

    def repeated(value: Any) -> str | None:
        if type(value) is not list:
            return "is not a list"
        for item in value:
            fault = one(item)
            if fault:
                return fault if fault is UNKNOWN else f"has an element that {fault}"
        return None

    check = repeated if mode == "REPEATED" else one
    if mode == "REQUIRED":
        return lambda value: "is required" if value is None else one(value)
    return lambda value: None if value is None else check(value)


def known_part(value: Any, fields: list[dict[str, Any]]) -> Any:
    """The value of a RECORD column without the fields that have no column."""
    if type(value) is list:
        return [known_part(item, fields) for item in value]
    if type(value) is not dict:
        return value
    inner = {field["name"]: field.get("fields", []) for field in fields}
    return {name: known_part(item, inner[name]) for name, item in value.items() if name in inner}
