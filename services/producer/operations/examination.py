"""The checks of `tweets doctor`.

Nothing is changed and no post is bought: rules, usage and connections of X cost nothing, the dead
letters are counted by Cloud Monitoring and the table, never leased.
"""

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from operations.dataset import Dataset
from operations.deployed import code_differences, table_differences
from operations.errors import UnavailableError
from operations.gaps import beginless, open_spans
from operations.monitoring import read_backlog
from operations.search import RECENT, price
from operations.settings import Settings
from operations.text import age, harmless
from operations.x_account import XAccount
from producer import database
from producer.record import integer, json_object, json_objects
from producer.rules import RulesError, read_rules
from producer.store import FILE as STORE_FILE

OK, WARN, FAIL = "ok", "warn", "fail"
_DAY = timedelta(days=1)


_Answer = tuple[str, str, str]
"""State, what was seen, and what to do if it is not ok."""


class Examination:
    """The checks, in the order in which a person would ask, and what several of them need."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._at = datetime.now(UTC)

    @property
    def checks(self) -> Sequence[tuple[str, Callable[[], _Answer]]]:
        """Names of the checks, and the checks."""
        reader = [self.reader] if self._settings.state_dir else []
        checks = [
            *(self.token, self.rules, self.budget, *reader, self.connection, self.newest_post),
            *(self.received, self.backlog, self.dead_letters, self.gaps, self.table),
            *(self.compliance, self.revision),
        ]
        return [(check.__name__.replace("_", " "), check) for check in checks]

    @cached_property
    def _account(self) -> XAccount:
        return XAccount(self._settings)

    @cached_property
    def _dataset(self) -> Dataset:
        return Dataset(self._settings.dataset)

    @cached_property
    def _usage(self) -> Mapping[str, Any]:
        fields = "cap_reset_day,daily_project_usage,project_cap,project_usage"
        answer = self._account.call("GET", "/2/usage/tweets", {"usage.fields": fields, "days": 2})
        data = json_object(answer.get("data"))
        if integer(data.get("project_usage")) is None:
            raise UnavailableError(f"X answers with no usage: {harmless(str(answer))[:200]}")
        return data

    @cached_property
    def _posts(self) -> dict[str, Any]:
        """Of the stream, the last seven days: newest post, rows of the last day, of today."""
        (row,) = self._dataset.rows(
            "SELECT MAX(IF(source = 'stream', created_at, NULL)) AS newest, "
            "COUNT(DISTINCT IF(source = 'stream' AND created_at >= @day, id, NULL)) AS last_day, "
            "COUNT(DISTINCT IF(ingested_at >= @today, id, NULL)) AS today "
            "FROM `${dataset}.tweets` WHERE created_at >= @week",
            day=(self._at - _DAY).replace(tzinfo=None),
            week=(self._at - 7 * _DAY).replace(tzinfo=None),
            today=self._midnight,
        )
        return dict(row)

    @property
    def _midnight(self) -> datetime:
        return self._at.replace(hour=0, minute=0, second=0, microsecond=0)

    @property
    def _per_second(self) -> float:
        return int(self._posts["last_day"]) / _DAY.total_seconds()

    def token(self) -> _Answer:
        """The bearer token is valid, and its app may use the stream."""
        self._account.rules()
        return OK, "X knows the token, and its app may use the stream", ""

    def rules(self) -> _Answer:
        """X has the configured rules, and no others."""
        if self._settings.rules_file is None:
            todo = "name the file: --rules FILE or RULES_FILE (pulumi config get tweets:rules)"
            return WARN, "X's rules were not compared: no file of rules is named", todo
        try:
            wanted = set(read_rules(self._settings.rules_file))
        except RulesError as error:
            return FAIL, str(error), "mend the file"
        active = set(self._account.rules())
        missing, strange = wanted - active, active - wanted
        if not missing and not strange:
            return OK, f"X has exactly the configured rules ({len(wanted):,})", ""
        shown = next(iter(missing or strange))
        return (
            FAIL,
            f"configured but not on X: {len(missing):,}; on X but not configured: "
            f"{len(strange):,}; such as {shown.tag or shown.value[:60]!r}",
            "end what else sets rules for this app (its posts are paid for); the reader sends its "
            "own within ten minutes, and at a restart",
        )

    def budget(self) -> _Answer:
        """Posts used this month against the budget and X's cap."""
        used = integer(self._usage["project_usage"]) or 0
        limits = {
            "X's cap": integer(self._usage.get("project_cap")),
            "the budget": self._settings.post_budget,
        }
        shares = {f"{name} of {limit:,}": used / limit for name, limit in limits.items() if limit}
        seen = f"{used:,} posts used this month ({price(used)})"
        seen += "".join(f", {share:.0%} of {name}" for name, share in shares.items())
        if not self._settings.post_budget:
            seen += "; POST_BUDGET is not set"
        share = max(shares.values(), default=0.0)
        state = FAIL if share >= 1 else WARN if share >= 0.8 else OK
        reset = self._usage.get("cap_reset_day")
        return state, seen, f"raise it (tweets:postBudget, X's console), or wait for day {reset}"

    def reader(self) -> _Answer:
        """The reader of this STATE_DIR is not paused, and publishes what it holds."""
        path = (self._settings.state_dir or Path()) / STORE_FILE
        try:
            with contextlib.closing(database.connect(path, read_only=True)) as store:
                messages, oldest = store.execute(
                    "SELECT COUNT(*), MIN(made_at) FROM messages"
                ).fetchone()
                kept = store.execute("SELECT value FROM state WHERE name = 'budget'").fetchone()
            budget = json.loads(kept[0]) if kept else {}
            used, paused = integer(budget.get("used")) or 0, budget.get("paused") is True
        except (*database.UNREADABLE, ValueError, AttributeError) as error:
            todo = "the reader's log says what it did about it"
            return FAIL, f"{path} cannot be read: {error}", todo
        waiting = max(self._at.timestamp() - oldest / 1e6, 0.0) if messages else 0.0
        seen = (
            f"posts used by the reader's own count: {used:,}; waiting to be published: "
            f"{messages:,}, the oldest {age(waiting)}"
        )
        if paused:
            return WARN, f"{seen}; paused by the budget", "raise tweets:postBudget, or wait"
        state = FAIL if waiting > 600 else WARN if waiting > 60 else OK
        return state, seen, "the reader's log says why the topic does not take them"

    def connection(self) -> _Answer:
        """One connection to the stream is open."""
        answer = self._account.call("GET", "/2/connections", {"status": "active"})
        connections = json_objects(answer.get("data"))
        if not connections:
            todo = "the reader's log says why: kubectl logs deployment/producer"
            return FAIL, "no connection to the stream is open: posts are being missed", todo
        if len(connections) > 1:
            todo = "find the second program that reads with this app: posts are shared between them"
            return WARN, f"{len(connections)} connections to the stream are open", todo
        since = harmless(str(connections[0].get("connected_at", "?")))
        return OK, f"one connection to the stream, since {since}", ""

    def newest_post(self) -> _Answer:
        """The newest post is as new as the rate makes one expect."""
        newest = self._posts["newest"]
        if newest is None:
            return WARN, "no post of the last seven days is in the table", "see `connection`, rules"
        silent = max((self._at.replace(tzinfo=None) - newest).total_seconds(), 0.0)
        rate = self._per_second
        seen = f"newest post {age(silent)} old, {self._posts['last_day']:,} in 24 hours"
        # How probable so long a silence is at this rate, were posts independent of each other.
        chance = math.exp(-rate * max(silent - 60, 0)) if rate else 0.0
        state = OK if chance > 1e-3 else WARN if chance > 1e-9 else FAIL
        return state, seen, "see `connection` and `backlog`: the stream is down, or the sink behind"

    def received(self) -> _Answer:
        """Posts that X charged today are rows, dead letters, or on their way."""
        days = json_objects(json_object(self._usage.get("daily_project_usage")).get("usage"))
        charged = sum(
            integer(day.get("usage")) or 0
            for day in days
            if str(day.get("date"))[:10] == self._at.date().isoformat()
        )
        (row,) = self._dataset.rows(
            "SELECT COUNT(*) AS letters FROM `${dataset}.stream_events_latest` "
            "WHERE `at` >= @today AND kind = 'dead_letter'",
            today=self._midnight,
        )
        rows, letters = int(self._posts["today"]), int(row["letters"])
        lost = charged - rows - letters
        seen = (
            f"today X charged {charged:,} posts; {rows:,} are rows, {letters:,} "
            f"became dead letters, {max(lost, 0):,} are missing"
        )
        # What comes in two minutes may be on its way still.
        on_the_way = 120 * self._per_second + 10
        state = OK if lost <= on_the_way else WARN if lost <= on_the_way + charged / 100 else FAIL
        todo = "see `backlog` and `gaps`; another program of this project counts here too"
        return state, seen, todo

    def backlog(self) -> _Answer:
        """The sink keeps up."""
        settings = self._settings
        found = read_backlog(settings.monitoring_endpoint, settings.sink_subscription)
        if found is None:
            return WARN, "Cloud Monitoring has no figure of the sink's subscription", "check TOPIC"
        seen = f"waiting for the sink: {found.messages:,}"
        if found.oldest is None:
            todo = "run it again in four minutes: Cloud Monitoring's figures are as old as that"
            return WARN, f"{seen}; Cloud Monitoring does not know for how long", todo
        seen += f", the oldest {age(found.oldest)}"
        state = FAIL if found.oldest > 600 else WARN if found.oldest > 60 else OK
        todo = "see the function's log (pulumi stack output sinkLogsCommand) and BigQuery's status"
        return state, seen, todo

    def dead_letters(self) -> _Answer:
        """Nothing waits among the dead letters."""
        settings = self._settings
        found = read_backlog(settings.monitoring_endpoint, settings.dead_letter_subscription)
        reasons = self._dataset.rows(
            "SELECT COALESCE(reason, 'unknown') AS reason, COUNT(*) AS letters "
            "FROM `${dataset}.stream_events_latest` "
            "WHERE `at` >= @week AND kind = 'dead_letter' GROUP BY 1 ORDER BY 2 DESC",
            week=self._at - 7 * _DAY,
        )
        said = ", ".join(f"{row['letters']:,} {row['reason']}" for row in reasons)
        seen = f"set aside in seven days: {said or 'none'}"
        if found is None:
            return WARN, f"{seen}; how many wait is not known to Cloud Monitoring", "check the name"
        state = WARN if found.messages else OK
        todo = "tweets redrive list, mend the cause, tweets redrive send --yes (kept seven days)"
        return state, f"waiting: {found.messages:,}; {seen}", todo

    def gaps(self) -> _Answer:
        """No gap of the stream is open."""
        gaps, covered = self._dataset.gaps(self._at - 30 * _DAY)
        spans, unknown = open_spans(gaps, covered), beginless(gaps, covered)
        if not spans and not unknown:
            return OK, "no gap of the last 30 days is open", ""
        seconds = sum(span.length.total_seconds() for span in spans)
        posts = sum(self._dataset.expected_posts(span) for span in spans)
        seen = (
            f"open gaps of the last 30 days: {len(spans):,}, {age(seconds)} in all, about "
            f"{posts:,} posts or {price(posts)} to fill"
        )
        if unknown:
            seen += f"; and {len(unknown):,} whose begin nobody knows"
            todo = "since when is not known: fill by --from --to (tweets backfill lists them)"
            return FAIL, seen, todo
        old = sum(span.end <= RECENT.oldest(self._at) for span in spans)
        further = f" (--archive for {old:,} of them)" if old else ""
        return WARN, seen, f"tweets backfill lists them, tweets backfill --all fills them{further}"

    def table(self) -> _Answer:
        """The tables have the columns and the expiry that the program declares."""
        wrong, seen = table_differences(self._dataset, self._settings.table_expiration_days)
        return (FAIL if wrong else OK), wrong or seen, "pulumi up brings the table to what it says"

    def compliance(self) -> _Answer:
        """What was deleted on X was removed here within a day."""
        rows = self._dataset.rows(
            "SELECT MAX(`at`) AS newest FROM `${dataset}.stream_events_latest` "
            "WHERE `at` >= @since AND kind = 'compliance' "
            "AND COALESCE(JSON_VALUE(detail, '$$.unfinished'), 'false') = 'false'",
            since=self._at - 30 * _DAY,
        )
        newest = next(iter(rows))["newest"]
        todo = "tweets compliance run --yes, each day by tweets:complianceSchedule"
        if newest is None:
            return WARN, "no finished run in 30 days", todo
        old = self._at - newest
        state = OK if old < timedelta(hours=26) else WARN
        return state, f"the last finished run is {age(old.total_seconds())} old", todo

    def revision(self) -> _Answer:
        """Reader and function run the code that lies here."""
        differ, seen = code_differences(self._dataset, self._at - 400 * _DAY)
        todo = "pulumi up, if no deploy is under way; or ask from the checkout that is deployed"
        return WARN if differ else OK, seen, todo
