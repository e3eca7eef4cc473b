"""Write-ahead journal: every line is on disk before it is queued, and leaves when it is published.

A segment is a file of fixed size, reserved in full when it is made and mapped into memory. A
line is thus kept by a copy into the page cache, without a system call: the kernel writes it out
when the process is killed, so `kill -9` loses nothing that was read. (There is no fsync: a crash
of the node's kernel or a power cut can lose what was read in the seconds before it.) Because the
space is reserved first, a full disk is an error when a segment is made, never a torn line.

Entry: length of data plus 1 (4 bytes, little endian), kind (1), microseconds when it was read (8),
data. 0 ends a segment. The length is written last: a kill in between leaves no half entry.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SEGMENT_BYTES = 1 << 20
LINE, EVENT = b"L", b"E"

_LENGTH = struct.Struct("<I")
_HEADER = struct.Struct("<IcQ")


class JournalFullError(OSError):
    """No room for another segment: the disk is full or not writable."""


class Entry(NamedTuple):
    """What was read: kind (LINE or EVENT), when in microseconds since 1970, and the bytes."""

    kind: bytes
    at: int
    data: bytes


class Segment:
    """One mapped file. `waiting` counts the entries in it that are not published yet."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.used = 0
        self.waiting = 0
        with path.open("x+b") as file:
            try:
                _reserve(file.fileno(), size)
                self._map: mmap.mmap | None = mmap.mmap(file.fileno(), size)
            except OSError:
                path.unlink()
                raise

    def fits(self, data: bytes) -> bool:
        """Whether there is room for one more entry and the end mark."""
        return self.used + _HEADER.size + len(data) + _LENGTH.size <= self.size

    def append(self, entry: Entry) -> None:
        """Write one entry; the caller has asked fits()."""
        mapped, start = self._mapped(), self.used
        end = start + _HEADER.size + len(entry.data)
        mapped[start + _HEADER.size : end] = entry.data
        _HEADER.pack_into(mapped, start, 0, entry.kind, entry.at)
        _LENGTH.pack_into(mapped, start, len(entry.data) + 1)
        self.used = end
        self.waiting += 1

    def empty(self) -> None:
        """Forget all entries: they are published, and a restart must not send them again."""
        self._mapped()[: self.used] = bytes(self.used)
        self.used = 0

    @property
    def closed(self) -> bool:
        """Whether it can no longer be written to."""
        return self._map is None

    def close(self) -> None:
        """Unmap; the file stays."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            raise ValueError(f"journal segment {self.path} is closed")
        return self._map


class OldSegment:
    """A file that an earlier process left. `waiting` counts entries being sent again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # One for the reading of it, so that it is not removed half-way through.
        self.waiting = 1

    def entries(self) -> Iterator[Entry]:
        """Yield what is in it, oldest first."""
        data = self.path.read_bytes()
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, moment = _HEADER.unpack_from(data, at)
            start = at + _HEADER.size
            at = start + length - 1
            if length == 0 or at > len(data):
                return
            yield Entry(kind, moment, data[start:at])


class Journal:
    """The segments of a directory. Safe to use from several threads.

    Args:
        directory: made where it is missing.

    Raises:
        OSError: the directory cannot be made or read.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._lock = threading.Lock()
        self._current: Segment | None = None
        # An empty one to go on with: making a file costs more than all the lines in it.
        self._spare: Segment | None = None
        found = sorted(directory.glob("*.seg"))
        self.left = [OldSegment(path) for path in found]
        self._number = int(found[-1].stem) if found else 0

    def append(self, kind: bytes, at: int, data: bytes) -> Segment:
        """Keep one entry; return its segment, to be given to published().

        Raises:
            JournalFullError: there is no room on the disk.
        """
        with self._lock:
            segment = self._current
            if segment is None or not segment.fits(data):
                segment = self._next(len(data))
            segment.append(Entry(kind, at, data))
            return segment

    def hold(self, segment: Segment | OldSegment) -> None:
        """Note that one more message comes from an entry, and must be safe before it is."""
        with self._lock:
            segment.waiting += 1

    def room(self) -> bool:
        """Try whether the disk would take another line."""
        with self._lock:
            if self._current is not None and self._current.waiting == 0:
                return True
            try:
                self._next(0)
            except JournalFullError:
                return False
            return True

    def published(self, segment: Segment | OldSegment, count: int = 1) -> None:
        """Note that entries of a segment are safe elsewhere; remove what is no longer needed."""
        with self._lock:
            segment.waiting -= count
            if segment.waiting == 0:
                if segment is self._current:
                    self._current.empty()
                else:
                    self._retire(segment)

    def set_aside(self, name: str, data: bytes) -> Path:
        """Keep for a person what no topic takes; return the file. It is not sent again.

        Raises:
            OSError: there is no room on the disk.
        """
        path = self._directory / f"rejected-{name}"
        path.write_bytes(data)
        return path

    def close(self) -> None:
        """Let go of the files; one that holds nothing unpublished is removed."""
        with self._lock:
            if self._spare is not None:
                self._remove(self._spare)
                self._spare = None
            if (segment := self._current) is not None:
                self._current = None
                if segment.waiting == 0:
                    self._remove(segment)
                else:
                    segment.close()

    def _next(self, length: int) -> Segment:
        size = max(SEGMENT_BYTES, _HEADER.size + length + _LENGTH.size)
        path = self._directory / f"{self._number + 1:012d}.seg"
        try:
            if self._spare is not None and size == SEGMENT_BYTES:
                segment, self._spare = self._spare, None
                segment.path = segment.path.rename(path)
            else:
                segment = Segment(path, size)
        except OSError as error:
            raise JournalFullError(error.errno, error.strerror, str(self._directory)) from error
        self._number += 1
        if (last := self._current) is not None and last.waiting == 0:
            self._retire(last)
        self._current = segment
        return segment

    def _retire(self, segment: Segment | OldSegment) -> None:
        # Closed: Pub/Sub confirmed in the very moment of the exit; the file must go all the same.
        if (
            isinstance(segment, Segment)
            and not segment.closed
            and self._spare is None
            and segment.size == SEGMENT_BYTES
        ):
            segment.empty()
            self._spare = segment
        else:
            self._remove(segment)

    def _remove(self, segment: Segment | OldSegment) -> None:
        if isinstance(segment, Segment):
            segment.close()
        # A file that stays is sent again after a restart: doubled, not lost.
        with contextlib.suppress(OSError):
            segment.path.unlink()


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    # macOS: written zeros take their blocks as well.
    written = 0
    while written < size:
        written += os.write(descriptor, bytes(size - written))
