"""The rule language: what matches, and what X would refuse."""

import pytest

from local.x.query import QueryError, Subject, fold, parse


def post(*marks: str, text: str = "Big data is here, 데이터 분석은 재미있다") -> Subject:
    """Return a post as a rule sees it."""
    usual = frozenset({"from:minji", "from:42", "lang:ko"})
    return Subject(fold(text), usual | {*marks})


RETWEET = ("is:retweet", "has:links", "has:hashtags", "has:mentions")


@pytest.mark.parametrize(
    ("rule", "marks", "expected"),
    [
        ("data", (), True),
        ("DATA", (), True),
        ("dat", (), False),
        ("분석", (), True),
        ('"big data"', (), True),
        ('"data big"', (), False),
        ("big here", (), True),
        ("big absent", (), False),
        ("absent OR data", (), True),
        ("absent data OR big", (), True),
        ("absent (data OR big)", (), False),
        ("data -here", (), False),
        ("data -absent", (), True),
        ('data -"big data"', (), False),
        ("data -(absent OR here)", (), False),
        ("#Seoul", ("#:seoul",), True),
        ("#Seoul", (), False),
        ("@Bob", ("@:bob",), True),
        ("from:Minji", (), True),
        ("from:42", (), True),
        ("from:other", (), False),
        ("data lang:ko", (), True),
        ("data lang:en", (), False),
        ("data is:retweet", (), False),
        ("data is:retweet", RETWEET, True),
        ("data -is:retweet", RETWEET, False),
        ("data has:links has:hashtags has:mentions", RETWEET, True),
        ("data has:links", (), False),
        ("data is:quote", ("is:quote",), True),
        ("data is:reply", ("is:reply",), True),
    ],
)
def test_a_rule_matches_as_x_documents(rule: str, marks: tuple[str, ...], expected: bool) -> None:
    """Each supported operator, alone and combined, matches what X's documentation says."""
    assert parse(rule).matches(post(*marks)) is expected


def test_an_emoji_and_a_hashtag_text_are_keywords() -> None:
    """An emoji matches where it stands, and a keyword matches the word of a hashtag."""
    subject = post(text="좋아요 🔥🔥 #data")
    assert parse("🔥").matches(subject)
    assert parse("data").matches(subject)
    assert parse("data").matches(post(text="今日はdataについて"))
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
        ("sample:10", "cannot be used as a standalone operator"),
        ("has:images", "cannot be used as a standalone operator"),
        ("cat has:pictures", "invalid operator 'has:pictures'"),
        ('embedding:"cats"', "not available in current product"),
        ("cat #", "no viable alternative at input '#'"),
        ("cat -", "no viable alternative at input '-'"),
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
