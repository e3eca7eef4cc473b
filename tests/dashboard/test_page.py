"""The page in headless Chromium: its figures beside the SQL, its sentences, its look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from local.demo.stack import LocalStack
from tests.bigquery_server import BigQueryServer
from tests.dashboard import scenes
from tests.dashboard.browser import (
    PATIENCE_MS,
    Reader,
    contact_sheet,
    send,
    serve,
    wait_ready,
)
from tests.dashboard.scenes import MINUTE, SECOND
from tests.dashboard.store import DATASET, Store, event, post

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
DOCS = Path(__file__).resolve().parents[2] / "docs"
UPDATE = bool(os.environ.get("UPDATE_SCREENSHOT"))
SIGHTS: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (390, "dark")]
MORE_SIGHTS: list[tuple[int, Literal["light", "dark"]]] = [(1280, "dark"), (390, "light")]
STATES = {"live": "Live", "paused": "Paused", "down": "Down", "empty": "No posts match"}
NAMES = {"ko": "Korean", "en": "English", "ja": "Japanese", "es": "Spanish"}

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(600),
]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> **bold** $x$ :smile: Tom & Jerry <3"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the pictures of this run are; UPDATE_SCREENSHOT=1 takes them, for docs/."""
    folder = tmp_path_factory.mktemp("pictures")
    yield folder
    if len(list(folder.iterdir())) == len(scenes.SCENES) * 4:
        contact_sheet(folder, DOCS)


@pytest.fixture(scope="module")
def desktop(browser: Browser) -> Iterator[BrowserContext]:
    """A desktop whose clock is nine hours ahead of UTC; its cache spares each page a minute."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, timezone_id="Asia/Seoul", locale="ko-KR"
    )
    yield context
    context.close()


@pytest.fixture
def reader(desktop: BrowserContext) -> Iterator[Reader]:
    """A window of that desktop."""
    yield Reader(desktop.new_page())
    for page in desktop.pages:
        page.close()


@pytest.fixture(scope="module")
def page_url(server: BigQueryServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over the test's tables."""
    log = tmp_path_factory.mktemp("page") / "log"
    with serve({"DATASET": DATASET, "BIGQUERY_EMULATOR_HOST": server.url}, log) as url:
        yield url


def test_figures_are_the_numbers_of_the_sql(store: Store, reader: Reader, page_url: str) -> None:
    """Headline, rankings and time line equal what SQL counts; a rule filters them."""
    scenes.posts(store, scenes.now() - 8 * MINUTE, scenes.now() - 9 * SECOND)
    scenes.history(store)
    reader.open(page_url)
    [(posts, authors)] = [
        tuple(row.values())
        for row in store.rows("SELECT COUNT(*), COUNT(DISTINCT author_id) FROM v.tweets_latest")
    ]
    reader.wait_figure("Posts", f"{posts:,}")
    assert reader.figure("Authors") == f"{authors}"
    assert reader.figure("Dead letters") == "3"
    assert reader.figure("X spend this month") == "$41.16"
    assert reader.figure("Missing") == "50 s"
    for title, name, source in (
        ("Languages", "lang", ""),
        ("Rules matched", "rule", ", UNNEST(rule_tags) AS rule"),
        ("Hashtags", "CONCAT('#', LOWER(tag))", ", UNNEST(hashtags) AS tag"),
        ("Authors", "CONCAT('@', author_username)", ""),
    ):
        counted = store.rows(
            f"SELECT {name} AS name, COUNT(*) AS posts FROM v.tweets_latest{source} GROUP BY 1"
        )
        named = {NAMES.get(row["name"], row["name"]): row["posts"] for row in counted}
        assert reader.ranking(title) == {
            name: (f"{count:,}", f"{count / posts:.0%}") for name, count in named.items()
        }
    bars = store.rows(
        "SELECT FORMAT_DATETIME('%F %T UTC', start) AS start, COUNT(*) AS posts FROM ("
        "SELECT DATETIME_SUB(created_at, INTERVAL MOD(EXTRACT(SECOND FROM created_at), 10) SECOND)"
        " AS start FROM v.tweets_latest) GROUP BY 1"
    )
    assert reader.timeline() == {row["start"]: row["posts"] for row in bars}
    axis = reader.page.locator('[aria-label^="X-axis for a utc scale"]').first
    end = str(axis.get_attribute("aria-label")).rpartition(" to ")[2]
    assert end in {f"{datetime.now(UTC) - n * SECOND:%H:%M:%S}" for n in range(900)}
    marks = reader.page.get_by_label("Gaps and dead letters").inner_text()
    assert "gap, open 50 s" in marks
    assert "gap, filled without reposts 40 s" in marks
    reader.page.get_by_label("Stream rules").click()
    reader.page.get_by_role("option", name="data").click()
    [row] = store.rows(
        "SELECT COUNT(*) AS n FROM v.tweets_latest WHERE 'data' IN UNNEST(rule_tags)"
    )
    reader.wait_figure("Posts", f"{row['n']:,}")


