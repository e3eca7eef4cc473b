"""From a saturated stream socket to published messages: ours, the seed's way, and the ceiling."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from bench.ground import Ground, Run
from bench.memory import slow
from bench.posts import KINDS
from bench.results import Section, Spread, digits


def run(pairs: int, count: int, slow_seconds: float) -> Section:
    """Measure all of it.

    Args:
        pairs: runs of each.
        count: posts in a run; a multiple of 1,000.
        slow_seconds: time behind the topic that is too slow.
    """
    section = Section(
        "Producer: from a saturated stream socket to published messages",
        ["lines", "ours beside", "ours, posts/s", "the other, posts/s", "ratio (range)",
         "CPU ms a post", "peak MB"],
    )  # fmt: skip
    for kind in KINDS:
        with TemporaryDirectory(prefix="bench-") as folder:
            ground = Ground(kind, Path(folder))
            try:
                found = _alternate(ground, pairs, count)
                section.rows += _rows(kind, found)
                section.data[kind] = {
                    "bytes_a_line": ground.size,
                    **{name: [vars(each) for each in runs] for name, runs in found.items()},
                }
                if kind == "1 KB":
                    rate = Spread.of([each.rate for each in found["ours"]]).median / 10
                    slow(section, ground, rate, slow_seconds)
            finally:
                ground.close()
    share = max(run["topic_share"] for runs in (section.data[k]["ours"] for k in KINDS)
                for run in runs)  # fmt: skip
    section.notes += [
        f"{pairs} runs of each, {count:,} posts a run, one after the other in turn; ours is the "
        "deployed process with its journal on disk.",
        "seed: tweepy on_response, json.dumps, publish() a post, futures left alone; it publishes "
        "`data` alone, about half of our bytes. client: publish() of google-cloud-pubsub for "
        "our messages, batches of our size, no stream. requests: the same library's generated "
        "client with ready-made requests of 1,000 messages: nothing is done for a message.",
        f"The topic server used at most {share:.2f} of a core in our runs, so it is not the limit.",
    ]
    return section


def _alternate(ground: Ground, pairs: int, count: int) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {"ours": [], "seed": [], "client": [], "requests": []}
    for _ in range(pairs):
        for name, runs in found.items():
            if name in ("ours", "seed"):
                with ground.ours() if name == "ours" else ground.seed() as child:
                    runs.append(ground.measure(child, ground.stream, count))
            else:
                with ground.ceiling(name) as child:
                    runs.append(ground.measure(child, child, count))
    return found


def _rows(kind: str, found: dict[str, list[Run]]) -> list[list[str]]:
    rows = []
    rates = {name: [run.rate for run in runs] for name, runs in found.items()}
    ours = found["ours"]
    for name, what in (
        ("seed", "(a) the seed's way"),
        ("client", "(b) publishing alone: client"),
        ("requests", "publishing alone: requests"),
    ):
        cpu = [Spread.of([run.cpu for run in runs]).median for runs in (ours, found[name])]
        peak = [max(run.peak for run in runs) for runs in (ours, found[name])]
        rows.append(
            [
                kind,
                what,
                Spread.of(rates["ours"]).text(),
                Spread.of(rates[name]).text(),
                Spread.ratio(rates["ours"], rates[name]).text("x"),
                f"{digits(cpu[0])} / {digits(cpu[1])}",
                f"{peak[0]:.0f} / {peak[1]:.0f}",
            ]
        )
    return rows
