"""The BigQuery stand-in as a context manager, in a child process: bqemulator is tamed once only."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from google.cloud import bigquery

from local.bigquery import PROJECT, client
from local.machine.process import Process
from local.machine.watchdog import Watchdog
from local.standin import ask

ROOT = Path(__file__).resolve().parents[1]


class BigQueryServer:
    """One stand-in; it ends with the block, and with the tests' process.

    Args:
        data_dir: directory that keeps the data over restarts; None forgets it at the end.
        project: project that queries without one belong to. Datasets of any project can be made.
    """

    def __init__(self, data_dir: Path | None = None, *, project: str = PROJECT) -> None:
        self.project = project
        self._argv = [sys.executable, "-m", "local.bigquery", "--port", "0", "--project", project]
        self._argv += ["--data-dir", str(data_dir)] if data_dir else []

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            watchdog = Watchdog()
            undo.callback(watchdog.close)
            self.process = Process(
                "bigquery",
                self._argv,
                env=os.environ,
                cwd=ROOT,
                log=folder / "log",
                watchdog=watchdog,
                grace=5.0,
            )
            undo.callback(self.process.stop)
            self.process.start()
            self.process.wait_ready(60)
            self.url = str(self.process.announced())
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def client(self) -> bigquery.Client:
        """An official client for this server, without credentials."""
        return client(self.url, self.project)

    def faults(self, **faults: object) -> None:
        """Set faults (see `local.bigquery.faults`); without arguments, clear them all."""
        ask(f"{self.url}/_standin/faults", faults)

    def stats(self) -> dict[str, Any]:
        """Counts since the start; see `local.bigquery.faults.InsertStats`."""
        return dict(json.loads(ask(f"{self.url}/_standin/stats")))
