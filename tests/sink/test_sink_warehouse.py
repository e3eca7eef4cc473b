"""What an insert's answer means for each row, against the strict BigQuery stand-in."""

from __future__ import annotations

import json

import pytest
from google.cloud import bigquery

from sink.faults import PassingError, PoisonError
from sink.push import Message
from sink.rows import Row, RowSchema
from sink.warehouse import SUSPICIOUS_ROWS, Warehouse, _row_outcome
from tests.sink.deployed import SCHEMAS, Dataset, post

pytestmark = pytest.mark.usefixtures("bigquery_address")


@pytest.fixture
def bigquery_address(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official client takes the address from the environment."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", dataset.server.url)


def rows(*numbers: int, **changes: object) -> list[Row]:
    """Rows for posts with these ids."""
    schema = RowSchema(SCHEMAS / "tweets.json")
    return [schema.row(Message("m", json.dumps(post(n, **changes)).encode())) for n in numbers]


def test_bad_row_fails_alone(dataset: Dataset) -> None:
    """The others of its group are written, and only the bad one is rejected."""
    dataset.server.faults(reject_ids=[3])
    outcomes = Warehouse("p", dataset.server.url).insert(dataset.tweets, rows(1, 2, 3, 4))
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        type(None),
        PoisonError,
        type(None),
    ]
    assert dataset.count() == 3


def test_request_too_large_is_split(dataset: Dataset) -> None:
    """A group that BigQuery finds too large is halved until each part fits."""
    group = rows(1, 2, 3, 4, text="x" * 4_000_000)
    outcomes = Warehouse("p", dataset.server.url).insert(dataset.tweets, group)
    assert outcomes == [None] * 4
    assert dataset.count() == 4


def test_row_too_large_is_found(dataset: Dataset) -> None:
    """The one row that is too large alone is dead-lettered, its neighbours are written."""
    group = rows(1, 2, 3)
    group[1].values["text"] = "x" * 11_000_000
    outcomes = Warehouse("p", dataset.server.url).insert(dataset.tweets, group)
    assert outcomes[0] is None
    assert outcomes[2] is None
    assert isinstance(outcomes[1], PoisonError)
    assert outcomes[1].reason == "too_large"


def test_table_that_rejects_everything_is_doubted(dataset: Dataset) -> None:
    """When each row of a large group is rejected the table is wrong: nothing is dead-lettered."""
    columns = dataset.client.schema_from_json(SCHEMAS / "tweets.json")
    columns.append(bigquery.SchemaField("new", "STRING", "REQUIRED"))
    dataset.client.delete_table(dataset.tweets)
    dataset.client.create_table(bigquery.Table(dataset.tweets, schema=columns))
    warehouse = Warehouse("p", dataset.server.url)
    many = warehouse.insert(dataset.tweets, rows(*range(SUSPICIOUS_ROWS)))
    assert all(isinstance(outcome, PassingError) for outcome in many)
    few = warehouse.insert(dataset.tweets, rows(1, 2))
    assert all(isinstance(outcome, PoisonError) for outcome in few)


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ([], type(None)),
        ([{"reason": "invalid", "message": "Missing required field: id."}], PoisonError),
        ([{"reason": "invalid", "message": "no such field: x."}], PassingError),
        ([{"reason": "stopped"}], PassingError),
        ([{"reason": "timeout"}], PassingError),
        ([{"reason": "stopped"}, {"reason": "invalid", "message": "bad"}], PoisonError),
    ],
)
def test_row_errors_by_reason(errors: list[dict[str, str]], outcome: type) -> None:
    """Only `invalid` is for ever, and not when it is about a column."""
    assert type(_row_outcome(errors)) is outcome
