"""What survives: topics, subscriptions and unacknowledged messages, in SQLite.

With a path all of it is written before Publish answers, so kill -9 loses nothing that was
acknowledged to a publisher (write-ahead log; not synced to the disk at each commit, so a power cut
may). Without a path nothing is written.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

Row = tuple[int, str, bytes, float]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources(name TEXT PRIMARY KEY, raw BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, raw BLOB NOT NULL, published REAL NOT NULL);
CREATE TABLE IF NOT EXISTS pending(
    subscription TEXT NOT NULL, message INTEGER NOT NULL,
    PRIMARY KEY(subscription, message)) WITHOUT ROWID;
"""


class JournalError(Exception):
    """The journal cannot be opened; the text says what to do."""


class PubSubJournal:
    """Rows are (message id, topic name, raw, publish time in epoch seconds)."""

    def __init__(self, directory: Path | None) -> None:
        self.durable = directory is not None
        path = ""  # SQLite's name for a temporary database on disk
        if directory is not None:
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise JournalError(
                    f"data directory {directory}: {error.strerror}; name one that can be written"
                ) from None
            path = str(directory / "messages.sqlite3")
        self._db = sqlite3.connect(path, timeout=0.5, check_same_thread=False)
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._db.close()
            raise JournalError(
                f"{path}: {error}; another server may hold it: stop that, or name another directory"
            ) from None

    def save(self, name: str, raw: bytes) -> None:
        """Write a topic or a subscription."""
        if self.durable:
            self._db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?)", (name, raw))
            self._db.commit()

    def drop(self, name: str) -> None:
        """Forget a topic or a subscription with its backlog."""
        if self.durable:
            self._db.execute("DELETE FROM resources WHERE name = ?", (name,))
            self._db.execute("DELETE FROM pending WHERE subscription = ?", (name,))
            self._db.commit()

    def append(self, rows: Iterable[Row], pending: Iterable[tuple[str, int]]) -> None:
        """Write messages and who still owes them (subscription, message id), in one commit."""
        try:
            self._db.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
            if self.durable:
                self._db.executemany("INSERT OR IGNORE INTO pending VALUES (?, ?)", pending)
            self._db.commit()
        except sqlite3.Error:
            self._db.rollback()
            raise

    def settle(self, done: Iterable[tuple[str, int]], forgotten: Iterable[tuple[int]]) -> None:
        """Delete backlog entries, and messages that nobody owes."""
        try:
            self._db.executemany("DELETE FROM pending WHERE subscription = ? AND message = ?", done)
            self._db.executemany("DELETE FROM messages WHERE id = ?", forgotten)
            self._db.commit()
        except sqlite3.Error:
            self._db.rollback()
            raise

    def resources(self) -> list[tuple[str, bytes]]:
        """Topics and subscriptions, by name."""
        return self._db.execute("SELECT name, raw FROM resources ORDER BY name").fetchall()

    def backlog(self) -> Iterator[tuple[str, Row]]:
        """(subscription, row) of each unacknowledged message, oldest first."""
        rows = self._db.execute(
            "SELECT p.subscription, m.* FROM pending p JOIN messages m ON m.id = p.message "
            "ORDER BY m.id"
        )
        for subscription, *row in rows:
            yield subscription, (row[0], row[1], row[2], row[3])

    def last_id(self) -> int:
        """The highest message id written, 0 when none is."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0])

    def close(self) -> None:
        """Write back and close."""
        self._db.close()
