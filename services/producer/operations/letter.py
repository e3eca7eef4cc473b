"""A dead letter: what was set aside, why, and whose posts it holds."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from producer.record import integer, json_object, json_objects

_GOOGLES = "CloudPubSubDeadLetter"


class DeadLetter(NamedTuple):
    """One message that was set aside, by us or by Pub/Sub itself.

    Attributes:
        message_id: Pub/Sub's id of the dead letter.
        data: the original bytes: a record as JSON, or with kind `line` the line as X sent it.
        attributes: the original ones and those that say why, where and when.
        published: when it became a dead letter, by Pub/Sub's clock.
    """

    message_id: str
    data: bytes
    attributes: dict[str, str]
    published: datetime

    @property
    def id(self) -> str:
        """Post id, event id or hash of the line; Pub/Sub's message id where there is none."""
        return self.attributes.get("id") or self.message_id

    @property
    def kind(self) -> str:
        """post, event, line, or `unknown`."""
        return self.attributes.get("kind") or "unknown"

    @property
    def reason(self) -> str:
        """Our reason code; delivery_attempts where Pub/Sub gave up; else `unknown`."""
        if reason := self.attributes.get("dead_letter_reason"):
            return reason
        forwarded = any(name.startswith(_GOOGLES) for name in self.attributes)
        return "delivery_attempts" if forwarded else "unknown"

    @property
    def source(self) -> str:
        """producer, sink, the subscription that Pub/Sub forwarded from, or `unknown`."""
        named = self.attributes.get("dead_letter_source")
        return named or self.attributes.get(f"{_GOOGLES}SourceSubscription") or "unknown"

    @property
    def at(self) -> datetime:
        """When it was set aside."""
        return self._moment("dead_letter_at") or self.published

    @property
    def redriven(self) -> datetime | None:
        """When `tweets redrive` last sent it; None where it never did."""
        return self._moment("redriven_at")

    def _moment(self, name: str) -> datetime | None:
        try:
            at = datetime.fromisoformat(self.attributes[name])
        except (KeyError, ValueError):
            return None
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    def original_attributes(self) -> dict[str, str]:
        """The attributes that the message had before it was set aside."""
        return {
            name: value
            for name, value in self.attributes.items()
            if not name.startswith(("dead_letter_", _GOOGLES, "goog"))
        }

    def post_ids(self) -> tuple[set[int], set[int]]:
        """Ids of the post in it and of its author, (posts, authors); empty where unreadable.

        A record carries `id` and `author_id`, a line of X the same inside `data`. Posts it embeds
        (`includes`) and the post that it repeats count too: they are held here as well.
        """
        try:
            found = json.loads(self.data)
        except (ValueError, RecursionError):
            # A broken line still holds the post: its ids are read as text.
            text = self.data.decode("utf-8", "replace")
            return _written("id", text), _written("author_id", text)
        posts = list(_posts(json_object(found)))
        repeated = [
            reference
            for post in posts
            for reference in json_objects(
                post.get("referenced_posts") or post.get("referenced_tweets")
            )
            if reference.get("type") in ("retweeted", "reposted")
        ]
        return _numbers("id", [*posts, *repeated]), _numbers("author_id", posts)


def _posts(found: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The post of a record, or of a line, and those that it embeds."""
    yield found if "data" not in found else json_object(found["data"])
    includes = json_object(found.get("includes"))
    yield from json_objects(includes.get("tweets"))
    yield from json_objects(includes.get("posts"))
    if isinstance(raw := found.get("raw"), str):
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            return
        yield from _posts(json_object(line))


def _written(name: str, text: str) -> set[int]:
    found = re.findall(rf'"{name}"\s*:\s*"?(\d+)\b', text)
    return {number for digits in found if (number := integer(digits)) is not None}


def _numbers(name: str, items: Iterable[Mapping[str, Any]]) -> set[int]:
    return {number for item in items if (number := integer(item.get(name))) is not None}
