"""What BigQuery's streaming insert accepts as a row, which bqemulator does not check.

bqemulator 1.4.0 stores a row that misses a REQUIRED field or carries an unknown one, and answers
500 to a value it cannot convert. BigQuery answers 200 with `insertErrors`. A sink tested against
the lax form would meet its partial-failure path in production for the first time.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/insertAll and
https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery#troubleshooting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

RowError = dict[str, str]


def row_error(location: str, message: str, reason: str = "invalid") -> RowError:
    """An error of a row, as insertAll reports it."""
    return {"reason": reason, "location": location, "debugInfo": "", "message": message}


def _integer(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"[+-]?\d{1,19}", value) is not None and _integer(int(value))
    return type(value) is int and -(2**63) <= value < 2**63


def _datetime(text: str) -> None:
    if datetime.fromisoformat(text).tzinfo is not None:
        raise ValueError(text)


def _parsed_by(parse: Callable[[str], object]) -> Callable[[object], bool]:
    def accepts(value: object) -> bool:
        if not isinstance(value, str):
            return False
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return accepts


_ACCEPTS: Mapping[str, Callable[[object], bool]] = {
    "INTEGER": _integer,
    "BOOLEAN": lambda value: str(value).lower() in {"true", "false"},
    # fromisoformat reads no "UTC" and no seconds since 1970, which nothing here sends.
    "TIMESTAMP": _parsed_by(datetime.fromisoformat),
    "DATETIME": _parsed_by(_datetime),
    "JSON": _parsed_by(orjson.loads),
    "STRING": lambda value: isinstance(value, str | int | float),
}
"""Of the types that the schemas have."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column made ready for checking; `columns` is not empty for a RECORD."""

    name: str
    kind: str
    required: bool
    repeated: bool
    accepts: Callable[[object], bool] | None
    columns: Mapping[str, ColumnType]


def columns(fields: Sequence[Any]) -> dict[str, ColumnType]:
    """Columns by lower-case name, as BigQuery's are; from `TableFieldSchema`s of bqemulator."""
    return {
        field.name.lower(): ColumnType(
            field.name,
            field.type.lower(),
            field.mode == "REQUIRED",
            field.mode == "REPEATED",
            _ACCEPTS.get(field.type.upper()),
            columns(field.fields) if field.type.upper() in {"RECORD", "STRUCT"} else {},
        )
        for field in fields
    }


def _value_errors(column: ColumnType, value: object, location: str) -> list[RowError]:
    if column.columns and isinstance(value, dict):
        return row_errors(column.columns, value, location + ".")
    if column.columns or isinstance(value, dict):
        return [row_error(location, f"This field: {column.name} is not a record.")]
    if column.accepts is not None and not column.accepts(value):
        shown = str(value)[:100]
        return [row_error(location, f"Cannot convert value to {column.kind} (bad value): {shown}")]
    return []


def row_errors(
    known: Mapping[str, ColumnType],
    row: Mapping[str, Any],
    prefix: str = "",
) -> list[RowError]:
    """Errors that BigQuery would report for one row; empty when it would take the row.

    Args:
        known: Columns of the table, or of the record that `row` stands for.
        row: The row's `json` member; REPEATED members that are null are taken as empty.
        prefix: Path of the record inside the row, with a trailing dot.
    """
    errors = []
    given = {name.lower(): value for name, value in row.items()}
    if not given.keys() <= known.keys():
        errors += [
            row_error(prefix + name, f"no such field: {prefix}{name}.")
            for name in row
            if name.lower() not in known
        ]
    for key, column in known.items():
        value, location = given.get(key), prefix + column.name
        if value is None:
            if column.required:
                errors.append(row_error(location, f"Missing required field: {location}."))
        elif column.repeated:
            for item in value if isinstance(value, list) else [value]:
                if item is None:
                    errors.append(row_error(location, "Only optional fields can be set to NULL."))
                else:
                    errors += _value_errors(column, item, location)
        elif isinstance(value, list):
            errors.append(
                row_error(location, f"Array specified for non-repeated field: {column.name}.")
            )
        else:
            errors += _value_errors(column, value, location)
    return errors


def as_read(known: Mapping[str, ColumnType], row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as a reader of JSON numbers has it: each is a double, so integers lose low digits.

    BigQuery asks for 64-bit integers as strings: a sink that sends numbers is seen here.
    """
    return {name: _as_read(known.get(name.lower()), value) for name, value in row.items()}


def _as_read(column: ColumnType | None, value: Any) -> Any:
    if isinstance(value, list):
        return [_as_read(column, item) for item in value]
    if isinstance(value, dict) and column:
        return as_read(column.columns, value)
    if type(value) is int and column and column.accepts is _integer:
        # The largest double below 2**63 stands for what rounds to 2**63.
        return min(int(float(value)), 2**63 - 1024)
    return value
