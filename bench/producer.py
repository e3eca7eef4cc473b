"""The producer: CPU of a post, what a topic that is away costs, memory over time."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.child import Child, wait_until
from bench.ground import Ground, Run
from bench.posts import KINDS
from bench.results import Section, Spread, digits

X_CAP = 250
"""Posts a second of one connection (docs.x.com, filtered stream, pay per use)."""
VOLUME = 2**30
"""Bytes of the Deployment's volume (infra/producer.py)."""
WAYS = {"seed": "the seed's way", "client": "publishing alone: google-cloud-pubsub"}


def run(pairs: int, count: int, held: int, bridged: int) -> Section:
    """Measure all of it.

    Args:
        pairs: runs of each way.
        count: posts in a run.
        held: posts that ours and the client hold while the topic is away.
        bridged: posts that ours holds alone; 450,000 are 30 minutes at X's cap.
    """
    section = Section(
        "Producer: from a saturated stream socket to published messages",
        ["lines", "ours beside", "ours, posts/s", "the other, posts/s", "ratio (range)",
         "CPU ms a post, ours", "the other's", "ratio (range)", "peak MB"],
    )  # fmt: skip
    for kind in KINDS:
        with TemporaryDirectory(prefix="bench-") as folder:
            ground = Ground(kind, Path(folder))
            try:
                found = _alternate(ground, pairs, count)
                section.rows += [_row(kind, way, found) for way in WAYS]
                section.data[kind] = {
                    "bytes_a_line": ground.size,
                    **{name: [vars(each) for each in runs] for name, runs in found.items()},
                }
                if kind == "1 KB":
                    _away(section, ground, held, bridged)
            finally:
                ground.close()
    share = max(run["topic_share"] for kind in KINDS for run in section.data[kind]["ours"])
    section.notes += [
        f"{pairs} runs of each, {count:,} posts a run, one after the other in turn; ours is the "
        "deployed process with its store on disk.",
        "The seed: tweepy on_response, json.dumps, publish() a post, futures left alone; it "
        "publishes `data` alone, about half of our bytes. The client: publish() of "
        "google-cloud-pubsub for our messages, batches of our size, no stream, nothing kept.",
        f"The topic server used at most {share:.2f} of a core in our runs, so it is not the limit.",
    ]
    return section


def _alternate(ground: Ground, pairs: int, count: int) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {"ours": [], **{way: [] for way in WAYS}}
    for _ in range(pairs):
        for name, runs in found.items():
            with ground.started(name) as child:
                source = child if name == "client" else ground.stream
                runs.append(ground.measure(child, source, count))
    return found


def _row(kind: str, way: str, found: dict[str, list[Run]]) -> list[str]:
    ours, other = found["ours"], found[way]
    rates = [[run.rate for run in runs] for runs in (ours, other)]
    cpu = [[run.cpu for run in runs] for runs in (ours, other)]
    return [
        kind,
        WAYS[way],
        *(Spread.of(each).text() for each in rates),
        Spread.ratio(*rates).text("x"),
        *(digits(Spread.of(each).median) for each in cpu),
        Spread.ratio(*cpu).text("x"),
        " / ".join(f"{max(run.peak for run in runs):.0f}" for runs in (ours, other)),
    ]


def _away(section: Section, ground: Ground, held: int, bridged: int) -> None:
    """What `held` posts take while the topic is away; then, for ours, `bridged` posts."""
    for way in ("ours", "client"):
        with ground.started(way) as child:
            ground.topic.ask(reset=True, away=True)
            before, cpu = child.resident(), child.usage().cpu
            (child if way == "client" else ground.stream).tell(go=held)
            after = _settled(ground, child, held if way == "ours" else 0)
            data = {
                "posts": held,
                "mb_before": before,
                "mb_more": after - before,
                "cpu_us_a_post": (child.usage().cpu - cpu) / held * 1e6,
            }
            if way == "ours":
                data["disk_bytes"] = ground.stored()
            child.process.kill()
        section.data[f"away_{way}"] = data
        ground.topic.ask(reset=True, away=False)
    ours, client = section.data["away_ours"], section.data["away_client"]
    section.notes.append(
        f"{held:,} posts of 1 KB held while the topic is away: ours {ours['mb_more']:.0f} MB of "
        f"further memory, {ours['disk_bytes'] / 1e6:.0f} MB of disk, {ours['cpu_us_a_post']:.0f} "
        f"us of CPU a post; the client alone {client['mb_more']:.0f} MB and "
        f"{client['cpu_us_a_post']:.0f} us."
    )
    with ground.started("ours") as child:
        ground.topic.ask(reset=True, away=True)
        ground.stream.tell(go=bridged)
        _settled(ground, child, bridged)
        disk, peak = ground.stored(), child.usage().peak
        began = time.monotonic()
        ground.topic.ask(away=False)
        told = ground.topic.ask(wait=bridged, seconds=600)
        drain = told["last"] - began
    minutes = VOLUME / (disk / bridged) / X_CAP / 60
    section.data["bridged"] = {
        "posts": bridged, "disk_bytes": disk, "peak_mb": peak, "arrived": told["posts"],
        "drain_seconds": drain, "minutes_a_volume": minutes,
    }  # fmt: skip
    section.notes.append(
        f"{bridged:,} posts held ({bridged / X_CAP / 60:.0f} minutes at X's cap of {X_CAP}/s): "
        f"{disk / 1e6:.0f} MB of disk, at most {peak:.0f} MB of memory, {told['posts']:,} arrived "
        f"within {drain:.0f} s of the topic's return. At this size a volume of 1 GiB is full "
        f"after {minutes:.0f} minutes at the cap."
    )


def _settled(ground: Ground, child: Child, posts: int) -> float:
    """Wait until ours has read so many (0: until the child's memory rests); resident MB then."""
    if posts:
        wait_until(lambda: ground.read() >= posts, 600, f"{posts:,} posts to be read")
    last = child.resident()
    for _ in range(60):
        time.sleep(0.5)
        now = child.resident()
        if abs(now - last) < 1:
            return now
        last = now
    return last


def steady(minutes: float) -> Section:
    """Memory of ours on a stream that never pauses."""
    section = Section(
        f"Producer: memory over {minutes:g} minutes of a saturated stream",
        ["posts", "posts/s", "MB after a tenth", "MB at the end", "largest MB", "ratio"],
    )
    with TemporaryDirectory(prefix="bench-") as folder:
        ground = Ground("1 KB", Path(folder))
        try:
            with ground.started("ours") as child:
                ground.topic.ask(reset=True)
                ground.stream.tell(go=0)
                began = time.monotonic()
                memory = _sampled(child, minutes * 60)
                seconds = time.monotonic() - began
                posts = int(ground.topic.ask(stats=True)["posts"])
                child.process.kill()
        finally:
            ground.close()
    early, last = memory[max(1, len(memory) // 10)], memory[-1]
    section.rows.append(
        [f"{posts:,}", digits(posts / seconds), f"{early:.0f}", f"{last:.0f}",
         f"{max(memory):.0f}", f"{last / early:.2f}"]
    )  # fmt: skip
    section.data = {"posts": posts, "seconds": seconds, "mb": memory}
    return section


def _sampled(child: Child, seconds: float) -> list[float]:
    """Resident megabytes, now and about 20 times until `seconds` have passed."""
    memory = [child.resident()]
    end = time.monotonic() + seconds
    pause = min(5.0, seconds / 20)
    while time.monotonic() < end:
        time.sleep(pause)
        with suppress(psutil.NoSuchProcess):
            memory.append(child.resident())
    return memory
