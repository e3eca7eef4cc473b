"""`python -m local.bigquery`: the stand-in until SIGTERM or SIGINT."""

from __future__ import annotations

import sys
from pathlib import Path

import local.bigquery as stand_in
from local import standin
from local.bigquery import PROJECT
from local.bigquery.emulator import BigQueryProcess, CannotServeError


def main(argv: list[str] | None = None) -> int:
    """Run the stand-in until SIGTERM or SIGINT; 2 when it cannot start, with one line on stderr."""
    parser = standin.OneLineParser(prog="python -m local.bigquery", description=stand_in.__doc__)
    parser.add_argument("--port", type=standin.port, default=9050, help="0 takes a free one")
    parser.add_argument("--project", default=PROJECT, help=f"default project ({PROJECT})")
    parser.add_argument("--data-dir", type=Path, help="keep the data here; else it is forgotten")
    options = vars(parser.parse_args(argv))
    return standin.main("bigquery", lambda: BigQueryProcess(**options), CannotServeError)


if __name__ == "__main__":
    sys.exit(main())
