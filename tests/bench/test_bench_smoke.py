"""Each measurement runs, counts what it must, and writes its JSON. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.cost import VOLUMES, run
from bench.posts import KINDS
from bench.prices import X_CAP
from bench.producer import WAYS
from bench.results import Spread
from bench.sink import IN_FLIGHT
from local.x.settings import Settings as XSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a part with --quick; gives its section of the JSON, after a look at the table."""

    def measure(*words: str) -> dict[str, Any]:
        out = tmp_path / "bench.json"
        assert main([*words, "--quick", "--out", str(out)]) == 0, capsys.readouterr().err
        (section,) = json.loads(out.read_text())["sections"].values()
        assert (
            section["about"]["command"] == f"python -m bench {' '.join(words)} --quick --out {out}"
        )
        assert section["about"]["machine"]["cores"] >= 1
        assert section["title"] in capsys.readouterr().out
        assert all(len(row) == len(section["columns"]) for row in section["rows"])
        return dict(section)

    return measure


def test_producer_is_measured_beside_the_seed_and_the_ceiling(measured: Any) -> None:
    """Every way publishes all posts of its run; what a topic that is away costs is measured too."""
    data = measured("producer")["data"]
    assert set(data) >= {*KINDS, "1 KB at 250/s"}
    for kind in (*KINDS, "1 KB at 250/s"):
        assert {len(data[kind][way]) for way in WAYS} == {1}
        assert all(run["rate"] > 0 and run["peak"] > 10 for run in data[kind]["ours"])
    assert all(data["1 KB at 250/s"][way][0]["rate"] < 260 for way in WAYS)
    assert data["away_ours"]["disk_bytes"] > 2_000 * 1_000
    assert data["away_client"]["cpu_us_a_post"] > 0
    assert data["bridged"]["arrived"] >= data["bridged"]["posts"] == 2_000


def test_memory_over_time_is_sampled(measured: Any) -> None:
    """--minutes samples the memory of a producer that reads all the time."""
    data = measured("producer", "--minutes", "0.05")["data"]
    assert data["posts"] > 0
    assert len(data["mb"]) > 5


def test_sink_is_measured_beside_one_insert_a_message(measured: Any) -> None:
    """Both functions answer every message at each number in flight."""
    data = measured("sink")["data"]
    for count in IN_FLIGHT:
        for way in ("ours", "one insert"):
            (run,) = data[str(count)][way]
            assert run["rate"] > 0
            assert run["p99"] >= run["p50"] >= 50
    assert data["500"]["ours"][0]["group"] > 1
    assert data["500"]["one insert"][0]["group"] == 1


def test_end_to_end_loses_nothing(measured: Any) -> None:
    """Windows at both rates end with every post in the table once."""
    data = measured("end-to-end")["data"]
    assert data["posts"] > 0
    assert data["250"]["p99"]
    assert set(data["memory_mb"]) >= {"producer", "function", "x", "pubsub", "bigquery"}


def test_program_is_evaluated_in_processes_of_its_own(measured: Any) -> None:
    """Time and memory of evaluating infra/ are counted."""
    data = measured("program")["data"]
    assert data["resources"] > 10
    assert all(seconds > 0 for seconds, *_ in data["runs"]["evaluate infra/"])


def test_cost_adds_up_and_names_its_sources(measured: Any) -> None:
    """Each total is the sum of its parts, and each price has a source."""
    data = measured("cost")["data"]
    for name, posts in VOLUMES.items():
        row = data[name]
        assert row["x"] == posts * 0.005
        assert row["total"] == pytest.approx(
            row["x"] + row["producer"] + row["pipeline"] + row["storage"]
        )
    assert data["idle"]["pipeline"] == 0 < data["idle"]["dataflow"]
    assert all(price["source"].startswith("https://") for price in data["prices"].values())


def test_another_part_does_not_erase_the_first(tmp_path: Path) -> None:
    """The JSON keeps what an earlier run measured."""
    out = tmp_path / "bench.json"
    out.write_text(json.dumps({"sections": {"sink": {"title": "kept"}}}))
    assert main(["cost", "--out", str(out)]) == 0
    assert set(json.loads(out.read_text())["sections"]) == {"sink", "cost"}


@pytest.mark.parametrize(
    "words",
    [["dataflow"], ["--pairs", "0"], ["sink", "--minutes", "1"], ["producer", "--minutes", "0"]],
)
def test_bad_words_get_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What can't be measured is refused with exit code 2 and the reason."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: ")


def test_ratio_is_of_pairs() -> None:
    """The median is of the pairs' ratios, not the ratio of two medians."""
    spread = Spread.ratio([10, 100, 9], [1, 50, 9])
    assert (spread.median, spread.low, spread.high) == (2, 1, 10)


def test_the_cost_on_paper_is_what_the_page_says() -> None:
    """X's cap stands in the model's notes and in docs/performance.md, and is the stand-in's."""
    words = f"X's pay-per-use plan ends at {X_CAP / 1e6:g} million posts a month"
    assert any(words in note for note in run().notes)
    assert words in (ROOT / "docs/performance.md").read_text("utf-8")
    assert XSettings().usage_cap == X_CAP
