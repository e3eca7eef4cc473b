"""One synthetic post: text with its entities, author, references, and what a rule sees of it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import unescape
from random import Random
from typing import Any

from local.x.query import Node, Subject, fold
from local.x.snowflake import made_at, stamp
from local.x.vocabulary import HASHTAGS, LONG, WEIGHTS, Account, account, language_of
from local.x.wording import TEXT_LIMIT, Wording, cut_as_repost, moved, whole

SLOT = "\ue000{}\ue001"
"""Private-use characters mark what differs from post to post."""
_SHOWN = frozenset({"word", "url", "#", "@", "$", "from", "lang", "is"})
"""Kinds of elements that a post shows; of others it bears the mark of the rule it was made for."""
_KINDS = {"retweet": "retweeted", "quote": "quoted", "reply": "replied_to"}
"""The rule's word for a kind of post, and the post's own (`referenced_tweets.type`)."""
_SHARES = {None: 55, "retweet": 20, "quote": 8, "reply": 17}


@dataclass(frozen=True)
class Reference:
    """The post that a repost, quote or reply refers to."""

    type: str
    author: Account
    body: dict[str, Any]


@dataclass(frozen=True)
class Composition:
    """A post's content; body has every field that we simulate, with slots where posts differ."""

    body: dict[str, Any]
    full_text: str
    subject: Subject
    author: Account
    lang: str
    mentioned: tuple[Account, ...]
    referenced: Reference | None
    open_ended: bool


