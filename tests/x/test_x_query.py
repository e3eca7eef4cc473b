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
        ("cat and dog", "Ambiguous use of and"),
        ("cat or dog", "Ambiguous use of or"),
        ("cat lang:klingon", "'klingon' is not a supported language code"),
        ("from:" + "a" * 28, "handle of 1 to 15"),
        ("to:a-b", "handle of 1 to 15"),
        ("@" + "a" * 16, "invalid character or length"),
        ("cat sample:0", "from 1 to 100"),
        ("cat sample:101", "from 1 to 100"),
        ("cat -sample:10", "must not be negated"),
        ("sample:10", "cannot be used as a standalone operator"),
        ("has:images", "cannot be used as a standalone operator"),
        ("cat has:pictures", "invalid operator 'has:pictures'"),
        ("cat is:nullcast", "must be negated"),
        ("place_country:Germany", "country code of two letters"),
        ("conversation_id:me", "is not a post id"),
        ("point_radius:[1 2", "missing ']'"),
        ('"big data"~7', "from 1 to 6"),
        ('embedding:"cats"', "not available in current product"),
        ("cat #", "invalid character or length in '#'"),
        ("@", "invalid character or length in '@'"),
        ("(" * 512 + "cat" + ")" * 509, "groups one within another"),
    ],
)
def test_what_x_refuses_is_refused_with_its_place(rule: str, message: str) -> None:
    """A rule that X would not take raises with the reason and a position."""
    with pytest.raises(QueryError) as caught:
        parse(rule)
    assert message in str(caught.value)
    assert "(at position " in str(caught.value)


@pytest.mark.parametrize(
    "rule",
    [
        "cat has:images",
        "cat (has:media OR has:video_link OR has:geo)",
        "cat -is:nullcast",
        "cat sample:10",
        "place_country:DE",
        "cat -place_country:de",
        "$BRK.B OR $BRK_A OR $twtr",
        "from:minji lang:zh-TW",
        "from:2244994945",
        "FROM:minji",
        'place:"new york city" OR place:seattle',
        "point_radius:[2.355128 48.861118 16km]",
        "-bounding_box:[-105.301758 39.964069 -105.178505 40.09455] cat",
        "context:10.799022225751871488 OR context:47.*",
        'entity:"Michael Jordan"',
        'bio:developer OR bio_name:phd OR bio_location:"big apple"',
        "url_title:snow OR url_description:weather OR url_contains:photos",
        "from_affiliate_of:XDevelopers OR to_affiliate_of:XDevelopers",
        "followers_count:1000..10000 OR tweets_count:5 OR min_followers:7",
        "in_reply_to_tweet_id:1539382664746020864 OR retweets_of_tweet_id:1",
        'source:"X for iPhone"',
        '"social media"~5',
        '"or" OR "and"',
    ],
)
def test_what_x_documents_is_taken(rule: str) -> None:
    """Each operator of X's page is taken in the form of its example."""
    parse(rule)


def test_words_near_each_other() -> None:
    """A proximity match needs each of its words."""
    assert parse('"data here"~3').matches(post())
    assert not parse('"data absent"~3').matches(post())


def test_a_sample_is_a_share() -> None:
    """sample:25 takes about a quarter, by author, the same each time."""
    subjects = [post(author=frozenset({str(number)})) for number in range(2000)]
    taken = [number for number, one in enumerate(subjects) if parse("data sample:25").matches(one)]
    assert 400 < len(taken) < 600
    assert taken == [n for n, one in enumerate(subjects) if parse("data sample:25").matches(one)]
