"""The producer's parts put together, and their clock: what runs beside the stream's thread."""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path

from producer.backoff import Backoff, Pacer, Waits
from producer.books import Books
from producer.budget import USAGE_AGAIN, USAGE_EVERY, Budget, UsageError, read_usage
from producer.gap import Coverage
from producer.health import HealthServer
from producer.log import OncePerMinute
from producer.messages import BUDGET, SHUTDOWN, TAKEN_OVER, now
from producer.outbox import Outbox
from producer.reader import Reader, StopError
from producer.reconcile import RulesChange
from producer.record import timestamp
from producer.revision import code_digest
from producer.rulebook import RuleBook, Takeover
from producer.settings import Settings, SettingsError
from producer.stats import Stats
from producer.store import Store
from producer.x_api import XApi

log = logging.getLogger(__name__)

# SIGTERM to exit in 10 s: what X has sent is read, and Pub/Sub has the rest of this.
STOP_WITHIN = 8.0
RULES_EVERY = 5.0
# X sends a sign of life each 20 s: an open stream without a post for so long has none to send...
QUIET = 20.0
# ... where its posts have come, on average, so many times as often.
QUIET_DISTANCES = 20
TICK = 0.5
WAITS = Waits()


class Service:
    """A producer, from start() to close().

    Attributes:
        ended: set when it cannot go on by itself; close() then gives the exit code.

    Raises:
        SettingsError, StateError, PortError: one line each, for a person.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stats = Stats(budget_limit=settings.post_budget)
        self.ended = threading.Event()
        self._closing = threading.Event()
        self._refused: str | None = None
        self._once = OncePerMinute(log)
        self._ticked: float | None = None
        self._quiet_since = 0.0
        self._usage_at = time.monotonic()
        self._threads = [
            threading.Thread(target=self._read, name="stream", daemon=True),
            threading.Thread(target=self._clock, name="clock", daemon=True),
            threading.Thread(target=self._errands, name="errands", daemon=True),
        ]
        self.health = (
            None
            if settings.port is None
            else HealthServer(settings.host, settings.port, self.stats, self.fault)
        )
        self._store = Store(settings.state_dir) if settings.state_dir else None
        self._outbox: Outbox | None = None
        if settings.topic and self._store:
            self._outbox = Outbox(
                settings, settings.topic, self._store, self.stats, self._on_refused
            )
        self.budget = Budget(settings.post_budget, self._store)
        self.coverage = Coverage(self._store, settings.instance)
        self.rules = RuleBook(
            settings.rules,
            settings.rules_file,
            self.client,
            self._rules_changed,
            self._rules_taken_over,
            lambda: self.coverage.right(now()),
        )
        self._books = Books(settings, self._outbox, self.budget, self.coverage, self.stats)
        self.reader = Reader(
            self._books,
            self.rules,
            Backoff(WAITS),
            Pacer(self._store),
            self._print if settings.print_posts else None,
            self.read_usage,
        )

    def start(self) -> None:
        """Begin."""
        revision = code_digest(Path(__file__).parent)
        rules = len(self.settings.rules or ())
        self._books.tell("started", detail={"rules": rules, "revision": revision})
        for thread in self._threads:
            thread.start()

    def close(self) -> int:
        """Read no more, publish what was read within 10 s, and return the exit code."""
        until = time.monotonic() + (0.5 if self._refused else STOP_WITHIN)
        self._closing.set()
        self.rules.news.set()
        self.reader.stop()
        failure = self.failure
        if failure is not None:
            log.critical("%s", failure)
        stream = self._threads[0]
        if stream.ident:
            stream.join(3.0)
        self.coverage.look()
        if not stream.is_alive():  # else it has read what is not kept: the next start says "killed"
            if self.coverage.gap is None:
                self.coverage.ended(SHUTDOWN)
            self.budget.settle()
        self._books.tell("stopped", posts_used=self.budget.used)
        kept = lost = 0
        if self._outbox is not None:
            kept, lost = self._outbox.close(max(0.5, until - time.monotonic()))
        if lost:
            log.error(
                "%d messages could neither be published nor kept: STATE_DIR takes nothing. The "
                "next gap covers their time",
                lost,
            )
        if kept:
            log.warning(
                "%d messages could not be published in time: they are kept in %s and sent at the "
                "next start",
                kept,
                self.settings.state_dir,
            )
        if self.health is not None:
            self.health.close()
        if failure is not None:
            return failure.code
        log.info(
            "Stopped: %d posts read, %d messages published, %d kept",
            self.stats.posts,
            self.stats.published,
            kept,
        )
        return 0

    @property
    def failure(self) -> StopError | None:
        """Why it cannot go on."""
        return StopError(self._refused, 1) if self._refused else self.reader.failure

    def fault(self) -> str | None:
        """What a restart by Kubernetes would mend, or None."""
        # Before the first turn a large store may be looked through: a restart would not help.
        if self._ticked is not None and time.monotonic() - self._ticked > 60:
            return "the clock thread has not turned for 60 s"
        stream = self._threads[0]
        if stream.ident and not stream.is_alive() and not self._closing.is_set():
            return "the stream's thread has ended"
        if self.stats.state == "streaming" and time.time() - self.stats.last_byte > 120:
            return "streaming, but nothing was read for 120 s"
        return None

    def client(self) -> XApi:
        """Return a client for calls, with the token as it is now."""
        return XApi(self.settings.token.read(), self.settings.api_base_url)

    def read_usage(self) -> None:
        """Ask X for the month's usage; without an answer a trusted count of our own goes on."""
        budget = self.budget
        self._usage_at = time.monotonic()
        if self.settings.topic is None and not self.settings.post_budget:
            return
        try:
            usage = read_usage(self.client())
        except (UsageError, SettingsError) as error:
            then = f"going by our own count, {budget.used}"
            if budget.limit and not budget.trusted:
                then = "no count of our own can be trusted, so nothing is read until X answers"
            self._once.log(
                logging.WARNING, "usage_unknown", f"X's usage cannot be read ({error}): {then}"
            )
            return
        if budget.reading(usage):
            log.info("A new period of X's usage has begun")
        self.stats.budget_used = budget.used
        budget.save()
        self._books.tell(
            "usage",
            posts_used=budget.used,
            post_budget=self.settings.post_budget or None,
            detail={"x_posts": usage.posts, "cap_reset_day": usage.reset_day},
        )

    def _read(self) -> None:
        if self.stats.replayed:
            log.info("%d messages of an earlier run are sent from STATE_DIR", self.stats.replayed)
        self.reader.run()
        self.ended.set()

    def _clock(self) -> None:
        """Heartbeat: what must be noticed in time."""
        while not self._closing.wait(TICK):
            self._ticked = time.monotonic()
            try:
                self.tick()
            except Exception:
                log.exception("The clock failed: a fault in this program")

    def tick(self) -> None:
        """One turn of the clock."""
        budget = self.budget
        self.stats.budget_used = budget.used
        if budget.warn():
            log.warning("80 %% of the post budget is used: %d of %d", budget.used, budget.limit)
            self._books.tell("budget_warning", posts_used=budget.used, post_budget=budget.limit)
        if budget.spent:
            self.reader.interrupt(BUDGET)
        self._tell_of_quiet()
        if self._outbox is not None:
            self._outbox.flush()
            self.coverage.look()
            if reason := self._outbox.blocked():
                self.reader.interrupt(reason)

    def _tell_of_quiet(self) -> None:
        """Say once that an open stream brings no post: the page can't tell it from a sink that is
        behind but by a word that comes the way of the posts.
        """
        stats = self.stats
        since, usual = stats.last_post, (stats.last_post - stats.started) / max(stats.posts, 1)
        if stats.state != "streaming" or since in (0.0, self._quiet_since):
            return
        if stats.last_byte - since >= max(QUIET, QUIET_DISTANCES * usual):
            self._quiet_since = since
            self._books.tell("quiet", detail={"since": timestamp(int(since * 1e6))})

    def _errands(self) -> None:
        """Calls to X, which may take their time."""
        while not self._closing.is_set():
            self.rules.news.wait(RULES_EVERY)
            try:
                self.rules.poll()
                self.stats.rules = self.rules.count
                due = USAGE_AGAIN if self.budget.asks else USAGE_EVERY
                if time.monotonic() - self._usage_at >= due:
                    self.read_usage()
            except Exception:
                log.exception("An errand to X failed: a fault in this program")

    def _print(self, line: bytes) -> None:
        """Show a post as X sent it; end when nobody reads any more (head, a closed pager)."""
        if self.ended.is_set():
            return
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except OSError:  # BrokenPipeError above all
            self.ended.set()

    def _rules_changed(self, change: RulesChange) -> None:
        self._books.tell("rules_changed", detail=_shown(change))

    def _rules_taken_over(self, takeover: Takeover) -> None:
        self.stats.rules_taken_over += 1
        detail = _shown(takeover.change)
        self._books.tell(TAKEN_OVER, detail=detail)
        if takeover.missing_from is not None:
            end = max(self.coverage.right(now()), takeover.missing_from)
            self._books.tell(
                "gap", gap_from=takeover.missing_from, gap_to=end, reason=TAKEN_OVER, detail=detail
            )

    def _on_refused(self, message: str) -> None:
        self._refused = message
        self.ended.set()


def _shown(change: RulesChange) -> dict[str, list[dict[str, str | None]]]:
    return {
        name: [{"value": rule.value, "tag": rule.tag} for rule in rules]
        for name, rules in (("added", change.added), ("deleted", change.deleted))
    }
