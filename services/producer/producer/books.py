"""What is written down while the stream is read, and the settings that all go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from producer.budget import Budget
from producer.gap import Coverage
from producer.messages import event
from producer.outbox import Outbox
from producer.settings import Settings
from producer.stats import Stats


@dataclass(frozen=True)
class Books:
    """Shared by the service, the reader and the lines of its connections.

    Attributes:
        outbox: where what is read goes; None where it is only printed.
    """

    settings: Settings
    outbox: Outbox | None
    budget: Budget
    coverage: Coverage
    stats: Stats

    def tell(self, kind: str, **columns: Any) -> None:
        """Keep and publish an event; columns as of messages.event()."""
        if self.outbox is not None:
            self.outbox.event(event(kind, self.settings.instance, **columns))
