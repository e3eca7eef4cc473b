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
WAYS = {
    "ours": "ours: the stream, read, kept and published",
    "seed": "the seed's way: the stream, read and published",
    "outbox": "our outbox alone: kept and published",
    "client": "google-cloud-pubsub alone: published",
}
PAIRS = (("ours", "seed"), ("outbox", "client"), ("ours", "client"))


def run(pairs: int, count: int, held: int, bridged: int) -> Section:
    """Measure all of it.

    Args:
        pairs: runs of each way.
        count: posts in a run; an eighth of it at X's cap.
        held: posts that ours and the client hold while the topic is away.
        bridged: posts that ours holds alone; 450,000 are 30 minutes at X's cap.
    """
    section = Section(
        "Producer: to published messages",
        ["lines", "a way", "beside", "posts/s", "the other's", "ratio (range)",
         "CPU ms a post", "the other's", "ratio (range)", "peak MB"],
    )  # fmt: skip
    for kind in KINDS:
        with TemporaryDirectory(prefix="bench-") as folder:
            ground = Ground(kind, Path(folder))
            try:
                _compare(section, ground, kind, pairs, count)
                if kind == "1 KB":
                    _compare(section, ground, f"{kind} at {X_CAP}/s", pairs, count // 8, X_CAP)
                    _away(section, ground, held, bridged)
            finally:
                ground.close()
    share = max(run["topic_share"] for kind in KINDS for run in section.data[kind]["ours"])
    section.notes += [
        f"{pairs} runs of each, {count:,} posts a run ({count // 8:,} at X's cap), one after the "
        "other in turn; ours is the deployed process with its store on disk.",
        "The seed: tweepy on_response, json.dumps, publish() a post, futures left alone; it "
        "publishes `data` alone, about half of our bytes. The client: publish() for our messages, "
        "batches of our size, nothing kept. Our outbox: the same messages, kept on disk first.",
        f"The topic server used at most {share:.2f} of a core in our runs, so it is not the limit.",
    ]
    return section


def _compare(
    section: Section, ground: Ground, name: str, pairs: int, count: int, rate: float = 0.0
) -> None:
    found: dict[str, list[Run]] = {way: [] for way in WAYS}
    for _ in range(pairs):
        for way, runs in found.items():
            runs.append(ground.measure(way, count, rate))
    section.data[name] = {
        "bytes_a_line": ground.size,
        **{way: [vars(each) for each in runs] for way, runs in found.items()},
    }
    for way, beside in PAIRS:
        both = found[way], found[beside]
        rates = [[run.rate for run in runs] for runs in both]
        cpu = [[run.cpu for run in runs] for runs in both]
        section.rows.append([
            name, WAYS[way], WAYS[beside],
            *(Spread.of(each).text() for each in rates), Spread.ratio(*rates).text("x"),
            *(digits(Spread.of(each).median) for each in cpu), Spread.ratio(*cpu).text("x"),
            " / ".join(f"{max(run.peak for run in runs):.0f}" for runs in both),
        ])  # fmt: skip


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
