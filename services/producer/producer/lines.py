"""What a line of the stream is, and what becomes of all that a chunk of it holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from producer import record
from producer.books import Books
from producer.gap import made_at
from producer.log import OncePerMinute
from producer.messages import (
    BUDGET,
    DISCONNECTED,
    MAX_DATA,
    POSTS,
    Entry,
    buried,
    event,
    event_message,
    now,
    post_message,
)  # fmt: skip
from producer.parsing import LineError, control_reason, control_words, is_farewell, parse

log = logging.getLogger(__name__)

MAX_LINE = 8_000_000


@dataclass
class Line:
    """What a line is.

    Attributes:
        entries: what is to be kept and published.
        post_id: of the post that it holds.
        rules: X's ids of the rules that the post matched.
        control: the message about the stream that it holds.
        reason: why it holds neither: malformed_line or too_large.
        detail: the same for a person; of a post, what is odd about it.
    """

    entries: list[Entry] = field(default_factory=list)
    post_id: int | None = None
    rules: Sequence[str] = ()
    control: dict[str, Any] | None = None
    reason: str = ""
    detail: str = ""

    @classmethod
    def of(cls, line: bytes, at: int, producer: str, *, letters: bool = True) -> Line:
        """Sort one line as X sent it. Raises nothing for what is in it.

        Args:
            line: without its end.
            at: when it was read, microseconds since 1970.
            producer: name for its event.
            letters: whether there is a topic for dead letters.
        """

        def bury(reason: str, detail: str) -> Line:
            entries = buried(line, reason, detail, at, producer, letters=letters)
            return cls(entries, reason=reason, detail=detail)

        if len(line) > MAX_LINE:
            return bury("too_large", f"a line of more than {MAX_LINE} bytes")
        try:
            body, raw = parsed = parse(line)
            if not parsed.is_post:
                reason = control_reason(body)
                row = event("control_message", producer, at=at, reason=reason, detail=body)
                return cls([Entry(POSTS, event_message(row), at)], control=body)
            columns = record.to_record(body, raw, at)
            message = post_message(columns)
        except LineError as error:
            return bury("malformed_line", str(error))
        except Exception as error:
            # A form of post that nobody thought of must cost one line, not the stream.
            log.exception("A line could not be made into a record")
            return bury("malformed_line", f"{type(error).__name__}: {error}")
        if len(message.data) > MAX_DATA:
            size = len(message.data)
            return bury(
                "too_large", f"a record of {size} bytes; a Pub/Sub message holds {MAX_DATA}"
            )
        odd = "" if record.created_at(body["data"].get("created_at")) else "created_at_missing"
        post_id = int(columns["id"])
        entries = [Entry(POSTS, message, made_at(at, post_id))]
        return cls(entries, post_id, record.rule_ids(body), detail=odd)


class Lines:
    """Gets what a connection carries (stream.Stream), keeps it chunk by chunk, says when to leave.

    Attributes:
        ever_connected: whether X has accepted a connection in this process.
        control: X's name for what it said about this connection, if it did.
        truncated_line: what is known of the line within which this connection ended.

    Args:
        matched: given the ids of the rules that a post matched, and when it was made.
        echo: given each post as X sent it.
        interrupt: called with the reason when the connection must end now.
    """

    def __init__(
        self,
        books: Books,
        matched: Callable[[Iterable[str], int], None],
        echo: Callable[[bytes], None] | None,
        interrupt: Callable[[str], None],
    ) -> None:
        self._settings, self._outbox = books.settings, books.outbox
        self._budget, self._coverage, self._stats = books.budget, books.coverage, books.stats
        self._matched = matched
        self._echo = echo
        self._interrupt = interrupt
        self._once = OncePerMinute(log)
        self.ever_connected = False
        self._entries: list[Entry] = []
        self._charged = self._posts = 0
        self.begin()

    def begin(self) -> None:
        """Forget the last connection; what a fault of it left unkept is kept now."""
        if self._entries:
            self.chunk_end()
        self.control: str | None = None
        self.truncated_line: dict[str, Any] | None = None
        self._over = False
        self._wire = self._read = 0

    def connected(self, x_time: float | None) -> None:
        """X accepted the connection, by its own clock at `x_time`, seconds since 1970."""
        self.ever_connected = True
        if x_time is not None:
            self._coverage.met(x_time)
        self._stats.state = "streaming"
        self._stats.last_byte = time.time()
        log.info("Connected to the stream with %d rule(s)", self._stats.rules)
        detail = {"rules": self._stats.rules}
        self._add_event(event("connected", self._settings.instance, detail=detail))
        self.chunk_end()

    def received(self, count: int, wire: int) -> None:
        """Bytes came; with them the connection has carried `wire`, which may be compressed."""
        self._stats.received_bytes += count
        self._wire = wire
        self._stats.last_byte = time.time()

    def line(self, line: bytes) -> None:
        """A line with data came."""
        at, stats = self._coverage.right(now()), self._stats
        letters = self._outbox is not None and self._outbox.has_letters
        found = Line.of(line, at, self._settings.instance, letters=letters)
        since, entries = self._coverage.until, found.entries
        if found.post_id is None and since is not None and self._coverage.gap is None:
            # Of a line without an id only this is known: it was made after the last post.
            entries = [entry._replace(made_at=min(at, since)) for entry in entries]
        self._entries += entries
        if found.control is not None:
            # It says nothing about the posts: a gap neither ends nor begins with it.
            self.control = control_reason(found.control)
            stats.control_messages += 1
            stats.events += 1
            self._say(
                f"control_{self.control}",
                f"X says: {control_words(found.control)}",
                logging.WARNING,
            )
            if is_farewell(found.control):
                self._over = True
                self._interrupt(DISCONNECTED)
            return
        self._charged += 1  # also a line that cannot be used
        if self._coverage.gap is not None:
            self._close_gap(at, found.post_id)
        if found.post_id is None:
            stats.dead_letters += 1
            stats.events += 1
            shown = line[:200].decode("utf-8", "replace")
            self._say(found.reason, f"A line cannot be used: {found.detail}: {shown}")
            return
        self._coverage.covered(at, found.post_id)
        self._matched(found.rules, made_at(at, found.post_id))
        self._posts += 1
        stats.last_post = time.time()
        stats.lag_from = (at, found.post_id)
        if found.detail:
            stats.created_at_derived += 1
            words = f"Post {found.post_id} has no usable created_at: taken from its id"
            self._say(found.detail, words, logging.WARNING)
        if self._echo is not None:
            self._echo(line)

    def keep_alive(self) -> None:
        """A blank line came."""
        self._stats.keep_alives += 1
        if self._over:
            return  # X has said that no post comes any more
        at = self._coverage.right(now())
        if self._coverage.gap is not None:
            self._close_gap(at, None)
        self._coverage.covered(at)

    def oversize(self, start: bytes, length: int) -> None:
        """A line came that is longer than anything of X's; its start is kept."""
        log.error("A line of %d bytes: its first %d are kept", length, len(start))
        self.line(start)

    def truncated(self, part: bytes) -> None:
        """The connection ended within this line: a post if only its end is missing, else noted in
        the gap, which is where its time belongs.
        """
        try:
            parse(part)
        except LineError:
            self.truncated_line = {"bytes": len(part)}
        else:
            self.line(part)

    def chunk_end(self) -> None:
        """All of a chunk was given: keep its posts and the coverage that they prove as one."""
        entries, self._entries = self._entries, []
        charged, self._charged = self._charged, 0
        self._read += charged
        leave = charged > 0 and self._budget.read(charged, self._wire / self._read)
        if self._outbox is not None:
            with self._coverage.lock:
                states = {"coverage": self._coverage.state()}
                if self._budget.trusted:
                    states["budget"] = self._budget.state()
                self._outbox.keep(entries, states)
            if reason := self._outbox.blocked():
                self._interrupt(reason)
        self._stats.posts += self._posts
        self._posts = 0
        if leave:
            self._interrupt(BUDGET)

    @property
    def over(self) -> bool:
        """Whether X sends on though we have left for the budget: to wait would buy more."""
        return self._budget.passed

    def _close_gap(self, at: int, post_id: int | None) -> None:
        row = self._coverage.resumed(at, post_id, self._settings.backfill_minutes)
        if row is not None:
            self._add_event(row)

    def _add_event(self, row: dict[str, Any]) -> None:
        if self._outbox is not None:
            self._stats.events += 1
            self._entries.append(Entry(POSTS, event_message(row), self._coverage.right(now())))

    def _say(self, kind: str, words: str, level: int = logging.ERROR) -> None:
        self._once.log(level, kind, words)
