"""What becomes of each line: journal first, then a post, an event or a dead letter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from producer import record
from producer.events import event, event_id, now
from producer.journal import EVENT, LINE, Entry, Journal, JournalFullError, OldSegment, Segment
from producer.log import OncePerMinute
from producer.message import MAX_DATA, dead_letter, event_message, line_id, post_message
from producer.publisher import Item, Publisher
from producer.stats import Stats
from producer.transport import MAX_LINE

log = logging.getLogger(__name__)


class Intake:
    """Sorts lines. read() is for the stream's thread; event() for any.

    Args:
        posts: publisher of the topic.
        dead_letters: publisher of the dead-letter topic; None logs a bad line and keeps it in its
            event.
        on_disk_full: called when a line could not be kept on disk (it is held in memory).
    """

    def __init__(
        self,
        journal: Journal,
        posts: Publisher,
        dead_letters: Publisher | None,
        stats: Stats,
        producer: str,
        on_disk_full: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._posts = posts
        self._dead_letters = dead_letters
        self._stats = stats
        self._producer = producer
        self._on_disk_full = on_disk_full
        self._once = OncePerMinute(log)

    def read(self, line: bytes) -> int | dict[str, Any] | None:
        """Keep and queue one line as X sent it.

        Returns a post's id, a control message, or None for a line that was dead-lettered. Never
        raises for what is in the line.
        """
        at = now()
        return self._sort(line, at, self._keep(LINE, at, line))

    def event(self, row: dict[str, Any]) -> None:
        """Keep and queue an event made by events.event()."""
        message = event_message(row)
        self._stats.events += 1
        self._posts.put(message, self._keep(EVENT, now(), message.data))

    def replay(self, wait: Callable[[], bool]) -> int:
        """Queue again what an earlier process read and did not publish; return how many entries.

        Args:
            wait: called while the buffer is full; False ends the replay, the rest stays on disk.
        """
        count = 0
        for segment in self._journal.left:
            for entry in segment.entries():
                while self._posts.full:
                    if not wait():
                        return count
                self._journal.hold(segment)
                count += 1
                self._stats.replayed += 1
                if entry.kind == EVENT:
                    self._replay_event(entry, segment)
                else:
                    self._sort(entry.data, entry.at, segment)
            self._journal.published(segment)  # read to its end
        self._journal.left = []
        return count

    def rejected(self, item: Item, words: str) -> None:
        """Settle a message that Pub/Sub calls invalid: dead-letter it with Pub/Sub's words."""
        kind = item.message.attributes.get("kind")
        log.error(
            "Pub/Sub calls a message invalid: %s", words,
            extra={"labels": {"kind": kind, "id": item.message.attributes.get("id")}},
        )  # fmt: skip
        if kind == "post":
            line = str(orjson.loads(item.message.data)["raw"]).encode()
            self._journal_hold(item.segment)
            self._bury(line, "malformed_message", f"Pub/Sub: {words}", now(), item.segment)
            return
        path = self._journal.set_aside(item.message.attributes["id"], item.message.data)
        log.error("It is an event or a dead letter itself: kept in %s", path)

    def _replay_event(self, entry: Entry, segment: OldSegment) -> None:
        try:
            row = parse(entry.data)
        except record.RecordError as error:
            # A power cut may leave the entry's head without its data (see journal.py).
            detail = f"an event in the journal: {error}"
            self._bury(entry.data, "malformed_line", detail, entry.at, segment)
        else:
            self._posts.put(event_message(row), segment)

    def _sort(
        self, line: bytes, at: int, segment: Segment | OldSegment | None
    ) -> int | dict[str, Any] | None:
        if len(line) > MAX_LINE:
            self._bury(line, "too_large", f"a line of more than {MAX_LINE} bytes", at, segment)
            return None
        try:
            parsed = parse(line)
            if "data" not in parsed:
                self._control(parsed, line, at, segment)
                return parsed
            row = record.to_record(parsed, line.decode(), at)
            message = post_message(row)
        except record.RecordError as error:
            self._bury(line, "malformed_line", str(error), at, segment)
            return None
        except Exception as error:
            # A form of post that nobody thought of must cost one line, not the stream.
            log.exception("A line could not be made into a row")
            self._bury(line, "malformed_line", f"{type(error).__name__}: {error}", at, segment)
            return None
        if len(message.data) > MAX_DATA:
            detail = f"a row of {len(message.data)} bytes; a Pub/Sub message holds {MAX_DATA}"
            self._bury(line, "too_large", detail, at, segment)
            return None
        self._posts.put(message, segment)
        self._note_post(parsed["data"], row["id"], at)
        return int(row["id"])

    def _note_post(self, post: Mapping[str, Any], post_id: int, at: int) -> None:
        stats = self._stats
        stats.last_post = at / 1e6
        stats.lag_from = (at, post_id)
        if record.created_at(post.get("created_at")) is None:
            stats.created_at_derived += 1
            self._once.log(
                logging.WARNING,
                "created_at_missing",
                f"Post {post_id} has no usable created_at: taken from its id",
            )

    def _control(
        self, message: Mapping[str, Any], line: bytes, at: int, segment: Segment | OldSegment | None
    ) -> None:
        self._stats.control_messages += 1
        reason = control_reason(message)
        self._once.log(logging.WARNING, f"control_{reason}", f"X says: {control_words(message)}")
        row = event(
            "control_message",
            self._producer,
            at=at,
            event_id=event_id("control", at, line_id(line)),
            reason=reason,
            detail=message,
        )
        self._stats.events += 1
        self._posts.put(event_message(row), segment)

    def _bury(
        self, line: bytes, reason: str, detail: str, at: int, segment: Segment | OldSegment | None
    ) -> None:
        self._stats.dead_letters += 1
        letter = dead_letter(line, reason, detail, record.timestamp(at))
        about: dict[str, Any] = {"reason": reason, "detail": detail, "bytes": len(line)}
        about["id"] = letter.attributes["id"]
        shown = line[:200].decode("utf-8", "replace")
        self._once.log(
            logging.ERROR,
            f"dead_letter_{reason}",
            f"A line cannot be used: {detail}: {shown}",
            **about,
        )
        if self._dead_letters is not None:
            self._journal_hold(segment)
            self._dead_letters.put(letter, segment)
        else:
            about["line"] = line[:100_000].decode("utf-8", "replace")
        row = event(
            "dead_letter",
            self._producer,
            at=at,
            event_id=event_id("dead_letter", at, letter.attributes["id"]),
            reason=reason,
            detail=about,
        )
        self._stats.events += 1
        self._posts.put(event_message(row), segment)

    def _keep(self, kind: bytes, at: int, data: bytes) -> Segment | None:
        try:
            return self._journal.append(kind, at, data)
        except JournalFullError as error:
            self._once.log(
                logging.ERROR,
                "journal_full",
                f"STATE_DIR takes no more ({error}): what was read is held in memory only, and X "
                "is disconnected until there is room. Make room in STATE_DIR.",
            )
            self._on_disk_full()
            return None

    def _journal_hold(self, segment: Segment | OldSegment | None) -> None:
        if segment is not None:
            self._journal.hold(segment)


