"""What the function is told by its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TABLE = re.compile(r"[a-z0-9.:-]+\.\w+\.[\w-]+", re.IGNORECASE)
_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")


class SettingsError(ValueError):
    """A variable is missing or wrong; the message names it, its value, the rule and the fix."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Environment of the function.

    Attributes:
        tweets_table: TWEETS_TABLE, `project.dataset.table` for posts.
        events_table: EVENTS_TABLE, `project.dataset.table` for stream events.
        dead_letter_topic: DEAD_LETTER_TOPIC, `projects/P/topics/T`.
        bigquery_emulator: BIGQUERY_EMULATOR_HOST, empty in the cloud; google-cloud-bigquery takes
            the address from it, we only leave credentials out.
    """

    tweets_table: str
    events_table: str
    dead_letter_topic: str
    bigquery_emulator: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check the variables.

        Raises:
            SettingsError: with all the faults in one line.
        """
        faults = [
            f"{name} is {environ.get(name, '')!r} but must be {form}"
            for name, rule, form in (
                ("TWEETS_TABLE", _TABLE, "project.dataset.table"),
                ("EVENTS_TABLE", _TABLE, "project.dataset.table"),
                ("DEAD_LETTER_TOPIC", _TOPIC, "projects/P/topics/T"),
            )
            if not rule.fullmatch(environ.get(name, ""))
        ]
        if faults:
            raise SettingsError(
                "; ".join(faults)
                + ": set it in the function's environment (infra/sink.py) and deploy"
            )
        return cls(
            environ["TWEETS_TABLE"],
            environ["EVENTS_TABLE"],
            environ["DEAD_LETTER_TOPIC"],
            environ.get("BIGQUERY_EMULATOR_HOST", ""),
        )
