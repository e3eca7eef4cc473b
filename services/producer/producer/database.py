"""The store's file: its tables and rows, and what is wrong with one.

Each row carries a CRC-32: SQLite finds a damaged page by its form, not a flipped bit in a value.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from producer.messages import Message

# No STRICT tables: SQLite before 3.37 does not know them.
_TABLES = (
    "CREATE TABLE messages ("
    "seq INTEGER PRIMARY KEY, topic INTEGER NOT NULL CHECK (topic IN (0, 1)), "
    "made_at INTEGER NOT NULL CHECK (typeof(made_at) = 'integer'), "
    "packed INTEGER NOT NULL CHECK (packed IN (0, 1)), "
    "data BLOB NOT NULL CHECK (typeof(data) = 'blob'), "
    "attributes BLOB NOT NULL CHECK (typeof(attributes) = 'blob'), "
    "crc INTEGER NOT NULL CHECK (typeof(crc) = 'integer'))",
    # Letters that wait for a missing topic must not be looked for among all posts.
    "CREATE INDEX letters ON messages (seq) WHERE topic = 1",
    "CREATE TABLE state ("
    "name TEXT PRIMARY KEY, value BLOB NOT NULL CHECK (typeof(value) = 'blob'), "
    "crc INTEGER NOT NULL CHECK (typeof(crc) = 'integer'))",
    "CREATE TABLE set_aside (at INTEGER NOT NULL, what TEXT NOT NULL, data BLOB NOT NULL)",
)
_COLUMNS = "seq, topic, made_at, packed, data, attributes, crc"
SELECT = f"SELECT {_COLUMNS} FROM messages"  # noqa: S608 - constants
INSERT = f"INSERT INTO messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
REPLACE_STATE = "INSERT OR REPLACE INTO state (name, value, crc) VALUES (?, ?, ?)"
DELETE = "DELETE FROM messages WHERE topic = ? AND seq BETWEEN ? AND ?"
# The last seq, the latest moment, and by how much a later message is older than one before it.
SPAN = (
    "SELECT coalesce(max(seq), 0), coalesce(max(latest), 0), coalesce(max(latest - made_at), 0) "
    "FROM (SELECT seq, made_at, max(made_at) OVER (ORDER BY seq) AS latest FROM messages)"
)
SET_ASIDE = "INSERT INTO set_aside (at, what, data) VALUES (?, ?, ?)"
# SQLite quotes a damaged name in its message, which Python cannot decode then.
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)


class Held(NamedTuple):
    """A message in the store.

    Attributes:
        seq: grows with each message.
        topic, made_at: as of messages.Entry.
    """

    seq: int
    topic: int
    message: Message
    made_at: int


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a file.

    Raises:
        sqlite3.Error: it can't be, or is no database.
    """
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True, timeout=5.0, isolation_level=None, check_same_thread=False,
    )  # fmt: skip
    try:
        if not read_only:
            # Of a new file: a row of a long post takes a quarter less of the volume (measured).
            db.execute("PRAGMA page_size = 8192")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA wal_autocheckpoint = 4000")
        db.execute("PRAGMA cell_size_check = ON")
    except UNREADABLE:
        db.close()
        raise
    return db


def disk_takes_nothing(error: BaseException) -> bool:
    """Whether the disk would not take a write, as when it is full: the file itself is sound."""
    return not bad_sector(error) and code_of(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def bad_sector(error: BaseException) -> bool:
    """Whether the disk did not give what was written."""
    reads = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
    return getattr(error, "sqlite_errorcode", None) in reads


def code_of(error: BaseException) -> int:
    """Return SQLite's kind of an error; what has none is damage."""
    # The upper bits tell one I/O error from another. https://sqlite.org/rescode.html
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF


def problem(db: sqlite3.Connection) -> str | None:
    """Return what is wrong with a file, None where nothing is; make the tables of an empty one.

    Raises:
        sqlite3.Error: it can't be read.
    """
    said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        return " ".join(str(said).split())
    tables = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if not tables:
        db.execute("BEGIN")
        for sql in _TABLES:
            db.execute(sql)
        db.execute("COMMIT")
    elif tables != set(_TABLES):
        return "its tables are not the producer's"
    for row in db.execute(SELECT):
        if not is_sound(row):
            return f"message {row[0]} fails its checksum"
    for name, value, crc in db.execute("SELECT name, value, crc FROM state"):
        if state_row(name, value)[2] != crc:
            return f"the state {name} fails its checksum"
    return None


def rows(db: sqlite3.Connection, topic: int, after: int, count: int) -> Iterator[Held]:
    """Yield messages of a topic beyond a seq, oldest first.

    Raises:
        sqlite3.DatabaseError: the file can't be read, or a row fails its checksum.
    """
    # The topic as text of the query: the index of the letters is used only so.
    query = f"{SELECT} WHERE topic = {topic:d} AND seq > ? ORDER BY seq LIMIT ?"
    for row in db.execute(query, (after, count)):
        if (held := held_of(row)) is None:
            raise sqlite3.DatabaseError(f"message {row[0]} fails its checksum")
        yield held


def row_of(held: Held, *, pack: bool) -> tuple[Any, ...]:
    """Return the row for INSERT."""
    data = zlib.compress(held.message.data, 1) if pack else held.message.data
    attributes = orjson.dumps(held.message.attributes)
    row = (held.seq, held.topic, held.made_at, int(pack), data, attributes)
    return (*row, _crc(row))


def held_of(row: Sequence[Any]) -> Held | None:
    """Return the message of a row, None where it is damaged."""
    if not is_sound(row):
        return None
    seq, topic, made_at, packed, data, attributes, _ = row
    message = Message(zlib.decompress(data) if packed else data, orjson.loads(attributes))
    return Held(seq, topic, message, made_at)


def state_row(name: str, value: object) -> tuple[str, object, int | None]:
    """Return the row for REPLACE_STATE; without a checksum where the value is no bytes."""
    if not isinstance(value, bytes):
        return name, value, None
    return name, value, zlib.crc32(value, zlib.crc32(name.encode("utf-8", "replace")))


def is_sound(row: Sequence[Any]) -> bool:
    """Whether a row of SELECT passes its checksum."""
    try:
        return bool(_crc(row) == row[6])
    except TypeError:
        return False


def _crc(row: Sequence[Any]) -> int:
    head = zlib.crc32(b"%d %d %d %d " % (row[0], row[1], row[2], row[3]))
    return zlib.crc32(row[4], zlib.crc32(row[5], head))