@pytest.mark.parametrize("name", scenes.SCENES)
def test_each_state_looks_right(
    store: Store, reader: Reader, page_url: str, album: Path, name: str
) -> None:
    """The state stands first, and on a phone figures and chart before the choices; nothing scrolls
    sideways; the chart has its words.
    """
    scenes.SCENES[name](store)
    page = reader.page
    reader.open(page_url)
    for width, scheme in SIGHTS + (MORE_SIGHTS if UPDATE else []):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        reader.wait_state(STATES[name])
        page.wait_for_function(
            "width => document.querySelector('[data-testid=stMain]').scrollWidth <= width",
            arg=width,
        )
        tops = [
            page.locator(part).first.evaluate("it => it.getBoundingClientRect().top")
            for part in (".state", ".figures.large", "[data-testid=stVegaLiteChart]",
                         ".st-key-choices")
        ]  # fmt: skip
        assert tops[0] == min(tops)
        if width == 390:
            assert tops == sorted(tops)
        assert page.locator('[aria-label^="Posts over time:"]').count() > 0
        if UPDATE:
            reader.picture(album / f"{name}-{width}-{scheme}.png", width)


def test_choices_last_and_are_in_the_address(store: Store, reader: Reader, page_url: str) -> None:
    """Time and rule stay over refreshes and a new rule's post, and open the same view elsewhere."""
    at = scenes.now()
    store.posts(*(post(n, at - n * SECOND, rule_tags=["a & b"]) for n in range(1, 20)))
    store.posts(post(99, at - 40 * MINUTE, rule_tags=["old"]))
    reader.open(page_url)
    reader.page.get_by_role("radio", name="1 hour").click()
    reader.wait_figure("Posts", "20")
    reader.page.get_by_label("Stream rules").click()
    reader.page.get_by_role("option", name="a & b").click()
    reader.wait_figure("Posts", "19")
    store.posts(post(100, at - SECOND, rule_tags=["brand new"]))
    store.posts(post(101, at - SECOND, rule_tags=["a & b"]))
    reader.wait_figure("Posts", "20")
    reader.page.keyboard.press("Escape")
    address = reader.page.url
    assert "rule=a" in address
    assert "time=1" in address
    sent = Reader(reader.page.context.new_page())
    sent.open(address)
    sent.wait_figure("Posts", "20")
    assert sent.page.get_by_role("radio", name="1 hour").is_checked()
    # ... and one that brings nothing now stays chosen.
    sent.open(f"{page_url}?rule=__proto__&rule={quote('a & b')}")
    sent.wait_figure("Posts", "20")
    for name in ("__proto__", "a & b"):
        sent.page.get_by_test_id("stMultiSelect").get_by_text(name, exact=True).wait_for()


def test_choices_by_keyboard(store: Store, reader: Reader, page_url: str) -> None:
    """The time is reached and changed without a mouse."""
    scenes.empty(store)
    reader.open(page_url)
    chosen = reader.page.get_by_role("radio", name="15 min")
    chosen.focus()
    reader.page.keyboard.press("ArrowRight")
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_url("**time=1*hour*", timeout=PATIENCE_MS)


