"""What an insert's answer means for each row, against the strict BigQuery stand-in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sink.faults import PassingError, PoisonError
from sink.push import PushedMessage
from sink.rows import Row, TableSchema
from sink.warehouse import Inserter, _outcome
from tests.sink.deployed import SCHEMAS, Dataset, post


@pytest.fixture
def schema(dataset: Dataset) -> TableSchema:
    """The table of the test."""
    return TableSchema(SCHEMAS / "tweets.json", dataset.tweets)


@pytest.fixture
def inserter(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Inserter:
    """The sink's client; it takes the address from the environment."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", dataset.server.url)
    return Inserter("p", dataset.server.url)


def rows(*numbers: int, **changes: object) -> list[Row]:
    """Rows for posts with these ids."""
    schema = TableSchema(SCHEMAS / "tweets.json", "p.d.t")
    return [
        schema.row(PushedMessage("m", json.dumps(post(n, **changes)).encode())) for n in numbers
    ]


def test_bad_row_fails_alone(dataset: Dataset, schema: TableSchema, inserter: Inserter) -> None:
    """The others of its group are written, and only the bad one is refused."""
    dataset.server.faults(reject_ids=[3])
    outcomes = inserter.insert(schema, rows(1, 2, 3, 4))
    assert [outcome is None for outcome in outcomes] == [True, True, False, True]
    assert isinstance(outcomes[2], PoisonError)
    assert dataset.count() == 3


def test_request_too_large_is_split(
    dataset: Dataset, schema: TableSchema, inserter: Inserter
) -> None:
    """A group that BigQuery finds too large is halved until each part fits."""
    assert inserter.insert(schema, rows(1, 2, 3, 4, text="x" * 4_000_000)) == [None] * 4
    assert dataset.count() == 4


def test_row_too_large_is_found(schema: TableSchema, inserter: Inserter) -> None:
    """The one row that is too large alone is dead-lettered, its neighbours are written."""
    group = rows(1, 2, 3)
    group[1].values["text"] = "x" * 11_000_000
    outcomes = inserter.insert(schema, group)
    assert (outcomes[0], outcomes[2]) == (None, None)
    assert isinstance(outcomes[1], PoisonError)
    assert outcomes[1].reason == "too_large"


class Recorder(BaseHTTPRequestHandler):
    """Takes each insert and notes what was asked for."""

    asked: list[tuple[str, str]]
    rows: list[object]

    def do_POST(self) -> None:
        """Note the request, and the rows in it."""
        self.asked.append((self.command, self.path.partition("?")[0]))
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.rows += [row["json"] for row in sent["rows"]]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST  # noqa: N815 - the base class's name

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorder]]:
    """A server that takes what the client sends, and its notes."""
    Recorder.asked, Recorder.rows = [], []
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        yield Recorder
        server.shutdown()


def test_client_asks_for_nothing_but_the_insert(recorder: type[Recorder]) -> None:
    """One POST an insert: the client reads neither table nor dataset, so needs no right to."""
    schema = TableSchema(SCHEMAS / "tweets.json", "p.d.tweets")
    inserter = Inserter("p", "http://standin")
    for _ in range(3):
        assert inserter.insert(schema, rows(1, 2)) == [None, None]
    path = "/bigquery/v2/projects/p/datasets/d/tables/tweets/insertAll"
    assert recorder.asked == [("POST", path)] * 3


def test_integers_leave_as_strings(recorder: type[Recorder]) -> None:
    """BigQuery asks for 64-bit integers as strings: in records and lists too."""
    schema = TableSchema(SCHEMAS / "tweets.json", "p.d.tweets")
    Inserter("p", "http://standin").insert(schema, rows(2**62 + 1, edit_history_ids=[2**62, 5]))
    [sent] = recorder.rows
    assert isinstance(sent, dict)
    assert (sent["id"], sent["author_id"]) == (str(2**62 + 1), "5")
    assert sent["edit_history_ids"] == [str(2**62), "5"]
    assert sent["referenced_posts"] == [{"type": "quoted", "id": "7"}]
    assert sent["public_metrics"] == {"likes": "1", "reposts": "0"}
    assert sent["possibly_sensitive"] is False


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ([], type(None)),
        ([{"reason": "invalid", "message": "Missing required field: id."}], PoisonError),
        ([{"reason": "invalid", "message": "no such field: x."}], PassingError),
        ([{"reason": "stopped"}], PassingError),
        ([{"reason": "timeout"}], PassingError),
        ([{"reason": "stopped"}, {"reason": "invalid", "message": "bad"}], PoisonError),
        (
            [
                {"reason": "invalid", "message": "no such field: x.", "location": "x"},
                {"reason": "invalid", "message": "bad", "location": "id"},
            ],
            PoisonError,
        ),
    ],
)
def test_row_errors_by_reason(errors: list[dict[str, str]], outcome: type) -> None:
    """Only `invalid` is for ever, and not when it is about a column that the table lacks."""
    schema = TableSchema(SCHEMAS / "tweets.json", "p.d.tweets")
    assert type(_outcome(schema, errors)) is outcome
