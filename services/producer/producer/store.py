"""What must outlive the process, in one SQLite file: messages to publish, and the reader's state.

STATE_DIR/reader.sqlite3 is in WAL mode with synchronous=NORMAL: a commit is a write into the page
cache, so `kill -9` loses nothing that was committed. A crash of the node can lose the last commits,
always all from some moment on; a chunk's posts and the coverage that they prove are one commit, so
the state never says more than the messages hold. https://sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from producer import database
from producer.database import DELETE, SET_ASIDE, UNREADABLE, Held
from producer.log import OncePerMinute
from producer.messages import LETTERS, POSTS, Entry
from producer.recovery import Damage, StateError, open_sound, replace

log = logging.getLogger(__name__)

FILE = "reader.sqlite3"
# Beyond this many waiting messages new ones are packed: half an hour at X's cap then fits the
# volume, and the usual post costs no time for it (measured: 28 us, to 0.45 of the size).
PACK_FROM = 2_000
# What is held in memory at most while the disk takes nothing.
MEMORY_BYTES = 16_000_000
# Left free on the volume: the WAL, and what X still sends when we leave.
RESERVE_BYTES = 64_000_000
RETRY_SECONDS = 0.5
# While a damaged file can't be replaced: each try looks through it.
REPLACE_SECONDS = 10.0
ROOM_SECONDS = 0.2

# The disk's fault, which may pass; another error of SQLite's is damage.
_DISK = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
}  # fmt: skip

_Value = TypeVar("_Value")


@dataclass
class _Pending:
    """What the next transaction writes; more than one change gathers only while the disk fails."""

    rows: list[Held] = field(default_factory=list)
    bytes: int = 0
    states: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    deletes: list[tuple[int, int, int]] = field(default_factory=list)


class Store:
    """The file of a STATE_DIR, which one process holds at a time. Safe to use from any thread.

    Attributes:
        fresh: whether no reader has used this directory before.
        held: messages not published yet, by topic, on disk or in memory.
        failing: whether the disk did not take the last change.

    Args:
        directory: made where it is missing.

    Raises:
        StateError: not writable, or held by another process.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self.held = [0, 0]
        self._next = 1
        # The latest moment of what is held, and by how much a later message may be older than it.
        self._latest = self._disorder = 0
        self._lock = threading.RLock()
        self._once = OncePerMinute(log)
        self._pending = _Pending()
        self.failing = False
        self._closed = False
        # Whether the file is damaged and the disk takes no new one: nothing can be read either.
        self._lost = False
        # Since when reads fail, by the monotonic clock; 0 where they do not.
        self._unread = 0.0
        self._again_at = 0.0
        self._room, self._room_until = 0, 0.0
        self._damage: Damage | None = None
        lock = directory / "lock"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self.fresh = not lock.exists()
            self._owned = lock.open("a")
            lock.touch()
        except OSError as error:
            raise StateError(
                f"STATE_DIR ({directory}) is not writable: {error.strerror or error}. Give a "
                "directory that this user may write to and that outlives the process."
            ) from None
        try:
            fcntl.flock(self._owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._owned.close()
            raise StateError(
                f"STATE_DIR ({directory}) is in use by another producer: X allows one connection. "
                "Stop it, or give this one a directory of its own."
            ) from None
        try:
            self._use(*open_sound(self.path))
        except UNREADABLE as error:
            self._owned.close()
            raise StateError(f"{self.path} cannot be read: {error}. Start again.") from None
        except BaseException:
            self._owned.close()
            raise

    def append(
        self, entries: Sequence[Entry] = (), states: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Keep messages and values in one transaction; in memory while the disk takes nothing.
        After close() neither is kept: what was covered stays the older moment.
        """
        with self._lock:
            if self._closed:
                return
            pending = self._pending
            for topic, message, made_at in entries:
                if not any(self.held):
                    self._latest = self._disorder = 0
                self._spans(made_at)
                pending.rows.append(Held(self._next, topic, message, made_at))
                pending.bytes += len(message.data)
                self._next += 1
                self.held[topic] += 1
            pending.states.update(states or {})
            self.flush()

    def read(self, name: str, check: Callable[[dict[str, Any]], _Value]) -> _Value | None:
        """Return check() of what was kept under a name; None where nothing usable is.

        check() raises KeyError, TypeError or ValueError for what can't be right: it is told, set
        aside in the file, and then unknown.
        """
        with self._lock:
            row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            try:
                return check(orjson.loads(row[0]))
            except (KeyError, TypeError, ValueError) as error:
                shown = row[0][:300].decode("utf-8", "replace")
                words = f"{self.path}: its {name} cannot be right ({error!r}): {shown}"
                log.error("%s", words)  # noqa: TRY400 - a line for a person, not a fault
                self.set_aside(f"state {name}", row[0])
                return None

    def oldest(self, topic: int, after: int, count: int, size: int) -> list[Held]:
        """Return the oldest messages of a topic beyond a seq: at most `count`, and of no more than
        `size` bytes of data, unless the first alone has more. While the disk cannot be read those
        before, or none: what is in memory comes after what is there.
        """
        with self._lock:
            found: list[Held] = []
            if self._lost or self._closed:
                return found
            try:
                for held in database.rows(self._db, topic, after, count):
                    size -= len(held.message.data)
                    if found and size < 0:
                        return found
                    found.append(held)
            except UNREADABLE as error:
                # A disk that does not give a page for so long never will: the others are saved.
                self._unread = self._unread or time.monotonic()
                bad = database.bad_sector(error)
                if not self._disk_failed(
                    error, for_good=bad and time.monotonic() - self._unread > REPLACE_SECONDS
                ):
                    return self.oldest(topic, after, count, size)
                return found
            self._unread = 0.0
            after = found[-1].seq if found else after
            for held in self._pending.rows:
                if held.topic == topic and held.seq > after:
                    size -= len(held.message.data)
                    if found and (size < 0 or len(found) == count):
                        break
                    found.append(held)
            return found

    def published(self, batch: Sequence[Held]) -> None:
        """Forget what oldest() gave in one go: it is safe elsewhere."""
        with self._lock:
            first, last = batch[0], batch[-1]
            pending = self._pending
            if pending.rows and last.seq >= pending.rows[0].seq:
                gone = {held.seq for held in batch}
                kept = [held for held in pending.rows if held.seq not in gone]
                self.held[first.topic] -= len(pending.rows) - len(kept)
                pending.rows, pending.bytes = kept, sum(len(held.message.data) for held in kept)
            pending.deletes.append((first.topic, first.seq, last.seq))
            self.flush()

    def set_aside(self, what: str, data: bytes) -> bool:
        """Keep for a person what no topic takes and no code can use, and never send it; return
        whether the disk took it.
        """
        with self._lock:
            try:
                self._db.execute(SET_ASIDE, (time.time_ns() // 1_000, what, data))
            except UNREADABLE as error:
                log.error("%s could not be set aside: %s", what, error)  # noqa: TRY400 - no fault
                return False
            return True

    def flush(self) -> None:
        """Write what waits in memory, if the disk takes it."""
        with self._lock:
            if self._closed or (self.failing and time.monotonic() < self._again_at):
                return
            try:
                if self._lost:
                    self._use(*open_sound(self.path))
                self._write()
            except StateError as error:
                self._hold(error, REPLACE_SECONDS)
                return
            except UNREADABLE as error:
                if not self._disk_failed(error):
                    self.flush()
                return
            if self.failing:
                log.info("%s takes what is read again", self.path)
                self.failing = False

    def take_damage(self) -> Damage | None:
        """Return what was found damaged and is not told yet. The next transaction takes it for
        told: it is the one that keeps the gap.
        """
        with self._lock:
            damage, self._damage = self._damage, None
            if damage is not None:
                self._pending.states["damage"] = {}
            return damage

    @property
    def in_memory(self) -> int:
        """Bytes of messages that the disk did not take: a kill would lose them."""
        return self._pending.bytes

    @property
    def room(self) -> int:
        """Bytes that the volume takes before the reserve is touched; below 0 it is full.

        Asked of the disk a few times a second at most: the reserve holds what comes in between.
        """
        with self._lock:
            if time.monotonic() < self._room_until:
                return self._room
            self._room_until = time.monotonic() + ROOM_SECONDS
            self._room = self._measured_room()
            return self._room

    def close(self) -> int:
        """Write all and let go of the directory; return how many messages the disk did not take:
        they are lost.
        """
        with self._lock:
            self._again_at = 0.0
            self.flush()
            self._closed = True
            with contextlib.suppress(sqlite3.Error):
                if not any(self.held):
                    self._db.execute("VACUUM")  # gives back what an outage took
            self._db.close()
            self._owned.close()
            return len(self._pending.rows)

    def _measured_room(self) -> int:
        try:
            free = [
                self._db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("freelist_count", "page_size")
            ]
            disk = os.statvfs(self.path.parent)
        except (*UNREADABLE, OSError):
            return 0
        return int(free[0] * free[1] + disk.f_bavail * disk.f_frsize) - RESERVE_BYTES

    def _write(self) -> None:
        pending, db = self._pending, self._db
        if not (pending.rows or pending.states or pending.deletes):
            return
        pack = sum(self.held) > PACK_FROM
        gone = [0, 0]
        db.execute("BEGIN")
        try:
            if pending.rows:
                rows = [database.row_of(held, pack=pack) for held in pending.rows]
                db.executemany(database.INSERT, rows)
            for deleted in pending.deletes:
                gone[deleted[0]] += db.execute(DELETE, deleted).rowcount
            if pending.states:
                oldest = db.execute("SELECT made_at FROM messages ORDER BY seq LIMIT 1").fetchone()
                states = {
                    **pending.states,
                    "held": {"since": oldest and oldest[0] - self._disorder},
                }
                db.executemany(
                    database.REPLACE_STATE,
                    [database.state_row(name, orjson.dumps(each)) for name, each in states.items()],
                )
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        self._pending = _Pending()
        self.held = [held - less for held, less in zip(self.held, gone, strict=True)]

    def _disk_failed(self, error: Exception, *, for_good: bool = False) -> bool:
        """Note it and return True; replace the file and return False where that is the damage."""
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            raise error
        if for_good or database.code_of(error) not in _DISK:
            self._db.close()
            try:
                self._use(*replace(self.path, str(error)))
            except StateError as fault:
                self._lost = True
                self._hold(fault, REPLACE_SECONDS)
                return True
            return False
        self._hold(error, RETRY_SECONDS)
        return True

    def _hold(self, error: Exception, seconds: float) -> None:
        """Hold in memory what is read, and try again."""
        self.failing, self._again_at = True, time.monotonic() + seconds
        self._once.log(
            logging.ERROR,
            "disk",
            f"STATE_DIR takes no more ({error}): what is read is held in memory only, up to "
            f"{MEMORY_BYTES // 1_000_000} MB, and a kill would lose it (the gap would say so). "
            "Make room in STATE_DIR, or let this user write there.",
        )

    def _use(self, db: sqlite3.Connection, damage: Damage | None) -> None:
        self._db, self._lost = db, False
        if damage is None:
            self._damage = self.read("damage", Damage.kept)
        else:
            self._damage = damage.after(self._damage)
        found = dict(db.execute("SELECT topic, count(*) FROM messages GROUP BY topic").fetchall())
        self.held = [found.get(POSTS, 0), found.get(LETTERS, 0)]
        last, self._latest, self._disorder = db.execute(database.SPAN).fetchone()
        self._next = max(self._next, last + 1)
        for held in self._pending.rows:
            self.held[held.topic] += 1
            self._spans(held.made_at)

    def _spans(self, made_at: int) -> None:
        """Take a message more into what is held, as database.SPAN does for those in the file."""
        self._latest = max(self._latest, made_at)
        self._disorder = max(self._disorder, self._latest - made_at)
