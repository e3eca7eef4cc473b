"""A record becomes a row: checked against the schema file before BigQuery sees it.

The schema file (`sink/schema/*.json`, BigQuery's own JSON form) is the contract with the producer
and the table. A record that breaks it can never be written, so it is known at once and by name,
not after a round trip. A field that has no column never loses the row: it is kept, under
`unmapped_fields`, in the table's first JSON column (`raw` of tweets, `detail` of stream_events).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sink.columns import UNKNOWN, column_check, known_part
from sink.faults import PoisonError
from sink.log import logger
from sink.push import MAX_RECORD_COMMAS, Message

# insertAll takes at most 10 MB a row and a request
# (https://cloud.google.com/bigquery/quotas#streaming_inserts); the rest is the request around it.
MAX_ROW_BYTES = 9_900_000
UNMAPPED = "unmapped_fields"
# Columns that the sink itself fills, whatever the record says.
OWN = frozenset({"published_at", "inserted_at", "message_id"})

_NOT_ASCII = bytes(range(128, 256))


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
            field["name"]: column_check(field, self._table)
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
            if fault is UNKNOWN:
                unmapped[name] = value
                value = known_part(value, self._fields[name])
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
