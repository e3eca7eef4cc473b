"""BigQuery: a group of rows in, an outcome for each row out. Runs in a worker thread.

The insert is the REST streaming insert with Row.insert_id as insertId. `skipInvalidRows` is on, so
that one bad row does not keep the rest of its group out. BigQuery's answers are sorted into three:

- written: the row is durable;
- refused: the row itself is invalid (`PoisonError`);
- passing: quota, outage, a table or column that BigQuery does not know yet (`PassingError`, 503).

Sources: https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/insertAll,
https://cloud.google.com/bigquery/docs/error-messages.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import requests.adapters
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from sink.faults import UNNAMED, PassingError, PoisonError
from sink.log import logger

if TYPE_CHECKING:
    from sink.rows import Row, TableSchema

Outcome = PoisonError | PassingError | None

# Inserts at one time, for both tables together; each holds a thread and a connection.
SLOTS = 4
# One attempt. Google recommends to expect up to some seconds; what took longer is sent again by
# Pub/Sub, well before its acknowledgement deadline (infra/sink.py).
ATTEMPT_SECONDS = 15.0
# The client's own predicate, but not its ten minutes: Pub/Sub holds a message and backs off better.
_RETRY = Retry(
    predicate=DEFAULT_RETRY._predicate,  # noqa: SLF001 - the client offers no other access to it
    initial=0.1,
    maximum=1.0,
    multiplier=2.0,
    timeout=4.0,
)
# Time in which a group is split to find its bad row.
_SPLIT_SECONDS = 10.0


class Inserter:
    """Inserts groups of rows into tables.

    Args:
        emulator: address of a stand-in (BIGQUERY_EMULATOR_HOST), empty in the cloud.
        project: project that the client bills.

    Raises:
        google.auth.exceptions.DefaultCredentialsError: there is no service account to act as.
    """

    def __init__(self, project: str, emulator: str = "") -> None:
        credentials = AnonymousCredentials() if emulator else None  # type: ignore[no-untyped-call]
        self._client = bigquery.Client(project=project, credentials=credentials)
        # requests keeps 10 connections: above that each insert would open one of its own.
        adapter = requests.adapters.HTTPAdapter(pool_connections=2, pool_maxsize=SLOTS)
        session = self._client._http  # noqa: SLF001 - the documented way to size the pool
        session.mount("https://", adapter)
        session.mount("http://", adapter)

    def insert(self, schema: TableSchema, rows: Sequence[Row]) -> list[Outcome]:
        """Insert rows; one outcome for each, in order. Never raises."""
        return self._insert(schema, rows, time.monotonic() + _SPLIT_SECONDS)

    def _insert(self, schema: TableSchema, rows: Sequence[Row], deadline: float) -> list[Outcome]:
        try:
            refused = self._request(schema.table, rows)
        except GoogleAPICallError as error:
            detail = _described(schema.table, error)
            if error.code in {400, 413} and len(rows) == 1:
                if error.code == 413:
                    return [PoisonError("too_large", detail)]
                return [PoisonError("row_rejected", detail, UNNAMED)]
            if error.code in {400, 413} and time.monotonic() < deadline:
                # One row spoils the request as a whole: halve it until that row is alone.
                middle = len(rows) // 2
                return [
                    *self._insert(schema, rows[:middle], deadline),
                    *self._insert(schema, rows[middle:], deadline),
                ]
        except (GoogleAuthError, OSError, ValueError) as error:
            # OSError: those of requests too. ValueError: no JSON, as a proxy in trouble gives.
            detail = f"BigQuery cannot be reached: {type(error).__name__}: {error}"[:500]
        else:
            outcomes: list[Outcome] = [None] * len(rows)
            for entry in refused:
                outcomes[entry["index"]] = _outcome(schema, entry["errors"])
            return outcomes
        logger.warning(
            "%d rows not written, Pub/Sub will send them again: %s",
            len(rows),
            detail,
            extra={"reason": "bigquery", "table": schema.table},
        )
        return [PassingError(detail) for _ in rows]

    def _request(self, table: str, rows: Sequence[Row]) -> Sequence[dict[str, Any]]:
        """The row errors of one insert, tried again for a short time.

        Raises:
            GoogleAPICallError: BigQuery's refusal; with requests' and google-auth's own errors, the
                last one after the retries.
        """
        try:
            return self._client.insert_rows_json(
                table,
                [row.values for row in rows],
                row_ids=[row.insert_id for row in rows],
                skip_invalid_rows=True,
                retry=_RETRY,
                timeout=ATTEMPT_SECONDS,
            )
        except RetryError as error:
            raise error.cause from error


def _outcome(schema: TableSchema, errors: Sequence[dict[str, str]]) -> Outcome:
    """What the errors of one row mean; an empty list of errors means it is written."""
    if not errors:
        return None
    invalid = [error for error in errors if error.get("reason") == "invalid"]
    refused = [error for error in invalid if "no such field" not in error.get("message", "")]
    if refused:
        return schema.refusal(refused)
    if invalid:
        # Our rows have only columns of the schema file: the table is behind, or BigQuery's
        # streaming back end has not seen the new column yet (it takes some minutes).
        lacks = ", ".join(error.get("location") or error["message"] for error in invalid)
        return PassingError(f"the table lacks a column: {lacks}"[:1000])
    return PassingError(f"row error {errors[0].get('reason', 'unknown')}")


def _described(table: str, error: GoogleAPICallError) -> str:
    message = f"BigQuery answered {error.code} for {table}: {error.message}"[:500]
    if error.code == 404:
        return message + " (just created, or TWEETS_TABLE / EVENTS_TABLE is wrong)"
    if error.code == 403:
        return message + " (quota, or the sink's service account lacks roles/bigquery.dataEditor)"
    return message
