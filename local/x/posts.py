"""Synthetic posts: built from what a rule asks for, so that each one matches an active rule.

A Template is a post without its id, time, ending and counts. It is built and matched once,
serialised once for each projection, and filled in for each post by one bytes operation: this is
what lets one process send far more than X's 250 posts/s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from random import Random
from typing import Any

import orjson

from local.x.composition import SLOT, Composition, compose, seen_text
from local.x.projection import Projection
from local.x.query import Node, Subject, fold
from local.x.vocabulary import TAILS, Account

POOL = 2048
"""Templates for one set of rules; built when first drawn."""
_ATTEMPTS = 24


@dataclass(frozen=True)
class ActiveRule:
    """One stream rule; node is its parsed value."""

    id: str
    value: str
    tag: str | None
    node: Node = field(compare=False)

    def shown(self) -> dict[str, str]:
        """Return the rule as X lists it: id, value, tag where there is one."""
        shown = {"id": self.id, "value": self.value}
        return shown if self.tag is None else {**shown, "tag": self.tag}


@dataclass
class Template:
    """A post without id, time, ending and counts; matching are the rules that it fits."""

    post: Composition
    matching: tuple[ActiveRule, ...]
    tails: tuple[bytes, ...]
    formats: dict[str, bytes] = field(default_factory=dict)

    def format(self, projection: Projection) -> bytes:
        """Return the line as a bytes format with the slots I, A, H, C, T and M."""
        made = self.formats.get(projection.key)
        if made is None:
            made = self.formats[projection.key] = self._serialised(projection)
        return made

    def _serialised(self, projection: Projection) -> bytes:
        post, asked, referenced = self.post, projection.expansions, self.post.referenced
        line: dict[str, Any] = {"data": projection.body("tweet.fields", post.body)}
        users = [post.author] if "author_id" in asked else []
        if "entities.mentions.username" in asked:
            users += post.mentioned
        if referenced and referenced.type == "replied_to" and "in_reply_to_user_id" in asked:
            users.append(referenced.author)
        if referenced and "referenced_tweets.id.author_id" in asked:
            users.append(referenced.author)
        includes: dict[str, list[dict[str, Any]]] = {}
        if users:
            different = {user.id: user for user in users}.values()
            includes["users"] = [
                projection.body("user.fields", user_fields(user)) for user in different
            ]
        if referenced and any(name.startswith("referenced_tweets.id") for name in asked):
            includes["tweets"] = [projection.body("tweet.fields", referenced.body)]
        if includes:
            line["includes"] = includes
        line["matching_rules"] = [
            {"id": rule.id} if rule.tag is None else {"id": rule.id, "tag": rule.tag}
            for rule in self.matching
        ]
        text = orjson.dumps(line).replace(b"%", b"%%")
        text = text.replace(f'"{SLOT.format("M")}"'.encode(), b"%(M)b")
        for slot in "IAHCT":
            text = text.replace(SLOT.format(slot).encode(), f"%({slot})b".encode())
        return text

    def subject(self, tail: int) -> Subject:
        """Return what a query sees of this post with the given ending."""
        seen = self.post.subject
        ending = self.tails[tail].decode()
        return replace(seen, text=seen_text(self.post.full_text + ending)) if ending else seen


def user_fields(user: Account) -> dict[str, Any]:
    """Return every user field that we simulate; the caller projects them."""
    number = int(user.id) % 9973
    return {
        "id": user.id,
        "name": user.name,
        "username": user.username,
        "created_at": f"{user.created}-05-{number % 28 + 1:02d}T09:00:00.000Z",
        "description": "A synthetic account. 합성 계정입니다.",
        "location": ("Seoul", "東京", "Berlin", "")[number % 4],
        "profile_image_url": "https://example.com/profile_normal.png",
        "protected": False,
        "public_metrics": {
            "followers_count": number * 3,
            "following_count": number % 700,
            "tweet_count": number * 11,
            "listed_count": number % 13,
        },
        "url": "",
        "verified": user.verified,
        "verified_type": "blue" if user.verified else "none",
    }


class Templates:
    """The pool of templates for one set of rules; the same seed and rules give the same pool."""

    def __init__(self, rules: Sequence[ActiveRule], people: Sequence[Account], seed: int) -> None:
        self.rules = tuple(rules)
        self._people = people
        self._seed = seed
        self._pool: dict[int, Template | None] = {}
        leaves = [leaf for rule in rules for leaf in rule.node.leaves() if leaf.kind == "word"]
        words = {word for leaf in leaves for word in fold(leaf.value).split()}
        self._tails = {
            lang: tuple(
                orjson.dumps(escape(tail, quote=False))[1:-1]
                for tail in tails
                if words.isdisjoint(fold(tail).split())
            )
            or (b"",)
            for lang, tails in TAILS.items()
        }

    def draw(self, number: int) -> Template | None:
        """Return the template of this number; None when no active rule can be satisfied."""
        slot = number % POOL
        if slot not in self._pool:
            self._pool[slot] = self._build(slot)
        return self._pool[slot]

    def _build(self, slot: int) -> Template | None:
        rng = Random(f"{self._seed}:{[rule.value for rule in self.rules]}:{slot}")
        for attempt in range(_ATTEMPTS):
            if not self.rules:
                break
            rule = self.rules[(slot + attempt) % len(self.rules)]
            post = compose(rule.node, self._people, rng, plain=attempt > _ATTEMPTS // 2)
            matching = tuple(rule for rule in self.rules if rule.node.matches(post.subject))
            if matching:
                tails = self._tails.get(post.lang, self._tails["und"])
                return Template(post, matching, tails if post.open_ended else (b"",))
        return None
