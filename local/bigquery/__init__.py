"""BigQuery on this machine: bqemulator in a child process, made strict and offline.

In a test or the demo:

    with BigQueryServer() as server:
        client = server.client()          # the official google-cloud-bigquery client

On a command line: `python -m local.bigquery --port 9050 --data-dir .demo/bigquery`; it prints
`ready http://127.0.0.1:9050`. Other programs reach it by BIGQUERY_EMULATOR_HOST=<that address>.
What differs from BigQuery is listed in `local/bigquery/emulator.py`, the faults that can be asked
for in `local/bigquery/faults.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from local.standin import ask

if TYPE_CHECKING:
    from google.cloud import bigquery

PROJECT = "local-project"


class BigQueryServer:
    """The stand-in as a context manager, in a child process.

    Args:
        port: TCP port on 127.0.0.1; 0 takes a free one.
        data_dir: directory that keeps the data over restarts; None forgets it at the end.
        project: project that queries without one belong to. Datasets of any project can be made.

    Raises:
        RuntimeError: on entering, when the child does not start; the message is its own line.
    """

    def __init__(
        self, port: int = 0, data_dir: Path | str | None = None, *, project: str = PROJECT
    ) -> None:
        self._port, self._data_dir, self.project = port, data_dir, project

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "local.bigquery", "--port", str(self._port)]
        command += ["--project", self.project, "--parent", str(os.getpid())]
        if self._data_dir is not None:
            command += ["--data-dir", str(self._data_dir)]
        root = Path(__file__).resolve().parents[2]
        # stderr goes to a file: a pipe that nobody reads would stop the child when it is full.
        with tempfile.TemporaryFile("w+") as errors:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=root
            )
            self.pid = self._process.pid
            line = self._process.stdout.readline() if self._process.stdout else ""
            if not line.startswith("ready "):
                self.__exit__()
                errors.seek(0)
                raise RuntimeError(f"the BigQuery stand-in did not start: {errors.read().strip()}")
        self.url = line.split()[1]
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()

    def client(self) -> bigquery.Client:
        """An official client for this server, without credentials."""
        return client(self.url, self.project)

    def faults(self, **faults: object) -> None:
        """Set faults (see `local.bigquery.faults`); without arguments, clear them all."""
        ask(f"{self.url}/_standin/faults", faults)

    def stats(self) -> dict[str, Any]:
        """Counts since the start; see `local.bigquery.faults.InsertStats`."""
        return dict(json.loads(ask(f"{self.url}/_standin/stats")))


def client(url: str, project: str) -> bigquery.Client:
    """The official client for the BigQuery stand-in at `url`, without credentials."""
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    return bigquery.Client(
        project=project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=ClientOptions(api_endpoint=url),
    )
