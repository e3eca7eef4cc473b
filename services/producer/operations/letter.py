"""A dead letter: what was set aside, why, and whose posts it holds."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from producer.record import integer

_OURS = "dead_letter_"
_GOOGLES = "CloudPubSubDeadLetter"
_RESERVED = "goog"


@dataclass(frozen=True)
class DeadLetter:
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
        try:
            at = datetime.fromisoformat(self.attributes["dead_letter_at"])
        except (KeyError, ValueError):
            return self.published
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    @property
    def redriven(self) -> datetime | None:
        """When `tweets redrive` last sent it; None where it never did."""
        try:
            return datetime.fromisoformat(self.attributes["redriven_at"])
        except (KeyError, ValueError):
            return None

    def original_attributes(self) -> dict[str, str]:
        """The attributes that the message had before it was set aside."""
        return {
            name: value
            for name, value in self.attributes.items()
            if not name.startswith((_OURS, _GOOGLES, _RESERVED))
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
            return (
                {int(number) for number in re.findall(r'"id"\s*:\s*"?(\d{1,19})\b', text)},
                {int(number) for number in re.findall(r'"author_id"\s*:\s*"?(\d{1,19})\b', text)},
            )
        posts: set[int] = set()
        authors: set[int] = set()
        for post in _posts(found):
            if (number := integer(post.get("id"))) is not None:
                posts.add(number)
            posts |= _repeated(post)
            if (number := integer(post.get("author_id"))) is not None:
                authors.add(number)
        return posts, authors


def _posts(found: object) -> Iterator[dict[str, object]]:
    if not isinstance(found, dict):
        return
    line = found
    if isinstance(raw := found.get("raw"), str):
        yield found
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            return
    elif "data" not in found:
        yield found
    if isinstance(line, dict):
        includes = line.get("includes") if isinstance(line.get("includes"), dict) else {}
        candidates = [line.get("data")]
        for name in ("tweets", "posts"):
            embedded = includes.get(name) if isinstance(includes, dict) else None
            candidates += embedded if isinstance(embedded, list) else []
        yield from (post for post in candidates if isinstance(post, dict))


def _repeated(post: dict[str, object]) -> set[int]:
    references = post.get("referenced_posts") or post.get("referenced_tweets")
    return {
        number
        for item in (references if isinstance(references, list) else ())
        if isinstance(item, dict) and item.get("type") in ("retweeted", "reposted")
        if (number := integer(item.get("id"))) is not None
    }
