"""Synthetic posts: variety, ids, entities, edits, and that each one matches an active rule."""

import json
import re
import time
from collections import Counter
from typing import Any

import pytest

from local.x.posts import ActiveRule
from local.x.problems import InvalidRequestError
from local.x.projection import Projection
from local.x.query import parse
from local.x.snowflake import EPOCH, Snowflakes, made_at, stamp
from local.x.timeline import SyntheticPost, Timeline
from tests.x.clients import ALL_FIELDS

FULL = Projection.of(ALL_FIELDS)
PLAIN = Projection.of({"tweet.fields": ALL_FIELDS["tweet.fields"]})


def rule(number: int, value: str) -> ActiveRule:
    """Return a rule with a tag made from its number."""
    return ActiveRule(str(number), value, f"tag{number}", parse(value))


def posts(count: int, *values: str, seed: int = 3) -> tuple[Timeline, list[SyntheticPost]]:
    """Make that many posts for the rules."""
    timeline = Timeline(seed, 100_000)
    timeline.use([rule(number, value) for number, value in enumerate(values)])
    return timeline, [post for post in (timeline.make() for _ in range(count)) if post]


def lines(count: int, *values: str, seed: int = 3) -> list[dict[str, Any]]:
    """Make posts and return their lines as the stream sends them, parsed."""
    timeline, made = posts(count, *values, seed=seed)
    return [json.loads(timeline.line(post, FULL)) for post in made]


HARD_RULES = (
    "data",
    "데이터 -is:retweet",
    '"machine learning" lang:en',
    "#서울 has:links",
    "@bob OR from:alice",
    "(고양이 OR 猫 OR cat) has:mentions -has:links",
    "news is:reply",
    "news is:quote lang:ja",
    "movies is:retweet",
    "to:carol",
    "$AAPL",
    "url:example.com/shop coffee",
    "🔥",
    "data -honestly -ㅋㅋㅋ",
    "cat has:images -is:nullcast",
    "AT&T <3",
    "place_country:DE",
    "bio:developer has:video_link",
    "data sample:30",
    "$BRK.B",
    "conversation_id:1746837261548851100",
    "from:2244994945",
)


@pytest.mark.parametrize("value", HARD_RULES)
def test_every_post_matches_the_rule_it_was_made_for(value: str) -> None:
    """Each operator alone yields posts, and each of them matches by what it says itself."""
    timeline, made = posts(300, value)
    assert len(made) == 300
    node = parse(value)
    assert all(node.matches(post.template.subject(post.tail)) for post in made)
    assert all(timeline.line(post, FULL).endswith(b'[{"id":"0","tag":"tag0"}]}') for post in made)


def test_posts_name_exactly_the_rules_that_they_match() -> None:
    """With many rules, matching_rules is what the matcher says for the post with its ending."""
    timeline, made = posts(2000, *HARD_RULES)
    nodes = [parse(value) for value in HARD_RULES]
    seen: Counter[str] = Counter()
    for post in made:
        subject = post.template.subject(post.tail)
        matched = {str(number) for number, node in enumerate(nodes) if node.matches(subject)}
        named = {item["id"] for item in json.loads(timeline.line(post, FULL))["matching_rules"]}
        assert named == matched
        seen.update(named)
    assert len(seen) == len(HARD_RULES)


def test_a_rule_that_nothing_can_match_makes_no_post() -> None:
    """A contradiction makes no posts, alone; beside another rule only that one's come."""
    assert posts(20, "cat -cat")[1] == []
    assert all(len(line["matching_rules"]) == 1 for line in lines(50, "cat -cat", "data"))


def test_posts_are_as_varied_as_x_s() -> None:
    """Languages with Korean, Japanese and right-to-left, all kinds, long texts, links, emoji."""
    made = lines(4000, "data")
    data = [line["data"] for line in made]
    assert {"en", "ko", "ja", "ar", "iw", "es"} <= {post["lang"] for post in data}
    kinds = Counter(item["type"] for post in data for item in post.get("referenced_tweets", []))
    assert set(kinds) == {"retweeted", "quoted", "replied_to"}
    assert any("note_tweet" in post for post in data)
    assert any(post["possibly_sensitive"] for post in data)
    assert {"hashtags", "mentions", "urls"} <= {
        name for post in data for name in post.get("entities", {})
    }
    assert any("🔥" in post["text"] for post in data)
    assert len({post["text"] for post in data}) > 2000
    assert len({post["author_id"] for post in data}) > 200
    size = sum(len(json.dumps(line, ensure_ascii=False).encode()) for line in made) / len(made)
    assert 950 < size < 1500


def test_entities_stand_where_they_say() -> None:
    """Positions count code points of the (full) text, emoji and Korean included."""
    checked = 0
    for line in lines(2000, "데이터"):
        data = line["data"]
        text = data.get("note_tweet", data)["text"]
        for item in data.get("entities", {}).get("hashtags", []):
            assert text[item["start"] : item["end"]] == f"#{item['tag']}"
            checked += 1
        for item in data.get("entities", {}).get("mentions", []):
            assert text[item["start"] : item["end"]] == f"@{item['username']}"
        for item in data.get("entities", {}).get("urls", []):
            assert text[item["start"] : item["end"]] == item["url"]
    assert checked > 100