class _Draft:
    """A post while it is written for a rule.

    wanted: what one way of satisfying the rule asks for, values by kind of element. without: marks
    that it negates. plain: take only what is asked for.
    """

    def __init__(self, rule: Node, people: Sequence[Account], rng: Random, plain: bool) -> None:
        self.people, self.rng, self.plain = people, rng, plain
        self.wanted: defaultdict[str, list[str]] = defaultdict(list)
        self.without: set[str] = set()
        self._take(rule)
        self.author = self._person("from")
        if "verified" in self.wanted["is"] or "is:verified" in self.without:
            self.author = replace(self.author, verified="verified" in self.wanted["is"])
        lang = self._last("lang")
        for text in self.wanted["word"] + self.wanted["#"]:
            lang = lang or language_of(text)
        self.lang = lang or rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        self.kind = self._kind()
        self.other = self._person("to" if self.kind == "reply" else "retweets_of")

    def _take(self, node: Node) -> None:
        """Add what this element asks for; of alternatives, one drawn at random."""
        if node.negated:
            self.without.add(node.mark)
        elif node.children:
            for child in [self.rng.choice(node.children)] if node.kind == "or" else node.children:
                self._take(child)
        else:
            self.wanted[node.kind].append(node.value)

    def _last(self, kind: str) -> str | None:
        return self.wanted[kind][-1] if self.wanted[kind] else None

    def _person(self, kind: str) -> Account:
        return person(self._last(kind), self.people, self.rng)

    def _kind(self) -> str | None:
        for kind, operator in (("retweet", "retweets_of"), ("quote", ""), ("reply", "to")):
            if kind in self.wanted["is"] or self.wanted[operator]:
                return kind
        if self.plain:
            return None
        kinds = [kind for kind in _SHARES if f"is:{kind}" not in self.without]
        return self.rng.choices(kinds, [_SHARES[kind] for kind in kinds])[0]

    def _has(self, name: str, share: float) -> bool:
        """Say whether the post gets something: asked for, or by chance where not forbidden."""
        if name in self.wanted["has"]:
            return True
        return not self.plain and f"has:{name}" not in self.without and self.rng.random() < share

    def write(self) -> Composition:
        """Write the text and everything around it."""
        words, rng, wanted = Wording(), self.rng, self.wanted
        if self.kind == "reply":
            words.mention(self.other)
        elif self.kind == "retweet":
            words.add("RT")
            words.mention(self.other)
            words.text += ":"
        words.sentence(self.lang, wanted["word"], rng)
        if not self.plain and rng.random() < 0.5:
            words.sentence(self.lang, [], rng)
        for handle in wanted["@"]:
            words.mention(person(handle, self.people, rng))
        if not words.mentioned and self._has("mentions", 0.15):
            words.mention(rng.choice(self.people))
        tags = HASHTAGS.get(self.lang, HASHTAGS["und"])
        some = rng.sample(tags, rng.choice((1, 1, 2))) if self._has("hashtags", 0.45) else []
        for tag in wanted["#"] or some:
            words.add(f"#{tag}", "hashtags", tag=tag)
        for tag in wanted["$"] or ["TWTR"] * ("cashtags" in wanted["has"]):
            words.add(f"${tag}", "cashtags", tag=tag)
        for address in wanted["url"] or [""] * self._has("links", 0.35):
            words.link(address, rng)
        return self._composed(words)

    def _composed(self, words: Wording) -> Composition:
        full = words.text
        long = self.kind in (None, "retweet") and not self.plain and self.rng.random() < 0.05
        if long:
            body = LONG.get(self.lang, LONG["en"])
            full += "\n\n" + body * (300 // len(body) + self.rng.randrange(1, 5))
        reference = self._reference(words, full)
        open_ended = not long and self.kind != "retweet" and len(full) < TEXT_LIMIT - 40
        conversation = self._last("conversation_id")
        fields: dict[str, Any] = {
            "id": SLOT.format("I"),
            "edit_history_tweet_ids": [SLOT.format("H")],
            "author_id": self.author.id,
            "created_at": SLOT.format("A"),
            "conversation_id": conversation or SLOT.format("C"),
            "lang": self.lang,
            "possibly_sensitive": self.rng.random() < 0.02,
            "public_metrics": SLOT.format("M"),
            "reply_settings": "everyone",
        }
        content = cut_as_repost if self.kind == "retweet" else whole
        fields |= content(full, words.entities)
        fields["text"] += SLOT.format("T") * open_ended
        if reference:
            fields["referenced_tweets"] = [{"type": reference.type, "id": reference.body["id"]}]
        if reference and self.kind == "reply":
            fields["in_reply_to_user_id"] = self.other.id
            fields["conversation_id"] = conversation or reference.body["id"]
        if self.rng.random() < 0.2:
            topic = {"id": "847888632711061504", "name": "Technology"}
            domain = {"id": "131", "name": "Unified Twitter Taxonomy"}
            fields["context_annotations"] = [{"domain": domain, "entity": topic}]
        if self.rng.random() < 0.01:
            fields["paid_partnership"] = True
        return Composition(
            body=fields,
            full_text=full,
            subject=self._subject(words, full),
            author=self.author,
            lang=self.lang,
            mentioned=tuple(words.mentioned),
            referenced=reference,
            open_ended=open_ended,
        )

    def _subject(self, words: Wording, full: str) -> Subject:
        author, entities = self.author, words.entities
        marks = {f"from:{author.username}", f"from:{author.id}", f"lang:{self.lang}"}
        marks |= {f"is:{self.kind}", f"is:{'verified' if author.verified else None}"}
        marks |= {f"has:{'links' if name == 'urls' else name}" for name in entities}
        marks |= {f"#:{item['tag']}" for item in entities.get("hashtags", ())}
        marks |= {f"$:{item['tag']}" for item in entities.get("cashtags", ())}
        marks |= {f"@:{user.username}" for user in words.mentioned}
        for kind in self.wanted.keys() - _SHOWN:
            marks |= {f"{kind}:{value}" for value in self.wanted[kind]}
        return Subject(
            text=seen_text(words.without_links(full)),
            marks=frozenset(mark.casefold() for mark in marks),
            urls=tuple(link["expanded_url"].casefold() for link in entities.get("urls", ())),
        )

    def _reference(self, words: Wording, text: str) -> Reference | None:
        if self.kind is None:
            return None
        number = self.rng.randrange(1_900_000_000_000_000_000, 1_990_000_000_000_000_000)
        counts = {"retweet_count": 12, "reply_count": 3, "like_count": 80}
        body: dict[str, Any] = {
            "id": str(number),
            "text": "앞의 글입니다.",
            "edit_history_tweet_ids": [str(number)],
            "author_id": self.other.id,
            "created_at": stamp(made_at(number)),
            "conversation_id": str(number),
            "lang": self.lang,
            "possibly_sensitive": False,
            "public_metrics": {**counts, "quote_count": 1, "bookmark_count": 4},
        }
        if self.kind == "retweet":
            start = text.index(": ") + 2
            body |= whole(text[start:], moved(words.entities, -start))
        return Reference(_KINDS[self.kind], self.other, body)


def seen_text(text: str) -> str:
    """Return what a rule sees of a text that X sends escaped."""
    return fold(unescape(text))


def compose(rule: Node, people: Sequence[Account], rng: Random, *, plain: bool) -> Composition:
    """Write a post for a rule; plain leaves out whatever the rule does not ask for."""
    return _Draft(rule, people, rng, plain).write()


def person(handle: str | None, people: Sequence[Account], rng: Random) -> Account:
    """Return the account of a handle or id; without one a drawn account, some far more often."""
    if handle is None:
        return people[int(len(people) * rng.random() ** 2)]
    if handle.isdecimal():
        return replace(account(f"user_{handle[-8:]}", 1, Random(handle)), id=handle)
    folded = handle.casefold()
    number = sum(ord(char) * 31**place for place, char in enumerate(folded)) % 10**9
    return account(handle, number, Random(folded))
