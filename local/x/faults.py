"""Faults on request: what may be asked for, and the queue of what is still to come.

A fault is a JSON object with `kind`, `after_posts` (fire once that many posts were delivered in
all; 0 or absent: at the next chance) and the options of its kind, listed in KINDS.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from local.x.problems import REFUSALS

KINDS: dict[str, dict[str, Any]] = {
    # the connection
    "close": {},
    "reset": {},
    "cut": {},
    "stall": {"seconds": 5.0},
    # X's message, then the end; with linger, that many seconds of keep-alives before it
    "disconnect": {"disconnect_type": "OperationalDisconnect", "linger": 0.0},
    # one line that is no post
    "malformed": {"count": 1},
    "truncated": {"count": 1},
    "not_json": {"count": 1},
    "unknown_message": {"count": 1},
    "error_payload": {"count": 1},
    "null_data": {"count": 1},
    "array": {"count": 1},
    "huge_line": {"bytes": 11_000_000, "poison": True},
    # posts sent in an unusual way; they are real posts, delivered
    "no_matching_rules": {"count": 1},
    "untagged_rule": {"count": 1},
    "half_emoji": {"count": 1},
    "duplicate": {"count": 10},
    "reorder": {"count": 10},
    # HTTP answers in place of the real one: X's own (issue: one of REFUSALS, status 0 for its usual
    # one), or any other server's (body)
    "http": {
        "status": 503,
        "count": 1,
        "method": "",
        "path": "/2/tweets/search/stream",
        "reset_seconds": 900,
        "issue": "",
        "body": "",
        "content_type": "application/json; charset=utf-8",
    },
}
"""Kinds with their options and defaults; times in seconds, sizes in bytes."""


def checked(fault: object) -> dict[str, Any]:
    """Return the fault with its defaults filled in; raises ValueError for what is not in KINDS."""
    if not isinstance(fault, Mapping) or fault.get("kind") not in KINDS:
        raise ValueError(f"unknown fault {fault!r}: its kind must be one of {', '.join(KINDS)}")
    options = KINDS[fault["kind"]]
    if unknown := sorted(set(fault) - {"kind", "after_posts", *options}):
        raise ValueError(
            f"fault {fault['kind']!r} has no option {unknown[0]!r}: it takes {sorted(options)}"
        )
    usual = {}
    if issue := fault.get("issue"):
        usual = {"status": 0}
        if issue not in REFUSALS:
            raise ValueError(f"unknown issue {issue!r}: one of {', '.join(REFUSALS)}")
    return {**options, "after_posts": 0, **usual, **fault}


class XFaults:
    """Faults still to come, in the order of after_posts, and counts of those injected."""

    def __init__(self) -> None:
        self.pending: list[dict[str, Any]] = []
        self.injected: Counter[str] = Counter()

    def add(self, faults: object) -> int:
        """Add one fault or a list of them, all or none; returns how many are pending."""
        new = [checked(fault) for fault in (faults if isinstance(faults, list) else [faults])]
        self.pending = sorted([*self.pending, *new], key=lambda fault: fault["after_posts"])
        return len(self.pending)

    def _next(self) -> dict[str, Any] | None:
        return next((fault for fault in self.pending if fault["kind"] != "http"), None)

    def due(self, delivered: int) -> dict[str, Any] | None:
        """Take the next fault of the stream that is due, None if there is none."""
        fault = self._next()
        if fault is None or fault["after_posts"] > delivered:
            return None
        self.pending.remove(fault)
        self.injected[fault["kind"]] += 1
        return fault

    def room(self, delivered: int) -> int:
        """Return how many posts may be sent before the next fault of the stream."""
        fault = self._next()
        return 1 << 30 if fault is None else max(0, fault["after_posts"] - delivered)

    def http(self, method: str, path: str, delivered: int) -> dict[str, Any] | None:
        """Take one answer of an http fault for this request, None if there is none."""
        for fault in self.pending:
            if (
                fault["kind"] == "http"
                and fault["path"] == path
                and fault["method"] in ("", method)
                and fault["after_posts"] <= delivered
            ):
                self.injected[f"http_{fault['issue'] or fault['status']}"] += 1
                fault["count"] -= 1
                if fault["count"] <= 0:
                    self.pending.remove(fault)
                return fault
        return None
