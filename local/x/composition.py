"""One synthetic post: text with its entities, author, references, and what a rule sees of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import unescape
from random import Random
from typing import Any

from local.x.needs import KINDS, Needs
from local.x.query import Node, Subject, fold
from local.x.snowflake import made_at, stamp
from local.x.vocabulary import HASHTAGS, LONG, WEIGHTS, Account, account, language_of
from local.x.wording import TEXT_LIMIT, Wording, cut_as_repost, moved, whole

SLOT = "\ue000{}\ue001"
"""Private-use characters mark what differs from post to post."""
UNSEEN = frozenset({"has:media", "has:images", "has:video_link", "has:geo"})
"""Marks that no entity of the text shows."""
_LANGS = tuple(WEIGHTS)
_SHARES = tuple(WEIGHTS.values())


@dataclass(frozen=True)
class Reference:
    """The post that a repost, quote or reply refers to."""

    type: str
    id: str
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
    replied_to: Account | None
    referenced: Reference | None
    open_ended: bool
    media: tuple[dict[str, Any], ...] = ()
    place: dict[str, Any] | None = None

    def with_suffix(self, suffix: str) -> "Composition":
        """Return the same post with words added before its ending, as an edit does."""
        ending = SLOT.format("T")
        text = str(self.body["text"]).replace(ending, suffix + ending)
        full = self.full_text + suffix
        seen = replace(self.subject, text=seen_text(full))
        return replace(self, body={**self.body, "text": text}, full_text=full, subject=seen)


@dataclass
class _Draft:
    """A post while it is written."""

    needs: Needs
    rng: Random
    plain: bool
    author: Account
    other: Account
    lang: str
    kind: str | None

    def write(self, people: Sequence[Account]) -> Composition:
        """Write the text and everything around it."""
        words, rng = Wording(), self.rng
        if self.kind == "replied_to":
            words.mention(self.other)
        elif self.kind == "retweeted":
            words.add("RT")
            words.mention(self.other)
            words.text += ":"
        words.sentence(self.lang, self.needs.words, rng)
        if not self.plain and rng.random() < 0.5:
            words.sentence(self.lang, [], rng)
        for handle in self.needs.handles:
            words.mention(person(handle, people, rng))
        if not words.mentioned and self._wants("has:mentions", 0.15):
            words.mention(rng.choice(people))
        for tag in self.needs.tags or self._hashtags():
            words.add(f"#{tag}", "hashtags", tag=tag)
        for tag in self.needs.cashtags or ["TWTR"] * ("has:cashtags" in self.needs.marks):
            words.add(f"${tag}", "cashtags", tag=tag)
        for address in self.needs.urls or [""] * self._wants("has:links", 0.35):
            words.link(address, rng)
        return self._composed(words)

    def _wants(self, mark: str, share: float) -> bool:
        return self.needs.wants(mark, share, self.rng, plain=self.plain)

    def _hashtags(self) -> list[str]:
        if not self._wants("has:hashtags", 0.45):
            return []
        return self.rng.sample(HASHTAGS.get(self.lang, HASHTAGS["und"]), self.rng.choice((1, 1, 2)))

    def _composed(self, words: Wording) -> Composition:
        full = words.text
        long = self.kind in (None, "retweeted") and not self.plain and self.rng.random() < 0.05
        if long:
            body = LONG.get(self.lang, LONG["en"])
            full += "\n\n" + body * (300 // len(body) + self.rng.randrange(1, 5))
        reference = self._reference(words, full)
        open_ended = not long and self.kind != "retweeted" and len(full) < TEXT_LIMIT - 40
        fields: dict[str, Any] = {
            "id": SLOT.format("I"),
            "edit_history_tweet_ids": [SLOT.format("H")],
            "author_id": self.author.id,
            "created_at": SLOT.format("A"),
            "conversation_id": self.needs.conversation or SLOT.format("C"),
            "lang": self.lang,
            "possibly_sensitive": self.rng.random() < 0.02,
            "public_metrics": SLOT.format("M"),
            "reply_settings": "everyone",
        }
        content = cut_as_repost if self.kind == "retweeted" else whole
        fields |= content(full, words.entities)
        fields["text"] += SLOT.format("T") * open_ended
        if reference:
            fields["referenced_tweets"] = [{"type": reference.type, "id": reference.id}]
        if reference and self.kind == "replied_to":
            fields["in_reply_to_user_id"] = self.other.id
            if not self.needs.conversation:
                fields["conversation_id"] = reference.id
        if self.rng.random() < 0.2:
            topic = {"id": "847888632711061504", "name": "Technology"}
            domain = {"id": "131", "name": "Unified Twitter Taxonomy"}
            fields["context_annotations"] = [{"domain": domain, "entity": topic}]
        if self.rng.random() < 0.01:
            fields["paid_partnership"] = True
        media, place = self._media(), self._place()
        if media:
            fields["attachments"] = {"media_keys": [item["media_key"] for item in media]}
        if place:
            fields["geo"] = {"place_id": place["id"]}
        return Composition(
            body=fields,
            full_text=full,
            subject=self._subject(words, full, fields),
            author=self.author,
            lang=self.lang,
            mentioned=tuple(words.mentioned),
            replied_to=self.other if self.kind == "replied_to" else None,
            referenced=reference,
            open_ended=open_ended,
            media=media,
            place=place,
        )

    def _media(self) -> tuple[dict[str, Any], ...]:
        asked = self.needs.marks & {"has:media", "has:images", "has:video_link"}
        if not asked:
            return ()
        kind = "video" if "has:video_link" in asked else "photo"
        key = f"{7 if kind == 'video' else 3}_{self.rng.randrange(10**18, 10**19)}"
        shown = {"url": f"https://example.com/media/{key}.jpg", "width": 1200, "height": 800}
        return ({"media_key": key, "type": kind, "alt_text": "A synthetic picture.", **shown},)

    def _place(self) -> dict[str, Any] | None:
        places = [mark for mark in self.needs.marks if mark.startswith(("place", "has:geo"))]
        if not places:
            return None
        country = next((m[14:].upper() for m in places if m.startswith("place_country:")), "KR")
        number = f"{self.rng.randrange(16**16):016x}"
        return {"id": number, "full_name": f"A place in {country}", "country_code": country}

    def _subject(self, words: Wording, full: str, fields: dict[str, Any]) -> Subject:
        def tags(kind: str) -> frozenset[str]:
            return frozenset(item["tag"].casefold() for item in words.entities.get(kind, []))

        marks = {m for m in self.needs.marks if m in UNSEEN or not m.startswith(("is:", "has:"))}
        marks |= {f"has:{'links' if name == 'urls' else name}" for name in words.entities}
        marks |= {mark for mark, kind in KINDS.items() if kind == self.kind}
        marks |= {"is:verified"} if self.author.verified else set()
        names = frozenset({self.other.username.casefold(), self.other.id})
        return Subject(
            text=seen_text(words.without_links(full)),
            author=frozenset({self.author.username.casefold(), self.author.id}),
            lang=self.lang,
            marks=frozenset(marks),
            hashtags=tags("hashtags"),
            cashtags=tags("cashtags"),
            mentions=frozenset(user.username.casefold() for user in words.mentioned),
            urls=tuple(link["expanded_url"].casefold() for link in words.links),
            to=names if self.kind == "replied_to" else frozenset(),
            retweets_of=names if self.kind == "retweeted" else frozenset(),
            conversation_id=fields["conversation_id"],
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
        if self.kind == "retweeted":
            start = text.index(": ") + 2
            body |= whole(text[start:], moved(words.entities, -start))
        return Reference(self.kind, str(number), self.other, body)


def seen_text(text: str) -> str:
    """Return what a rule sees of a text that X sends escaped."""
    return fold(unescape(text))


def compose(rule: Node, people: Sequence[Account], rng: Random, *, plain: bool) -> Composition:
    """Write a post for a rule; plain leaves out whatever the rule does not ask for."""
    needs = Needs()
    needs.take(rule, rng)
    author = person(needs.author, people, rng)
    if "is:verified" in needs.marks:
        author = replace(author, verified=True)
    elif "is:verified" in needs.without:
        author = replace(author, verified=False)
    lang = needs.lang
    for text in needs.words + needs.tags:
        lang = lang or language_of(text)
    lang = lang or rng.choices(_LANGS, _SHARES)[0]
    kind = needs.kind(rng, plain=plain)
    other = person(needs.to if kind == "replied_to" else needs.retweets_of, people, rng)
    return _Draft(needs, rng, plain, author, other, lang, kind).write(people)


def person(handle: str | None, people: Sequence[Account], rng: Random) -> Account:
    """Return the account of a handle or id; without one a drawn account, some far more often."""
    if handle is None:
        return people[int(len(people) * rng.random() ** 2)]
    if handle.isdecimal():
        return replace(account(f"user_{handle[-8:]}", 1, Random(handle)), id=handle)
    folded = handle.casefold()
    number = sum(ord(char) * 31**place for place, char in enumerate(folded)) % 10**9
    return account(handle, number, Random(folded))
