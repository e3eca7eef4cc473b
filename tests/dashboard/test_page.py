"""The page in headless Chromium: its figures beside the SQL, its sentences, its look."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from local.bigquery import BigQueryServer
from local.demo.stack import LocalStack
from tests.dashboard.browser import PATIENCE_MS, Reader, serve
from tests.dashboard.store import DATASET, Store, event, post

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SCREENSHOT = Path(__file__).resolve().parents[2] / "docs" / "dashboard.png"

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(240),
]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> **bold** $x$ :smile:"
TEXTS = (
    ("ko", "오늘 데이터 파이프라인이 드디어 돌아간다 🎉 #데이터엔지니어링", "데이터엔지니어링"),
    ("ko", "비 오는 날엔 고양이 사진 ☔️🐱 #고양이", "고양이"),
    ("en", "Streaming posts into BigQuery, one row at a time 🚀 #BigQuery", "BigQuery"),
    ("en", "My cat has learned to open doors 🐈 #cats", "cats"),
    ("ja", "猫が窓辺で寝ている 😴 #猫", "猫"),
    ("es", "El gato duerme al sol ☀️ #gatos", "gatos"),
)
AUTHORS = ("dahye", "minsu", "ben", "cara", "neko", "luz", "omar", "ines")


def fill(store: Store) -> None:
    """Thirteen minutes of synthetic posts that end now, a gap, dead letters, a month's usage."""
    now = datetime.now(UTC).replace(microsecond=0)
    rows = []
    for number in range(1, 1201):
        share = number / 1200
        at = now - timedelta(seconds=780 * (1 - share) + 8 * math.sin(share * 40) + 9)
        if 300 < (now - at).total_seconds() < 350:
            continue
        kind = (number * number + number // 7) % 11 % len(TEXTS)
        lang, text, hashtag = TEXTS[kind]
        rows.append(
            post(
                number,
                at,
                lang=lang,
                text=text,
                hashtags=[hashtag],
                author_id=number * 7 % 19 % 8,
                author_username=AUTHORS[number * 7 % 19 % 8],
                rule_tags=["data"] if kind in (0, 2) else ["cats"],
                inserted_at=f"{at + timedelta(milliseconds=180 + number * 37 % 140):%FT%T.%f}Z",
            )
        )
    store.posts(*rows)
    start = now - timedelta(seconds=350)
    store.events(
        event("g", "gap", now - timedelta(seconds=300), gap_from=start,
              gap_to=now - timedelta(seconds=300), reason="disconnected"),
        *(event(f"d{n}", "dead_letter", now - timedelta(seconds=600 + n), reason="malformed_line")
          for n in range(3)),
        event("u", "usage", now, posts_used=8231, post_budget=10000),
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def reader(browser: Browser) -> Iterator[Reader]:
    """A desktop window whose clock is nine hours ahead of UTC."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, timezone_id="Asia/Seoul", locale="ko-KR"
    )
    yield Reader(context.new_page())
    context.close()


@pytest.fixture(scope="module")
def page_url(server: BigQueryServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over the test's tables."""
    log = tmp_path_factory.mktemp("page") / "log"
    with serve({"DATASET": DATASET, "BIGQUERY_EMULATOR_HOST": server.url}, log) as url:
        yield url


def test_figures_are_the_numbers_of_the_sql(
    store: Store, reader: Reader, page_url: str, tmp_path: Path
) -> None:
    """Headline, bars and time line equal what SQL counts; a rule filters them; it looks right."""
    fill(store)
    reader.open(page_url)
    [(posts, authors)] = [
        tuple(row.values())
        for row in store.rows("SELECT COUNT(*), COUNT(DISTINCT author_id) FROM v.tweets_latest")
    ]
    reader.wait_figure("Posts", f"{posts:,}")
    assert reader.figure("Authors") == f"{authors}"
    assert reader.figure("Dead letters") == "3"
    assert reader.figure("X spend, month") == "$41.16"
    for title, name, source in (
        ("Languages", "lang", ""),
        ("Rules matched", "rule", ", UNNEST(rule_tags) AS rule"),
        ("Hashtags", "CONCAT('#', LOWER(tag))", ", UNNEST(hashtags) AS tag"),
        ("Authors", "CONCAT('@', author_username)", ""),
    ):
        counted = store.rows(
            f"SELECT {name} AS name, COUNT(*) AS posts FROM v.tweets_latest{source} GROUP BY 1"
        )
        assert reader.bars(title) == {row["name"]: row["posts"] for row in counted}
    bars = store.rows(
        "SELECT FORMAT_DATETIME('%F %T UTC', start) AS start, COUNT(*) AS posts FROM ("
        "SELECT DATETIME_SUB(created_at, INTERVAL MOD(EXTRACT(SECOND FROM created_at), 10) SECOND)"
        " AS start FROM v.tweets_latest) GROUP BY 1"
    )
    assert reader.timeline() == {row["start"]: row["posts"] for row in bars}
    axis = reader.page.locator('[aria-label^="X-axis for a utc scale"]').first
    assert f"{datetime.now(UTC):%H:}" in str(axis.get_attribute("aria-label"))
    assert reader.page.get_by_text("1 gap without the stream, 50 s in all").is_visible()
    assert reader.page.get_by_text(TEXTS[0][1]).or_(reader.page.get_by_text(TEXTS[1][1])).count()

    look(reader, tmp_path)

    reader.page.get_by_label("Stream rules").click()
    reader.page.get_by_role("option", name="data").click()
    [row] = store.rows(
        "SELECT COUNT(*) AS n FROM v.tweets_latest WHERE 'data' IN UNNEST(rule_tags)"
    )
    reader.wait_figure("Posts", f"{row['n']:,}")


def look(reader: Reader, folder: Path) -> None:
    """Pictures at desktop and phone width; UPDATE_SCREENSHOT=1 renews the README's."""
    page = reader.page
    for name, width in (("phone", 390), ("desktop", 1280)):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(1500)
        main = page.get_by_test_id("stMain")
        assert main.evaluate("it => it.scrollWidth") <= width  # nothing to scroll sideways
        height = main.evaluate("it => it.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(height, 3600)})
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / f"{name}.png")
    if os.environ.get("UPDATE_SCREENSHOT"):
        for name in ("phone", "desktop"):
            shutil.copy(folder / f"{name}.png", f"/tmp/{name}.png")
        shutil.copy(folder / "desktop.png", SCREENSHOT)


def test_text_of_a_stranger_is_text(store: Store, reader: Reader, page_url: str) -> None:
    """HTML, Markdown and formulas in a post are shown as they were written, and do nothing."""
    store.posts(post(1, datetime.now(UTC) - timedelta(seconds=5), text=HOSTILE))
    reader.open(page_url)
    reader.page.get_by_text(HOSTILE, exact=True).wait_for(timeout=PATIENCE_MS)
    assert reader.page.title() == "X stream"


def test_page_of_the_running_demo(reader: Reader) -> None:
    """The demo's own page ends at the number of rows that SQL finds in the demo's view."""
    with LocalStack(rate=40, count=120, seed=5, dashboard=True) as stack:
        stack.wait_verdict(patience=30)
        [row] = stack.bigquery.query(
            f"SELECT COUNT(*) AS posts FROM `{stack.dataset}.tweets_latest`"
        ).result()
        assert row.posts == 120
        reader.open(str(stack.dashboard_url))
        reader.wait_figure("Posts", "120")
