"""The store's file, opened: checked whole, and replaced where it is damaged."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from producer import database
from producer.database import (
    INSERT,
    REPLACE_STATE,
    SELECT,
    SET_ASIDE,
    UNREADABLE,
    connect,
    disk_takes_nothing,
    is_sound,
    state_row,
)

log = logging.getLogger(__name__)

# Seqs tried one by one behind a damaged page, before the rest is read from the end.
_SEARCH = 5_000
# The main file goes aside first and comes back last.
_ENDS = ("", "-wal", "-shm")
_TOLD = "SELECT 1 FROM state WHERE name = 'damage'"


class StateError(ValueError):
    """STATE_DIR cannot be used: why, and what to do, in one line."""


@dataclass(frozen=True)
class Damage:
    """What became of a damaged file.

    Attributes:
        since: what may be lost is no older, microseconds since 1970; None where this is not known.
        detail: for an event.
    """

    since: int | None
    detail: dict[str, Any]

    @classmethod
    def kept(cls, state: dict[str, Any]) -> Damage | None:
        """Return what the store keeps as its state `damage`; None where it was told.

        Raises:
            KeyError, TypeError: it cannot be right.
        """
        if not state:
            return None
        since, detail = state["since"], state["detail"]
        if not (since is None or type(since) is int) or not isinstance(detail, dict):
            raise TypeError(f"damage since {since!r}: {detail!r}")
        return cls(since, detail)

    def after(self, earlier: Damage | None) -> Damage:
        """Return the same with what an earlier one, not told yet, may have lost."""
        if earlier is None:
            return self
        known = [each.since for each in (self, earlier) if each.since is not None]
        return Damage(min(known) if len(known) == 2 else None, self.detail)


def open_sound(path: Path) -> tuple[sqlite3.Connection, Damage | None]:
    """Open the file, checked whole, or a new one in place of a damaged one.

    Raises:
        StateError: it may not be opened, the disk takes nothing, or another program has the file.
    """
    db, fault, problem = None, None, "it is empty"
    try:
        aside = max(path.parent.glob(f"{path.name}.damaged-*Z"), default=None)
        if aside and not (path.exists() and path.stat().st_size):
            _put_back(aside, path)
        # SQLite would delete the WAL of an empty file.
        if not path.exists() or path.stat().st_size:
            db = connect(path)
            problem = database.problem(db) or ""
        if db is not None and not problem:
            if aside is None or db.execute(_TOLD).fetchone():
                return db, None
            # A kill ended the replacement before all was copied.
            db.close()
            _put_back(aside, path)
            return open_sound(path)
    except (*UNREADABLE, OSError) as error:
        fault, problem = error, str(error)
    if db is not None:
        db.close()
    if fault and database.code_of(fault) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise StateError(f"{path} is in use by another program: end it.")
    if fault and database.code_of(fault) == sqlite3.SQLITE_CANTOPEN:
        raise StateError(
            f"{path} cannot be opened ({fault}), which is no damage: let this user read and write "
            "it, and start again."
        )
    if fault and disk_takes_nothing(fault):
        raise StateError(
            f"{path} cannot be opened ({fault}): the disk takes nothing, which is no "
            "damage: make room in STATE_DIR, and start again."
        )
    return replace(path, problem)


def replace(path: Path, problem: str) -> tuple[sqlite3.Connection, Damage]:
    """Put the damaged file aside, begin a new one, take over what is intact in the old; where
    the disk does not take all of that, the old one is back in its place. A kill in between leaves
    what open_sound() knows for half made: the new file's state `damage` is written last.

    Raises:
        StateError: so it is.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    db = None
    try:
        for old in path.parent.glob(f"{path.name}.damaged-*"):
            old.unlink()  # the volume has no room for each
        for end in _ENDS:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{end}").rename(f"{aside}{end}")
        db = connect(path)
        database.problem(db)
        damage = _recover(aside, db, problem)
    except (*UNREADABLE, OSError) as error:
        if db is not None:
            db.close()  # later it would delete the WAL of the old one, back under this name
        with contextlib.suppress(OSError):
            if aside.exists():
                _put_back(aside, path)
        raise StateError(
            f"{path} cannot be used ({problem}), and no new one can be made: {error}. "
            "Let this user write there, and make room."
        ) from None
    log.error(
        "%s is damaged (%s). It is kept as %s; %d messages in it could be read and are "
        "published; a gap tells which time may lack posts",
        path, problem, aside, damage.detail["messages_recovered"],
    )  # fmt: skip
    return db, damage


