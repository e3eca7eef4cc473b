"""Measure, print a table, write JSON: `make bench`, or `python -m bench producer --minutes 10`.

Exit codes: 0 measured, 1 a measurement failed, 2 bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from bench.child import BenchError
from bench.results import LATEST, Section, about, console, write
from local.standin import OneLineParser, bypass_proxies

PARTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "producer": ((20_000, 50_000, 450_000), (2_000, 2_000, 2_000)),
    "sink": ((4.0,), (0.5,)),
    "end-to-end": ((8.0,), (1.0,)),
    "program": ((), ()),
    "cost": ((), ()),
}
"""What the run() of each is given after the number of pairs; with --quick."""


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
    parts = list(PARTS) if options.part == "all" else [options.part]
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
    module = import_module(f"bench.{part.replace('-', '_')}")
    measured: Section = (
        module.steady(options.minutes)
        if options.minutes
        else module.run(pairs, *PARTS[part][options.quick])
    )
    return measured


if __name__ == "__main__":
    sys.exit(main())
