"""BigQuery as the page sees it: settings, one call that runs a typed query, faults as sentences."""

from __future__ import annotations

import re
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

Row = TypeVar("Row")
Value = datetime | int | Sequence[str]

# A project may be domain-scoped: example.com:my-project.
_DATASET = re.compile(r"([a-z0-9.-]+:)?[a-z0-9-]+\.[A-Za-z0-9_]+")
# The page must say what is wrong within seconds; the client's own retries go on for ten minutes.
_RETRY = Retry(initial=0.2, maximum=1.0, timeout=3.0)
_TIMEOUT_SECONDS = 20.0
_FAULTS = (exceptions.GoogleAPIError, GoogleAuthError, OSError)  # the last: those of requests too
# cloud.google.com/bigquery/pricing: on-demand analysis, 10 MB minimum a table referenced.
DOLLARS_A_TIB, MINIMUM_BYTES = 6.25, 10 * 2**20
# All queries of one refresh of the page together: about 0.6 cents. BigQuery refuses a query that
# would pass its share, and bills nothing for it.
REFRESH_BYTES = 2**30
ESTIMATE_SECONDS = 600


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
        parameters: values of its @names; a moment without a zone is a DATETIME, in UTC.
        row: dataclass of one result row; its fields are the columns' names.
    """

    name: str
    sql: str
    parameters: Mapping[str, Value]
    row: type[Row]

    def config(self, **settings: Any) -> bigquery.QueryJobConfig:
        """The parameters in BigQuery's form, with further settings of the job."""
        config = bigquery.QueryJobConfig(**settings)
        config.query_parameters = [_parameter(*each) for each in self.parameters.items()]
        return config


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


Reads = Sequence[tuple[Query[Any], int | None]]
"""Queries that are asked together, and bytes that each reads: None on the stand-in, which counts
none."""


def billed(*reads: int | None) -> int:
    """Bytes that BigQuery bills for queries that read so many."""
    return sum(max(read or 0, MINIMUM_BYTES) for read in reads)


class ViewReader:
    """The dataset behind the page, through the official client. Safe to share between sessions."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._estimates: dict[tuple[str, Hashable], tuple[float, int | None]] = {}
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

    def rows(self, query: Query[Row], most: int = MINIMUM_BYTES) -> list[Row]:
        """Run the query and wait for its rows.

        Args:
            query: what to ask.
            most: bytes that it may bill; one that would bill more is refused unbilled.

        Raises:
            WarehouseError: it failed, or did not end within 20 seconds.
        """
        try:
            result = self._client.query_and_wait(
                self.sql(query),
                job_config=query.config(maximum_bytes_billed=most),
                api_timeout=_TIMEOUT_SECONDS,
                wait_timeout=_TIMEOUT_SECONDS,
                retry=_RETRY,
                job_retry=None,  # type: ignore[arg-type]  # documented, but not typed
            )
            return [query.row(**dict(row)) for row in result]
        except _FAULTS as error:
            raise WarehouseError(self._sentence(error)) from error

    def ask(
        self, wanted: Sequence[Query[Any]], most: int, span: Hashable
    ) -> tuple[Reads, list[list[Any]]]:
        """Run queries at once, for a page is as slow as its slowest; what they read, their rows.

        What they bill is known by dry runs, which are free and made again after ten minutes. Each
        may bill a share of `most`, by its size.

        Args:
            wanted: all that are asked together.
            most: bytes that they may bill together.
            span: what decides how much they read: the length of the time looked at.

        Raises:
            WarehouseError: they would bill more, or one of them failed.
        """
        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            reads = list(pool.map(lambda query: self._estimate(query, span), wanted))
            if (total := billed(*reads)) > most:
                raise WarehouseError(
                    f"A refresh of this view would bill {size_words(total)}, and it may bill "
                    f"{size_words(most)} at most. Nothing was asked or billed: choose a shorter "
                    "time."
                )
            shares = [most * billed(read) // total for read in reads]
            rows = list(pool.map(self.rows, wanted, shares))
        return list(zip(wanted, reads, strict=True)), rows

    def _estimate(self, query: Query[Any], span: Hashable) -> int | None:
        known = self._estimates.get((query.name, span))
        if known is None or time.monotonic() > known[0]:
            known = time.monotonic() + ESTIMATE_SECONDS, self.bytes_read(query)
            self._estimates[query.name, span] = known
        return known[1]

    def bytes_read(self, query: Query[Row]) -> int | None:
        """Bytes that the query would read, by a dry run; None on the stand-in.

        Raises:
            WarehouseError: BigQuery refused the query.
        """
        if self.settings.emulator:  # it answers 0 to every dry run
            return None
        config = query.config(dry_run=True, use_query_cache=False)
        try:
            job = self._client.query(
                self.sql(query), job_config=config, retry=_RETRY, timeout=_TIMEOUT_SECONDS
            )
        except _FAULTS as error:
            raise WarehouseError(self._sentence(error)) from error
        return int(job.total_bytes_processed or 0)

    def _sentence(self, error: Exception) -> str:
        dataset = self.settings.dataset
        cause = error.cause if isinstance(error, exceptions.RetryError) else error
        if isinstance(cause, TimeoutError):
            return f"BigQuery took longer than {_TIMEOUT_SECONDS:.0f} seconds."
        # The stand-in answers 400 with BigQuery's words where BigQuery answers 404.
        if isinstance(cause, exceptions.NotFound) or "Not found: " in str(cause):
            return (
                f"The tables of {dataset} are not there yet: they come with `make demo` or "
                "`pulumi up`. If they should be there, check the DATASET that the page was given."
            )
        if isinstance(cause, exceptions.Forbidden):
            return (
                f"BigQuery does not let this account read {dataset}: it needs the roles "
                "bigquery.dataViewer on the dataset and bigquery.jobUser on the project."
            )
        if isinstance(cause, exceptions.BadRequest) and "bytesBilledLimitExceeded" in str(cause):
            return (
                "A query would bill more than its share of what a refresh may bill and was not "
                "run, so nothing was billed: choose a shorter time."
            )
        if isinstance(cause, exceptions.GoogleAPICallError):
            return f"BigQuery refused a query of this page: {_first_line(cause.message or '')}."
        where = self.settings.emulator or "bigquery.googleapis.com"
        return f"BigQuery cannot be reached at {where}: is it running, and is the network up?"


def _parameter(
    name: str, value: Value
) -> bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter:
    if isinstance(value, datetime):
        kind = "TIMESTAMP" if value.tzinfo else "DATETIME"
        return bigquery.ScalarQueryParameter(name, kind, value)
    if isinstance(value, int):
        return bigquery.ScalarQueryParameter(name, "INT64", value)
    return bigquery.ArrayQueryParameter(name, "STRING", list(value))


def size_words(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 2**20:,.1f} MB" if count < 2**30 else f"{count / 2**30:,.2f} GB"


def _first_line(text: str) -> str:
    text = re.sub(r"^(GET|POST) \S+: ", "", text.strip())  # the client puts the address first
    line = text.splitlines()[0] if text else "no reason given"
    return line if len(line) <= 200 else line[:199] + "…"
