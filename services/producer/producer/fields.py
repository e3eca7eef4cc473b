"""What X is asked to send of each post: what our columns need, and what X_FIELDS adds to `raw`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl

FURTHER = "tweet.fields=withheld,paid_partnership&expansions=referenced_tweets.id"
"""Default of X_FIELDS. The expansion makes reposts whole; X does not say whether it bills the posts
that it brings. The two fields are part of the post and cost nothing more."""
_COLUMNS = {
    "tweet.fields": (
        "created_at", "author_id", "lang", "conversation_id", "in_reply_to_user_id",
        "possibly_sensitive", "entities", "referenced_tweets", "edit_history_tweet_ids",
        "public_metrics", "note_tweet",
    ),
    "expansions": ("author_id",),
    "user.fields": ("username",),
}  # fmt: skip


class FieldsError(ValueError):
    """Fields that X does not have: which one, and what was meant, in one line."""


@cache
def known() -> Mapping[str, frozenset[str]]:
    """Return X's own names by request parameter, both generations.

    Source: PostFieldsParameter and its neighbours in X's OpenAPI descriptions up to 2.168.
    """
    text = Path(__file__).with_name("x_fields.json").read_text("utf-8")
    return {parameter: frozenset(names) for parameter, names in json.loads(text).items()}


def asked(further: str) -> dict[str, str]:
    """Return the parameters of a request for posts, such as {"expansions": "author_id"}.

    Args:
        further: fields and expansions beyond our columns' in the form of X's own query, such as
            expansions=attachments.media_keys&media.fields=url,alt_text; may be empty.

    Raises:
        FieldsError: not of that form, or a name that X does not have.
    """
    names = {parameter: list(columns) for parameter, columns in _COLUMNS.items()}
    try:
        pairs = parse_qsl(further, strict_parsing=True) if further else []
    except ValueError:
        raise FieldsError(
            f"{further!r} is not in the form of X's query. Write it as {FURTHER}"
        ) from None
    for parameter, values in pairs:
        _check("parameter", parameter, known())
        for name in values.split(","):
            _check(parameter, name, known()[parameter])
            if name not in (chosen := names.setdefault(parameter, [])):
                chosen.append(name)
    return {parameter: ",".join(chosen) for parameter, chosen in names.items()}


def _check(what: str, name: str, allowed: Mapping[str, object] | frozenset[str]) -> None:
    if name not in allowed:
        near = difflib.get_close_matches(name, allowed, n=1)
        meant = f"Did you mean {near[0]}?" if near else f"X has {', '.join(sorted(allowed))}."
        raise FieldsError(f"{name!r} is no {what} of X's. {meant}")
