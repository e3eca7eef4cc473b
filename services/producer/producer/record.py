"""A line of X's stream as a record, our typed columns: pure, and the only place that knows
X's field names.

Both naming generations are read (referenced_tweets and referenced_posts, and so on; OpenAPI
descriptions 2.167 and 2.168 rename them). Its form is sink/schema/tweets.json; the columns
published_at, inserted_at and message_id are the sink's. What has no column is in `raw`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from producer.parsing import LineError

# Milliseconds of X's epoch, 2010-11-04T01:42:54.657Z; an id's upper bits count from there.
# https://docs.x.com/fundamentals/x-ids
SNOWFLAKE_EPOCH = 1_288_834_974_657

_INT64 = 1 << 63
_EPOCH = datetime(1970, 1, 1)
# What X's whole seconds may be off the id's moment, however X rounds.
_ROUNDED = timedelta(seconds=2)
# What X writes is BigQuery's form already, but for the zone.
_X_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII).fullmatch
# X cuts what follows at 140 characters.
_REPOST = re.compile(r"RT @\w{1,20}: ").match
# Our name, then X's two names.
_METRICS = (
    ("reposts", "retweet_count", "repost_count"),
    ("replies", "reply_count", "reply_count"),
    ("likes", "like_count", "like_count"),
    ("quotes", "quote_count", "quote_count"),
    ("bookmarks", "bookmark_count", "bookmark_count"),
    ("impressions", "impression_count", "impression_count"),
)
_NO_POST: Mapping[str, Any] = {}


class RecordError(LineError):
    """A line that holds no usable post: what is wrong with it."""


def to_record(
    line: Mapping[str, Any], raw: str, ingested_at: int, source: str = "stream"
) -> dict[str, Any]:
    """Return the record of one post.

    Args:
        line: the parsed line: `data`, and where X gives them `includes` and `matching_rules`.
        raw: the same as X sent it.
        ingested_at: when it was read, microseconds since 1970, UTC.
        source: "stream" or "backfill".

    Raises:
        RecordError: no post, or a post without a usable id or text. Anything else that is missing
            or of another type leaves its column empty.
    """
    post = line.get("data")
    if not isinstance(post, dict):
        raise RecordError("the line holds no post: `data` is missing or not an object")
    post_id = integer(post.get("id"))
    if post_id is None:
        raise RecordError(f"the post's id is not a 64-bit integer: {str(post.get('id'))[:100]!r}")
    text, entities = _whole(post)
    if text is None:
        raise RecordError(f"post {post_id} has no text")
    if original := _reposted(post, line):
        full, more = _whole(original)
        if full is not None and (start := _REPOST(text)):
            # A withheld original says less than the repost.
            text = max(text, start[0] + full, key=len)
        entities += more
    author_id = integer(post.get("author_id"))
    edits = _integers(post.get("edit_history_tweet_ids") or post.get("edit_history_post_ids"))
    return {
        "id": post_id,
        "created_at": _created_at(post.get("created_at"), post_id),
        "text": _unescaped(text),
        "author_id": author_id,
        "author_username": _username(line, author_id),
        "lang": _text(post.get("lang")),
        "conversation_id": integer(post.get("conversation_id")),
        "in_reply_to_user_id": integer(post.get("in_reply_to_user_id")),
        "possibly_sensitive": _boolean(post.get("possibly_sensitive")),
        "hashtags": _entity(entities, "hashtags", "tag", "text"),
        "mentions": _entity(entities, "mentions", "username", "screen_name"),
        "urls": _entity(entities, "urls", "expanded_url", "url"),
        "referenced_posts": [
            {"type": _text(item.get("type")), "id": integer(item.get("id"))}
            for item in _references(post)
        ],
        "edit_history_ids": edits,
        "original_id": edits[0] if edits else post_id,
        "public_metrics": _metrics(post.get("public_metrics")),
        "rule_tags": rule_tags(line),
        "raw": raw,
        "source": source,
        "ingested_at": timestamp(ingested_at),
    }


def rule_tags(line: Mapping[str, Any]) -> list[str]:
    """Return the tags of the rules that a line matched, each once; the id of a rule without tag."""
    tags: dict[str, None] = {}
    for rule in json_objects(line.get("matching_rules")):
        tag = rule.get("tag")
        if not isinstance(tag, str) or not tag:
            tag = str(rule.get("id") or "")
        if tag:
            tags[tag] = None
    return list(tags)


def rule_ids(line: Mapping[str, Any]) -> list[str]:
    """Return X's ids of the rules that a line matched."""
    return [str(r["id"]) for r in json_objects(line.get("matching_rules")) if r.get("id")]


