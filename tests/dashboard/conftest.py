"""A BigQuery stand-in with the project's own tables and views, empty before each test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from string import Template

import pytest
from google.cloud import bigquery

from tests.bigquery_server import BigQueryServer
from tests.dashboard.store import DATASET, Store
from warehouse import Settings, ViewReader

ROOT = Path(__file__).resolve().parents[2]
VIEWS = ROOT / "infra" / "views"
SCHEMAS = ROOT / "services" / "sink_function" / "sink" / "schema"


@pytest.fixture(scope="session")
def server() -> Iterator[BigQueryServer]:
    """The BigQuery stand-in."""
    with BigQueryServer() as running:
        yield running


@pytest.fixture(scope="session")
def made(server: BigQueryServer) -> bigquery.Client:
    """A client for the stand-in in which dataset, tables and views exist."""
    client = server.client()
    client.create_dataset(DATASET)
    for name, day in (("tweets", "created_at"), ("stream_events", "at")):
        fields = json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"))
        table = bigquery.Table(
            f"{DATASET}.{name}", [bigquery.SchemaField.from_api_repr(field) for field in fields]
        )
        table.time_partitioning = bigquery.TimePartitioning(field=day)
        client.create_table(table)
    texts = {path.stem: path.read_text("utf-8") for path in VIEWS.glob("*.sql")}
    needs = {name: set(re.findall(r"\$\{dataset\}\.(\w+)", sql)) for name, sql in texts.items()}
    for name in TopologicalSorter(needs).static_order():
        if name in texts:
            view = bigquery.Table(f"{DATASET}.{name}")
            view.view_query = Template(texts[name]).substitute(dataset=DATASET)
            client.create_table(view)
    return client


@pytest.fixture
def store(made: bigquery.Client) -> Store:
    """The tables, empty."""
    for table in ("tweets", "stream_events"):
        made.query(f"DELETE FROM `{DATASET}.{table}` WHERE TRUE").result()
    return Store(made)


@pytest.fixture
def warehouse(store: Store, server: BigQueryServer, monkeypatch: pytest.MonkeyPatch) -> ViewReader:
    """The page's own way to the stand-in."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
    return ViewReader(Settings(DATASET, server.url))
