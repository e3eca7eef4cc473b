"""The page in a real browser: Streamlit as the demo starts it, and a reader of what it shows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from playwright.sync_api import Page

from local.machine.process import free_port

FOLDER = Path(__file__).resolve().parents[2] / "services" / "dashboard"
# Longer than anything takes on an idle machine; a test that waits this long has failed.
PATIENCE_MS = 60_000


@contextmanager
def serve(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run the page's server; yields its address."""
    port = free_port()
    argv = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
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
            _wait(f"http://127.0.0.1:{port}/_stcore/health", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the page did not start:\n{log.read_text()}")


class Reader:
    """Reads the page as a person does."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, url: str) -> None:
        """Open the page and wait until it has been drawn whole."""
        self.page.goto(url)
        self.page.get_by_text("As of", exact=False).wait_for(timeout=PATIENCE_MS)

    def figure(self, label: str) -> str:
        """The headline figure with this label."""
        metric = self.page.get_by_test_id("stMetric").filter(has_text=label)
        return metric.get_by_test_id("stMetricValue").inner_text().strip()

    def wait_figure(self, label: str, value: str) -> None:
        """Wait until a headline figure shows this value."""
        metric = self.page.get_by_test_id("stMetric").filter(has_text=label)
        metric.get_by_test_id("stMetricValue").get_by_text(value, exact=True).wait_for(
            timeout=PATIENCE_MS
        )

    def bars(self, title: str) -> dict[str, int]:
        """Name and number of each bar that a ranking has drawn, top to bottom."""
        marks = self.page.locator(f'[aria-label^="{title}:"] path[aria-label^="posts: "]')
        marks.first.wait_for(timeout=PATIENCE_MS, state="attached")
        found = {}
        for label in marks.evaluate_all("all => all.map(one => one.ariaLabel)"):
            posts, name = label.removeprefix("posts: ").split("; name: ", 1)
            found[name] = int(posts)
        return found

    def timeline(self) -> dict[str, int]:
        """Start and number of each bar of the time line."""
        marks = self.page.locator('[aria-label^="Posts over time:"] path[aria-label*="posts: "]')
        marks.first.wait_for(timeout=PATIENCE_MS, state="attached")
        found = {}
        for label in marks.evaluate_all("all => all.map(one => one.ariaLabel)"):
            fields = dict(field.split(": ", 1) for field in label.split("; "))
            found[fields["from"]] = int(fields["posts"])
        return found