def _put_back(aside: Path, path: Path) -> None:
    """Give a file that was put aside its name again, in place of the new one. Killed in between it
    can be done again: while the main file is missing, a WAL beside it is the old one's.
    """
    if path.exists():
        for end in reversed(_ENDS):
            Path(f"{path}{end}").unlink(missing_ok=True)
    for end in reversed(_ENDS):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{aside}{end}").rename(f"{path}{end}")


def _recover(old: Path, db: sqlite3.Connection, problem: str) -> Damage:
    """Copy what is intact in a damaged file to a new one, and keep there what became of it: it is
    told even if the process ends now. Others may be lost that are no older than what was covered
    last, or than the oldest message held.

    Raises:
        sqlite3.Error: the new file does not take it: what the old one holds is not lost.
    """
    count, states = 0, dict[str, bytes]()
    try:
        source = connect(old, read_only=True)
    except UNREADABLE as error:
        if disk_takes_nothing(error):
            raise
        log.warning("Nothing can be read from %s: %s", old, error)
    else:
        with contextlib.closing(source):
            rows = _intact(source)
            while batch := list(islice(rows, 500)):
                count += _commit(db, INSERT.replace("INSERT", "INSERT OR IGNORE", 1), batch)
            _commit(db, SET_ASIDE, _readable(source, "SELECT at, what, data FROM set_aside"))
            states = dict(_intact_states(source))
    detail = {"damage": problem, "kept_in": str(old), "messages_recovered": count}
    damage = Damage(_since(states), detail)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        damage = damage.after(Damage.kept(orjson.loads(states["damage"])))
    states["damage"] = orjson.dumps({"since": damage.since, "detail": detail})
    _commit(db, REPLACE_STATE, [state_row(*state) for state in states.items()])
    return damage


def _since(states: Mapping[str, bytes]) -> int | None:
    try:
        covered = orjson.loads(states["coverage"])["until"]
        oldest = orjson.loads(states["held"])["since"]
        since = covered if oldest is None else min(covered, oldest)
    except (KeyError, TypeError, ValueError):
        return None
    return since if type(since) is int else None


def _commit(db: sqlite3.Connection, sql: str, rows: Iterable[tuple[Any, ...]]) -> int:
    before = db.total_changes
    db.execute("BEGIN")
    try:
        db.executemany(sql, rows)
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
            db.execute("ROLLBACK")
        raise
    return db.total_changes - before


def _intact(db: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that can be read and pass their checksum: from the first on, over damaged
    pages; what is beyond a large damaged part from the last one backwards.
    """
    after, misses = -1, 0
    query = f"{SELECT} WHERE seq > ? ORDER BY seq"
    while misses < _SEARCH:
        try:
            for row in db.execute(query, (after,)):
                if is_sound(row) and row[0] > after:
                    after, misses = row[0], 0
                    yield row
        except UNREADABLE as error:
            if disk_takes_nothing(error):
                raise
            after, misses = after + 1, misses + 1
        else:
            return
    with contextlib.suppress(*UNREADABLE):
        yield from (row for row in db.execute(f"{query} DESC", (after,)) if is_sound(row))


def _intact_states(db: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    for name, value, crc in _readable(db, "SELECT name, value, crc FROM state"):
        if crc is not None and state_row(name, value)[2] == crc:
            yield name, value


def _readable(db: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows before the first that cannot be read."""
    with contextlib.suppress(*UNREADABLE):
        yield from db.execute(query)