def parse(line: bytes) -> dict[str, Any]:
    """Return a line's JSON object.

    Raises:
        RecordError: it holds none.
    """
    try:
        parsed = orjson.loads(line)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise record.RecordError(f"not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise record.RecordError("not a JSON object")
    return parsed


def classify(line: bytes) -> int | dict[str, Any] | None:
    """Return what Intake.read() would, and keep nothing."""
    try:
        parsed = parse(line)
        return int(record.to_record(parsed, "", now())["id"]) if "data" in parsed else parsed
    except record.RecordError:
        return None


def control_reason(message: Mapping[str, Any]) -> str:
    """Return X's name for what happened, such as OperationalDisconnect or TooManyConnections."""
    for part in _parts(message):
        for key in ("disconnect_type", "connection_issue", "title", "reason"):
            if isinstance(part.get(key), str) and part[key]:
                return str(part[key])[:100]
    return "error" if "errors" in message or "error" in message else "unknown"


def control_words(message: Mapping[str, Any]) -> str:
    """Return X's sentence about it, or all of the message, in one line."""
    for part in _parts(message):
        for key in ("detail", "message", "title"):
            if isinstance(part.get(key), str) and part[key]:
                return f"{control_reason(message)}: {' '.join(part[key].split())[:500]}"
    return orjson.dumps(message).decode()[:500]


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    errors = message.get("errors")
    parts = [*errors] if isinstance(errors, list) else []
    parts += [message.get("error"), message.get("disconnect"), message]
    return [part for part in parts if isinstance(part, dict)]
