"""Faults on request: what may be asked for, and the queue of what is still to come.

A fault is a JSON object with `kind`, `after_posts` (fire once that many posts were delivered in
all; 0 or absent: at the next chance) and the options of its kind, listed in KINDS.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from local.x.problems import ISSUES

KINDS: dict[str, dict[str, Any]] = {
    # the connection
    "close": {},
    "reset": {},
    "cut": {},
    "stall": {"seconds": 5.0},
    # X's message, then the end; with linger, that many seconds of keep-alives before it
    "disconnect": {"disconnect_type": "OperationalDisconnect", "linger": 0.0},
    "slow_reader": {"seconds": 1.0},
    "stale": {"seconds": 5.0},
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
    # HTTP answers in place of the real one: X's own (issue: one of ISSUES, status 0 for its usual
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
DISCONNECTS = (
    "OperationalDisconnect",
    "UpstreamOperationalDisconnect",
    "ForceDisconnect",
    "UpstreamUncleanDisconnect",
    "SlowReader",
    "InternalError",
    "ClientApplicationStateDegraded",
    "InvalidRules",
)


class FaultError(ValueError):
    """A fault that cannot be injected; the message names the value and what would do."""


def checked(fault: object) -> dict[str, Any]:
    """Return the fault with its defaults filled in; raises FaultError for what is not in KINDS."""
    if not isinstance(fault, Mapping) or fault.get("kind") not in KINDS:
        kind = fault.get("kind") if isinstance(fault, Mapping) else fault
        raise FaultError(f"unknown fault kind {kind!r}: one of {', '.join(KINDS)}")
    options = KINDS[fault["kind"]]
    for name, value in fault.items():
        if name in ("kind", "after_posts"):
            continue
        if name not in options:
            raise FaultError(
                f"fault {fault['kind']!r} has no option {name!r}: it takes {sorted(options)}"
            )
        wanted = (int, float) if isinstance(options[name], (int, float)) else str
        if not isinstance(value, wanted):
            raise FaultError(
                f"fault {fault['kind']!r}: {name} is {value!r}, not like {options[name]!r}"
            )
    after = fault.get("after_posts", 0)
    if not isinstance(after, int) or after < 0:
        raise FaultError(f"after_posts is {after!r}: a count of posts, 0 or more")
    if fault.get("disconnect_type", DISCONNECTS[0]) not in DISCONNECTS:
        raise FaultError(f"unknown disconnect_type: one of {', '.join(DISCONNECTS)}")
    if fault.get("issue") and fault["issue"] not in ISSUES:
        raise FaultError(f"unknown issue {fault['issue']!r}: one of {', '.join(ISSUES)}")
    usual = {"status": 0} if fault.get("issue") else {}
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

    def due(self, delivered: int) -> dict[str, Any] | None:
        """Take the next fault of the stream that is due, None if there is none."""
        for index, fault in enumerate(self.pending):
            if fault["after_posts"] > delivered:
                return None
            if fault["kind"] != "http":
                del self.pending[index]
                self.injected[fault["kind"]] += 1
                return fault
        return None

    def room(self, delivered: int) -> int:
        """Return how many posts may be sent before the next fault of the stream."""
        for fault in self.pending:
            if fault["kind"] != "http":
                return max(0, int(fault["after_posts"]) - delivered)
        return 1 << 30

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
