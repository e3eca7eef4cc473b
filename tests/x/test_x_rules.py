"""Rules over HTTP, as tweepy's StreamingClient sends them."""

from collections.abc import Callable

import tweepy

from local.x import XServer
from tests.x.clients import RULES, TOKEN, Collector, connected, post, read

Start = Callable[..., XServer]


def test_tweepy_adds_lists_and_deletes_rules(start: Start) -> None:
    """Tweepy's own calls round-trip: added rules are listed with tags, deleted ones are gone."""
    client = Collector(start(rules=()))
    assert client.get_rules().data is None
    client.add_rules([tweepy.StreamRule("data", tag="tech"), tweepy.StreamRule("고양이 OR cat")])
    rules = client.get_rules().data
    assert [(rule.value, rule.tag) for rule in rules] == [("data", "tech"), ("고양이 OR cat", None)]
    deleted = client.delete_rules([rules[0].id])
    assert deleted.meta["summary"] == {"deleted": 1, "not_deleted": 0}
    assert [rule.value for rule in client.get_rules().data] == ["고양이 OR cat"]


def test_one_bad_rule_does_not_stop_the_others(start: Start) -> None:
    """Faults of single rules come in errors and the summary counts them; nothing is raised."""
    client = Collector(start(rules=(("data", "tech"),)))
    known = client.get_rules().data[0].id
    answer = client.add_rules(
        [tweepy.StreamRule(value) for value in ("news", "lang:en", "data", "x" * 1025, "(open")]
    )
    assert [rule.value for rule in answer.data] == ["news"]
    assert answer.meta["summary"] == {"created": 1, "not_created": 4, "valid": 2, "invalid": 3}
    by_value = {error["value"]: error for error in answer.errors}
    assert by_value["lang:en"]["title"] == "UnprocessableEntity"
    assert "standalone" in by_value["lang:en"]["details"][0]
    assert by_value["data"]["title"] == "DuplicateRule"
    assert by_value["data"]["id"] == known
    assert "1024" in by_value["x" * 1025]["details"][0]
    assert by_value["(open"]["type"].endswith("/problems/invalid-rules")


def test_status_is_201_only_when_a_rule_was_made(start: Start) -> None:
    """A request that makes nothing answers 200, one that makes a rule 201."""
    url = start(rules=()).url + RULES
    assert post(url, json={"add": [{"value": "data"}]}, headers=TOKEN).status_code == 201
    assert post(url, json={"add": [{"value": "data"}]}, headers=TOKEN).status_code == 200


def test_only_dry_run_true_in_small_letters_is_dry(start: Start) -> None:
    """dry_run=true changes nothing; tweepy's dry_run=True, sent as "True", is not dry."""
    server = start(rules=())
    client = Collector(server)
    url = server.url + RULES
    made = post(url, params={"dry_run": "true"}, json={"add": [{"value": "data"}]}, headers=TOKEN)
    assert made.json()["meta"]["summary"]["created"] == 1
    assert client.get_rules().data is None
    client.add_rules(tweepy.StreamRule("data"), dry_run=True)
    rules = client.get_rules().data
    assert [rule.value for rule in rules] == ["data"]
    gone = post(
        url, params={"dry_run": "true"}, json={"delete": {"ids": [rules[0].id]}}, headers=TOKEN
    )
    assert gone.json()["meta"]["summary"]["deleted"] == 1
    assert client.get_rules().data


def test_an_unknown_rule_cannot_be_deleted(start: Start) -> None:
    """Deleting an id that is not there is told in errors and not_deleted."""
    answer = Collector(start()).delete_rules(["123"])
    assert answer.meta["summary"] == {"deleted": 0, "not_deleted": 1}
    assert "Rule does not exist" in answer.errors[0]["errors"][0]["message"]


def test_there_can_be_a_thousand_rules_and_no_more(start: Start) -> None:
    """Rule 1,001 is refused with the rule-cap problem."""
    server = start(rules=())
    add = [{"value": f"word{n}"} for n in range(1001)]
    body = post(server.url + RULES, json={"add": add}, headers=TOKEN).json()
    assert body["meta"]["summary"]["created"] == 1000
    assert body["errors"][0]["type"].endswith("/problems/rule-cap")


def test_a_request_without_add_or_delete_is_a_400(start: Start) -> None:
    """What is no rule request is an Invalid Request problem."""
    url = start().url + RULES
    for content in (b"{}", b"not json", b'{"add": []}', b'{"add": [{"tag": "x"}]}', b"[1]"):
        answer = post(url, content=content, headers=TOKEN)
        assert answer.status_code == 400, content
        assert answer.json()["title"] == "Invalid Request"


def test_a_changed_rule_changes_the_running_stream(start: Start) -> None:
    """A rule added while connected matches posts without a new connection."""
    server = start(rules=(("data", "old"),))
    with connected(server) as response:
        lines = response.iter_lines()
        assert '"tag":"old"' in next(lines)
        post(server.url + RULES, json={"add": [{"value": "고양이", "tag": "new"}]}, headers=TOKEN)
        assert any('"tag":"new"' in next(lines) for _ in range(400))
    assert read(server, 1)
