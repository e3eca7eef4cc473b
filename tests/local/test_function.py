"""The function from its archive: unpacked, started as the buildpack does, nothing borrowed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from local.machine.errors import StackError
from local.machine.function import Launch, function_launch
from local.machine.process import Process, accepts, free_port, missing_module
from local.machine.watchdog import Watchdog

LOCK = Path(__file__).resolve().parents[2] / "services/sink_function/requirements.txt"
MAIN = "import json\nfrom sink import rows\n\ndef entry(request):\n    return rows.answer()\n"
FILES = {
    "main.py": MAIN,
    "sink/__init__.py": "",
    "sink/rows.py": "import os\n\ndef answer():\n    return repr(dict(os.environ))\n",
    "requirements.txt": LOCK.read_text(),
}
INPUTS: dict[str, Any] = {
    "name": "sink",
    "buildConfig": {"entryPoint": "entry"},
    "serviceConfig": {"environmentVariables": {"TWEETS_TABLE": "p.d.t"}},
}


def archive(tmp_path: Path, **changes: str | None) -> Path:
    """A zip of FILES; a change of None leaves a file out."""
    path = tmp_path / "source.zip"
    names = {name.replace("/", "_").replace(".", "_"): name for name in FILES}
    files = {**FILES, **{names[key]: text for key, text in changes.items()}}
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in files.items():
            if text is not None:
                packed.writestr(name, text)
    return path


def run(tmp_path: Path, prepared: Launch, port: int, watchdog: Watchdog) -> Process:
    """Start the prepared function."""
    function = Process(
        "function",
        prepared.argv,
        env=prepared.env,
        cwd=prepared.cwd,
        log=tmp_path / "function.log",
        watchdog=watchdog,
        ready=lambda _: accepts(port),
    )
    function.start()
    return function


def test_runs_as_declared(tmp_path: Path, watchdog: Watchdog) -> None:
    """The entry point answers with the declared environment and the overrides, nothing else."""
    port = free_port()
    prepared = function_launch(INPUTS, archive(tmp_path), tmp_path / "f", port, {"A_HOST": "x:1"})
    assert prepared.argv == ["functions-framework"]
    assert prepared.env.keys() == {
        *("PATH", "HOME", "LANG", "FUNCTION_TARGET", "PORT", "HOST", "TWEETS_TABLE", "A_HOST")
    }
    function = run(tmp_path, prepared, port, watchdog)
    function.wait_ready(20)
    import requests

    assert "'TWEETS_TABLE': 'p.d.t'" in requests.get(f"http://127.0.0.1:{port}", timeout=5).text
    function.stop()


def test_a_module_left_out_of_the_archive_is_missed(tmp_path: Path, watchdog: Watchdog) -> None:
    """The checkout's own `sink`, installed beside the tests, does not stand in for it."""
    port = free_port()
    packed = archive(tmp_path, sink_rows_py=None)
    prepared = function_launch(INPUTS, packed, tmp_path / "f", port, {})
    function = run(tmp_path, prepared, port, watchdog)
    with pytest.raises(StackError, match=r"the function can't start: module 'sink\.rows' is neit"):
        function.wait_ready(20)


@pytest.mark.parametrize(
    ("changes", "inputs", "words"),
    [
        ({"main_py": None}, {}, r"has no main\.py: it holds requirements\.txt, sink"),
        ({"requirements_txt": None}, {}, r"requirements\.txt can't be read"),
        ({}, {"buildConfig": {}}, "entryPoint is missing"),
        ({}, {"serviceConfig": {"secretVolumes": [{}]}}, "declares secrets"),
    ],
)
def test_what_can_not_be_deployed_is_named(
    tmp_path: Path, changes: dict[str, Any], inputs: dict[str, Any], words: str
) -> None:
    """An archive or a declaration that the cloud's build would refuse is one line."""
    with pytest.raises(StackError, match=words):
        function_launch({**INPUTS, **inputs}, archive(tmp_path, **changes), tmp_path / "f", 1, {})


def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    """A file that is no archive, or no file at all, is named."""
    for path in (tmp_path / "gone.zip", tmp_path / "text.zip"):
        if path.name == "text.zip":
            path.write_text("no archive")
        with pytest.raises(StackError, match=f"source archive {path}"):
            function_launch(INPUTS, path, tmp_path / "f", 1, {})


@pytest.mark.parametrize(
    ("output", "module"),
    [
        ("ModuleNotFoundError: No module named 'orjson'", "orjson"),
        ("ImportError: cannot import name 'rows' from 'sink' (/x/__init__.py)", "sink.rows"),
        ("ValueError: something else", None),
    ],
)
def test_reads_the_missing_module_from_a_traceback(output: str, module: str | None) -> None:
    """Both of Python's messages give the module's full name."""
    assert missing_module(output) == module
