"""BigQuery as the page sees it: settings, one call that runs a typed query, faults as sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from google.api_core.exceptions import (
    BadRequest,
    Forbidden,
    GoogleAPICallError,
    NotFound,
    RetryError,
)
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from requests.exceptions import RequestException

Row = TypeVar("Row")
Parameter = bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter

# A project may be domain-scoped: example.com:my-project.
_DATASET = re.compile(r"([a-z0-9.-]+:)?[a-z0-9-]+\.[A-Za-z0-9_]+")
# The page must say what is wrong within seconds; the client's own retries go on for ten minutes.
_RETRY = Retry(initial=0.2, maximum=1.0, timeout=5.0)
_TIMEOUT_SECONDS = 20.0
# A query that would read more fails instead of billing: about 6 cents at $6.25 a TiB
# (cloud.google.com/bigquery/pricing, on-demand).
MAXIMUM_BYTES_BILLED = 10 * 2**30


class SettingsError(Exception):
    """The environment is wrong; the message says what, where and what to do."""


class WarehouseError(Exception):
    """BigQuery did not answer; the message is a sentence for the page."""


@dataclass(frozen=True)
class Query(Generic[Row]):
    """One question to the warehouse.

    Attributes:
        name: what it asks, in a word or two, for the page.
        sql: Standard SQL in which `{dataset}` stands for project.dataset.
        parameters: values of its @names.
        row: dataclass of one result row; its fields are the columns' names.
    """

    name: str
    sql: str
    parameters: tuple[Parameter, ...]
    row: type[Row]


@dataclass(frozen=True)
class Settings:
    """What the page needs to know.

    Attributes:
        dataset: `project.dataset` of the views.
        emulator: address of a stand-in for BigQuery, None for Google's own.
    """

    dataset: str
    emulator: str | None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read DATASET and BIGQUERY_EMULATOR_HOST.

        Raises:
            SettingsError: DATASET is missing or is not `project.dataset`.
        """
        dataset = environ.get("DATASET", "")
        if not _DATASET.fullmatch(dataset):
            raise SettingsError(
                f"The environment variable DATASET is {dataset!r}, but must be project.dataset: "
                "set it, for example DATASET=my-project.tweet_data, and start the page again."
            )
        return cls(dataset, environ.get("BIGQUERY_EMULATOR_HOST") or None)


class PageWarehouse:
    """The dataset behind the page, through the official client. Safe to share between sessions."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        project = settings.dataset.rpartition(".")[0]
        try:
            self._client = bigquery.Client(
                project=project,
                # The client itself takes the stand-in's address from BIGQUERY_EMULATOR_HOST.
                credentials=AnonymousCredentials() if settings.emulator else None,  # type: ignore[no-untyped-call]
            )
        except GoogleAuthError as error:
            raise WarehouseError(
                "There are no Google Cloud credentials here: run `gcloud auth application-default "
                "login`, or start the page with `make demo`, which needs none."
            ) from error

    def sql(self, query: Query[Row]) -> str:
        """The text that is sent, the dataset filled in."""
        return query.sql.replace("{dataset}", self.settings.dataset)

    def rows(self, query: Query[Row]) -> list[Row]:
        """Run the query and wait for its rows.

        Raises:
            WarehouseError: it failed, or did not end within 20 seconds.
        """
        config = bigquery.QueryJobConfig(
            query_parameters=list(query.parameters), maximum_bytes_billed=MAXIMUM_BYTES_BILLED
        )
        try:
            result = self._client.query_and_wait(
                self.sql(query),
                job_config=config,
                api_timeout=_TIMEOUT_SECONDS,
                wait_timeout=_TIMEOUT_SECONDS,
                retry=_RETRY,
                job_retry=None,  # type: ignore[arg-type]  # documented, but not typed
            )
            return [query.row(**dict(row)) for row in result]
        except (GoogleAPICallError, RetryError, GoogleAuthError, RequestException) as error:
            raise WarehouseError(self._sentence(error)) from error
        except TimeoutError as error:
            raise WarehouseError("BigQuery took longer than 20 seconds.") from error

    def bytes_read(self, query: Query[Row]) -> int | None:
        """Bytes that the query would read, by a dry run, which is free; None on the stand-in.

        Raises:
            WarehouseError: BigQuery refused the query.
        """
        if self.settings.emulator:  # it answers 0 to every dry run
            return None
        config = bigquery.QueryJobConfig(
            query_parameters=list(query.parameters), dry_run=True, use_query_cache=False
        )
        try:
            job = self._client.query(
                self.sql(query), job_config=config, retry=_RETRY, timeout=_TIMEOUT_SECONDS
            )
        except (GoogleAPICallError, RetryError, GoogleAuthError, RequestException) as error:
            raise WarehouseError(self._sentence(error)) from error
        return int(job.total_bytes_processed or 0)

    def _sentence(self, error: Exception) -> str:
        dataset = self.settings.dataset
        cause = error.cause if isinstance(error, RetryError) else error
        # The stand-in answers 400 with BigQuery's words where BigQuery answers 404.
        if isinstance(cause, NotFound) or "Not found: " in str(cause):
            return (
                f"The tables of {dataset} are not there yet: they come with `make demo` or "
                "`pulumi up`. If they should be there, check the DATASET that the page was given."
            )
        if isinstance(cause, Forbidden):
            return (
                f"BigQuery does not let this account read {dataset}: it needs the roles "
                "bigquery.dataViewer on the dataset and bigquery.jobUser on the project."
            )
        if isinstance(cause, BadRequest) and "bytesBilledLimitExceeded" in str(cause):
            return (
                "The query would read more than 10 GiB and was not run, so nothing was billed: "
                "choose a shorter time."
            )
        if isinstance(cause, GoogleAPICallError):
            return f"BigQuery refused a query of this page: {_first_line(cause.message or '')}."
        where = self.settings.emulator or "bigquery.googleapis.com"
        return f"BigQuery cannot be reached at {where}: is it running, and is the network up?"


def _first_line(text: str) -> str:
    text = re.sub(r"^(GET|POST) \S+: ", "", text.strip())  # the client puts the address first
    line = text.splitlines()[0] if text else "no reason given"
    return line if len(line) <= 200 else line[:199] + "…"
