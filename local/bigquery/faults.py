"""Faults that the BigQuery stand-in is asked for, and what it has counted.

Each is set by `POST /_standin/faults`, for `seconds` (default: until cleared by an empty object):
  {"insert_status": 503, "seconds": 5}           every insert answers 503 (or 429, 500, 404 ...)
  {"insert_status": 503, "stored": true}         the rows are stored, the answer is 503 all the same
  {"insert_delay_ms": 500, "seconds": 5}         every insert takes so much longer
  {"reject_ids": [1, "ev-2"]}                    rows with these `id`/`event_id` get a row error
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_KINDS = {"insert_status": int, "insert_delay_ms": int, "reject_ids": list, "stored": bool}


@dataclass
class InsertStats:
    """Since the start: insert requests, rows of the largest, answers spoilt by each fault."""

    inserts: int = 0
    largest_insert: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class BigQueryFaults:
    """Faults in force, each with its end."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[Any, float]] = {}

    def set(self, asked: object) -> None:
        """Add faults, as the module says; an empty object clears them all.

        Raises:
            TypeError: not an object.
            ValueError: an unknown name, or a value of the wrong type.
        """
        if not isinstance(asked, dict):
            raise TypeError(f"faults must be a JSON object; known: {', '.join(_KINDS)}")
        if not asked:
            self._until.clear()
        until = time.monotonic() + float(asked.pop("seconds", float("inf")))
        for name, value in asked.items():
            if name not in _KINDS or not isinstance(value, _KINDS[name]):
                known = ", ".join(f"{key} ({kind.__name__})" for key, kind in _KINDS.items())
                raise ValueError(f"unknown fault {name!r} or wrong type of value; known: {known}")
            self._until[name] = (value, until)

    def get(self, name: str) -> Any:
        """Value of a fault in force, or None."""
        value, until = self._until.get(name, (None, 0.0))
        return value if time.monotonic() < until else None
