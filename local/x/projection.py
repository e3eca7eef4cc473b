"""Which fields a request asked for (`tweet.fields`, `expansions`, ...), and their names there.

X sends only what was asked for; the default is id, text and edit_history_tweet_ids for posts and
id, name and username for users (source: "Fields" and "Expansions" of X API v2).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from local.x.problems import one_of, wrong

Naming = Literal["tweets", "posts"]
NAMINGS: tuple[Naming, ...] = ("tweets", "posts")
POST_NAMES = {
    "edit_history_tweet_ids": "edit_history_post_ids",
    "referenced_tweets": "referenced_posts",
    "retweet_count": "repost_count",
    "note_tweet": "note_post",
}
"""Response fields that OpenAPI descriptions 2.167 and 2.168 rename."""
KNOWN: dict[str, frozenset[str]] = {
    parameter: frozenset(names)
    for parameter, names in json.loads(
        (Path(__file__).parents[2] / "services/producer/producer/x_fields.json").read_text("utf-8")
    ).items()
}
"""X's own names by request parameter, both generations (OpenAPI descriptions up to 2.168)."""
ALWAYS = {
    "tweet.fields": frozenset({"id", "text", "edit_history_tweet_ids"}),
    "user.fields": frozenset({"id", "name", "username"}),
    "media.fields": frozenset({"media_key", "type"}),
    "place.fields": frozenset({"id", "full_name"}),
}
"""What X sends of an object without being asked."""
_OLD_NAMES = {new: old for old, new in POST_NAMES.items()}


@dataclass(frozen=True)
class Projection:
    """The fields of one request by parameter, its expansions, and a key that tells it apart."""

    fields: Mapping[str, frozenset[str]]
    expansions: frozenset[str]
    naming: Naming
    key: str

    @classmethod
    def of(cls, query: Mapping[str, str], naming: Naming) -> "Projection":
        """Read the request's parameters; raises InvalidRequestError for names unknown to X."""
        asked: dict[str, frozenset[str]] = {}
        for parameter, known in KNOWN.items():
            newer = parameter.replace("tweet", "post")
            given = query.get(parameter) or query.get(newer) or ""
            values = [value for value in given.split(",") if value]
            for value in values:
                if value not in known:
                    raise wrong(parameter, value, one_of(sorted(known)))
            if parameter == "expansions":
                values = [
                    "referenced_tweets.id" if value == "referenced_posts" else value
                    for value in values
                ]
            asked[parameter] = frozenset(_OLD_NAMES.get(value, value) for value in values)
        key = naming + repr([sorted(names) for names in asked.values()])
        fields = {name: asked[name] | always for name, always in ALWAYS.items()}
        return cls(fields, asked["expansions"], naming, key)

    def body(self, parameter: str, full: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an object that were asked for, under this generation's names."""
        wanted = self.fields[parameter]
        return self.renamed({name: value for name, value in full.items() if name in wanted})

    def renamed(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body under this generation's names."""
        if self.naming == "tweets":
            return body
        counts = body.get("public_metrics")
        if isinstance(counts, dict):
            body = {**body, "public_metrics": self.renamed(counts)}
        return {POST_NAMES.get(name, name): value for name, value in body.items()}

    @property
    def includes_posts(self) -> str:
        """Return the name under `includes` of posts referred to."""
        return "posts" if self.naming == "posts" else "tweets"
