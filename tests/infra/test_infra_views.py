"""Tables and views on a BigQuery: their SQL runs, in the order in which they are declared."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import standing, tables, warehouse
from local.engine.program import Program, ProgramError, checked_in_config, evaluate
from local.engine.tables import create_dataset, create_table
from tests.bigquery_server import BigQueryServer
from tests.infra.environments import BASE


@pytest.fixture(scope="module")
def server() -> Iterator[BigQueryServer]:
    """A stand-in of BigQuery."""
    with BigQueryServer(project="my-project") as started:
        yield started


def test_every_view_runs_on_the_declared_tables(dev: Program, server: BigQueryServer) -> None:
    """Dataset, tables and views can be made in their order, and every view answers a query."""
    made = server.client()
    create_dataset(made, dev.one("bigquery/dataset:Dataset").inputs)
    views = []
    for table in dev.of_type("bigquery/table:Table"):
        create_table(made, table.inputs)
        if "view" in table.inputs:
            views.append(table.inputs["tableId"])
    assert len(views) == len(list(warehouse.VIEWS.glob("*.sql"))) > 0
    for view in views:
        rows = server.client().query(f"SELECT * FROM `my-project.tweet_data.{view}`").result()
        assert rows.schema, view


def test_queries_that_people_are_told_run(dev: Program, server: BigQueryServer) -> None:
    """Those of the runbook: what an alert says at night must not be refused."""
    made = server.client()
    create_dataset(made, dev.one("bigquery/dataset:Dataset").inputs)
    for table in dev.of_type("bigquery/table:Table"):
        create_table(made, table.inputs)
    config = {**checked_in_config("prod"), "dataset": "tweet_data", "spikeFactor": 3}
    policies = evaluate("prod", {**config, "gcp:project": "my-project"}).of_type("AlertPolicy")
    told = [policy.inputs["documentation"]["content"] for policy in policies]
    queries = {" ".join(q.split()) for q in re.findall(r"bq query [^']*'([^']+)'", "\n".join(told))}
    assert len(queries) == 2
    for query in queries:
        assert server.client().query(query).result().schema, query


def test_a_new_column_reaches_the_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BigQuery keeps a view's columns until its SQL changes: another column changes it."""
    folder = tmp_path / "schema"
    shutil.copytree(tables.SCHEMAS, folder)
    monkeypatch.setattr(tables, "SCHEMAS", folder)
    monkeypatch.setattr(standing, "SCHEMAS", folder)

    def queries() -> dict[str, str]:
        config = {**BASE, "pseudonymKey": "k" * 32}
        found = evaluate("dev", config, secrets=["pseudonymKey"]).of_type("bigquery/table:Table")
        return {t.name: t.inputs["view"]["query"] for t in found if "view" in t.inputs}

    before = queries()
    assert {"warehouse-tweets_latest", "pseudonyms-view"} <= before.keys()
    columns = json.loads((folder / "tweets.json").read_text("utf-8"))
    added = [*columns, {"name": "new", "type": "STRING"}]
    (folder / "tweets.json").write_text(json.dumps(added), "utf-8")
    after = queries()
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] == after[name]] == []


def test_views_are_described_and_qualified(program: Program) -> None:
    """Each view is standard SQL with its dataset filled in, and says what it is for."""
    dataset = program.one("bigquery/dataset:Dataset").inputs["datasetId"]
    for table in program.of_type("bigquery/table:Table"):
        if "view" in table.inputs:
            assert table.inputs["view"]["useLegacySql"] is False
            assert "${" not in table.inputs["view"]["query"]
            assert f"`my-project.{dataset}." in table.inputs["view"]["query"]
            assert table.inputs["description"], table.name


@pytest.fixture
def views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of views of its own."""
    monkeypatch.setattr(warehouse, "VIEWS", tmp_path)
    return tmp_path


def test_a_view_waits_for_the_view_that_it_reads(views: Path) -> None:
    """Order follows the SQL, not the alphabet."""
    (views / "a.sql").write_text("-- A\nSELECT 1 FROM `${dataset}.z`", "utf-8")
    (views / "z.sql").write_text("-- Z\nSELECT 1 FROM `${dataset}.tweets`", "utf-8")
    program = evaluate("dev", BASE)
    tables = program.of_type("bigquery/table:Table")
    made = [table.name for table in tables]
    assert made.index("warehouse-z") < made.index("warehouse-a")
    after = program.one("bigquery/table:Table", "warehouse-a").options.dependencies
    assert program.one("bigquery/table:Table", "warehouse-z").urn in after


def test_a_view_of_nothing_stops_the_program(views: Path) -> None:
    """A name that no table and no view has is refused with the file and the known names."""
    (views / "a.sql").write_text("-- A\nSELECT 1 FROM `${dataset}.twets`", "utf-8")
    with pytest.raises(ProgramError, match=r"views/a\.sql reads twets, .* known: .*tweets"):
        evaluate("dev", BASE)


def test_views_in_a_circle_are_named(views: Path) -> None:
    """Two views that read each other are told apart from a fault of the program."""
    (views / "a.sql").write_text("-- A\nSELECT 1 FROM `${dataset}.b`", "utf-8")
    (views / "b.sql").write_text("-- B\nSELECT 1 FROM `${dataset}.a`", "utf-8")
    with pytest.raises(ProgramError, match="infra/views: a, b read each other"):
        evaluate("dev", BASE)


def test_description_is_the_opening_comment() -> None:
    """Only the comment lines that open the file are the description."""
    assert warehouse.description("-- One.\n--\n-- Two.\nSELECT 1 -- no\n-- no") == "One.\n\nTwo."
