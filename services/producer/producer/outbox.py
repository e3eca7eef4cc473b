"""The way to Pub/Sub as one thing: journal, buffers and senders, and whether there is room."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from google.auth.exceptions import GoogleAuthError

from producer.events import DISK, FULL, STALLED
from producer.intake import Intake
from producer.journal import Journal
from producer.publisher import Item, Publisher, publisher_client
from producer.settings import Settings, SettingsError
from producer.state import StateDir, StateError
from producer.stats import Stats


class Outbox:
    """Takes lines and events (reader.Sink), keeps them, publishes them.

    Args:
        on_refused: told in one line when Pub/Sub will not have our posts at all.

    Raises:
        SettingsError: there are no Google credentials.
        StateError: the journal in STATE_DIR cannot be made or read.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        state: StateDir,
        stats: Stats,
        on_refused: Callable[[str], None],
    ) -> None:
        try:
            client = publisher_client()
        except GoogleAuthError as error:
            raise SettingsError(
                f"No Google credentials: {str(error).splitlines()[0]} Set "
                "GOOGLE_APPLICATION_CREDENTIALS to a key file, or run "
                "`gcloud auth application-default login`."
            ) from None
        self._stats = stats
        self._held = False
        self._disk_full = False
        directory = state.path / "journal"
        try:
            self._journal = Journal(directory)
        except (OSError, ValueError) as error:
            raise StateError(
                f"STATE_DIR's journal ({directory}) cannot be used: {error}. It holds posts "
                "not yet published: let this user read and write it, and move away what is not the "
                "producer's."
            ) from None
        bounds: dict[str, Any] = {
            "max_messages": settings.buffer_posts,
            "max_bytes": settings.buffer_bytes,
            "on_rejected": self._on_rejected,
        }
        self._posts = Publisher(
            client, topic, self._journal,
            stall=settings.publish_stall, on_refused=on_refused, **bounds,
        )  # fmt: skip
        self._letters: Publisher | None = None
        if settings.dead_letter_topic:
            # A missing dead-letter topic must not stop the posts: it is told, and tried again
            # until the buffer is full.
            self._letters = Publisher(
                client, settings.dead_letter_topic, self._journal,
                stall=float("inf"), on_refused=None, senders=1, **bounds,
            )  # fmt: skip
        self._publishers = [self._posts, *([self._letters] if self._letters else [])]
        stats.publishers.extend(self._publishers)
        self._intake = Intake(
            self._journal, self._posts, self._letters, stats, settings.instance, self._on_disk_full
        )

    def read(self, line: bytes) -> int | dict[str, Any] | None:
        """Take a line of the stream; see Intake.read()."""
        return self._intake.read(line)

    def event(self, row: dict[str, Any]) -> None:
        """Take an event."""
        self._intake.event(row)

    def replay(self, wait: Callable[[], bool]) -> int:
        """Queue what an earlier process left; see Intake.replay()."""
        return self._intake.replay(wait)

    def blocked(self) -> str | None:
        """The reason to disconnect from X now: DISK, FULL or STALLED; None while there is room."""
        if self._disk_full:
            reason = DISK
        elif self._posts.full or (self._letters is not None and self._letters.full):
            reason = FULL
        elif self._posts.stalled:
            reason = STALLED
        else:
            return None
        self._held = True
        return reason

    def may_read(self) -> bool:
        """Whether X may be connected: after a disconnect on purpose, only when nearly all that was
        held is published, so that it does not go on and off.
        """
        if self.blocked() is not None and not self._disk_full:
            return False
        if self._held:
            if not self._posts.drained or (self._disk_full and not self._journal.room()):
                return False
            self._held = self._disk_full = False
        return True

    def close(self, timeout: float) -> int:
        """Publish what is held within `timeout` seconds; return how many messages stay on disk."""
        deadline = time.monotonic() + timeout
        kept = sum(
            publisher.close(max(0.1, deadline - time.monotonic())) for publisher in self._publishers
        )
        self._journal.close()
        return kept

    def _on_rejected(self, item: Item, words: str) -> None:
        self._intake.rejected(item, words)

    def _on_disk_full(self) -> None:
        self._disk_full = True
