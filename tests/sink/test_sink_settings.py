"""The environment: read once, on the first request, with faults in one line."""

from __future__ import annotations

import pytest

from sink.settings import Settings, SettingsError
from tests.sink.deployed import Start, post, push

GOOD = {
    "TWEETS_TABLE": "my-project.tweet_data.tweets",
    "EVENTS_TABLE": "example.com:my-project.tweet_data.stream_events",
    "DEAD_LETTER_TOPIC": "projects/my-project/topics/tweets-dev-dead-letters",
}


def test_good_environment() -> None:
    """The declared names are read as they are."""
    settings = Settings.from_env(GOOD)
    assert settings.tweets_table == GOOD["TWEETS_TABLE"]
    assert settings.bigquery_emulator == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWEETS_TABLE", ""),
        ("TWEETS_TABLE", "tweet_data.tweets"),
        ("EVENTS_TABLE", "p.d.t; DROP"),
        ("DEAD_LETTER_TOPIC", "tweets-dead-letters"),
    ],
)
def test_wrong_value_is_named(name: str, value: str) -> None:
    """A wrong value is told with its name, itself and the rule."""
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_env(GOOD | {name: value})
    assert repr(value) in str(caught.value)


def test_missing_environment_is_one_line_and_500(launch: Start) -> None:
    """Without its variables the function answers 500, says why once, and shows no traceback."""
    function = launch({})
    try:
        answers = [function.push(push(post(1))) for _ in range(3)]
    finally:
        function.kill()
    assert [answer.status for answer in answers] == [500] * 3
    (line,) = function.logs()
    assert line["severity"] == "CRITICAL"
    for name in GOOD:
        assert name in line["message"]
    assert function.plain_output() == ""
