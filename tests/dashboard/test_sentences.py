"""What the page says when there is nothing to show, by Streamlit's own test runner: no browser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from local.bigquery import BigQueryServer
from tests.dashboard.browser import FOLDER
from tests.dashboard.store import DATASET, Store, post


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page, not yet run, with nothing in its environment and its caches."""
    for name in ("DATASET", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(FOLDER)
    st.cache_data.clear()
    st.cache_resource.clear()
    yield AppTest.from_file(str(FOLDER / "app.py"), default_timeout=60)
    st.cache_data.clear()
    st.cache_resource.clear()


def run(app: AppTest, monkeypatch: pytest.MonkeyPatch, dataset: str, emulator: str) -> None:
    """Run the page on a dataset of a stand-in."""
    monkeypatch.setenv("DATASET", dataset)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", emulator)
    app.run()


def only_error(app: AppTest) -> str:
    """The one sentence of a page that has nothing else to say."""
    assert not app.exception
    [error] = app.error
    assert not app.metric
    return str(error.value)


@pytest.mark.parametrize("dataset", ["", "tweet_data", "p.d`; DROP TABLE x", "p.d.t"])
def test_wrong_dataset_is_one_sentence(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    """The variable, its value, the rule and the fix."""
    run(app, monkeypatch, dataset, "http://127.0.0.1:9")
    said = only_error(app)
    assert f"DATASET is {dataset!r}" in said
    assert "set it, for example DATASET=my-project.tweet_data" in said


def test_unreachable_bigquery_is_one_sentence(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it looked, and that it will look again; not a traceback, not a wait of minutes."""
    run(app, monkeypatch, DATASET, "http://127.0.0.1:9")
    assert "BigQuery cannot be reached at http://127.0.0.1:9" in only_error(app)
    assert "asks again in 2 s" in only_error(app)


def test_missing_tables_are_one_sentence(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer
) -> None:
    """A dataset without tables says how they come to be."""
    run(app, monkeypatch, "local-project.nowhere", server.url)
    assert "The tables of local-project.nowhere are not there yet" in only_error(app)


def test_empty_table_says_why(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer, store: Store
) -> None:
    """No post is a sentence, and the figures are zeros and dashes."""
    run(app, monkeypatch, DATASET, server.url)
    assert [info.value[:27] for info in app.info] == ["No post in the last 15 min."]
    assert [metric.value for metric in app.metric] == ["0", "0", "–", "–", "0", "–"]


def test_longer_time_finds_what_the_default_does_not(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer, store: Store
) -> None:
    """The filter by time changes what is asked; an hour holds the post of half an hour ago."""
    store.posts(post(1, datetime.now(UTC) - timedelta(minutes=30)))
    run(app, monkeypatch, DATASET, server.url)
    assert app.metric[0].value == "0"
    app.button_group[0].set_value("1 hour").run()
    assert app.metric[0].value == "1"


def test_queries_are_shown_with_what_they_bill(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer, store: Store
) -> None:
    """Each query stands on the page with its parameters; on the stand-in the bytes are unknown."""
    run(app, monkeypatch, DATASET, server.url)
    shown = [block.value for block in app.code]
    assert len(shown) == 10
    for text in shown:
        assert "@since" in text.splitlines()[0]
        assert "created_at >= @since AND created_at < @until" in text or "at >= @since" in text
        assert f"`{DATASET}." in text
    assert any("does not count bytes" in caption.value for caption in app.caption)
