"""What the page says when there is nothing to show, by Streamlit's own test runner: no browser."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from requests.utils import get_netrc_auth
from streamlit.testing.v1 import AppTest

import panels
from queries import ListedPost
from tests.bigquery_server import BigQueryServer
from tests.dashboard.browser import FOLDER
from tests.dashboard.store import DATASET, Store, event, post
from warehouse import Settings, ViewReader


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
    assert not figures(app)
    return str(error.value)


def pages(app: AppTest) -> str:
    """All of the page's own HTML, as text."""
    assert not app.exception
    return html.unescape(re.sub(r"<[^>]+>", "|", " ".join(map(body, app.get("html")))))


def figures(app: AppTest) -> dict[str, str]:
    """The headline figures by their labels."""
    found = " ".join(map(body, app.get("html")))
    return dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", found))


def body(element: Any) -> str:
    """The HTML of an element that AppTest does not know closer."""
    return str(element.proto.body)


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
    """Where it looked, as the state of the page; not a traceback, not a wait of minutes."""
    run(app, monkeypatch, DATASET, "http://127.0.0.1:9")
    assert "No answer" in pages(app)
    assert "BigQuery cannot be reached at http://127.0.0.1:9" in pages(app)
    assert not figures(app)


def test_missing_tables_are_one_sentence(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer
) -> None:
    """A dataset without tables says how they come to be."""
    run(app, monkeypatch, "local-project.nowhere", server.url)
    assert "The tables of local-project.nowhere are not there yet" in pages(app)


def test_empty_table_says_why(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer, store: Store
) -> None:
    """No post is a sentence, and the figures are zeros and dashes."""
    run(app, monkeypatch, DATASET, server.url)
    assert [info.value[:27] for info in app.info] == ["No post in the last 15 min."]
    assert figures(app) == {
        "Posts": "0", "Missing": "None", "X spend this month": "–", "In the last minute": "0",
        "Authors": "0", "Post to row": "–", "Dead letters": "0",
    }  # fmt: skip


def test_gap_without_a_begin_is_shown(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer, store: Store
) -> None:
    """A lost store leaves a gap of which only the end is known: it may be all of the window."""
    end = datetime.now(UTC) - timedelta(minutes=5)
    store.events(event("g", "gap", end, gap_to=end, reason="state_damaged"))
    run(app, monkeypatch, DATASET, server.url)
    assert re.fullmatch(r"up to (9 min \d+ s|10 min)", figures(app)["Missing"])
    said = rf"gap, open\| {figures(app)['Missing']}, unknown to {end:%H:%M:%S} \(state damaged\)"
    assert re.search(said, pages(app))


def test_longer_time_finds_what_the_default_does_not(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer, store: Store
) -> None:
    """The filter by time changes what is asked; an hour holds the post of half an hour ago."""
    store.posts(post(1, datetime.now(UTC) - timedelta(minutes=30)))
    run(app, monkeypatch, DATASET, server.url)
    assert figures(app)["Posts"] == "0"
    app.button_group[0].set_value("1 hour").run()
    assert figures(app)["Posts"] == "1"


def test_queries_are_shown_with_what_they_bill(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, server: BigQueryServer, store: Store
) -> None:
    """Each query stands on the page with its parameters, and one bound for all of them."""
    run(app, monkeypatch, DATASET, server.url)
    shown = [block.value for block in app.code]
    assert len(shown) == 8
    for text in shown:
        assert "@since" in text.splitlines()[0]
        assert re.search(
            r"created_at >= @(since|before) AND created_at < @until|at >= @since", text
        )
        assert f"`{DATASET}." in text
    [said] = [caption.value for caption in app.caption if "bills nothing" in caption.value]
    assert "No refresh bills more than 1.00 GB, all its queries together" in said


def test_worst_month_stands_beside_the_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a refresh bills, what a month of it is, and what it can't pass: 43,200 times 1 GiB."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    reader = ViewReader(Settings("p.d", "http://127.0.0.1:9"))
    reader.settings = Settings("p.d", None)
    said = panels.bill_words(80 * 2**20, reader, 60)
    assert "A refresh bills 80.0 MB" in said
    assert "\\$0.00048 on demand" in said
    assert "\\$20.60 a month if it is open day and night" in said
    assert "can't cost more than \\$263.67 a month" in said


@pytest.mark.timeout(60)
def test_spaces_of_a_post_take_linear_time() -> None:
    """A million spaces, 40 minutes when each costs all before it; the rest is behind "more"."""
    post_ = ListedPost(7, datetime(2026, 11, 25, 9), "ann", "en", "a" + " " * 1_000_000 + "b", [])
    shown = panels.post_html(post_, datetime(2026, 11, 26, tzinfo=UTC))
    assert "…" in shown
    assert "25 Nov 09:00" in shown  # not today: the day is told


def test_texts_from_elsewhere_are_escaped() -> None:
    """A tag, a reason, a handle and a post are shown as they were written: & < > and quotes."""
    text = "Tom & Jerry <3 <b onclick='x'> &amp; \n \n $x$ **bold** :smile:"
    post_ = ListedPost(7, datetime(2026, 11, 26), "<i>", '"en', text, ["<u>"])
    shown = panels.post_html(post_, datetime(2026, 11, 26, tzinfo=UTC))
    for part in ("Tom &amp; Jerry &lt;3 &lt;b onclick=&#x27;x&#x27;&gt; &amp;amp;\n$x$ **bold**",
                 "@&lt;i&gt;", "&lt;u&gt;", 'lang="&quot;en"'):  # fmt: skip
        assert part in shown


def test_netrc_never_replaces_google_s_token(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once the page has run, no session of this process takes an entry of ~/.netrc for a token."""
    entries = tmp_path / "netrc"
    entries.write_text("default login somebody password sesame\n")
    monkeypatch.setenv("NETRC", str(entries))
    assert get_netrc_auth("https://bigquery.googleapis.com/")
    run(app, monkeypatch, "", "http://127.0.0.1:9")
    assert get_netrc_auth("https://bigquery.googleapis.com/") is None
