"""The BigQuery dataset, its two tables and every view in infra/views.

Columns come from services/sink_function/sink/schema/*.json, which the sink checks messages
against, so table and sink cannot drift. Who may write is granted where the writer is declared.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from string import Template

import pulumi
from pulumi_gcp import bigquery

from infra.apis import Apis
from infra.settings import Settings
from infra.tables import TABLES, columns

VIEWS = Path(__file__).resolve().parent / "views"

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class WarehouseArgs:
    """What dataset, tables and views are made from."""

    settings: Settings
    apis: Apis


class Warehouse(pulumi.ComponentResource):
    """Tables `tweets` and `stream_events`, append only, and the views that people read."""

    dataset: bigquery.Dataset
    path: pulumi.Output[str]
    """project.dataset."""
    tweets: bigquery.Table
    stream_events: bigquery.Table
    views: dict[str, bigquery.Table]

    def __init__(
        self, name: str, args: WarehouseArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Warehouse", name, None, opts)
        self._name, self._settings = name, args.settings
        settings = args.settings
        self.dataset = bigquery.Dataset(
            name,
            dataset_id=settings.dataset_id,
            description="Posts of an X filtered stream. Read tweets_latest.",
            location=settings.bigquery_location,
            labels=settings.labels,
            delete_contents_on_destroy=not settings.protect,
            # Its id is fixed, so another location (infra/standing.py) must first make room.
            opts=args.apis.after_apis(self, protect=settings.protect, delete_before_replace=True),
        )
        self.path = pulumi.Output.concat(settings.project, ".", self.dataset.dataset_id)
        self.tweets = self._table("tweets")
        self.stream_events = self._table("stream_events")
        self.views = {}
        for view, needs in _in_order(_definitions()):
            self.views[view] = self._view(view, needs)
        self.register_outputs({"dataset": self.dataset.dataset_id})

    def _table(self, table: str) -> bigquery.Table:
        declared = TABLES[table]
        return bigquery.Table(
            f"{self._name}-{table}",
            dataset_id=self.dataset.dataset_id,
            table_id=table,
            description=declared.description,
            # One canonical form: re-indenting the file changes nothing.
            schema=json.dumps(columns(table)),
            time_partitioning={
                "type": "DAY",
                "field": declared.partitioned_by,
                # 0 is stated too: left out, the table would keep its last value and BigQuery would
                # go on deleting posts.
                "expiration_ms": self._settings.table_expiration_days * _DAY_MS,
            },
            clusterings=list(declared.clustered_by),
            labels=self._settings.labels,
            deletion_protection=self._settings.protect,
            opts=pulumi.ResourceOptions(parent=self, protect=self._settings.protect),
        )

    def _view(self, view: str, needs: list[str]) -> bigquery.Table:
        text = (VIEWS / f"{view}.sql").read_text("utf-8")
        tables = {"tweets": self.tweets, "stream_events": self.stream_events, **self.views}
        return bigquery.Table(
            f"{self._name}-{view}",
            dataset_id=self.dataset.dataset_id,
            table_id=view,
            description=description(text),
            view={
                "query": with_columns(
                    Template(text).substitute(
                        dataset=f"{self._settings.project}.{self._settings.dataset_id}"
                    )
                ),
                "use_legacy_sql": False,
            },
            labels=self._settings.labels,
            # A view holds no data. Changed SQL is an update in place.
            deletion_protection=False,
            # BigQuery refuses a view over a table that does not exist yet.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[tables[need] for need in needs]),
        )


def with_columns(query: str) -> str:
    """The SQL of a view, with a digest of the tables' columns as its last line.

    BigQuery reads a view's columns when its SQL is set, and not again: so another column, or a
    field of a RECORD, has to change the SQL, or charts would not see it.
    """
    known = json.dumps([columns(table) for table in sorted(TABLES)]).encode()
    return f"{query.rstrip()}\n-- columns: {hashlib.sha256(known).hexdigest()[:16]}\n"


def _definitions() -> dict[str, list[str]]:
    """Each view with the tables and views that its SQL names as `${dataset}.name`."""
    return {
        path.stem: sorted(set(re.findall(r"\$\{dataset\}\.(\w+)", path.read_text("utf-8"))))
        for path in sorted(VIEWS.glob("*.sql"))
    }


def _in_order(definitions: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Views after the views they read; a name that nothing defines stops the program."""
    known = {*definitions, *TABLES}
    for view, needs in definitions.items():
        for need in sorted(set(needs) - known):
            raise pulumi.RunError(
                f"infra/views/{view}.sql reads {need}, which is neither a table nor a view; "
                f"known: {', '.join(sorted(known))}"
            )
    try:
        order = list(TopologicalSorter(definitions).static_order())
    except CycleError as error:
        circle = ", ".join(sorted(set(error.args[1])))
        raise pulumi.RunError(f"infra/views: {circle} read each other; break the circle") from None
    return [(view, definitions[view]) for view in order if view in definitions]


def description(sql: str) -> str:
    """The comment lines that open a view's file."""
    lines = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return "\n".join(lines)
