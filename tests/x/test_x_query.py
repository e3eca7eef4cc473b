"""The rule language: what matches, and what X would refuse."""

from typing import Any

import pytest

from local.x.query import QueryError, Subject, fold, parse


def post(text: str = "Big data is here, 데이터 분석은 재미있다", **more: Any) -> Subject:
    """Return a post as a rule sees it."""
    given = {"author": frozenset({"minji", "42"}), "lang": "ko", "marks": frozenset(), **more}
    return Subject(text=fold(text), **given)


RETWEET = {"marks": frozenset({"is:retweet", "has:links", "has:hashtags", "has:mentions"})}


@pytest.mark.parametrize(
    ("rule", "more", "expected"),
    [
        ("data", {}, True),
        ("DATA", {}, True),
        ("dat", {}, False),
        ("분석", {}, True),
        ('"big data"', {}, True),
        ('"data big"', {}, False),
        ("big here", {}, True),
        ("big absent", {}, False),
        ("absent OR data", {}, True),
        ("absent data OR big", {}, True),
        ("absent (data OR big)", {}, False),
        ("data -here", {}, False),
        ("data -absent", {}, True),
        ('data -"big data"', {}, False),
        ("data -(absent OR here)", {}, False),
        ("#Seoul", {"hashtags": frozenset({"seoul"})}, True),
        ("#Seoul", {}, False),
        ("@Bob", {"mentions": frozenset({"bob"})}, True),
        ("from:Minji", {}, True),
        ("from:42", {}, True),
        ("from:other", {}, False),
        ("data lang:ko", {}, True),
        ("data lang:en", {}, False),
        ("data is:retweet", {}, False),
        ("data is:retweet", RETWEET, True),
        ("data -is:retweet", RETWEET, False),
        ("data has:links has:hashtags has:mentions", RETWEET, True),
        ("data has:links", {}, False),
        ("data is:quote", {"marks": frozenset({"is:quote"})}, True),
        ("data is:reply", {"marks": frozenset({"is:reply"})}, True),
    ],
)
def test_a_rule_matches_as_x_documents(rule: str, more: dict[str, Any], expected: bool) -> None:
    """Each supported operator, alone and combined, matches what X's documentation says."""
    assert parse(rule).matches(post(**more)) is expected


def test_an_emoji_and_a_hashtag_text_are_keywords() -> None:
    """An emoji matches where it stands, and a keyword matches the word of a hashtag."""
    subject = post("좋아요 🔥🔥 #data")
    assert parse("🔥").matches(subject)
    assert parse("data").matches(subject)
    assert parse("data").matches(post("今日はdataについて"))
    assert not parse("😀").matches(subject)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "at least one operator"),
        ("(data", "missing ')'"),
        ("data)", "no viable alternative at input ')' (at position 5)"),
        ('"data', "quotation mark is never closed (at position 1)"),
        ('data ""', "must not be empty"),
        ("-data", "negation cannot stand alone"),
        ("data OR -big", "negation cannot stand alone"),
        ("lang:en", "'lang:en' cannot be used as a standalone operator"),
        ("has:links OR is:retweet", "cannot be used as a standalone operator"),
        ("data OR lang:en", "'lang:en' cannot be used as a standalone operator"),
        ("data near:seoul", "invalid operator 'near'"),
        ("data is:nonsense", "invalid operator 'is:nonsense'"),
        ("from:", "'from:' needs a value"),
        ("data OR", "no viable alternative at input '<EOF>'"),
        ("OR data", "no viable alternative at input 'OR'"),
        ("cat AND dog", "Ambiguous use of AND"),
    ],
)
def test_what_x_refuses_is_refused_with_its_place(rule: str, message: str) -> None:
    """A rule that X would not take raises with the reason and a position."""
    with pytest.raises(QueryError) as caught:
        parse(rule)
    assert message in str(caught.value)
    assert "(at position " in str(caught.value)
