"""The demo as a person sees it: one screen that moves, or plain lines without a terminal."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from local.demo.figures import Figures, Latency
from local.demo.stack import LocalStack
from local.engine.apply import Placement

Show = Callable[[Figures], None]
RATE_SECONDS = 5.0
SAMPLE = "SELECT id, created_at, text FROM {dataset}.tweets_latest ORDER BY id DESC LIMIT 9"


def address_lines(stack: LocalStack) -> list[str]:
    """Where to look further, a line each: a query to paste, the page, what else listens."""
    sample = SAMPLE.format(dataset=stack.dataset.rpartition(".")[2])
    page = {"page": stack.dashboard_url} if stack.dashboard_url else {}
    places = {
        "query": f'.venv/bin/python -m local.demo.query "{sample}"',
        **page,
        "metrics": f"{stack.producer_url}/metrics",
        "BigQuery": stack.bigquery_url,
        "Pub/Sub": f"{stack.pubsub_address}, its figures {stack.pubsub_control_url}/stats",
        "X": f"{stack.x_url}, its figures {stack.x_url}/_standin/stats",
    }
    return [f"{name + ':':<9} {place}" for name, place in places.items()]


def placement_lines(placements: Sequence[Placement]) -> list[str]:
    """Each resource on a line: what became of it, type, name, where or why not."""
    return [
        f"{each.state:<10} {each.resource.type:<48} {each.resource.name}: {each.note}"
        for each in placements
    ]


class RowRate:
    """Rows a second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, rows: int) -> float:
        """Note the count of rows now; the rate since at most RATE_SECONDS."""
        now = time.monotonic()
        self._seen.append((now, rows))
        while now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (rows - before) / (now - since) if now > since else 0.0


@contextmanager
def plain_screen(console: Console, stack: LocalStack) -> Iterator[Show]:
    """What prints a line every second or so, for a log, after all resources and addresses."""
    pace, told = RowRate(), 0

    def tell(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(figures: Figures) -> None:
        nonlocal told
        events = list(stack.supervisor.events)[told:]
        told += len(events)
        for line in (*events, f"{figures.line()}, {pace.add(figures.distinct):.0f} rows/s"):
            tell(line)

    for line in [*placement_lines(stack.placements), *address_lines(stack)]:
        tell(line)
    yield show


@contextmanager
def live_screen(console: Console, stack: LocalStack) -> Iterator[Show]:
    """What draws the whole screen anew."""
    pace = RowRate()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:

        def show(figures: Figures) -> None:
            # What a low terminal cuts off comes last.
            parts: list[RenderableType] = [
                _pipeline(figures, pace.add(figures.distinct), stack),
                _where(stack),
                _processes(figures, stack),
                _resources(stack.placements),
            ]
            live.update(Group(*parts), refresh=True)

        yield show


def _pipeline(figures: Figures, pace: float, stack: LocalStack) -> Panel:
    cells = {
        "posts from X": f"[bold]{figures.posts:,}[/]" + f" of {stack.count:,}" * bool(stack.count),
        "messages": f"[bold]{figures.published:,}",
        "on the way": f"[bold]{figures.backlog:,}",
        "dead letters": f"[bold {'red' * bool(figures.dead_letters)}]{figures.dead_letters:,}",
        "posts in BigQuery": f"[bold green]{figures.distinct:,}",
        "rows/s": f"[bold]{pace:,.0f}",
    }
    table = Table.grid(padding=(0, 3), expand=True)
    for _ in cells:
        table.add_column(justify="right")
    table.add_row(*[f"[dim]{head}" for head in cells])
    table.add_row(*cells.values())
    age = time.monotonic() - stack.started_at
    subtitle = (
        f"read to row {_latency(figures.read_to_row)} · post to row {_latency(figures.post_to_row)}"
        f" · {figures.rows:,} rows with repeats"
    )
    title = f"X → producer → Pub/Sub → function → BigQuery · {age:.0f} s"
    return Panel(table, title=title, subtitle=subtitle)


def _latency(latency: Latency | None) -> str:
    return f"p50 {latency.p50:,.0f} ms, p99 {latency.p99:,.0f} ms" if latency else "not yet"


def _processes(figures: Figures, stack: LocalStack) -> Panel:
    table = Table.grid(padding=(0, 2))
    for name, process in stack.processes.items():
        memory = figures.memory.get(name, 0) / 2**20
        state = f"pid {process.pid}" if process.running else "[red]down[/]"
        again = f"started {process.starts} times" if process.starts > 1 else ""
        table.add_row(name, state, f"{memory:.0f} MB", again)
    table.add_row("demo", f"pid {os.getpid()}", f"{figures.memory.get('this', 0) / 2**20:.0f} MB")
    events = list(stack.supervisor.events)[-3:]
    total = sum(figures.memory.values()) / 2**20
    parts: list[RenderableType] = [table, *[f"[yellow]{escape(event)}" for event in events]]
    return Panel(
        Group(*parts), title=f"processes · {total:.0f} MB", subtitle=f"logs in {stack.logs}"
    )


def _resources(placements: Sequence[Placement]) -> Panel:
    table = Table.grid(padding=(0, 2))
    for state, colour in (("applied", "green"), ("cloud-only", "dim")):
        counts = Counter(each.resource.type for each in placements if each.state == state)
        names = " · ".join(
            f"{kind.rpartition(':')[2]}{f' ×{count}' if count > 1 else ''}"
            for kind, count in counts.items()
        )
        table.add_row(f"[{colour}]{state} {sum(counts.values())}", f"[{colour}]{escape(names)}")
    return Panel(table, title="resources of infra/", subtitle="one by one: --list")


def _where(stack: LocalStack) -> Group:
    """Where to look further; without a frame, so that a command can be copied."""
    lines = [escape(line) for line in address_lines(stack)]
    return Group(*lines, "[dim]stop with Ctrl-C: the posts stop, and all are counted[/]")
