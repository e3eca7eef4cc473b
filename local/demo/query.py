"""`python -m local.demo.query "SELECT ..."`: ask the BigQuery of the running demo, get a table.

Asks the demo that runs from this checkout, or the address in BIGQUERY_EMULATOR_HOST where that is
set. Table names need no project: `tweet_data.tweets_latest`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.cloud.bigquery.retry import DEFAULT_RETRY
from rich.console import Console
from rich.table import Table

from local.bigquery import client
from local.demo import DEMO
from local.machine.claim import claim
from local.standin import bypass_proxies

VARIABLE = "BIGQUERY_EMULATOR_HOST"
RUNNING = Path(__file__).resolve().parents[2] / "build" / "demos"
"""A file for each demo that runs from this checkout: its BigQuery address, claimed by it."""
SECONDS = 30.0
RETRY_SECONDS = 2.0


def main(argv: list[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Print the rows of a query; 2 when it can't be asked, with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m local.demo.query", description=__doc__)
    parser.add_argument("sql", help="a query in GoogleSQL")
    parser.add_argument("--project", default=str(DEMO["gcp:project"]), help="default %(default)s")
    parser.add_argument("--limit", type=int, default=100, help="rows to print (%(default)s)")
    options = parser.parse_args(argv)
    bypass_proxies()
    if not options.sql.strip():
        return _refused('the query is empty: give one such as "SELECT 1"')
    address = environ.get(VARIABLE) or _running()
    if not address:
        return _refused(
            "no demo runs from this checkout: start `make demo`, or name the address of another "
            f"in {VARIABLE}"
        )
    if not address.startswith(("http://", "https://")):
        return _refused(f"{VARIABLE} is {address!r}, not http://HOST:PORT")
    try:
        # Short retries: a stand-in that is gone stays gone.
        retry = DEFAULT_RETRY.with_timeout(RETRY_SECONDS)
        job = client(address, options.project).query(
            options.sql, retry=retry, job_retry=None, timeout=SECONDS
        )
        rows = job.result(retry=retry, job_retry=None, timeout=SECONDS, max_results=options.limit)
    except GoogleAPICallError as error:
        # The message repeats itself, with the job's id and place, over several lines.
        said = error.errors[0].get("message") if error.errors else None
        return _refused((said or error.message or type(error).__name__).splitlines()[0])
    except (RetryError, OSError) as error:
        name = type(error).__name__
        return _refused(f"nothing answers at {address} ({name}): is the demo running?")
    table = Table(*[field.name for field in rows.schema])
    for row in rows:
        table.add_row(*["NULL" if value is None else str(value) for value in row.values()])
    Console().print(table)
    return 0


def _refused(words: str) -> int:
    print(f"query: {words}", file=sys.stderr)
    return 2


@contextlib.contextmanager
def announced(address: str) -> Iterator[None]:
    """Let `main` find a demo's BigQuery while the block runs."""
    RUNNING.mkdir(parents=True, exist_ok=True)
    new = RUNNING / f"new-{os.getpid()}"
    held = claim(new)
    if held is None:
        raise RuntimeError(f"{new} is claimed by another process")
    with held:
        held.truncate(0)  # a killed demo of the same process id may have been here
        held.write(address)
        held.flush()
        file = new.rename(RUNNING / str(os.getpid()))  # only now, so that it is never seen free
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _running() -> str:
    """The address of the demo that was started last and still runs; empty where none does."""
    files = RUNNING.glob("[0-9]*")
    for file in sorted(files, key=lambda each: each.stat().st_mtime, reverse=True):
        if (left := claim(file)) is None:
            return file.read_text()
        with left:  # its demo was killed
            file.unlink(missing_ok=True)
    return ""


if __name__ == "__main__":
    sys.exit(main())
