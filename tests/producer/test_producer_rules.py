"""Rules by difference, with real tweepy against the stand-in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from local.x import XServer
from producer import rulebook
from producer.rulebook import RuleBook
from producer.rules import (
    Rule,
    RulesChange,
    RulesError,
    active_rules,
    read_rules,
    reconcile,
)
from producer.stream import Stream

MakeX = Callable[..., XServer]


def _client(x: XServer) -> Stream:
    return Stream("some-token", x.url)


def _ids(x: XServer) -> dict[str, str]:
    return {rule.value: rule.id for rule in x.app.rules.active.values()}


def test_only_the_difference_is_changed(make_x: MakeX) -> None:
    """What is right stays with its id, what is missing is added, what is not wanted is deleted."""
    x = make_x()
    client = _client(x)
    first = reconcile(client, [Rule("cat", "a"), Rule("dog", "b")])
    assert (len(first.added), len(first.deleted), first.kept) == (2, 0, 0)
    before = _ids(x)
    second = reconcile(client, [Rule("dog", "b"), Rule("bird", "c")])
    assert [rule.value for rule in second.added] == ["bird"]
    assert [rule.value for rule in second.deleted] == ["cat"]
    assert second.kept == 1
    assert _ids(x)["dog"] == before["dog"]
    assert not reconcile(client, [Rule("dog", "b"), Rule("bird", "c")])


def test_changed_tag(make_x: MakeX) -> None:
    """A tag cannot be changed at X: the rule is made anew, the others stay."""
    x = make_x()
    client = _client(x)
    reconcile(client, [Rule("cat", "a"), Rule("dog", "b")])
    before = _ids(x)
    change = reconcile(client, [Rule("cat", "z"), Rule("dog", "b")])
    assert [rule.tag for rule in change.added] == ["z"]
    assert {rule.value: rule.tag for rule in active_rules(client)} == {"cat": "z", "dog": "b"}
    assert _ids(x)["dog"] == before["dog"]
    assert _ids(x)["cat"] != before["cat"]


def test_a_refused_rule_changes_nothing(make_x: MakeX) -> None:
    """When X refuses one rule, its own words are in the error and no rule was added or deleted."""
    x = make_x()
    client = _client(x)
    reconcile(client, [Rule("cat")])
    before = _ids(x)
    with pytest.raises(RulesError, match="cannot be used as a standalone operator") as caught:
        reconcile(client, [Rule("bird"), Rule("lang:en")])
    assert "'lang:en'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _ids(x) == before


def test_all_pages_are_read(make_x: MakeX, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules on a later page are known too, and are not added a second time."""
    x = make_x()
    client = _client(x)
    wanted = [Rule(f"word{number}") for number in range(25)]
    reconcile(client, wanted)
    monkeypatch.setattr("local.x.rules.MAX_RULES", 10)
    assert len(active_rules(client)) == 25
    assert not reconcile(client, wanted)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{}", "is not a list"),
        ("[1]", "is not a list"),
        ("[]", "holds no rules"),
        ('[{"tag": "a"}]', "rule 1 has the value None"),
        ('[{"value": " "}]', "rule 1 has the value"),
        ('[{"value": "a", "name": "b"}]', "unknown key 'name'"),
        ('[{"value": "a", "tag": 1}]', "has the tag 1"),
        ('[{"value": "a"}, {"value": "a", "tag": "t"}]', "rule 2 repeats"),
        (json.dumps([{"value": "a" * 1025}]), "1025 characters: X allows 1024"),
        (json.dumps([{"value": f"a{n}"} for n in range(1001)]), "1001 rules: X allows 1000"),
    ],
)
def test_wrong_rules_files(tmp_path: Path, text: str, says: str) -> None:
    """A rules file that cannot be used is told in one line with its place."""
    path = tmp_path / "rules.json"
    path.write_text(text)
    with pytest.raises(RulesError) as caught:
        read_rules(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refused_file_is_not_tried_each_turn(
    make_x: MakeX, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules that X refuses are sent again after a minute, not at each look at the file: X takes
    100 POSTs in 15 minutes. Corrected ones are sent at once.
    """
    x = make_x()
    path = tmp_path / "rules.json"
    path.write_text('[{"value": "cat"}]')
    changes: list[RulesChange] = []
    book = RuleBook(read_rules(path), path, lambda: _client(x), changes.append)
    book.apply()
    tries: list[object] = []

    def counted(client: Stream, wanted: Sequence[Rule]) -> RulesChange:
        tries.append(wanted)
        return reconcile(client, wanted)

    monkeypatch.setattr(rulebook, "reconcile", counted)
    path.write_text('[{"value": "cat ("}]')
    for _ in range(5):
        book.poll()
    assert len(tries) == 1
    monkeypatch.setattr(rulebook, "RETRY_SECONDS", 0.0)
    path.write_text('[{"value": "dog"}]')
    book.poll()
    assert [rule.value for rule in changes[-1].added] == ["dog"]
