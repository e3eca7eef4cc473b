"""X's operators of the filtered stream: which there are, which can't stand alone, what they take.

Source: https://docs.x.com/x-api/posts/filtered-stream/integrate/operators (2026-08). Operators of
the Enterprise packages (embedding:) are refused, in X's words for those.
"""

import re

CONJUNCTION_REQUIRED = frozenset({"lang", "is", "has", "sample"})
"""Operators that X refuses when no standalone operator stands beside them."""
_LANGS = (
    "am|ar|hy|eu|bn|bs|bg|my|hr|ca|cs|da|nl|en|et|fi|fr|ka|de|el|gu|ht|iw|hi|hi-latn|hu|is|in|it|ja"
    "|kn|km|ko|lo|lv|lt|ml|dv|mr|ne|no|or|pa|ps|fa|pl|pt|ro|ru|sr|zh-cn|zh-tw|sd|si|sk|sl|ckb|es|sv"
    "|tl|ta|te|th|bo|tr|uk|ur|ug|vi|cy|und"
)
_HANDLE = r"@?(\w{1,15}|\d{1,19})"
_ID = r"\d{1,19}"
_RANGE = r"\d{1,12}(\.\.\d{1,12})?"
_TAKES = {
    "lang": (_LANGS, "a supported language code"),
    "from": (_HANDLE, "a handle of 1 to 15 letters, digits and _, or a user id"),
    "to": (_HANDLE, "a handle of 1 to 15 letters, digits and _, or a user id"),
    "retweets_of": (_HANDLE, "a handle of 1 to 15 letters, digits and _, or a user id"),
    "from_affiliate_of": (_HANDLE, "a handle of 1 to 15 letters, digits and _"),
    "to_affiliate_of": (_HANDLE, "a handle of 1 to 15 letters, digits and _"),
    "conversation_id": (_ID, "a post id"),
    "in_reply_to_tweet_id": (_ID, "a post id"),
    "retweets_of_tweet_id": (_ID, "a post id"),
    "sample": (r"[1-9]\d?|100", "a whole number from 1 to 100"),
    "place_country": (r"[A-Za-z]{2}", "a country code of two letters"),
    "context": (r"\d+\.(\d+|\*)|\*\.\d+", "domain.entity"),
    "point_radius": (r"\[-?[\d.]+ -?[\d.]+ [\d.]+(mi|km)\]", "[longitude latitude radius]"),
    "bounding_box": (r"\[(-?[\d.]+ ){3}-?[\d.]+\]", "[west south east north]"),
    "min_followers": (r"\d{1,12}", "a whole number"),
    "is": (r"retweet|reply|quote|verified|nullcast", ""),
    "has": (r"hashtags|cashtags|links|mentions|media|images|video_link|geo", ""),
} | dict.fromkeys(
    ("followers_count", "tweets_count", "following_count", "listed_count"),
    (_RANGE, "a number or a range such as 1000..10000"),
)
_WORDS = frozenset(
    {
        "url", "url_title", "url_description", "url_contains", "entity", "bio", "bio_name",
        "bio_location", "place", "source",
    }
)  # fmt: skip
NAMES = frozenset({*_TAKES, *_WORDS})


def fault(name: str, value: str, *, negated: bool) -> str | None:
    """Return why X refuses this operator, None where it takes it."""
    shown = f"{name}:{value}" if name in ("is", "has") else name
    if name not in NAMES or (name in ("is", "has") and value and not _fits(name, value)):
        return (
            f"Reference to invalid operator '{shown}'. Operator is not available in current "
            "product or product packaging. Please refer to complete available operator list at "
            "http://t.co/operators."
        )
    if not value:
        return f"operator '{name}:' needs a value"
    if name in _TAKES and not _fits(name, value):
        return f"invalid value for operator '{name}': '{value}' is not {_TAKES[name][1]}"
    if name == "sample" and negated:
        return "operator 'sample:' must not be negated"
    if shown == "is:nullcast" and not negated:
        return "operator 'is:nullcast' must be negated: -is:nullcast"
    return None


def _fits(name: str, value: str) -> bool:
    return re.fullmatch(_TAKES[name][0], value, re.ASCII | re.IGNORECASE) is not None
