"""A post's text under construction, with its entities: mentions, hashtags, cashtags, links."""

from html import escape
from random import Random
from typing import Any

from local.x.vocabulary import FILLERS, SENTENCES, SITES, Account

_CODE = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
TEXT_LIMIT = 280
REPOST_LIMIT = 140
"""X cuts a repost's text here; the original, where it is asked for, is whole."""
Entities = dict[str, list[dict[str, Any]]]


class Wording:
    """Text as X sends it (& < > escaped) and entities; positions are in code points of that text
    from 0, the end excluded, as X counts.
    """

    def __init__(self) -> None:
        self.text = ""
        self.entities: Entities = {}
        self.mentioned: list[Account] = []

    def add(self, piece: str, kind: str = "", **entity: Any) -> None:
        """Append a piece after a space; kind is the entity that it is, if it is one."""
        if self.text and not self.text.endswith((" ", "\n")):
            self.text += " "
        start = len(self.text)
        self.text += escape(piece, quote=False)
        if kind:
            place = {"start": start, "end": len(self.text)}
            self.entities.setdefault(kind, []).append({**place, **entity})

    def mention(self, user: Account) -> None:
        """Append @user."""
        self.add(f"@{user.username}", "mentions", username=user.username, id=user.id)
        self.mentioned.append(user)

    def sentence(self, lang: str, words: list[str], rng: Random) -> None:
        """Append a sentence of the language around the words."""
        if not words:
            self.add(rng.choice(FILLERS.get(lang, FILLERS["en"])))
            return
        sentence = rng.choice(SENTENCES.get(lang, SENTENCES["en"]))
        self.add(sentence.format(" ".join(words)))

    def link(self, address: str, rng: Random) -> None:
        """Append a t.co link to the address, or to one of the made-up sites where it is empty."""
        site, title = rng.choice(SITES)
        expanded = site.format(n=rng.randrange(10_000))
        if address:
            expanded = address if "://" in address else f"https://{address}"
        shown = expanded.split("://", 1)[1]
        url = f"https://t.co/{''.join(rng.choices(_CODE, k=10))}"
        link = {
            "url": url,
            "expanded_url": expanded,
            "display_url": shown if len(shown) <= 27 else shown[:26] + "…",
            "images": [
                {"url": f"https://example.com/img/{url[-6:]}?name={name}", "width": w, "height": h}
                for name, w, h in (("orig", 1200, 630), ("150x150", 150, 150))
            ],
            "status": 200,
            "title": title,
            "description": "A page that does not exist, for a post that was never written.",
            "unwound_url": expanded,
        }
        self.add(url, "urls", **link)

    def without_links(self, text: str) -> str:
        """Return a text without the t.co addresses: a keyword does not match those."""
        for link in self.entities.get("urls", ()):
            text = text.replace(link["url"], " ")
        return text


def whole(text: str, entities: Entities) -> dict[str, Any]:
    """Return text and entities of a post; a long one is cut at 280, and whole in note_tweet."""
    fields: dict[str, Any] = {"entities": entities} if entities else {}
    if len(text) <= TEXT_LIMIT:
        return {"text": text, **fields}
    note = {"text": text, **fields}
    return {"text": text[: TEXT_LIMIT - 1] + "…", "note_tweet": note, **fields}


def cut_as_repost(text: str, entities: Entities) -> dict[str, Any]:
    """Return text and entities of a repost: cut at 140 characters, whatever the original has."""
    if len(text) <= REPOST_LIMIT:
        return whole(text, entities)
    kept = {
        kind: [item for item in items if item["end"] < REPOST_LIMIT]
        for kind, items in entities.items()
    }
    return {
        "text": text[: REPOST_LIMIT - 1] + "…",
        "entities": {kind: items for kind, items in kept.items() if items},
    }


def moved(entities: Entities, by: int) -> Entities:
    """Return the entities at their places in the original; those before it are left out."""
    moved = {
        kind: [
            {**item, "start": item["start"] + by, "end": item["end"] + by}
            for item in items
            if item["start"] + by >= 0
        ]
        for kind, items in entities.items()
    }
    return {kind: items for kind, items in moved.items() if items}
