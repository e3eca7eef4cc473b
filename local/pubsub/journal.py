"""What survives: topics, subscriptions and unacknowledged messages, in SQLite.

With a directory all of it is written before Publish answers, so kill -9 loses nothing that was
acknowledged to a publisher (write-ahead log; not synced to the disk at each commit, so a power cut
may). Without one it is a temporary database that nobody opens again.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

Row = tuple[str, int, bytes, float]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources(name TEXT PRIMARY KEY, raw BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS backlog(
    subscription TEXT NOT NULL, id INTEGER NOT NULL, raw BLOB NOT NULL, published REAL NOT NULL,
    PRIMARY KEY(subscription, id));
"""


class JournalError(Exception):
    """The journal cannot be opened; the text says what to do."""


class PubSubJournal:
    """Rows are (subscription, message id, raw, publish time in epoch seconds)."""

    def __init__(self, directory: Path | None) -> None:
        path = ""  # SQLite's name for a temporary database
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
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?)", (name, raw))

    def drop(self, name: str) -> None:
        """Forget a topic or a subscription with its backlog."""
        with self._db:
            self._db.execute("DELETE FROM resources WHERE name = ?", (name,))
            self._db.execute("DELETE FROM backlog WHERE subscription = ?", (name,))

    def append(self, rows: Iterable[Row]) -> None:
        """Write what subscriptions owe, in one commit."""
        with self._db:
            self._db.executemany("INSERT INTO backlog VALUES (?, ?, ?, ?)", rows)

    def settle(self, done: Iterable[tuple[str, int]]) -> None:
        """Delete what was owed, by subscription and message id."""
        with self._db:
            self._db.executemany("DELETE FROM backlog WHERE subscription = ? AND id = ?", done)

    def resources(self) -> list[tuple[str, bytes]]:
        """Subscriptions and topics, by name: subscriptions of a project come first."""
        return self._db.execute("SELECT name, raw FROM resources ORDER BY name").fetchall()

    def backlog(self) -> Iterable[Row]:
        """The rows of all unacknowledged messages, oldest first."""
        return self._db.execute("SELECT * FROM backlog ORDER BY id")

    def close(self) -> None:
        """Write back and close."""
        self._db.close()