def test_odd_names_and_long_posts_are_drawn(store: Store, reader: Reader, page_url: str) -> None:
    """__proto__ is a name like any other; a post of 25,000 letters is cut with "more"."""
    at = scenes.now() - 5 * SECOND
    odd = ["__proto__", "constructor", "toString"]
    store.posts(*(post(n, at, hashtags=odd[:n], rule_tags=odd[:n]) for n in (1, 2, 3)))
    store.posts(post(9, at, text="word " * 5_000))
    reader.open(page_url)
    counted = {"__proto__": "3", "constructor": "2", "toString": "1"}
    assert {name: posts for name, (posts, _) in reader.ranking("Rules matched").items()} == {
        **counted, "cats": "1",
    }  # fmt: skip
    assert [posts for posts, _ in reader.ranking("Hashtags").values()] == ["3", "2", "1"]
    long = reader.page.locator(".post").filter(has_text="word word")
    assert long.evaluate("it => it.getBoundingClientRect().height") < 300
    reader.page.get_by_role("button", name="more").click()
    reader.page.get_by_role("button", name="less").wait_for(timeout=PATIENCE_MS)
    grown = "document.querySelector('.post .text').getBoundingClientRect().height > 500"
    reader.page.wait_for_function(grown, timeout=PATIENCE_MS)
    store.posts(post(5, at - SECOND, text="the next refresh"))
    reader.wait_figure("Posts", "5")
    reader.page.get_by_text("the next refresh").wait_for(timeout=PATIENCE_MS)
    reader.page.wait_for_function(grown, timeout=PATIENCE_MS)


def test_text_of_a_stranger_is_text(store: Store, reader: Reader, page_url: str) -> None:
    """HTML, Markdown and formulas are shown as they were written, wherever they come from."""
    at = scenes.now() - 5 * SECOND
    store.posts(post(1, at, text=HOSTILE, rule_tags=[HOSTILE], hashtags=[HOSTILE]))
    gap = event("g", "gap", at, gap_from=at - MINUTE, gap_to=at, reason=HOSTILE)
    store.events(gap, event("d", "dead_letter", at, reason=HOSTILE))
    reader.open(page_url)
    shown = reader.page.get_by_test_id("stMain").inner_text()
    assert shown.count(HOSTILE) >= 3
    assert reader.page.get_by_label("Gaps and dead letters").inner_text().count(HOSTILE) == 2
    assert reader.page.title() == "X stream"


def test_page_of_the_running_demo_tells_each_fault(reader: Reader, tmp_path: Path) -> None:
    """Live; X away, no gap told yet; the sink refusing; BigQuery away, whose last good figures
    stay, greyed and with their age; no post any more; another script's rules; the budget used up.
    """
    line = reader.page.locator(".state")
    budget = {"tweets:postBudget": 8_000}
    with LocalStack(
        rate=10, seed=5, dashboard=True, config=budget, data_dir=tmp_path / "data"
    ) as stack:
        x, bigquery = f"{stack.x_url}/_standin", f"{stack.bigquery_url}/_standin"
        wait_ready(str(stack.dashboard_url))
        reader.open(str(stack.dashboard_url))
        reader.wait_state("Live")
        send(f"{x}/faults", [{"kind": "close"}, {"kind": "http", "status": 503, "count": 99}])
        reader.wait_state("Down")
        assert "the reader tries again" in line.inner_text()
        marks = reader.page.get_by_label("Gaps and dead letters")
        marks.get_by_text("gap, open now").wait_for(timeout=PATIENCE_MS)
        send(f"{x}/faults", None, method="DELETE")
        reader.wait_state("Live")
        send(f"{bigquery}/faults", {"insert_status": 503})
        reader.wait_state("Late")
        send(f"{bigquery}/faults", {})
        reader.wait_state("Live")
        stack.supervisor.hold("bigquery")
        try:
            reader.wait_state("No answer")
            assert "What follows is" in line.inner_text()
            assert reader.figure("Posts") != "0"
            reader.page.wait_for_function(
                "getComputedStyle(document.querySelector('.st-key-figures')).opacity < 1"
            )
        finally:
            stack.supervisor.resume("bigquery")  # the stack's end asks it what is on the way
        reader.wait_state("Live")
        send(f"{x}/settings", {"count": 0, "keep_alive": 1})
        reader.wait_state("No posts match")
        send(f"{x}/settings", {"count": None})
        theirs = {"add": [{"value": "data OR cat OR 고양이", "tag": "theirs"}]}
        send(f"{stack.x_url}/2/tweets/search/stream/rules", theirs)
        reader.wait_state("Foreign rules")
        send(f"{x}/settings", {"rate": 0})
        reader.wait_state("Paused")
        assert "8,000 posts used" in line.inner_text()
