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
from datetime import date, datetime, time
from typing import Any

import orjson

RowError = dict[str, str]


def _error(location: str, message: str) -> RowError:
    return {"reason": "invalid", "location": location, "debugInfo": "", "message": message}


def _integer(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return re.fullmatch(r"[+-]?\d{1,19}", value) is not None and _integer(int(value))
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _float(value: object) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _boolean(value: object) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, str) and value.lower() in {"true", "false"}
    )


def _parsed(parse: Callable[[str], object], value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parse(value)
    except ValueError:
        return False
    return True


def _timestamp(value: object) -> bool:
    if _float(value):
        return True
    return _parsed(lambda text: datetime.fromisoformat(text.replace(" UTC", "+00:00")), value)


def _datetime(value: object) -> bool:
    def parse(text: str) -> None:
        if datetime.fromisoformat(text).tzinfo is not None:
            raise ValueError(text)

    return _parsed(parse, value)


_ACCEPTS: Mapping[str, Callable[[object], bool]] = {
    "INTEGER": _integer,
    "INT64": _integer,
    "FLOAT": _float,
    "FLOAT64": _float,
    "BOOLEAN": _boolean,
    "BOOL": _boolean,
    "TIMESTAMP": _timestamp,
    "DATETIME": _datetime,
    "DATE": lambda value: _parsed(date.fromisoformat, value),
    "TIME": lambda value: _parsed(time.fromisoformat, value),
    "JSON": lambda value: _parsed(orjson.loads, value),
    "STRING": lambda value: isinstance(value, str | int | float),
}


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
        return [_error(location, f"This field: {column.name} is not a record.")]
    if column.accepts is not None and not column.accepts(value):
        shown = str(value)[:100]
        return [_error(location, f"Cannot convert value to {column.kind} (bad value): {shown}")]
    return []


def row_errors(
    known: Mapping[str, ColumnType],
    row: Mapping[str, Any],
    prefix: str = "",
    *,
    ignore_unknown: bool = False,
) -> list[RowError]:
    """Errors that BigQuery would report for one row; empty when it would take the row.

    Args:
        known: Columns of the table, or of the record that `row` stands for.
        row: The row's `json` member; REPEATED members that are null are taken as empty.
        prefix: Path of the record inside the row, with a trailing dot.
        ignore_unknown: insertAll's `ignoreUnknownValues`.
    """
    errors = []
    given = {name.lower(): value for name, value in row.items()}
    if not ignore_unknown and not given.keys() <= known.keys():
        errors += [
            _error(prefix + name, f"no such field: {prefix}{name}.")
            for name in row
            if name.lower() not in known
        ]
    for key, column in known.items():
        value, location = given.get(key), prefix + column.name
        if value is None:
            if column.required:
                errors.append(_error(location, f"Missing required field: {location}."))
        elif column.repeated:
            for item in value if isinstance(value, list) else [value]:
                if item is None:
                    errors.append(_error(location, "Only optional fields can be set to NULL."))
                else:
                    errors += _value_errors(column, item, location)
        elif isinstance(value, list):
            errors.append(
                _error(location, f"Array specified for non-repeated field: {column.name}.")
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
