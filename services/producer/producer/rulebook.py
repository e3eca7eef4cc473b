"""The configured rules over time: applied at start and at each reconnect, when RULES_FILE changes,
and when X's rules turn out to be another's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import requests

from producer.messages import now
from producer.reconcile import RulesChange, active_rules, reconcile
from producer.rules import Rule, RulesError, read_rules
from producer.settings import SettingsError
from producer.x_api import Caller, XRefusedError

log = logging.getLogger(__name__)

# X takes 100 POSTs of rules in 15 minutes, and a try makes up to four.
RETRY_SECONDS = 60.0
REFUSED_SECONDS = 600.0
# X takes 450 GETs of rules in 15 minutes.
COMPARE_SECONDS = 600.0


@dataclass(frozen=True)
class Takeover:
    """Rules of ours that X had no more, and others that were there, before both were put right.

    Attributes:
        missing_from: the last moment at which each missing rule is known to have been in force,
            the earliest of those, microseconds since 1970; None where none was missing.
    """

    change: RulesChange
    missing_from: int | None


class RuleBook:
    """Brings X's rules to the configured ones; without configured ones it only looks.

    Args:
        rules: wanted; None leaves X's rules alone.
        path: file that is watched; None watches nothing.
        client: makes a client with the token as it is now.
        on_change: told what was changed because the configuration had changed.
        on_takeover: told what was changed because somebody else had changed X's rules.
        clock: the time as the stream has it, microseconds since 1970.

    Attributes:
        count: rules of the stream.
        news: set when poll() has something to do at once.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...] | None,
        path: Path | None,
        client: Callable[[], Caller],
        on_change: Callable[[RulesChange], None],
        on_takeover: Callable[[Takeover], None],
        clock: Callable[[], int] = now,
    ) -> None:
        self._wanted = rules
        self._path = path
        self._client = client
        self._on_change = on_change
        self._on_takeover = on_takeover
        self._clock = clock
        self._in_force: tuple[Rule, ...] | None = None
        self._lock = threading.Lock()
        # Of rules that could not be applied: when to try them again, and what was said about them.
        self._again_at: dict[tuple[Rule, ...], float] = {}
        self._complaints: dict[tuple[Rule, ...], str] = {}
        self._compare_at = self._quiet_until = 0.0
        self._right_at = 0
        # When each rule was last seen in force, by X's id, microseconds since 1970.
        self._seen: dict[str, int] = {}
        self._ours: dict[Rule, str | None] = {}
        self._suspicious = self._looked = self._halfway = False
        self.count = len(rules or ())
        self.news = threading.Event()

    @property
    def in_force(self) -> bool:
        """Whether X's rules were made right before, in this process."""
        return self._in_force is not None or self._looked

    def apply(self, rules: tuple[Rule, ...] | None = None) -> None:
        """Make X's rules right.

        Args:
            rules: wanted from now on, if X takes them; None changes nothing in what is wanted.

        Raises:
            RulesError: X refuses a rule, or has none where we have none either.
            XRefusedError, requests.RequestException: X's answer, or none.
            SettingsError: the token cannot be read.
        """
        with self._lock:
            wanted = rules or self._wanted
            if wanted is None:
                present = active_rules(self._client())
                self.count = len(present)
                if not present:
                    raise RulesError(
                        "X has no rules for this app, so its stream is empty: give one with --rule "
                        "'cat has:images', or set RULES_FILE."
                    )
                if not self._looked:
                    log.info("Using the %d rule(s) that X has already: none is changed", self.count)
                self._looked = True
                return
            change = reconcile(self._client(), wanted)
            taken = bool(change) and self._in_force == wanted
            missing_from = self._last_seen(change.added) if taken else None
            halfway, self._halfway = self._halfway, False
            self._wanted = self._in_force = wanted
            self.count = len(wanted)
            self._note(change)
        if taken:
            log.error(
                "X's rules were not ours: %d of ours were gone, %d of another's were there (%s). "
                "They are put right. %s",
                len(change.added), len(change.deleted),
                ", ".join(repr(rule.value) for rule in change.deleted[:5]) or "none",
                "A change of them had failed half-way." if halfway and not change.deleted else
                "Another script or stack uses this X app: give it an app of its own.",
            )  # fmt: skip
            self._on_takeover(Takeover(change, missing_from))
        elif change:
            log.info(
                "Rules changed: %d added, %d deleted, %d kept",
                len(change.added), len(change.deleted), len(change.kept),
            )  # fmt: skip
            self._on_change(change)

    def matched(self, ids: Iterable[str], at: int) -> None:
        """Note the ids of the rules that a post matched, read `at` microseconds since 1970."""
        for rule_id in ids:
            if rule_id in self._seen:
                self._seen[rule_id] = at
            elif self._in_force is not None and not self._suspicious:
                self._suspicious = True
                self.news.set()

    def poll(self) -> None:
        """Apply RULES_FILE if it changed, and look at X's rules when it is time, or when a post
        matched one that is not ours. A wrong file, or X's refusal, is logged once and the rules in
        force go on, and are looked after. Rules that X refused are tried again after ten minutes,
        those that failed otherwise after one, others at once.
        """
        self.news.clear()
        if self._in_force is None:
            return
        rules = self._configured(self._in_force)
        if rules != self._in_force and self._may_try(rules):
            if self._try(rules):
                self._again_at.clear()
            else:
                self._compare_at, self._halfway = 0.0, True
        if self._may_try(self._in_force) and self._due():
            self._try(self._in_force)

    def _configured(self, in_force: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """Return the rules of RULES_FILE; those in force where there is none, or a wrong one."""
        try:
            rules = read_rules(self._path) if self._path else in_force
        except RulesError as error:
            self._complain((), f"The changed rules are not used: {error}")
            return in_force
        self._complaints.pop((), None)
        return rules

    def _may_try(self, rules: tuple[Rule, ...]) -> bool:
        return time.monotonic() >= self._again_at.get(rules, 0.0)

    def _try(self, rules: tuple[Rule, ...]) -> bool:
        self._again_at[rules] = time.monotonic() + RETRY_SECONDS
        try:
            self.apply(rules)
        except (RulesError, SettingsError) as error:
            self._complain(rules, f"The changed rules are not used: {error}")
            if rules != self._in_force:
                # What X has refused may cost the rules in force a moment at each try.
                self._again_at[rules] = time.monotonic() + REFUSED_SECONDS
        except (XRefusedError, requests.RequestException) as error:
            self._complain(
                rules, f"X's rules could not be read or changed, trying again: {words(error)}"
            )
        else:
            self._again_at.pop(rules)
            self._complaints.pop(rules, None)
            return True
        return False

    def _due(self) -> bool:
        now = time.monotonic()
        if self._suspicious and now >= self._quiet_until:
            # Once a minute, or two stacks with one app would use up X's limit for rules.
            self._quiet_until = now + RETRY_SECONDS
            return True
        return now >= self._compare_at

    def _last_seen(self, missing: Iterable[Rule]) -> int | None:
        return min(
            (self._seen.get(str(self._ours.get(rule)), self._right_at) for rule in missing),
            default=None,
        )

    def _note(self, change: RulesChange) -> None:
        self._right_at = self._clock()
        self._compare_at = time.monotonic() + COMPARE_SECONDS
        self._suspicious = False
        self._ours = {rule: rule.id for rule in (*change.kept, *change.added)}
        # Deleted rules stay known: X goes on matching them for about 20 s.
        known = (*change.kept, *change.added, *change.deleted)
        self._seen |= {rule.id: self._right_at for rule in known if rule.id}

    def _complain(self, rules: tuple[Rule, ...], text: str) -> None:
        if text != self._complaints.get(rules):
            self._complaints[rules] = text
            log.error("%s", text)


def words(error: Exception) -> str:
    """Return an error of X or of the network in one line; of a chain of causes the first one."""
    if isinstance(error, requests.ConnectionError) and error.args:
        error = getattr(error.args[0], "reason", None) or error
    return " ".join(str(error).split())[:500] or type(error).__name__
