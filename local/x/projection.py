"""Which fields a request asked for (`tweet.fields`, `expansions`, ...), and their names there.

X sends only what was asked for; the default is id, text and edit_history_tweet_ids for posts and
id, name and username for users (source: "Fields" and "Expansions" of X API v2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Naming = Literal["tweets", "posts"]
NAMINGS: tuple[Naming, ...] = ("tweets", "posts")
POST_NAMES = {
    "edit_history_tweet_ids": "edit_history_post_ids",
    "referenced_tweets": "referenced_posts",
    "retweet_count": "repost_count",
}
"""Response fields that spec 2.167 renames."""
TWEET_FIELDS = frozenset(
    [
        "article",
        "attachments",
        "author_id",
        "card_uri",
        "community_id",
        "context_annotations",
        "conversation_id",
        "created_at",
        "display_text_range",
        "edit_controls",
        "edit_history_tweet_ids",
        "entities",
        "geo",
        "id",
        "in_reply_to_user_id",
        "lang",
        "media_metadata",
        "non_public_metrics",
        "note_tweet",
        "organic_metrics",
        "possibly_sensitive",
        "promoted_metrics",
        "public_metrics",
        "referenced_tweets",
        "reply_settings",
        "scopes",
        "source",
        "suggested_source_links",
        "suggested_source_links_with_counts",
        "text",
        "withheld",
    ]
)
USER_FIELDS = frozenset(
    [
        "affiliation",
        "confirmed_email",
        "connection_status",
        "created_at",
        "description",
        "entities",
        "id",
        "is_identity_verified",
        "location",
        "most_recent_tweet_id",
        "name",
        "parody",
        "pinned_tweet_id",
        "profile_banner_url",
        "profile_image_url",
        "protected",
        "public_metrics",
        "receives_your_dm",
        "subscription",
        "subscription_type",
        "url",
        "username",
        "verified",
        "verified_followers_count",
        "verified_type",
        "withheld",
    ]
)
EXPANSIONS = frozenset(
    [
        "article.cover_media",
        "article.media_entities",
        "attachments.media_keys",
        "attachments.media_source_tweet",
        "attachments.poll_ids",
        "author_id",
        "edit_history_tweet_ids",
        "entities.mentions.username",
        "geo.place_id",
        "in_reply_to_user_id",
        "entities.note.mentions.username",
        "referenced_tweets.id",
        "referenced_tweets.id.author_id",
        "referenced_tweets.id.attachments.media_keys",
    ]
)
_KNOWN = (("tweet.fields", TWEET_FIELDS), ("user.fields", USER_FIELDS), ("expansions", EXPANSIONS))
_OLD_NAMES = {new: old for old, new in POST_NAMES.items()}


class FieldError(ValueError):
    """A field that X does not know; has the parameter and the value."""

    def __init__(self, parameter: str, value: str, known: frozenset[str]) -> None:
        self.parameter = parameter
        self.value = value
        super().__init__(
            f"The `{parameter}` query parameter value [{value}] is not one of "
            f"[{','.join(sorted(known))}]"
        )


@dataclass(frozen=True)
class Projection:
    """The fields of one request; key tells projections apart."""

    post: frozenset[str]
    user: frozenset[str]
    expansions: frozenset[str]
    naming: Naming
    key: str

    @classmethod
    def of(cls, query: Mapping[str, str], naming: Naming) -> "Projection":
        """Read the request's parameters; raises FieldError for a name that X does not know."""
        asked: dict[str, frozenset[str]] = {}
        for parameter, known in _KNOWN:
            newer = parameter.replace("tweet", "post")
            given = query.get(parameter) or query.get(newer) or ""
            values = [_OLD_NAMES.get(value, value) for value in given.split(",") if value]
            if parameter == "expansions":
                values = [value.replace("_posts", "_tweets") for value in values]
            for value in values:
                if value not in known:
                    raise FieldError(parameter, value, known)
            asked[parameter] = frozenset(values)
        key = naming + repr([sorted(asked[parameter]) for parameter, _ in _KNOWN])
        return cls(
            post=asked["tweet.fields"] | {"id", "text", "edit_history_tweet_ids"},
            user=asked["user.fields"] | {"id", "name", "username"},
            expansions=asked["expansions"],
            naming=naming,
            key=key,
        )

    def post_body(self, full: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a post that were asked for, under this generation's names."""
        return self.renamed({name: value for name, value in full.items() if name in self.post})

    def user_body(self, full: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a user that were asked for."""
        return {name: value for name, value in full.items() if name in self.user}

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
