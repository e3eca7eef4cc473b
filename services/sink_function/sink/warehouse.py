"""BigQuery: a group of rows in, an outcome for each row out. Runs in a worker thread.

The insert is the REST streaming insert with the post's id as insertId. `skipInvalidRows` is on, so
that one bad row does not keep the rest of its group out. BigQuery's answers are sorted into three:

- written: the row is durable;
- rejected: the row itself is invalid and will be for ever (`PoisonError`, to the dead letters);
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
from requests.exceptions import RequestException

from sink.faults import PassingError, PoisonError
from sink.log import logger

if TYPE_CHECKING:
    from sink.rows import Row

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
# Rows of one group that BigQuery may reject, all of them, before we doubt the table instead.
SUSPICIOUS_ROWS = 20
# Time in which a group is split to find its bad row, or its stopped rows are sent again.
_SPLIT_SECONDS = 10.0


class Warehouse:
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

    def insert(self, table: str, rows: Sequence[Row]) -> list[Outcome]:
        """Insert rows; one outcome for each, in order. Never raises."""
        outcomes: list[Outcome] = [PassingError("not tried in time")] * len(rows)
        self._insert(table, rows, range(len(rows)), outcomes, time.monotonic() + _SPLIT_SECONDS)
        if len(rows) >= SUSPICIOUS_ROWS and all(
            isinstance(outcome, PoisonError) and outcome.reason == "row_rejected"
            for outcome in outcomes
        ):
            # A whole group of checked rows is not bad by chance: the table has changed, or the
            # project. Dead-lettering the stream for that would only hide it.
            detail = str(outcomes[0])
            logger.error(
                "BigQuery rejects every row of a group of %d for %s: %s: compare the table with "
                "sink/schema, no row is given up",
                len(rows),
                table,
                detail,
                extra={"reason": "all_rejected", "table": table},
            )
            return [PassingError(detail)] * len(rows)
        return outcomes

    def _insert(
        self,
        table: str,
        rows: Sequence[Row],
        indexes: Sequence[int],
        outcomes: list[Outcome],
        deadline: float,
    ) -> None:
        """Insert `rows[i] for i in indexes` and set their outcomes; splits where it has to."""
        try:
            errors = self._request(table, [rows[index] for index in indexes])
        except GoogleAPICallError as error:
            if error.code in {400, 413}:
                self._split(table, rows, indexes, outcomes, deadline, error)
                return
            detail = _described(table, error)
            _log_passing(table, len(indexes), detail)
            for index in indexes:
                outcomes[index] = PassingError(detail)
            return
        except (RequestException, GoogleAuthError, OSError, ValueError) as error:
            # ValueError: an answer that is not JSON, as a proxy in trouble gives.
            detail = f"BigQuery cannot be reached: {type(error).__name__}: {error}"[:500]
            _log_passing(table, len(indexes), detail)
            for index in indexes:
                outcomes[index] = PassingError(detail)
            return
        for index in indexes:
            outcomes[index] = None
        again = []
        for entry in errors:
            index = indexes[entry["index"]]
            outcomes[index] = outcome = _row_outcome(entry["errors"])
            if outcome is not None and str(outcome) == "stopped":
                again.append(index)
        if again and len(again) < len(indexes) and time.monotonic() < deadline:
            self._insert(table, rows, again, outcomes, deadline)

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

    def _split(
        self,
        table: str,
        rows: Sequence[Row],
        indexes: Sequence[int],
        outcomes: list[Outcome],
        deadline: float,
        error: GoogleAPICallError,
    ) -> None:
        """The request as a whole is refused: halve it, until the row that causes it is alone."""
        if len(indexes) == 1:
            reason = "too_large" if error.code == 413 else "row_rejected"
            outcomes[indexes[0]] = PoisonError(reason, _described(table, error))
            return
        if time.monotonic() > deadline:
            for index in indexes:
                outcomes[index] = PassingError(_described(table, error))
            return
        middle = len(indexes) // 2
        for half in (indexes[:middle], indexes[middle:]):
            self._insert(table, rows, half, outcomes, deadline)


def _row_outcome(errors: Sequence[dict[str, str]]) -> Outcome:
    """What the errors of one row mean; an empty list of errors means it is written."""
    invalid = [error for error in errors if error.get("reason") == "invalid"]
    if not errors:
        return None
    if not invalid:
        reason = errors[0].get("reason", "unknown")
        return PassingError("stopped" if reason == "stopped" else f"row error {reason}")
    detail = "; ".join(
        f"{error.get('location', '')}: {error.get('message', '')}".strip(": ") for error in invalid
    )[:1000]
    if all("no such field" in error.get("message", "") for error in invalid):
        # Our rows have only columns of the schema file: the table is behind, or BigQuery's
        # streaming back end has not seen the new column yet (it takes some minutes).
        return PassingError(f"the table lacks a column: {detail}")
    return PoisonError("row_rejected", detail)


def _described(table: str, error: GoogleAPICallError) -> str:
    message = f"BigQuery answered {error.code} for {table}: {error.message}"[:500]
    if error.code == 404:
        return message + " (just created, or TWEETS_TABLE / EVENTS_TABLE is wrong)"
    if error.code == 403:
        return message + " (quota, or the sink's service account lacks roles/bigquery.dataEditor)"
    return message


def _log_passing(table: str, rows: int, detail: str) -> None:
    logger.warning(
        "%d rows not written, Pub/Sub will send them again: %s",
        rows,
        detail,
        extra={"reason": "bigquery", "table": table},
    )
