"""What of a stack's data stands, and what a changed configuration would delete of it.

Each `up` leaves a description as the stack's output `standing`; the next run compares itself with
it before anything is planned. Posts were paid for, and Pulumi deletes a dataset or table that it
has to replace without a word in the preview's summary.
"""

from collections.abc import Mapping
from typing import Any

from infra.archive import SERVICES, stage_context
from infra.settings import Settings
from infra.tables import SCHEMAS, TABLES, columns

Description = Mapping[str, Any]


def describe(settings: Settings) -> dict[str, Any]:
    """What a run declares: dataset, location, tables, whether gcr.io is its own, and images."""
    return {
        "dataset": f"{settings.project}.{settings.dataset_id}",
        "location": settings.bigquery_location,
        "tables": {
            table: {"partition": declared.partitioned_by, "columns": _kinds(columns(table))}
            for table, declared in TABLES.items()
        },
        "registry": settings.owns_registry,
        "images": images(settings),
    }


def images(settings: Settings) -> dict[str, str]:
    """What Docker builds, by service: the name of its context, which tells its content."""
    ready = {"producer": settings.image}
    if settings.dashboard:
        ready["dashboard"] = settings.dashboard_image
    return {
        name: stage_context(name, SERVICES / name).name for name, ref in ready.items() if not ref
    }


def losses(settings: Settings, stands: Description) -> list[str]:
    """One line for each change that would delete posts.

    Args:
        settings: the configuration of this run.
        stands: what the last `up` left.
    """
    wanted, was = describe(settings), stands["dataset"]
    lines = []
    if wanted["dataset"] != was:
        moved = f"tweets:dataset = {settings.dataset_id!r}"
        if not was.startswith(f"{settings.project}."):
            moved = f"gcp:project = {settings.project!r}"
        lines.append(f"{moved}: the posts stand in {was}")
    if wanted["location"].upper() != stands["location"].upper():
        lines.append(
            f"tweets:bigqueryLocation = {wanted['location']!r}: {was} stands in "
            f"{stands['location']}, and BigQuery moves no dataset"
        )
    for table, before in stands["tables"].items():
        after = wanted["tables"].get(table)
        if after is None:
            lines.append(f"infra/tables.py: table {table} is gone")
            continue
        if after["partition"] != before["partition"]:
            lines.append(
                f"infra/tables.py: {table} is partitioned by {after['partition']}, and stands "
                f"partitioned by {before['partition']}"
            )
        changes = _changes(before["columns"], after["columns"])
        path = SCHEMAS.relative_to(SCHEMAS.parents[3]) / f"{table}.json"
        lines += [f"{path}: {change}" for change in changes]
    fix = (
        f"`pulumi up` would delete what is there; to keep it: docs/deploy.md, Move the posts; to "
        f"delete it: pulumi config set tweets:discardDataset {was}"
    )
    return [f"{line}; {fix}" for line in lines]


def _kinds(schema: list[dict[str, Any]], prefix: str = "") -> dict[str, str]:
    """Type and mode by column, in BigQuery's legacy names; fields of a RECORD as `record.field`."""
    found = {}
    for column in schema:
        name = f"{prefix}{column['name']}"
        kind = str(column["type"]).upper()
        found[name] = f"{_ALIASES.get(kind, kind)} {column.get('mode', 'NULLABLE').upper()}"
        found |= _kinds(column.get("fields", []), f"{name}.")
    return found


_ALIASES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What BigQuery takes in no update of a schema: it adds columns and relaxes REQUIRED, no more
    (docs.cloud.google.com/bigquery/docs/managing-table-schemas). A column that is gone is dropped
    by the provider with a statement of its own, and its values with it.
    """
    found = []
    for column, was in before.items():
        now = after.get(column)
        if now is None:
            found.append(f"column {column} is gone, and its values would go with it")
        elif now not in (was, was.replace(" REQUIRED", " NULLABLE")):
            found.append(f"column {column} is {now}, and stands as {was}")
    for column in sorted(set(after) - set(before)):
        parent = column.rpartition(".")[0]
        if after[column].endswith(" REQUIRED") and (not parent or parent in before):
            found.append(f"column {column} is new and REQUIRED, which no row that stands can be")
    return found
