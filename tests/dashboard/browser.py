"""The page in a real browser: Streamlit as the demo starts it, and a reader of what it shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError

from PIL import Image
from playwright.sync_api import Locator, Page

from local.machine.process import free_port

FOLDER = Path(__file__).resolve().parents[2] / "services" / "dashboard"
# Longer than anything takes on an idle machine; a test that waits this long has failed.
PATIENCE_MS = 60_000


@contextmanager
def serve(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run the page's server; yields its address."""
    port = free_port()
    argv = [sys.executable, "serve.py", f"--server.port={port}"]
    env = {key: value for key, value in os.environ.items() if key != "DATASET"}
    with log.open("w") as output:
        server = subprocess.Popen(
            [*argv, "--server.address=127.0.0.1", "--server.fileWatcherType=none"],
            cwd=FOLDER,
            env={**env, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_ready(f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


def wait_ready(url: str, log: Path | None = None) -> None:
    """Wait until the page's server answers."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the page did not start:\n{log.read_text() if log else url}")


def send(url: str, content: object, method: str = "POST") -> None:
    """Send JSON to a stand-in."""
    head = {"Authorization": "Bearer another-script"}
    request = urllib.request.Request(url, json.dumps(content).encode(), head, method=method)
    with urllib.request.urlopen(request, timeout=5):
        pass


def contact_sheet(pictures: Path, folder: Path) -> None:
    """Put the pictures of all states side by side, and keep the live desktop's for the README."""
    shutil.copy(pictures / "live-1280-light.png", folder / "dashboard.png")
    sheet = Image.new("RGB", (2610, 1690), "#9ca3af")
    for column, name in enumerate(("live", "paused", "down", "empty")):
        for width, scheme, x, y, size, height in (
            (1280, "light", 0, 0, 640, 500), (1280, "dark", 0, 510, 640, 500),
            (390, "light", 0, 1020, 315, 660), (390, "dark", 325, 1020, 315, 660),
        ):  # fmt: skip
            image = Image.open(pictures / f"{name}-{width}-{scheme}.png")
            sheet.paste(_cut(image, size, height), (10 + column * 650 + x, 10 + y))
    sheet.resize((1740, 1127)).save(folder / "dashboard-states.png", optimize=True)


def _cut(image: Image.Image, width: int, height: int) -> Image.Image:
    smaller = image.convert("RGB").resize((width, round(image.height * width / image.width)))
    return smaller.crop((0, 0, width, min(height, smaller.height)))


class Reader:
    """Reads the page as a person does."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, url: str) -> None:
        """Open the page and wait until it has been drawn whole, with figures asked since."""
        opened = f"Figures as of {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        self.page.goto(url)
        self.page.wait_for_function(
            "opened => [...document.querySelectorAll('[data-testid=stCaptionContainer]')].some("
            "one => one.innerText.startsWith('Figures') && one.innerText >= opened)",
            arg=opened,
            timeout=PATIENCE_MS,
        )

    def wait_state(self, word: str) -> None:
        """Wait until the state line begins with this word."""
        line = self.page.locator(".state strong")
        line.get_by_text(word, exact=True).wait_for(timeout=PATIENCE_MS)

    def _figure(self, label: str) -> Locator:
        term = self.page.locator(".figures dt").get_by_text(label, exact=True)
        return term.locator("xpath=following-sibling::dd[1]")

    def figure(self, label: str) -> str:
        """The headline figure with this label."""
        return self._figure(label).inner_text().strip()

    def wait_figure(self, label: str, value: str) -> None:
        """Wait until a headline figure shows this value."""
        self._figure(label).get_by_text(value, exact=True).wait_for(timeout=PATIENCE_MS)

    def ranking(self, title: str) -> dict[str, tuple[str, str]]:
        """Name, number and share of each row of a ranking, top to bottom."""
        table = self.page.get_by_role("table", name=title)
        table.first.wait_for(timeout=PATIENCE_MS)
        rows = table.locator("tbody tr").evaluate_all(
            "all => all.map(one => [...one.children].map(cell => cell.textContent))"
        )
        return {name: (posts, share) for name, _, posts, share in rows}

    def picture(self, path: Path, width: int) -> None:
        """A picture of the whole page."""
        main = self.page.get_by_test_id("stMain")
        height = main.evaluate("it => it.scrollHeight")
        self.page.set_viewport_size({"width": width, "height": min(height, 3600)})
        self.page.wait_for_timeout(1500)  # the charts are drawn anew
        self.page.screenshot(path=path)

    def timeline(self) -> dict[str, int]:
        """Start and number of each bar of the time line."""
        marks = self.page.locator('[aria-label^="Posts over time:"] path[aria-label*="posts: "]')
        marks.first.wait_for(timeout=PATIENCE_MS, state="attached")
        found = {}
        for label in marks.evaluate_all("all => all.map(one => one.ariaLabel)"):
            fields = dict(field.split(": ", 1) for field in label.split("; "))
            found[fields["from"]] = int(fields["posts"])
        return found
