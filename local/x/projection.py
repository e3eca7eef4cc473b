"""Which fields a request asked for (`tweet.fields`, `expansions`, ...).

X sends only what was asked for; the default is id, text and edit_history_tweet_ids for posts and
id, name and username for users (source: "Fields" and "Expansions" of X API v2).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.x.problems import one_of, wrong

KNOWN: dict[str, frozenset[str]] = {
    parameter: frozenset(names)
    for parameter, names in json.loads(
        (Path(__file__).parents[2] / "services/producer/producer/x_fields.json").read_text("utf-8")
    ).items()
}
"""X's own names by request parameter, both generations (OpenAPI descriptions up to 2.168)."""
_OLDER = {
    "tweet.fields": {"note_post": "note_tweet", "referenced_posts": "referenced_tweets"},
    "expansions": {"referenced_posts": "referenced_tweets.id"},
}
"""Newer names of what is sent here, under the older name."""
_ALWAYS = {
    "tweet.fields": frozenset({"id", "text", "edit_history_tweet_ids"}),
    "user.fields": frozenset({"id", "name", "username"}),
}
"""What X sends of an object without being asked."""


@dataclass(frozen=True)
class Projection:
    """The fields of one request by parameter, its expansions, and a key that tells it apart."""

    fields: Mapping[str, frozenset[str]]
    expansions: frozenset[str]
    key: str

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Projection":
        """Read the request's parameters; raises InvalidRequestError for names unknown to X."""
        asked: dict[str, frozenset[str]] = {}
        for parameter, known in KNOWN.items():
            values = [value for value in query.get(parameter, "").split(",") if value]
            for value in values:
                if value not in known:
                    raise wrong(parameter, value, one_of(sorted(known)))
            older = _OLDER.get(parameter, {})
            asked[parameter] = frozenset(older.get(value, value) for value in values)
        fields = {name: asked[name] | always for name, always in _ALWAYS.items()}
        key = repr([sorted(names) for names in asked.values()])
        return cls(fields, asked["expansions"], key)

    def body(self, parameter: str, full: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an object that were asked for."""
        wanted = self.fields[parameter]
        return {name: value for name, value in full.items() if name in wanted}
