"""Measure, print a table, write JSON: `make bench`, or `python -m bench producer --minutes 10`.

Exit codes: 0 measured, 1 a measurement failed, 2 bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.child import BenchError
from bench.results import LATEST, Section, about, console, write
from local.standin import OneLineParser, bypass_proxies

PARTS = ("producer", "sink", "end-to-end", "program", "cost")


def main(argv: list[str] | None = None) -> int:
    """Measure what is asked for."""
    bypass_proxies()
    parser = OneLineParser(prog="python -m bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="few and small runs: no real figures")
    parser.add_argument("--pairs", type=int, help="runs of each thing (default 5, quick 1)")
    parser.add_argument(
        "--minutes", type=float, help="producer only: its memory over so long a time, nothing else"
    )
    parser.add_argument("--out", type=Path, default=LATEST, help="JSON file (%(default)s)")
    options = parser.parse_args(argv)
    pairs = options.pairs if options.pairs is not None else 1 if options.quick else 5
    if pairs < 1 or (options.minutes is not None and not 0 < options.minutes <= 1440):
        parser.error("--pairs must be 1 or more, --minutes above 0 and at most 1440")
    if options.minutes is not None and options.part != "producer":
        parser.error("--minutes is for `python -m bench producer`")
    parts = PARTS if options.part == "all" else (options.part,)
    given = sys.argv[1:] if argv is None else argv
    started, screen, sections = datetime.now(UTC), console(), {}
    load = os.getloadavg()[0]
    for part in parts:
        print(f"{datetime.now(UTC):%H:%M:%S} measuring: {part} ...", file=sys.stderr, flush=True)
        try:
            section = _measure(part, pairs, options)
        except BenchError as error:
            print(f"bench: {part}: {error}", file=sys.stderr)
            return 1
        section.show(screen)
        sections["producer-memory" if options.minutes else part] = section
        # After each part, so that a later failure loses nothing.
        write(options.out, about(given, started, load), sections)
    print(f"\nwritten to {options.out}", file=sys.stderr)
    return 0


def _measure(part: str, pairs: int, options: argparse.Namespace) -> Section:
    # Imported here: each part has heavy imports that would disturb the measuring of another.
    quick = options.quick
    if part == "producer":
        from bench import producer

        if options.minutes:
            return producer.steady(options.minutes)
        if quick:
            return producer.run(pairs, 2_000, 2_000, 2_000)
        return producer.run(pairs, 20_000, 50_000, 450_000)
    measures: dict[str, Callable[[], Section]] = {
        "sink": lambda: _sink(pairs, quick=quick),
        "end-to-end": lambda: _end_to_end(pairs, quick=quick),
        "program": lambda: _program(pairs),
        "cost": _cost,
    }
    return measures[part]()


def _sink(pairs: int, *, quick: bool) -> Section:
    from bench import sink

    return sink.run(pairs, 0.5 if quick else 4.0)


def _end_to_end(pairs: int, *, quick: bool) -> Section:
    from bench import end_to_end

    return end_to_end.run(pairs, 1.0 if quick else 8.0)


def _program(pairs: int) -> Section:
    from bench import program

    return program.run(pairs)


def _cost() -> Section:
    from bench import cost

    return cost.run()


if __name__ == "__main__":
    sys.exit(main())
