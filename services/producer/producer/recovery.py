"""The store's file, opened: checked whole, and replaced where it is damaged."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from producer import database
from producer.database import (
    INSERT,
    REPLACE_STATE,
    SELECT,
    UNREADABLE,
    connect,
    disk_takes_nothing,
    is_sound,
    state_row,
)

log = logging.getLogger(__name__)

# Seqs tried one by one behind a damaged page, before the rest is read from the end.
_SEARCH = 5_000


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


def open_sound(path: Path) -> tuple[sqlite3.Connection, Damage | None]:
    """Open the file, checked whole, or a new one in place of a damaged one.

    Raises:
        StateError: the disk takes nothing, or another program has the file.
    """
    db, fault = None, None
    try:
        # SQLite would delete the WAL of an empty file.
        empty = path.exists() and path.stat().st_size == 0
        db = None if empty else connect(path)
        problem = "it is empty" if db is None else database.problem(db)
        if db is not None and problem is None:
            return db, None
    except (*UNREADABLE, OSError) as error:
        fault, problem = error, str(error)
    if db is not None:
        db.close()
    if fault and database.code_of(fault) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise StateError(f"{path} is in use by another program: end it.")
    if fault and disk_takes_nothing(fault):
        raise StateError(
            f"{path} cannot be opened ({fault}): the disk takes nothing, which is no "
            "damage: make room in STATE_DIR, and start again."
        )
    return replace(path, str(problem))


def replace(path: Path, problem: str) -> tuple[sqlite3.Connection, Damage]:
    """Put the damaged file aside, begin a new one, take over what is intact in the old; where
    the disk does not take all of that, the old one is back in its place.

    Raises:
        StateError: so it is.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    names = [(Path(f"{path}{end}"), Path(f"{aside}{end}")) for end in ("", "-wal", "-shm")]
    db, moved, made = None, [], []
    try:
        for old in path.parent.glob(f"{path.name}.damaged-*"):
            old.unlink()  # the volume has no room for each
        for source, target in names:
            if source.exists():
                moved.append((source.rename(target), source))
        made = [name for pair in names for name in pair]
        db = connect(path)
        database.problem(db)
        recovered, since = _recover(aside, db)
    except (*UNREADABLE, OSError) as error:
        if db is not None:
            db.close()  # later it would delete the WAL of the old one, back under this name
        with contextlib.suppress(OSError):
            for target, source in moved:
                target.replace(source)
            for name in set(made) - {source for _, source in moved}:
                name.unlink(missing_ok=True)
        raise StateError(
            f"{path} cannot be used ({problem}), and no new one can be made: {error}. "
            "Let this user write there, and make room."
        ) from None
    detail = {"damage": problem, "kept_in": str(aside), "messages_recovered": recovered}
    log.error(
        "%s is damaged (%s). It is kept as %s; %d messages in it could be read and are "
        "published; a gap tells which time may lack posts",
        path, problem, aside, recovered,
    )  # fmt: skip
    return db, Damage(since, detail)


def _recover(old: Path, db: sqlite3.Connection) -> tuple[int, int | None]:
    """Copy what is intact in a damaged file to a new one.

    Returns:
        How many messages, and since when others may be lost (microseconds since 1970): no
        earlier than what was covered last, nor than the oldest message held. None: not known.

    Raises:
        sqlite3.Error: the new file does not take it: what the old one holds is not lost.
    """
    count = 0
    states: dict[str, bytes] = {}
    try:
        source = connect(old, read_only=True)
    except UNREADABLE as error:
        if disk_takes_nothing(error):
            raise
        log.warning("Nothing can be read from %s: %s", old, error)
        return 0, None
    with contextlib.closing(source):
        batch: list[tuple[Any, ...]] = []
        for row in _intact(source):
            batch.append(row)
            if len(batch) == 500:
                count += _copy(db, batch)
                batch = []
        count += _copy(db, batch)
        states = dict(_intact_states(source))
        db.executemany(REPLACE_STATE, [state_row(*state) for state in states.items()])
    try:
        covered = orjson.loads(states["coverage"])["until"]
        oldest = orjson.loads(states["held"])["since"]
        return count, covered if oldest is None else min(covered, oldest)
    except (KeyError, TypeError, ValueError):
        return count, None


def _copy(db: sqlite3.Connection, batch: Iterable[tuple[Any, ...]]) -> int:
    before = db.total_changes
    db.execute("BEGIN")
    try:
        db.executemany(INSERT.replace("INSERT", "INSERT OR IGNORE", 1), batch)
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
    with contextlib.suppress(*UNREADABLE):
        for name, value, crc in db.execute("SELECT name, value, crc FROM state"):
            if crc is not None and state_row(name, value)[2] == crc:
                yield name, value
