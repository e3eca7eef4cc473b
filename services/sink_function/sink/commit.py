"""Group commit: requests wait while rows gather, one insert is made, then all are answered.

A group leaves when it is full, or when its first row has waited its linger while an insert slot is
free. The linger grows with the inserts in flight: an idle sink answers at once, a busy one makes
larger groups instead of more inserts. Tables that wait for a slot have it in turn. A caller that is
cancelled loses only its answer: its row stays in the group.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sink.faults import PassingError, PoisonError
from sink.log import logger
from sink.warehouse import SLOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sink.rows import Row, TableSchema
    from sink.warehouse import Inserter, Outcome

# Google recommends 500 rows a request at most, and refuses 10 MB
# (https://cloud.google.com/bigquery/quotas#streaming_inserts).
MAX_ROWS = 500
MAX_BYTES = 9_950_000
# Rows that BigQuery may refuse in a row for one column before we doubt the table instead.
SUSPICIOUS_ROWS = 20
# A row with one of these in a column says nothing about the column's type.
_NOTHING: tuple[object, ...] = (None, [], {})
# Seconds that the first row of a group waits, for each insert in flight and one more.
LINGER = 0.002


class Slots:
    """Worker threads for inserts, shared by the tables."""

    def __init__(self) -> None:
        self.free = SLOTS
        self.executor = ThreadPoolExecutor(SLOTS, thread_name_prefix="insert")
        self.waiting: list[Committer] = []

    def give_back(self) -> None:
        """An insert has ended: whoever has rows waiting may send, who sent last comes last.

        The others don't linger: a table whose groups are full meanwhile would be before them.
        """
        self.free += 1
        *others, last = self.waiting
        for committer in others:
            committer.schedule(lingers=False)
        last.schedule()

    def take(self, sender: Committer) -> None:
        """An insert begins: the next slot is another table's, or the busiest would keep them."""
        self.free -= 1
        self.waiting = [*(other for other in self.waiting if other is not sender), sender]


class Committer:
    """Gathers rows of one table and inserts them in groups.

    Args:
        inserter: what inserts a group.
        schema: the table.
        slots: threads, shared with the other tables.
        stamps: further columns, the same in each row.
    """

    def __init__(
        self, inserter: Inserter, schema: TableSchema, slots: Slots, **stamps: str
    ) -> None:
        self._inserter = inserter
        self._schema = schema
        self._slots = slots
        self._stamps = stamps
        self._refused: Counter[str] = Counter()
        self._gathered: list[tuple[Row, asyncio.Future[None]]] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        slots.waiting.append(self)

    async def commit(self, row: Row) -> None:
        """Return when the row is durable.

        Raises:
            PoisonError: too_large, or BigQuery refuses this row for ever.
            PassingError: it could not be written now.
        """
        if row.size > MAX_BYTES:
            raise PoisonError("too_large", f"row of {row.size} bytes, BigQuery takes {MAX_BYTES}")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if self._bytes + row.size > MAX_BYTES:
            self._send()
        self._gathered.append((row, done))
        self._bytes += row.size
        self.schedule()
        await done

    def schedule(self, *, lingers: bool = True) -> None:
        """Send now if a group is full, else after the linger; nothing while no slot is free."""
        if not self._gathered or not self._slots.free:
            return
        if not lingers or len(self._gathered) >= MAX_ROWS or self._bytes >= MAX_BYTES:
            self._send()
        elif self._timer is None:
            in_flight = SLOTS - self._slots.free
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LINGER * (in_flight + 1), self._send)

    def _send(self) -> None:
        """Start the insert of what fits in one group, if a slot is free."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._gathered or not self._slots.free:
            return
        size, count = 0, 0
        for row, _ in self._gathered[:MAX_ROWS]:
            if count and size + row.size > MAX_BYTES:
                break
            size += row.size
            count += 1
        group, self._gathered = self._gathered[:count], self._gathered[count:]
        self._bytes -= size
        self._slots.take(self)
        task = asyncio.get_running_loop().create_task(self._insert(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _insert(self, group: Sequence[tuple[Row, asyncio.Future[None]]]) -> None:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        rows = [row for row, _ in group]
        for row in rows:
            row.values.update(self._stamps, inserted_at=now)
        outcomes: list[Outcome]
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(
                self._slots.executor, self._inserter.insert, self._schema, rows
            )
            self._doubt(rows, outcomes)
        except Exception as error:  # noqa: BLE001 - a group without outcome would wait for ever
            logger.exception("an insert ended with an error of ours", extra={"reason": "bug"})
            outcomes = [PassingError(f"{type(error).__name__}: {error}")] * len(rows)
        finally:
            self._slots.give_back()
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if done.done():
                continue  # its request was cancelled: the row is written all the same
            if outcome is None:
                done.set_result(None)
            else:
                done.set_exception(outcome)

    def _doubt(self, rows: Sequence[Row], outcomes: list[Outcome]) -> None:
        """Make passing what BigQuery refuses without end: then the table is wrong, not the rows.

        Counted for each column, across groups, until a row with a value in it is written.
        Dead-lettering the stream for a table that has changed would only hide it.
        """
        refused = self._refused
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome is None and refused:
                for column in [c for c in refused if not c or row.values.get(c) not in _NOTHING]:
                    del refused[column]
        for outcome in outcomes:
            if isinstance(outcome, PoisonError):
                refused.update(outcome.columns)
        doubted = {column for column, times in refused.items() if times >= SUSPICIOUS_ROWS}
        held = 0
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, PoisonError) and outcome.columns & doubted:
                held += 1
                outcomes[number] = PassingError(detail := str(outcome))
        if held:
            logger.error(
                "BigQuery refuses each row for %s, the last %d here: %s: compare the table with "
                "sink/schema, no row is given up",
                self._schema.table,
                held,
                detail,
                extra={"reason": "all_rejected", "table": self._schema.table},
            )
