"""What X is asked for: our columns' fields, and what the configuration adds."""

from __future__ import annotations

import pytest

from infra.settings import Settings
from producer.fields import FURTHER, FieldsError, asked


def test_further_fields_are_added_to_those_of_our_columns() -> None:
    """What the columns need is always asked for; further names come behind it, each once."""
    bare = asked("")
    assert bare["expansions"] == "author_id"
    assert "note_tweet" in bare["tweet.fields"].split(",")
    more = asked(
        "expansions=attachments.media_keys,author_id&media.fields=url,alt_text&tweet.fields=geo"
    )
    assert more["expansions"] == "author_id,attachments.media_keys"
    assert more["media.fields"] == "url,alt_text"
    assert more["tweet.fields"] == bare["tweet.fields"] + ",geo"
    assert more["user.fields"] == bare["user.fields"]


def test_the_default_gives_whole_reposts_and_is_the_program_s() -> None:
    """Unless told otherwise, X is asked for originals, withheld and paid_partnership."""
    parameters = asked(FURTHER)
    assert "referenced_tweets.id" in parameters["expansions"].split(",")
    assert {"withheld", "paid_partnership"} <= set(parameters["tweet.fields"].split(","))
    assert Settings.model_fields["x_fields"].default == FURTHER


@pytest.mark.parametrize(
    ("further", "says"),
    [
        ("tweet.fields=paid_partnerships", "Did you mean paid_partnership?"),
        ("expansions=zzz", "X has article.cover_media, "),
        ("tweet_fields=geo", "'tweet_fields' is no parameter of X's. Did you mean tweet.fields?"),
        ("withheld", "not in the form of X's query"),
        ("media.fields=url,", "'' is no media.fields"),
    ],
)
def test_names_that_x_does_not_have(further: str, says: str) -> None:
    """A name that X does not have is told in one line with what was meant."""
    with pytest.raises(FieldsError) as caught:
        asked(further)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
