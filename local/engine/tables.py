"""Declared dataset, tables and views, created in BigQuery by the official client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.api_core.exceptions import Conflict, GoogleAPIError, RetryError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from local.machine.errors import StackError

# Inputs that are the same in BigQuery's REST resource (cloud.google.com/bigquery/docs/reference/
# rest/v2/tables) and in Pulumi's.
SAME = {"description", "friendlyName", "labels", "timePartitioning", "requirePartitionFilter"}
# The provider's own, or already part of the table's reference.
PROVIDER_ONLY = {"project", "datasetId", "tableId", "deletionProtection"}

# The stand-in answers some refusals with 500, which the client's own retry repeats for minutes.
RETRY = DEFAULT_RETRY.with_timeout(3)


def create_dataset(client: bigquery.Client, inputs: Mapping[str, Any]) -> str:
    """Create a dataset from `gcp:bigquery/dataset:Dataset` inputs; one that is there stays.

    Returns:
        Its full name, `project.dataset`.
    """
    name = f"{inputs.get('project') or client.project}.{inputs['datasetId']}"
    dataset = bigquery.Dataset(name)
    dataset.location = inputs.get("location") or "US"  # as BigQuery itself would choose
    dataset.description = inputs.get("description")
    dataset.labels = inputs.get("labels") or {}
    try:
        client.create_dataset(dataset, exists_ok=True, retry=RETRY)
    except GoogleAPIError as error:
        raise StackError(f"dataset {name}: {_reason(error)}") from error
    return name


def create_table(client: bigquery.Client, inputs: Mapping[str, Any]) -> str:
    """Create a table or view from the inputs of `gcp:bigquery/table:Table`.

    A view that a data directory kept is made anew; a table stays with its rows.

    Returns:
        Its full name, and which inputs the stand-in has no place for.

    Raises:
        StackError: BigQuery refuses schema or SQL, or the kept table has another schema.
    """
    name = f"{inputs.get('project') or client.project}.{inputs['datasetId']}.{inputs['tableId']}"
    table = _table(name, inputs)
    try:
        if table.view_query:
            client.delete_table(name, retry=RETRY, not_found_ok=True)
        client.create_table(table, retry=RETRY)
    except Conflict:
        if _columns(client.get_table(name, retry=RETRY)) != _columns(table):
            raise StackError(
                f"{name} in the data directory has another schema than the program declares now: "
                "the stand-in can't change it in place; choose a new --data-dir."
            ) from None
    except GoogleAPIError as error:
        raise StackError(f"{name}: BigQuery refuses it: {_reason(error)}") from error
    left = sorted(set(inputs) - SAME - PROVIDER_ONLY - {"schema", "view", "clusterings"})
    return f"{name} (without {', '.join(left)})" if left else name


def _table(name: str, inputs: Mapping[str, Any]) -> bigquery.Table:
    project, dataset, table = name.split(".")
    resource: dict[str, Any] = {
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
        **{key: inputs[key] for key in SAME if inputs.get(key) is not None},
    }
    partitions = resource.get("timePartitioning") or {}
    if partitions.get("expirationMs") == 0:  # the provider's way to say "never"
        resource["timePartitioning"] = {
            key: value for key, value in partitions.items() if key != "expirationMs"
        }
    if inputs.get("schema"):
        try:
            resource["schema"] = {"fields": json.loads(inputs["schema"])}
        except ValueError as error:
            raise StackError(f"{name}: the schema is not JSON: {error}") from error
    if inputs.get("clusterings"):
        resource["clustering"] = {"fields": inputs["clusterings"]}
    if inputs.get("view"):
        resource["view"] = inputs["view"]
        resource.pop("schema", None)  # BigQuery derives a view's columns itself
    return bigquery.Table.from_api_repr(resource)


def _columns(table: bigquery.Table) -> list[tuple[str, str, str]]:
    names = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}
    return [(f.name, names.get(f.field_type, f.field_type), f.mode) for f in table.schema]


def _reason(error: GoogleAPIError) -> str:
    """What BigQuery said, without the client's account of its retries."""
    cause = error.cause if isinstance(error, RetryError) and error.cause else error
    return str(getattr(cause, "message", cause))
