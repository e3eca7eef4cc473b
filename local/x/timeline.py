"""The posts of the stand-in in the order of their making, bounded by age and number."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from random import Random

import orjson

from local.x.posts import POOL, ActiveRule, Template, Templates
from local.x.projection import Projection
from local.x.snowflake import Snowflakes, made_at, stamp
from local.x.vocabulary import accounts

_EDITS = 0.03
_METRICS = (
    "retweet_count",
    "reply_count",
    "like_count",
    "quote_count",
    "bookmark_count",
    "impression_count",
)


def _counts(seed: int) -> list[bytes]:
    rng = Random(f"counts:{seed}")
    rows = [(0,) * 6] * 12 + [
        tuple(int(rng.random() ** 4 * top) for top in (9, 4, 30, 3, 5, 900)) for _ in range(20)
    ]
    return [orjson.dumps(dict(zip(_METRICS, row, strict=True))) for row in rows]


@dataclass(slots=True, eq=False)
class SyntheticPost:
    """One post: id, template, index of its ending and counts, ids of all its versions."""

    id: int
    template: Template
    tail: int
    counts: int
    history: tuple[int, ...]
    charged: bool = False


class Timeline:
    """Makes posts for the active rules, the same texts in the same order for the same seed."""

    def __init__(self, seed: int, kept: int = 300_000) -> None:
        self.posts: list[SyntheticPost] = []
        self.made = 0
        self._kept = kept
        self._seed = seed
        self._people = accounts(600, seed)
        self._ids = Snowflakes(seed)
        self._rng = Random(f"timeline:{seed}")
        self._counts = _counts(seed)
        self._editable: deque[SyntheticPost] = deque(maxlen=48)
        self._templates = Templates((), self._people, seed)

    @property
    def rules(self) -> tuple[ActiveRule, ...]:
        """Return the active rules."""
        return self._templates.rules

    def use(self, rules: Iterable[ActiveRule]) -> None:
        """Match the posts made from now on against these rules."""
        self._templates = Templates(tuple(rules), self._people, self._seed)
        self._editable.clear()

    def make(self, at: float | None = None) -> SyntheticPost | None:
        """Make one post at that time (unix seconds, default now); None if no rule can match."""
        rng = self._rng
        number = self._ids.next(int((time.time() if at is None else at) * 1000))
        if self._editable and rng.random() < _EDITS:
            old = self._editable.popleft()
            template, history = old.template, (*old.history, number)
            tail = (old.tail + 1) % len(template.tails)  # an edit has another ending
        else:
            slot = rng.getrandbits(16) % POOL
            drawn = next(filter(None, map(self._templates.draw, (slot, *range(64)))), None)
            if drawn is None:
                return None
            template = drawn
            tail, history = rng.getrandbits(16) % len(template.tails), (number,)
        post = SyntheticPost(number, template, tail, rng.getrandbits(5), history)
        if len(history) < 3 and len(template.tails) > 1 and rng.random() < 0.2:
            self._editable.append(post)
        self.made += 1
        self.posts.append(post)
        if len(self.posts) > self._kept * 1.1:
            del self.posts[: len(self.posts) - self._kept]
        return post

    def line(self, post: SyntheticPost, projection: Projection) -> bytes:
        """Return the post as the stream sends it, without the CRLF."""
        versions = [b"%d" % number for number in post.history]
        template = post.template
        return template.format(projection) % {
            b"I": versions[-1],
            b"A": stamp(made_at(post.id)).encode(),
            b"H": b'","'.join(versions),
            b"C": versions[0],
            b"T": template.tails[post.tail],
            b"M": self._counts[post.counts],
        }

    def between(self, first: int, end: int) -> list[SyntheticPost]:
        """Return the kept posts with first <= id < end, oldest first."""
        posts, key = self.posts, attrgetter("id")
        return posts[bisect_left(posts, first, key=key) : bisect_left(posts, end, key=key)]
