"""The configured rules over time: applied at start, and again when RULES_FILE changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests
import tweepy

from producer.rules import Rule, RulesChange, RulesError, active_rules, read_rules, reconcile
from producer.settings import SettingsError
from producer.stream import Stream

log = logging.getLogger(__name__)

# X takes 100 POSTs of rules in 15 minutes, and a try makes up to four.
RETRY_SECONDS = 60.0


class RuleBook:
    """Brings X's rules to the configured ones; without configured ones it only looks.

    Args:
        rules: wanted; None leaves X's rules alone.
        path: file that is watched; None watches nothing.
        client: makes a client with the token as it is now.
        on_change: told what was changed.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...] | None,
        path: Path | None,
        client: Callable[[], Stream],
        on_change: Callable[[RulesChange], None],
    ) -> None:
        self._wanted = rules
        self._path = path
        self._client = client
        self._on_change = on_change
        self._applied = False
        self._lock = threading.Lock()
        self._complaint = ""
        self._failed: tuple[Rule, ...] | None = None
        self._again_at = 0.0
        self.count = len(rules or ())

    def apply(self) -> None:
        """Make X's rules right.

        Raises:
            RulesError: X refuses a rule, or has none where we have none either.
            tweepy.HTTPException, requests.RequestException: X's answer, or none.
            SettingsError: the token cannot be read.
        """
        with self._lock:
            if self._wanted is None:
                present = active_rules(self._client())
                self.count = len(present)
                if not present:
                    raise RulesError(
                        "X has no rules for this app, so its stream is empty: give one with --rule "
                        "'cat has:images', or set RULES_FILE."
                    )
                log.info("Using the %d rule(s) that X has already; none is changed.", len(present))
                return
            change = reconcile(self._client(), self._wanted)
            self._applied = True
            self.count = len(self._wanted)
        if change:
            log.info(
                "Rules changed: %d added, %d deleted, %d kept",
                len(change.added), len(change.deleted), change.kept,
            )  # fmt: skip
            self._on_change(change)

    def poll(self) -> None:
        """Apply RULES_FILE if it changed; a wrong file, or X's refusal, is logged once and the
        rules in force go on. The same rules are tried again after a minute, others at once.
        """
        if self._path is None or not self._applied:
            return
        try:
            rules = read_rules(self._path)
            if rules == self._wanted:
                return
            if rules == self._failed and time.monotonic() < self._again_at:
                return
            self._failed, self._again_at = rules, time.monotonic() + RETRY_SECONDS
            before, self._wanted = self._wanted, rules
            try:
                self.apply()
            except BaseException:
                self._wanted = before
                raise
        except (RulesError, SettingsError) as error:
            self._complain(f"The changed rules are not used: {error}")
        except (tweepy.HTTPException, requests.RequestException) as error:
            self._complain(
                f"The changed rules could not be sent to X, trying again: {words(error)}"
            )
        else:
            self._complaint, self._failed = "", None

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            log.error("%s", text)


def words(error: Exception) -> str:
    """Return an error of X or of the network in one line; of a chain of causes the first one."""
    if isinstance(error, requests.ConnectionError) and error.args:
        error = getattr(error.args[0], "reason", None) or error
    return " ".join(str(error).split())[:500] or type(error).__name__
