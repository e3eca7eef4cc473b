"""The whole pipeline: every post that X delivers is in the view once, whatever is killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.demo.query import main as query
from local.demo.stack import LocalStack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the program, the services and the stand-ins, to change something in."""
    copy = tmp_path / "checkout"
    for folder in ("infra", "local", "services"):
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "build")
        )
    for file in ROOT.glob("Pulumi*.yaml"):
        shutil.copy(file, copy)
    return copy


def change(file: Path, before: str, after: str) -> None:
    """Replace one passage of a file that must be there."""
    text = file.read_text()
    assert before in text, f"{file.name} no longer has {before!r}"
    file.write_text(text.replace(before, after))


def test_each_post_once_though_the_function_is_killed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2,000 posts none is lost and none doubled by `kill -9` of the function on the way."""
    with LocalStack(rate=400, count=2000) as stack:
        stack.wait_rows(300, timeout=40)
        stack.supervisor.kill("function")
        verdict = stack.wait_verdict(patience=40)
        assert verdict.line() == "2000 posts, 2000 rows, 0 lost, 0 doubled", verdict.details()
        assert stack.processes["function"].starts == 2
        assert stack.processes["producer"].starts == 1
        first = stack.first_row()
        assert first is not None
        figures = stack.figures()
        assert figures.posts >= 2000
        assert figures.distinct == 2000
        assert figures.published >= 2000
        assert figures.dead_letters == 0
        assert figures.read_to_row is None or figures.read_to_row.p99 > 0
        assert all(figures.memory.values())

        environment = {"BIGQUERY_EMULATOR_HOST": stack.bigquery_url}
        assert query(["SELECT COUNT(*) AS posts FROM tweet_data.tweets_latest"], environment) == 0
        assert "2000" in capsys.readouterr().out
        capsys.readouterr()
        assert query(["SELECT nonsense"], environment) == 2
        assert query([" "], environment) == 2
        wrong, empty = capsys.readouterr().err.splitlines()
        assert "nonsense" in wrong
        assert "empty" in empty

        asked: list[str] = []
        monkeypatch.setattr(stack.bigquery, "query", lambda sql: asked.append(sql))
        stack.supervisor.hold("bigquery")
    assert asked == [], "the end of the stack asks a BigQuery that is down"
    assert query(["SELECT 1"], environment) == 2
    assert "is the demo running?" in capsys.readouterr().err
    assert query(["SELECT 1"], {"BIGQUERY_EMULATOR_HOST": "localhost"}) == 2
    assert "not http://HOST:PORT" in capsys.readouterr().err
    assert all(not process.running for process in stack.processes.values())


CHANGED = """
import json
from local.demo.stack import LocalStack
from local.standin import ask
with LocalStack(rate=0, count=50) as stack:
    stack.wait_rows(50, timeout=60)
    topics = [*json.loads(ask(f"{stack.pubsub_control_url}/stats"))["topics"]]
    columns = [f.name for f in stack.bigquery.get_table(stack.tweets_table).schema]
    print(json.dumps({
        "topics": topics, "columns": columns, "table": stack.tweets_table,
        "declared": stack.processes["function"].env.get("DECLARED"),
        "verdict": stack.wait_verdict(30).line(),
    }))
"""


def test_a_change_in_the_program_alone_changes_what_runs(checkout: Path) -> None:
    """Another topic name, column, dataset and variable in `infra/` reach the running stack."""
    change(checkout / "infra" / "topic.py", "name=prefix,", 'name=f"{prefix}-posts",')
    change(
        checkout / "infra" / "sink.py",
        '"FUNCTION_USE_ASGI"',
        '"DECLARED": "x", "FUNCTION_USE_ASGI"',
    )
    change(checkout / "Pulumi.dev.yaml", "tweet_data", "other_data")
    schema = checkout / "services" / "sink_function" / "sink" / "schema" / "tweets.json"
    fields = json.loads(schema.read_text())
    fields.append({"name": "mood", "type": "STRING", "mode": "NULLABLE", "description": "New."})
    schema.write_text(json.dumps(fields))
    done = subprocess.run(
        [sys.executable, "-c", CHANGED], cwd=checkout, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert "projects/local-demo/topics/tweets-dev-posts" in seen["topics"]
    assert "projects/local-demo/topics/tweets-dev" not in seen["topics"]
    assert seen["columns"][-1] == "mood"
    assert seen["table"] == "local-demo.other_data.tweets"
    assert seen["declared"] == "x"
    assert seen["verdict"] == "50 posts, 50 rows, 0 lost, 0 doubled"


def test_a_module_left_out_of_the_archive_is_one_line(checkout: Path) -> None:
    """The demo ends with the module's name, though the checkout and the install have it."""
    (checkout / "services" / "sink_function" / "sink" / "rows.py").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "local.demo", "--count", "10", "--no-dashboard"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("demo: the function can't start: module 'sink.rows' is neither in what")
