"""The loop around the stream's connections: when to connect, when not to, and what it meant.

tweepy's own loop reconnects 3,500 times in two seconds when X accepts and closes; here each
connection is one call, and every wait between two can be cut short.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import requests

from producer.backoff import Backoff, Pacer
from producer.books import Books
from producer.fields import asked
from producer.lines import Lines
from producer.messages import BUDGET, DISCONNECTED, DISK, ON_PURPOSE, SHUTDOWN
from producer.rulebook import RuleBook, words
from producer.rules import RulesError
from producer.settings import SettingsError
from producer.stream import End, Stream
from producer.x_api import FINAL, MONTHLY, Kind, XRefusal, XRefusedError

log = logging.getLogger(__name__)


class StopError(Exception):
    """The process must end: one line for a person, and the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Reader:
    """Reads until stop(). run() is for one thread; interrupt() and stop() for any.

    Args:
        echo: given each post as X sent it.
        before_first_connect: called once the rules are right, so that the token is known to be.
    """

    def __init__(
        self,
        books: Books,
        rules: RuleBook,
        backoff: Backoff,
        pacer: Pacer,
        echo: Callable[[bytes], None] | None,
        before_first_connect: Callable[[], None],
    ) -> None:
        self._books = books
        self._settings, self._outbox = books.settings, books.outbox
        self._budget, self._coverage, self._stats = books.budget, books.coverage, books.stats
        self._rules = rules
        self._backoff = backoff
        self._pacer = pacer
        self._before_first_connect = before_first_connect
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._token = ""
        self._lines = Lines(books, rules.matched, echo, self.interrupt)
        self._rules_applied = self._rules_lost = self._usage_unknown = self._asked = False
        self.failure: StopError | None = None

    def run(self) -> None:
        """Read until stop() or until it cannot go on; then `failure` says why."""
        try:
            while not self._stop.is_set():
                self._connect_when_allowed()
        except StopError as failure:
            self.failure = failure
        except Exception as error:
            log.exception("The reader failed: a fault in this program")
            self.failure = StopError(f"The reader failed: {type(error).__name__}: {error}", 1)
        finally:
            self._stats.state = "stopped"

    def stop(self) -> None:
        """End for good: reads no more, waits no more."""
        self._stop.set()
        self.interrupt(SHUTDOWN)

    def interrupt(self, reason: str) -> None:
        """End the present connection, if there is one; run() decides when to connect again."""
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.stop(reason)

    # What one connection does, in order.

    def _connect_when_allowed(self) -> None:
        if self._blocked_by_outbox():
            return
        if not self._rules_applied:
            self._apply_rules()
            return
        if self._paused_by_budget():
            return
        if (wait := self._pacer.wait()) > 0:
            log.warning(
                "%.0f connects in 15 minutes, X allows 50: the next one in %.0f s",
                self._pacer.LIMIT, wait,
            )  # fmt: skip
            self._wait(wait)
            return
        self._after(self._connection())

    def _blocked_by_outbox(self) -> bool:
        outbox = self._outbox
        if outbox is None or outbox.may_read():
            return False
        if self._stats.state != "paused_publish":
            self._stats.state = "paused_publish"
            reason = outbox.left
            log.error(
                "Disconnected from X on purpose (%s): STATE_DIR takes no more, and a post that "
                "cannot be kept costs money. %d messages are held and tried again.",
                reason, self._stats.held,
            )  # fmt: skip
            self._books.tell("publish_stalled", reason=reason, detail={"held": self._stats.held})
        self._stop.wait(0.2)
        return True

    def _paused_by_budget(self) -> bool:
        budget = self._budget
        if not budget.spent:
            self._stats.budget_paused_until = 0.0
            if budget.paused or self._usage_unknown:
                budget.paused = self._usage_unknown = False
                budget.save()
                log.info(
                    "The post budget allows reading again: %d of %d", budget.used, budget.limit
                )
                self._books.tell("budget_resumed", posts_used=budget.used, post_budget=budget.limit)
            return False
        self._stats.state = "paused_budget"
        if not budget.trusted:
            # Logged by whoever asks X for its usage.
            if not self._usage_unknown:
                self._usage_unknown = True
                self._coverage.ended(BUDGET)
                self._books.tell("budget_paused", reason="usage_unknown", post_budget=budget.limit)
        else:
            self._stats.budget_paused_until = budget.period_end
        if budget.trusted and not budget.paused:
            budget.paused = True
            budget.settle()
            log.warning(
                "Post budget used up: %d of %d. Paused until %s. Raise postBudget to go on "
                "earlier.",
                budget.used, budget.limit, budget.until(),
            )  # fmt: skip
            self._coverage.ended(BUDGET)
            self._books.tell(
                "budget_paused",
                reason=BUDGET,
                posts_used=budget.used,
                post_budget=budget.limit,
                detail={"until": budget.until()},
            )
        self._stop.wait(0.2)
        return True

    def _apply_rules(self) -> None:
        """Make X's rules ours. At a reconnect a call that fails does not hold up the stream: the
        rules were ours, and the rule book looks again.
        """
        known = self._rules.in_force and not self._rules_lost
        try:
            self._token = self._settings.token.read()
            self._rules.apply()
        except (RulesError, SettingsError) as error:
            if not self._lines.ever_connected:
                raise StopError(str(error), 2) from None
            log.error("%s", error)  # noqa: TRY400 - a line for a person, not a fault
            if not known:
                self._wait(self._backoff.refused())
        except XRefusedError as error:
            if not known:
                self._coverage.ended(f"http_{error.refusal.status}")
                self._refused(error.refusal, "the rules")
        except requests.RequestException as error:
            if not known:
                wait = self._backoff.unreachable()
                self._coverage.ended("unreachable")
                log.warning(
                    "X cannot be reached at %s (X_API_BASE_URL): %s. Again in %.1f s",
                    self._settings.api_base_url, words(error), wait,
                )  # fmt: skip
                self._wait(wait)
        else:
            known, self._rules_lost = True, False
            if not self._asked:
                self._asked = True
                self._before_first_connect()
        self._stats.rules = self._rules.count
        self._rules_applied = known

    def _connection(self) -> End:
        try:
            self._token = self._settings.token.read()
        except SettingsError as error:
            if not self._lines.ever_connected:
                raise StopError(str(error), 2) from None
            return End("http_401", refusal=XRefusal(401, str(error), Kind.BEARER))
        self._lines.begin()
        stream = Stream(
            self._token, self._settings.api_base_url, self._lines, self._budget.receive_buffer
        )
        with self._lock:
            self._stream = stream
        if self._stop.is_set():
            return End(SHUTDOWN)
        if self._budget.limit and not self._budget.reserve():
            return End(DISK)
        self._stats.state = "connecting"
        self._stats.connects += 1
        self._stats.reconnects += self._stats.connects > 1
        self._pacer.connecting()
        params: dict[str, Any] = dict(asked(self._settings.fields))
        if self._settings.backfill_minutes:
            params["backfill_minutes"] = self._settings.backfill_minutes
        end = stream.read(params)
        with self._lock:
            self._stream = None
        return end

    def _after(self, end: End) -> None:
        control, truncated = self._lines.control, self._lines.truncated_line
        reason = DISCONNECTED if end.reason in ("closed", "reset") else end.reason
        self._rules_applied = False
        self._stats.ends[reason] += 1
        if end.connected:
            self._backoff.after(uptime=end.uptime, had_data=end.had_data)
            detail: dict[str, Any] = {"how": end.reason, "uptime_seconds": round(end.uptime, 1)}
            if control:
                detail["control"] = control
            if truncated:
                detail["truncated_line"] = truncated
            self._coverage.ended(reason, detail)
        else:
            self._coverage.ended(reason)
        if end.reason in ON_PURPOSE:
            return
        if end.connected:
            # The gap's own event comes with the next connection; until then this one says it.
            self._books.tell("disconnected", reason=reason, gap_from=self._coverage.until)
        if end.refusal is not None:
            self._refused(end.refusal, "the stream")
            return
        if control == "TooManyConnections":
            self._refused(XRefusal(200, control, Kind.CONNECTIONS), "the stream")
            return
        wait = self._backoff.dropped() if end.connected else self._backoff.unreachable()
        log.warning(
            "The stream ended (%s) after %.1f s: %s. Next connect in %.2f s",
            control or end.reason, end.uptime, end.words or "X closed it", wait,
        )  # fmt: skip
        self._wait(wait)

    def _refused(self, refusal: XRefusal, what: str) -> None:
        kind = refusal.kind
        if kind in FINAL and not self._lines.ever_connected:
            raise StopError(f"X refuses {what}: {refusal}", 2)
        if kind in MONTHLY:
            wait = self._backoff.monthly(self._budget.period_end)
        elif kind in (Kind.LIMIT, Kind.CONNECTIONS):
            wait = self._backoff.limited(refusal.reset)
        else:
            wait = self._backoff.refused()
        self._rules_lost = self._rules_lost or kind is Kind.RULES
        log.error("X refuses %s: %s Again in %.0f s", what, refusal, wait)
        self._wait(wait, token=kind in FINAL | MONTHLY)

    def _wait(self, seconds: float, *, token: bool = False) -> None:
        """Wait, but no longer than until stop(), or until the token file holds another token."""
        if seconds <= 0:
            return
        self._stats.state, self._stats.backoff = "backoff", seconds
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.wait(min(left, 1.0)):
            if token and self._token_changed():
                log.info("The bearer token has changed: trying it")
                break
        self._stats.backoff = 0.0

    def _token_changed(self) -> bool:
        try:
            return self._settings.token.read() != self._token
        except SettingsError:
            return False
