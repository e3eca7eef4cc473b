"""BigQuery on this machine: bqemulator in a process of its own, made strict and offline.

`python -m local.bigquery --port 9050 --data-dir .demo/bigquery` prints `ready
http://127.0.0.1:9050`. Other programs reach it by BIGQUERY_EMULATOR_HOST=<that address>.
What differs from BigQuery is listed in `local/bigquery/emulator.py`, the faults that can be asked
for in `local/bigquery/faults.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud import bigquery

PROJECT = "local-project"


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
