"""The digest by which running code is known: one answer, wherever the code lies and who asks."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.archive import build_archive, stage_context
from infra.build import SOURCE, SOURCE_FILES
from producer import revision as of_reader
from sink import revision as of_sink

READER = Path(__file__).parents[1] / "services" / "producer"
Digest = Callable[[Path], str]
BOTH = pytest.mark.parametrize("digest", [of_reader.code_digest, of_sink.code_digest])


@pytest.mark.parametrize("package", [READER / "producer", SOURCE / "sink"])
def test_reader_and_function_count_alike(package: Path) -> None:
    """Deployed apart, each has its own lines; `tweets doctor` needs one answer from both."""
    answer = of_reader.code_digest(package)
    assert of_sink.code_digest(package) == answer
    assert re.fullmatch(r"[0-9a-f]{12}", answer)


@BOTH
def test_what_is_deployed_has_the_digest_of_the_checkout(digest: Digest, tmp_path: Path) -> None:
    """The function's archive and the image's build context hold what the digest counts, all."""
    with zipfile.ZipFile(build_archive("sink", SOURCE, SOURCE_FILES)) as archive:
        archive.extractall(tmp_path)
    assert digest(tmp_path / "sink") == digest(SOURCE / "sink")
    assert digest(stage_context("producer", READER) / "producer") == digest(READER / "producer")


@BOTH
def test_only_code_changes_the_digest(digest: Digest, tmp_path: Path) -> None:
    """A byte, a name or a file that moves changes it; caches, notes and file times do not."""
    (tmp_path / "schema").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "schema" / "t.json").write_text("[]")
    seen = [digest(tmp_path)]
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.py").write_text("left by an editor")
    (tmp_path / "__pycache__" / "a.cpython-313.pyc").write_bytes(b"cache")
    (tmp_path / "notes.md").write_text("notes")
    (tmp_path / "a.py").touch()
    assert digest(tmp_path) == seen[0]
    (tmp_path / "a.py").write_text("x = 2\n")
    seen.append(digest(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    seen.append(digest(tmp_path))
    (tmp_path / "schema" / "t.json").write_text("[{}]")
    seen.append(digest(tmp_path))
    (tmp_path / "schema" / "t.json").rename(tmp_path / "t.json")
    seen.append(digest(tmp_path))
    assert len(set(seen)) == 5
