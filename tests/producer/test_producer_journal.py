"""The write-ahead journal."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from producer import journal
from producer.journal import EVENT, LINE, Journal, JournalFullError


def _left(path: Path) -> list[bytes]:
    return [entry.data for segment in Journal(path).left for entry in segment.entries()]


def test_entries_outlive_the_process(tmp_path: Path) -> None:
    """What was appended and not published is found again, in order, with kind and time, even when
    the process ended without a word.
    """
    first = Journal(tmp_path)
    first.append(LINE, 17, b"one")
    first.append(EVENT, 18, b"")
    first.append(LINE, 19, "둘\x00".encode())
    # No close(): as after kill -9.
    (segment,) = Journal(tmp_path).left
    entries = list(segment.entries())
    assert [tuple(entry) for entry in entries] == [
        (LINE, 17, b"one"), (EVENT, 18, b""), (LINE, 19, "둘\x00".encode()),
    ]  # fmt: skip


def test_published_entries_are_forgotten(tmp_path: Path) -> None:
    """When all entries are published nothing is found again; while one is not, its segment is."""
    kept = Journal(tmp_path)
    segment = kept.append(LINE, 1, b"one")
    kept.append(LINE, 2, b"two")
    kept.published(segment)
    assert _left(tmp_path) == [b"one", b"two"]
    kept.published(segment)
    assert _left(tmp_path) == []
    kept.append(LINE, 3, b"three")
    assert _left(tmp_path) == [b"three"]


def test_full_segments_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are of bounded size; of those that are all published one is kept, empty."""
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 100)
    kept = Journal(tmp_path)
    segments = [kept.append(LINE, number, b"x" * 40) for number in range(5)]
    kept.append(LINE, 9, b"y" * 1000)  # longer than a segment
    assert len(list(tmp_path.iterdir())) == 6
    for segment in segments:
        kept.published(segment)
    assert len(list(tmp_path.iterdir())) == 2
    assert _left(tmp_path) == [b"y" * 1000]
    kept.append(LINE, 10, b"z")
    assert len(list(tmp_path.iterdir())) == 2
    assert _left(tmp_path) == [b"y" * 1000, b"z"]


def test_an_entry_can_stand_for_two_messages(tmp_path: Path) -> None:
    """A held entry stays until it was told published as often as it is held."""
    kept = Journal(tmp_path)
    segment = kept.append(LINE, 1, b"one")
    kept.hold(segment)
    kept.published(segment)
    assert _left(tmp_path) == [b"one"]
    kept.published(segment)
    assert _left(tmp_path) == []


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a segment append() says so, leaves no file, and works when there is room."""

    def no_room(descriptor: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = Journal(tmp_path)
    with monkeypatch.context() as disk:
        disk.setattr(journal, "_reserve", no_room)
        with pytest.raises(JournalFullError, match="No space left"):
            kept.append(LINE, 1, b"one")
        assert not kept.room()
    assert list(tmp_path.iterdir()) == []
    assert kept.room()
    kept.append(LINE, 1, b"one")
    assert _left(tmp_path) == [b"one"]


def test_close_removes_an_empty_segment(tmp_path: Path) -> None:
    """A clean end with all published leaves no file; one with something left keeps it."""
    kept = Journal(tmp_path)
    kept.published(kept.append(LINE, 1, b"one"))
    kept.close()
    assert list(tmp_path.iterdir()) == []
    kept.append(LINE, 2, b"two")
    kept.close()
    assert _left(tmp_path) == [b"two"]


def test_damaged_files_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    """A file cut short, as after a power loss, gives its whole entries and no error."""
    kept = Journal(tmp_path)
    kept.append(LINE, 1, b"one")
    kept.append(LINE, 2, b"two")
    kept.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[: 13 + 3 + 13 + 1])
    assert _left(tmp_path) == [b"one"]
    path.write_bytes(b"")
    assert _left(tmp_path) == []


def test_confirmed_after_the_close(tmp_path: Path) -> None:
    """What Pub/Sub confirms in the moment of the exit leaves no file to be sent again."""
    kept = Journal(tmp_path)
    segment = kept.append(LINE, 1, b"one")
    kept.close()
    kept.published(segment)
    assert Journal(tmp_path).left == []
