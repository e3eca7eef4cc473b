"""`python -m local.bigquery`: the stand-in until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
from pathlib import Path

import local.bigquery as stand_in
from local.bigquery import HOST, PROJECT


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))


def main(arguments: list[str] | None = None) -> int:
    """Run the stand-in until SIGTERM or SIGINT; 2 when it cannot start, with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m local.bigquery", description=stand_in.__doc__)
    parser.add_argument("--port", type=int, default=9050, help="0 takes a free one (default 9050)")
    parser.add_argument("--project", default=PROJECT, help=f"default project ({PROJECT})")
    parser.add_argument("--data-dir", type=Path, help="keep the data here; else it is forgotten")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        _check_port(options.port)
    except (OSError, OverflowError) as error:
        print(
            f"bigquery: port {options.port} on {HOST} cannot be used ({error}): "
            "end what listens there, or give another --port",
            file=sys.stderr,
        )
        return 2
    if options.data_dir is not None:
        try:
            options.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            print(f"bigquery: --data-dir {options.data_dir}: {error}", file=sys.stderr)
            return 2
    from duckdb import Error as DuckDBError

    from local.bigquery.emulator import serve
    from local.bigquery.smoke import EmulatorChangedError

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(
                serve(HOST, options.port, options.project, options.data_dir, options.parent)
            )
    except EmulatorChangedError as error:
        print(f"bigquery: {error}", file=sys.stderr)
        return 2
    except DuckDBError as error:
        first = str(error).splitlines()[0]
        print(
            f"bigquery: --data-dir {options.data_dir} cannot be opened: {first} "
            "(another stand-in may hold it)",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
