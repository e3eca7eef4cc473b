"""What a rule asks of a post, so that one can be written that matches it."""

from dataclasses import dataclass, field
from random import Random

from local.x.query import Node

KINDS = {"is:retweet": "retweeted", "is:quote": "quoted", "is:reply": "replied_to"}
"""The rule's word for a kind of post, and the post's own (`referenced_tweets.type`)."""


@dataclass
class Needs:
    """One way of satisfying a rule; without holds the elements that it negates."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    handles: list[str] = field(default_factory=list)
    cashtags: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    without: set[str] = field(default_factory=set)
    lang: str | None = None
    author: str | None = None
    to: str | None = None
    retweets_of: str | None = None
    conversation: str | None = None

    def take(self, node: Node, rng: Random) -> None:
        """Add what this element asks for; of alternatives, one drawn at random."""
        if node.children:
            if node.negated:
                return
            for child in [rng.choice(node.children)] if node.kind == "or" else node.children:
                self.take(child, rng)
        elif node.negated:
            self.without.add(node.mark)
        else:
            self._take_leaf(node)

    def _take_leaf(self, node: Node) -> None:
        lists = {
            "word": self.words,
            "phrase": self.words,
            "#": self.tags,
            "@": self.handles,
            "$": self.cashtags,
            "url": self.urls,
        }
        if node.kind in lists:
            lists[node.kind].append(node.value)
        elif node.kind == "from":
            self.author = node.value
        elif node.kind == "lang":
            self.lang = node.value.lower()
        elif node.kind == "to":
            self.to = node.value
        elif node.kind == "retweets_of":
            self.retweets_of = node.value
        elif node.kind == "conversation_id":
            self.conversation = node.value
        else:
            self.marks.add(node.mark)

    def kind(self, rng: Random, *, plain: bool) -> str | None:
        """Choose retweeted, quoted, replied_to or None; plain takes only what is asked for."""
        for mark, kind in KINDS.items():
            if mark in self.marks:
                return kind
        if self.to or self.retweets_of:
            return "replied_to" if self.to else "retweeted"
        if plain:
            return None
        kinds = [None, *(kind for mark, kind in KINDS.items() if mark not in self.without)]
        shares = {None: 55, "retweeted": 20, "quoted": 8, "replied_to": 17}
        return rng.choices(kinds, [shares[kind] for kind in kinds])[0]

    def wants(self, mark: str, share: float, rng: Random, *, plain: bool) -> bool:
        """Say whether the post gets something: asked for, or by chance where not forbidden."""
        if mark in self.marks:
            return True
        return not plain and mark not in self.without and rng.random() < share
