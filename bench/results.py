"""What a measurement found: spreads of pairs, a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

LATEST = Path(__file__).resolve().parent / "results" / "latest.json"
_PACKAGES = (
    "tweepy", "google-cloud-pubsub", "google-cloud-bigquery", "functions-framework", "grpcio",
    "orjson", "uvicorn", "uvloop", "httptools", "pulumi", "pulumi-gcp", "bqemulator",
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """Median, least and largest of some values, and the values."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """From values in any order, at least one."""
        return cls(statistics.median(values), min(values), max(values), tuple(values))

    @classmethod
    def ratio(cls, ours: Sequence[float], others: Sequence[float]) -> Spread:
        """Of the ratios of pairs: ours[i] was measured right before or after others[i]."""
        return cls.of([mine / other for mine, other in zip(ours, others, strict=True)])

    def text(self, unit: str = "") -> str:
        """Median and range, three digits that count."""
        return f"{digits(self.median)}{unit} ({digits(self.low)}–{digits(self.high)})"


@dataclass
class Section:
    """One measurement: a table and all that was counted.

    Attributes:
        columns: heads of the table.
        rows: cells, as text.
        notes: what a reader must know, a sentence each.
        data: every value, by name.
    """

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """Print it as Markdown, so that it can be pasted."""
        console.print(f"\n### {self.title}\n", highlight=False)
        table = Table(*self.columns, box=box.MARKDOWN)
        for row in self.rows:
            table.add_row(*row)
        console.print(table, highlight=False)
        for note in self.notes:
            console.print(f"- {note}", highlight=False, soft_wrap=True)


def digits(value: float) -> str:
    """Three digits that count: 0.123, 12.3, 1,230."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def about(command: Sequence[str], started: datetime, load: float) -> dict[str, Any]:
    """Where and when it ran; load is the machine's of the minute before it began."""
    cpu = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")
    return {
        "command": " ".join(["python -m bench", *command]),
        "date": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "machine": {
            "cpu": cpu or platform.processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
            "system": f"{platform.system()} {platform.release()}",
            "python": sys.version.split()[0],
            "load_before": round(load, 1),
        },
        "versions": {name: version(name) for name in _PACKAGES},
    }


def write(path: Path, context: dict[str, Any], sections: dict[str, Section]) -> None:
    """Write the JSON; sections that an earlier run left and this one did not measure stay."""
    kept: dict[str, Any] = {}
    if path.exists():
        kept = json.loads(path.read_text()).get("sections", {})
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = {name: {**asdict(section), "about": context} for name, section in sections.items()}
    path.write_text(
        json.dumps({"sections": {**kept, **fresh}}, indent=1, ensure_ascii=False) + "\n"
    )


def console() -> Console:
    """Wide enough for the tables where the output is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 200)
