"""Which faults a chaos run injects, and when: the same for the same seed.

The run has rounds; a round has each kind of fault once or more, in an order of the seed's, at
posts of the seed's. A round begins with kill -9 of the producer: the back-off that X's rules make
grow is in memory only, and a round so begins with X's first waits, not with its longest.

X allows 50 connects in 15 minutes, and the producer spreads those after the 40th over what is left
of the window. A full plan makes 38, so that a run ends in minutes without a rule weakened for it:
of three kills in a row two mostly come before the connect.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

DISCONNECTS = (
    "OperationalDisconnect",
    "UpstreamOperationalDisconnect",
    "ForceDisconnect",
    "InternalError",
)
TARGETS = ("x", "producer", "function", "pubsub", "bigquery")
STALL_SECONDS = 34.0  # the producer gives the stream up after 30 s of nothing
FIRST, LAST = 0.03, 0.95
"""Shares of the posts between which faults happen: what is after the last shows that all healed."""


@dataclass(frozen=True)
class Fault:
    """One fault: what, where, and how many posts X has delivered by then.

    Attributes:
        name: what the report calls it.
        target: who is broken, one of TARGETS; but for X's, faults of one target never overlap.
        act: how the injector does it, or the kind in `local.x.faults`.
        options: of the act.
        at: posts.
    """

    name: str
    target: str
    act: str
    options: dict[str, Any] = field(default_factory=dict)
    at: int = 0

    @property
    def times(self) -> int:
        """How often it counts: lines, refusals or rows rather than the request for them."""
        counted = {"x": "count", "producer": "kills", "bigquery": "rows"}.get(self.target, "")
        return int(self.options.get(counted, 1))


def _x(name: str, kind: str, **options: Any) -> Fault:
    return Fault(name, "x", kind, options)


def line_faults(number: int) -> list[Fault]:
    """Lines that are no posts, and posts sent in an unusual way."""
    return [
        _x("malformed line", "malformed", count=2),
        _x("truncated line", "truncated", count=2),
        _x("line that is not JSON", "not_json", count=2),
        _x("line of 11 MB", "huge_line"),
        _x("post of 300 KB", "huge_line", bytes=300_000, poison=False),
        _x("unknown message type", "unknown_message"),
        _x("error payload", "error_payload"),
        _x("post of a rule without tag", "untagged_rule", count=3),
        _x("post without matching rules", "no_matching_rules", count=3),
        *[_x("posts sent twice", "duplicate", count=20)] * 2,
        *[_x("posts out of order", "reorder", count=20)] * 2,
        _x("disconnect payload", "disconnect", disconnect_type=DISCONNECTS[number % 4]),
        _x("clean close", "close"),
        _x("reset", "reset"),
        _x("cut within a line", "cut"),
    ]


def _inserts(name: str, seconds: float, **options: Any) -> Fault:
    return Fault(f"BigQuery {name}", "bigquery", "ask", {"seconds": seconds, **options})


def cloud_faults(scale: float = 1.0) -> list[Fault]:
    """What happens behind the producer; `scale` makes its seconds shorter."""
    return [
        *[Fault("function killed (kill -9)", "function", "kill")] * 2,
        *[Fault("Pub/Sub delivers again", "pubsub", "redeliver", {"count": 300})] * 2,
        Fault("Pub/Sub outage", "pubsub", "outage", {"seconds": 6.0 * scale}),
        Fault("Pub/Sub port lost", "pubsub", "restart", {"seconds": 3.0 * scale}),
        _inserts("500", 2.5 * scale, insert_status=500),
        # Longer than the sink's own 4 s of trying, so that messages go back to Pub/Sub.
        _inserts("503", 6.0 * scale, insert_status=503),
        _inserts("429", 2.5 * scale, insert_status=429),
        _inserts("stores, then answers 503", 2.0 * scale, insert_status=503, stored=True),
        _inserts("slow inserts", 4.0 * scale, insert_delay_ms=400),
        Fault("BigQuery rejects rows", "bigquery", "reject", {"rows": 5}),
        Fault("BigQuery port lost", "bigquery", "restart", {"seconds": 3.0 * scale}),
    ]


def _waits(number: int) -> list[Fault]:
    """Faults after which X's rules ask for a long wait."""
    faults = []
    if number % 2 == 0:
        issue = "TooManyConnections" if number % 4 == 0 else ""
        name = f"429 {issue or 'connect limit'}"
        faults.append(_x(name, "http", status=429, count=1, issue=issue, reset_seconds=62))
    if number < 2:
        faults.append(_x("503 at connect", "http", status=503, count=2 - number))
        ahead = {"ahead": -1800.0 if number else 7200.0}
        faults += [
            *(KILL, KILL, DAMAGE),
            Fault("clock that jumps", "producer", "clock", ahead),
            _x("stall without keep-alive", "stall", seconds=STALL_SECONDS),
            Fault("producer stopped (SIGTERM)", "producer", "restart"),
        ]
        if sys.platform == "linux":  # elsewhere a running process can't be given a limit
            faults.append(Fault("disk full for the store", "producer", "disk", {"seconds": 5.0}))
    return faults


KILL = Fault("producer killed (kill -9)", "producer", "kill", {"kills": 3})
DAMAGE = Fault(
    "volume damaged, X's usage down", "producer", "kill_holding", {"seconds": 1.5, "damage": True}
)


def full_plan(seed: int, posts: int) -> list[Fault]:
    """Every fault, three rounds of them: 38 connects, about five minutes of waiting by X's rules.

    The reader is killed 25 times: 21 by itself, and where its volume is damaged or its clock jumps.

    Args:
        seed: of order, places and kinds of disconnects.
        posts: that the run delivers.
    """
    rounds = [[KILL, *line_faults(each), *cloud_faults(), *_waits(each)] for each in range(3)]
    return placed(seed, posts, rounds)


def placed(seed: int, posts: int, rounds: Sequence[Sequence[Fault]]) -> list[Fault]:
    """The faults of each round, its first one first and the others in the seed's order."""
    rng = random.Random(f"chaos:{seed}")
    ordered: list[Fault] = []
    for first, *others in rounds:
        rng.shuffle(others)
        ordered += [first, *others]
    step = posts * (LAST - FIRST) / len(ordered)
    return [
        # Within the middle half of its place: two faults are never closer than half a place.
        replace(each, at=round(posts * FIRST + step * (number + rng.uniform(0.25, 0.75))))
        for number, each in enumerate(ordered)
    ]
