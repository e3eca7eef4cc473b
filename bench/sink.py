"""From a push to a durable row: ours beside one insert a message in the default server."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.child import ROOT, BenchError, Child, wait_until
from bench.posts import write_lines
from bench.results import Section, Spread, digits
from local.machine.function import function_launch
from local.machine.process import accepts, free_port

IN_FLIGHT = (1, 80, 500)
INSERT_MS = 50
OURS = ROOT / "services" / "sink_function"
ONE_INSERT = ROOT / "bench" / "one_insert"
TABLES = {
    "TWEETS_TABLE": "bench.tweet_data.tweets",
    "EVENTS_TABLE": "bench.tweet_data.stream_events",
    "DEAD_LETTER_TOPIC": "projects/bench/topics/dead-letters",
}


@dataclass(frozen=True)
class SinkRun:
    """One run: messages a second, ms to the answer, CPU ms a message, and rows an insert."""

    rate: float
    p50: float
    p99: float
    cpu: float
    peak: float
    group: float
    load_share: float


@contextmanager
def function(source: Path, folder: Path, bigquery: int, **environment: str) -> Iterator[Child]:
    """A function, started as it is deployed (see local.machine.function); its `port` is set."""
    archive = folder / "archive"
    shutil.copytree(source, archive, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(OURS / "requirements.txt", archive)
    inputs = {
        "name": source.name,
        "buildConfig": {"entryPoint": "sink"},
        "serviceConfig": {"environmentVariables": {**TABLES, **environment}},
    }
    port = free_port()
    emulator = {"BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{bigquery}"}
    launch = function_launch(inputs, archive, folder / "run", port, emulator)
    command = [launch.env["PATH"].split(":")[0] + "/" + launch.argv[0], *launch.argv[1:]]
    child = Child(
        *command, command=True, env=launch.env, cwd=launch.cwd, log=folder / "log", talks=False
    )
    with child:
        wait_until(lambda: accepts(port), 30, f"{source.name} to listen")
        child.port = port
        yield child


def run(pairs: int, seconds: float, in_flight: tuple[int, ...] = IN_FLIGHT) -> Section:
    """Measure all of it.

    Args:
        pairs: runs of each.
        seconds: length of a run; its warm-up is a quarter more.
        in_flight: messages that are kept in flight.
    """
    section = Section(
        f"Sink: a BigQuery whose inserts take {INSERT_MS} ms",
        ["in flight", "msg/s, ours", "one insert a message", "ratio (range)", "p50 ms", "p99 ms",
         "CPU ms a message", "peak MB"],
    )  # fmt: skip
    with TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        size = write_lines("1 KB", folder / "lines")
        server = stack.enter_context(Child("bench.insert_server", INSERT_MS))
        bigquery = int(server.hear()["port"])
        load = stack.enter_context(Child("bench.push_load", folder / "lines"))
        load.hear()
        asgi = {"FUNCTION_USE_ASGI": "true"}
        functions = {
            "ours": stack.enter_context(function(OURS, folder / "ours", bigquery, **asgi)),
            "one insert": stack.enter_context(function(ONE_INSERT, folder / "one", bigquery)),
        }
        for child in functions.values():
            _measure(child, load, server, 8, 0.5)  # first requests make the clients
        for count in in_flight:
            found: dict[str, list[SinkRun]] = {name: [] for name in functions}
            for _ in range(pairs):
                for which, runs in found.items():
                    runs.append(_measure(functions[which], load, server, count, seconds))
            section.rows.append(_row(count, found))
            section.data[str(count)] = {
                which: [vars(each) for each in runs] for which, runs in found.items()
            }
    every = [run for each in section.data.values() for run in each["ours"]]
    section.notes += [
        f"{pairs} runs of each in turn, {seconds:g} s a run after a warm-up, on the same two "
        f"processes; push bodies of posts of {size} bytes. Ours: functions-framework's ASGI server "
        "as deployed. Beside it: a CloudEvent function in its default server, with its default "
        "threads (4 for each core).",
        f"Every message was answered with 200 or 204 and every one is in an insert. Largest mean "
        f"group {max(run['group'] for run in every):.0f} rows. The load generator used at most "
        f"{max(run['load_share'] for run in every):.2f} of a core.",
        "CPU a message is of all processes of the function.",
    ]
    return section


def _measure(child: Child, load: Child, server: Child, in_flight: int, seconds: float) -> SinkRun:
    server.ask(stats=True)
    load.tell(port=child.port, in_flight=in_flight, warm=seconds / 4, seconds=seconds)
    began = load.hear()["began"]
    before, load_before = child.usage(), load.usage()
    ended = load.hear()["ended"]
    after, load_after = child.usage(), load.usage()
    told = load.hear()
    if told["failed"] or not told["answered"]:
        raise BenchError(f"{in_flight} in flight: answers {told['failed']}: {child.last_words()}")
    time.sleep(INSERT_MS / 1000 + 0.05)
    stats = server.ask(stats=True)
    if stats["rows"] < told["total"]:
        raise BenchError(f"{told['total']} messages answered, {stats['rows']} rows inserted")
    answered = told["answered"]
    return SinkRun(
        rate=answered / (ended - began),
        p50=told["p50"],
        p99=told["p99"],
        cpu=(after.cpu - before.cpu) / answered * 1000,
        peak=after.peak,
        group=stats["rows"] / stats["inserts"],
        load_share=(load_after.cpu - load_before.cpu) / (ended - began),
    )


def _row(count: int, found: dict[str, list[SinkRun]]) -> list[str]:
    ours, other = found["ours"], found["one insert"]

    def beside(name: str) -> str:
        pair = [Spread.of([getattr(run, name) for run in runs]).median for runs in (ours, other)]
        return f"{digits(pair[0])} / {digits(pair[1])}"

    rates = [[run.rate for run in runs] for runs in (ours, other)]
    return [
        str(count),
        Spread.of(rates[0]).text(),
        Spread.of(rates[1]).text(),
        Spread.ratio(rates[0], rates[1]).text("x"),
        beside("p50"),
        beside("p99"),
        beside("cpu"),
        f"{max(run.peak for run in ours):.0f} / {max(run.peak for run in other):.0f}",
    ]