def timestamp(microseconds: int) -> str:
    """Return a BigQuery TIMESTAMP, such as 2024-01-15T10:35:00.123456Z."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return f"{moment.isoformat(timespec='microseconds')}Z"


def created_at(value: object) -> str | None:
    """Return X's time as a BigQuery DATETIME in UTC with milliseconds; None for no usable time."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if _X_FORM(value):
            return value[:-1]
        # A time without a zone is X's, so UTC.
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


def _created_at(value: object, post_id: int) -> str:
    # X gives whole seconds and may leave them out; the id has the millisecond of the same moment.
    # Taken from the id either way, it is the same in each delivery: tweets_latest relies on that.
    given, own = created_at(value), created_at_of(post_id)
    if given is None or given[:19] == own[:19]:
        return own
    apart = abs(datetime.fromisoformat(given) - datetime.fromisoformat(own))
    return own if apart < _ROUNDED else given


def created_at_of(post_id: int) -> str:
    """Return the time that is in the upper bits of a post id, as created_at() does."""
    moment = datetime.fromtimestamp(created_ms(post_id) / 1000, UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


def created_ms(post_id: int) -> int:
    """Return when a post id was made, milliseconds since 1970, UTC."""
    return (post_id >> 22) + SNOWFLAKE_EPOCH


def integer(value: object) -> int | None:
    """Return an id, which X gives as decimal text, as a 64-bit integer from 0; else None."""
    if isinstance(value, str):
        # int() alone would also take '1_0', ' 1 ' and digits of other scripts.
        if not (value.isdecimal() and value.isascii() and len(value) < 20):
            return None
        value = int(value)
    elif type(value) is not int:
        return None
    return value if 0 <= value < _INT64 else None


def _username(line: Mapping[str, Any], author_id: int | None) -> str | None:
    if author_id is not None:
        for user in json_objects(json_object(line.get("includes")).get("users")):
            if integer(user.get("id")) == author_id:
                return _text(user.get("username"))
    return None


def _metrics(value: object) -> dict[str, int | None] | None:
    if not isinstance(value, dict):
        return None
    return {
        name: integer(value[old] if old in value else value.get(new)) for name, old, new in _METRICS
    }


def _whole(post: Mapping[str, Any]) -> tuple[str | None, list[Mapping[str, Any]]]:
    """Return a post's text and the entities of both its parts: long ones go on in note_tweet."""
    note = json_object(post.get("note_tweet")) or json_object(post.get("note_post"))
    text = note.get("text")
    text = text if isinstance(text, str) else _text(post.get("text"))
    return text, [json_object(post.get("entities")), json_object(note.get("entities"))]


def _reposted(post: Mapping[str, Any], line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the original of a repost, which X gives when referenced_tweets.id is expanded."""
    for reference in _references(post):
        if reference.get("type") in ("retweeted", "reposted"):
            includes = json_object(line.get("includes"))
            wanted = integer(reference.get("id"))
            for included in json_objects(includes.get("tweets") or includes.get("posts")):
                if wanted is not None and integer(included.get("id")) == wanted:
                    return included
    return None


def _references(post: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return json_objects(post.get("referenced_tweets") or post.get("referenced_posts"))


def _unescaped(text: str) -> str:
    # X escapes these three and no other: html.unescape() would also change a written "&copy".
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _entity(entities: Iterable[Mapping[str, Any]], kind: str, name: str, older: str) -> list[str]:
    found: dict[str, None] = {}
    for part in entities:
        for item in json_objects(part.get(kind)):
            value = item.get(name) or item.get(older)
            if isinstance(value, str):
                found[value] = None
    return list(found)


def _integers(value: object) -> list[int]:
    if not isinstance(value, list):
        return []
    return [number for item in value if (number := integer(item)) is not None]


def json_objects(value: object) -> Sequence[Mapping[str, Any]]:
    """Return the objects of a list; none of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else ()


def json_object(value: object) -> Mapping[str, Any]:
    """Return the object; an empty one for anything else."""
    return value if isinstance(value, dict) else _NO_POST


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
