"""The function's source archive: the same bytes for the same content, and complete."""

import os
import shutil
import zipfile
from pathlib import Path

import pulumi
import pytest

from infra import archive
from infra.archive import build_archive, stage_context
from infra.build import SOURCE, SOURCE_FILES
from local.engine.program import Program


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service's folder, and a build folder of its own."""
    monkeypatch.setattr(archive, "BUILD", tmp_path / "build")
    folder = tmp_path / "service"
    (folder / "pkg").mkdir(parents=True)
    (folder / "main.py").write_text("import pkg\n", "utf-8")
    (folder / "pkg" / "b.py").write_text("B = 1\n", "utf-8")
    (folder / "pkg" / "a.py").write_text("A = 1\n", "utf-8")
    return folder


LISTED = ("main.py", "pkg/**/*.py")


def test_same_content_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    """A copy made later, with other times, modes and caches around, gives the same archive."""
    first = build_archive("demo", source, LISTED)
    copy = tmp_path / "elsewhere"
    shutil.copytree(source, copy)
    for path in copy.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o755)
    (copy / "pkg" / "__pycache__").mkdir()
    (copy / "pkg" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"cache")
    (copy / "notes.txt").write_text("not listed", "utf-8")
    second = build_archive("demo", copy, LISTED)
    assert second == first
    assert first.read_bytes() == second.read_bytes()


def test_no_compressor_has_a_say(source: Path) -> None:
    """Two machines' zlibs make other bytes of one file, so each would build the function anew."""
    with zipfile.ZipFile(build_archive("demo", source, LISTED)) as archive:
        kinds = {entry.compress_type for entry in archive.infolist()}
    assert kinds == {zipfile.ZIP_STORED}


def test_one_byte_makes_another_archive(source: Path) -> None:
    """A change of one byte changes the digest in the name, so the function is deployed again."""
    first = build_archive("demo", source, LISTED)
    (source / "pkg" / "a.py").write_text("A = 2\n", "utf-8")
    assert build_archive("demo", source, LISTED).name != first.name


def test_renamed_file_makes_another_archive(source: Path) -> None:
    """Names count as content."""
    first = build_archive("demo", source, LISTED)
    (source / "pkg" / "a.py").rename(source / "pkg" / "c.py")
    assert build_archive("demo", source, LISTED).name != first.name


def test_missing_file_stops_the_program(source: Path) -> None:
    """A listed file that is not there is an error that names it, not a smaller archive."""
    (source / "main.py").unlink()
    with pytest.raises(pulumi.RunError, match=r"nothing matches 'main\.py'"):
        build_archive("demo", source, LISTED)


def test_archive_lies_outside_the_source(source: Path) -> None:
    """Building does not touch the folder that is archived."""
    before = sorted(source.rglob("*"))
    built = build_archive("demo", source, LISTED)
    assert sorted(source.rglob("*")) == before
    assert not built.is_relative_to(source)


@pytest.fixture
def context(source: Path) -> Path:
    """What an image is built from, with things around that it must not hold."""
    (source / "Dockerfile").write_text("FROM scratch\n", "utf-8")
    (source / ".dockerignore").write_text("# all but\n*\n!pkg\n!main.py\n", "utf-8")
    (source / "key.json").write_text("secret", "utf-8")
    (source / "pkg" / "__pycache__").mkdir()
    (source / "pkg" / "__pycache__" / "a.pyc").write_bytes(b"cache")
    return source


def test_context_is_the_same_under_any_umask(context: Path, tmp_path: Path) -> None:
    """What a laptop (umask 002) and CI (022) check out is staged alike, under one name."""
    first = stage_context("demo", context)
    shutil.rmtree(first)
    for path in context.rglob("*"):
        path.chmod(0o775 if path.is_dir() else 0o664)
    before = os.umask(0o002)
    try:
        second = stage_context("demo", context)
    finally:
        os.umask(before)
    assert second == first
    modes = {path.relative_to(second).as_posix(): path.stat().st_mode for path in second.rglob("*")}
    assert {name: oct(mode & 0o777) for name, mode in modes.items()} == {
        "Dockerfile": "0o644",
        ".dockerignore": "0o644",
        "main.py": "0o644",
        "pkg": "0o755",
        "pkg/a.py": "0o644",
        "pkg/b.py": "0o644",
    }
    assert second.stat().st_mode & 0o777 == 0o755


def test_changed_file_makes_another_context(context: Path) -> None:
    """One byte, or a new file, makes another folder, so the image is built again."""
    first = stage_context("demo", context)
    (context / "pkg" / "a.py").write_text("A = 2\n", "utf-8")
    second = stage_context("demo", context)
    (context / "pkg" / "c.py").write_text("", "utf-8")
    assert len({first, second, stage_context("demo", context)}) == 3
    assert (first / "pkg" / "a.py").read_text("utf-8") == "A = 1\n"


def test_missing_part_of_a_context_stops_the_program(context: Path) -> None:
    """A line of .dockerignore that lets nothing in is an error that names it."""
    (context / "main.py").unlink()
    with pytest.raises(pulumi.RunError, match=r"nothing matches 'main\.py'"):
        stage_context("demo", context)


def test_function_gets_every_module_of_the_sink(dev: Program) -> None:
    """The declared archive holds the entry point, the package, the schemas and the pins."""
    declared = dev.one("storage/bucketObject:BucketObject")
    with zipfile.ZipFile(declared.inputs["source"]) as zipped:
        names = set(zipped.namelist())
        assert zipped.testzip() is None
    expected = {
        path.relative_to(SOURCE).as_posix()
        for pattern in SOURCE_FILES
        for path in SOURCE.glob(pattern)
    }
    assert names == expected
    assert {"main.py", "requirements.txt", "sink/__init__.py"} <= names
    assert {"sink/schema/tweets.json", "sink/schema/stream_events.json"} <= names
    function = dev.one("cloudfunctionsv2/function:Function").inputs["buildConfig"]
    assert function["source"]["storageSource"]["object"] == declared.inputs["name"]
    assert function["entryPoint"] == "sink"
