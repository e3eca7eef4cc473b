"""Memory of producers: behind a topic that is too slow, and over a long time."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.child import Child
from bench.ground import Ground
from bench.results import Section, digits


def slow(section: Section, ground: Ground, rate: float, seconds: float) -> None:
    """Ours and the seed's way behind a topic that takes a tenth of what ours could send."""
    memory: dict[str, list[float]] = {}
    for name, opened in (("ours", ground.ours()), ("seed", ground.seed())):
        with opened as child:
            ground.topic.ask(reset=rate)
            ground.stream.tell(go=0)
            memory[name] = sampled(child, seconds)
            published = int(ground.topic.ask(stats=True)["posts"])
            child.process.kill()
        ground.stream.tell(go=1)  # no more for ever; the next one to connect begins with one block
        section.data[f"slow_{name}"] = {"published": published, "mb": memory[name]}
    ours, seed = memory["ours"], memory["seed"]
    section.notes.append(
        f"Behind a topic that takes {rate:,.0f} posts/s, a tenth, for {seconds:.0f} s: ours from "
        f"{ours[0]:.0f} to at most {max(ours):.0f} MB (it holds 50,000 posts or 64 MB, then leaves "
        f"X on purpose), {ours[-1]:.0f} MB at the end; the seed's way from {seed[0]:.0f} to "
        f"{seed[-1]:.0f} MB and growing."
    )


def sampled(child: Child, seconds: float) -> list[float]:
    """Resident megabytes, now and about 20 times until `seconds` have passed."""
    memory = [child.resident()]
    end = time.monotonic() + seconds
    pause = min(5.0, seconds / 20)
    while time.monotonic() < end:
        time.sleep(pause)
        with suppress(psutil.NoSuchProcess):
            memory.append(child.resident())
    return memory


def steady(minutes: float) -> Section:
    """Memory of ours on a stream that never pauses."""
    section = Section(
        f"Producer: memory over {minutes:g} minutes of a saturated stream",
        ["posts", "posts/s", "MB after a tenth", "MB at the end", "largest MB", "ratio"],
    )
    with TemporaryDirectory(prefix="bench-") as folder:
        ground = Ground("1 KB", Path(folder))
        try:
            with ground.ours() as child:
                ground.topic.ask(reset=0)
                ground.stream.tell(go=0)
                began = time.monotonic()
                memory = sampled(child, minutes * 60)
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