def test_x_s_escapes() -> None:
    """& < > stand escaped in the text, as X sends them, and nowhere unescaped."""
    texts = [line["data"]["text"] for line in lines(2000, "AT&T lang:en", "data lang:en")]
    assert any("AT&amp;T" in text for text in texts)
    assert any("&lt;3" in text for text in texts)
    assert not any(re.search(r"<|>|&(?!amp;|lt;|gt;)", text) for text in texts)


def test_reposts_are_cut_and_the_original_comes_when_asked() -> None:
    """A repost has 140 characters at most; its original is whole among the includes, only when
    the request expands it, with its own entities at their places.
    """
    timeline, made = posts(3000, "movies is:retweet")
    asked = Projection.of({**ALL_FIELDS, "expansions": "referenced_tweets.id"})
    cut = 0
    for post in made:
        assert "includes" not in json.loads(timeline.line(post, PLAIN))
        line = json.loads(timeline.line(post, asked))
        (original,) = line["includes"]["tweets"]
        text = line["data"]["text"]
        start, _, said = text.partition(": ")
        whole = original.get("note_tweet", original)["text"]
        assert start.startswith("RT @")
        assert len(text) <= 140
        if text.endswith("…"):
            cut += 1
            assert whole.startswith(said[:-1])
        else:
            assert said == whole
        for tag in original.get("entities", {}).get("hashtags", []):
            assert whole[tag["start"] : tag["end"]] == f"#{tag['tag']}"
        for tag in line["data"].get("entities", {}).get("hashtags", []):
            assert text[tag["start"] : tag["end"]] == f"#{tag['tag']}"
    assert 100 < cut < 3000
    assert any("note_tweet" in json.loads(timeline.line(p, asked))["includes"]["tweets"][0]
               for p in made)  # fmt: skip


def test_both_generations_of_names_are_taken() -> None:
    """The names of OpenAPI 2.168 ask for the same; an unknown name is refused with the list."""
    old = Projection.of(
        {"tweet.fields": "note_tweet,paid_partnership", "expansions": "referenced_tweets.id"}
    )
    new = Projection.of(
        {"tweet.fields": "note_post,paid_partnership", "expansions": "referenced_posts"}
    )
    assert old == new
    with pytest.raises(
        InvalidRequestError, match=r"media.fields.*\[colour\] is not one of \[alt_text,"
    ):
        Projection.of({"media.fields": "colour"})


def test_a_long_text_is_cut_and_kept_whole_in_note_tweet() -> None:
    """Text has at most 280 characters; the whole text is in note_tweet."""
    data = [line["data"] for line in lines(3000, "data")]
    assert max(len(post["text"]) for post in data) <= 280 + 16
    for post in data:
        if "note_tweet" in post:
            assert len(post["note_tweet"]["text"]) > 280
            assert post["text"] == post["note_tweet"]["text"][:279] + "…"


def test_ids_are_snowflakes_of_created_at() -> None:
    """An id tells the millisecond of created_at, is unique and grows."""
    now = time.time() * 1000
    data = [line["data"] for line in lines(5000, "data")]
    ids = [int(post["id"]) for post in data]
    assert ids == sorted(set(ids))
    assert all(
        post["created_at"] == stamp((int(post["id"]) >> 22) + 1288834974657) for post in data
    )
    assert all(abs(made_at(number) - now) < 30_000 for number in ids)
    assert stamp(1705314900000) == "2024-01-15T10:35:00.000Z"


def test_ids_grow_when_the_clock_stands_still() -> None:
    """More than 4,096 ids in a millisecond, or a clock that goes back, still give growing ids."""
    ids = Snowflakes(5)
    made = [ids.next(EPOCH + 1000) for _ in range(10_000)] + [ids.next(EPOCH + 5)]
    assert made == sorted(set(made))


def test_edits_are_new_posts_with_all_their_ids() -> None:
    """An edit comes later, by the same author, with the ids of all versions, oldest first."""
    made = lines(6000, "data")
    by_id = {line["data"]["id"]: line["data"] for line in made}
    edits = [line["data"] for line in made if len(line["data"]["edit_history_tweet_ids"]) > 1]
    assert 30 < len(edits) < 600
    assert {len(post["edit_history_tweet_ids"]) for post in edits} == {2, 3}
    for post in edits:
        history = post["edit_history_tweet_ids"]
        assert history == sorted(history, key=int)
        assert history[-1] == post["id"]
        first = by_id[history[0]]
        assert first["author_id"] == post["author_id"]
        assert first["text"] != post["text"]
        assert first["conversation_id"] == post["conversation_id"]
    others = [line["data"] for line in made if len(line["data"]["edit_history_tweet_ids"]) == 1]
    assert all(post["edit_history_tweet_ids"] == [post["id"]] for post in others)


def test_the_same_seed_gives_the_same_posts() -> None:
    """Texts and authors depend on the seed and the rules alone."""

    def told(seed: int) -> list[tuple[str, str]]:
        made = lines(300, "data", "데이터", seed=seed)
        return [(line["data"]["text"], line["data"]["author_id"]) for line in made]

    assert told(3) == told(3)
    assert told(3) != told(4)


def test_old_posts_are_forgotten() -> None:
    """No more posts are kept than asked for, and a tenth."""
    timeline = Timeline(1, 1000)
    timeline.use([rule(0, "data")])
    for _ in range(5000):
        timeline.make()
    assert 1000 <= len(timeline.posts) <= 1100
    assert timeline.made == 5000
