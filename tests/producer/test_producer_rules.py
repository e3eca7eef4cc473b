"""Rules by difference, with real tweepy against the stand-in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from local.x import XServer
from producer import rulebook
from producer.reconcile import ROUTE, RulesChange, active_rules, reconcile
from producer.rulebook import RuleBook, Takeover
from producer.rules import Rule, RulesError, read_rules
from producer.x_api import Caller, Kind, XApi, XRefusedError

MakeX = Callable[..., XServer]


def _client(x: XServer) -> XApi:
    return XApi("some-token", x.url)


def _ids(x: XServer) -> dict[str, str]:
    return {rule.value: rule.id for rule in x.app.rules.active.values()}


def test_only_the_difference_is_changed(make_x: MakeX) -> None:
    """What is right stays with its id, what is missing is added, what is not wanted is deleted."""
    x = make_x()
    client = _client(x)
    first = reconcile(client, [Rule("cat", "a"), Rule("dog", "b")])
    assert (len(first.added), len(first.deleted), len(first.kept)) == (2, 0, 0)
    before = _ids(x)
    second = reconcile(client, [Rule("dog", "b"), Rule("bird", "c")])
    assert [rule.value for rule in second.added] == ["bird"]
    assert [rule.value for rule in second.deleted] == ["cat"]
    assert [rule.value for rule in second.kept] == ["dog"]
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


def test_a_refused_rule_that_refuses_the_whole_request(make_x: MakeX) -> None:
    """Where X answers 400 for rules that are all wrong, the rule and its own words are told."""
    x = make_x()
    error = {"value": "lang:en", "details": ["cannot stand alone"], "title": "UnprocessableEntity"}
    body = json.dumps({"title": "Invalid Request", "errors": [error]})
    x.app.faults.add({"kind": "http", "path": ROUTE, "method": "POST", "status": 400, "body": body})
    with pytest.raises(RulesError, match="'lang:en': cannot stand alone"):
        reconcile(_client(x), [Rule("lang:en")])


def test_all_pages_are_read(make_x: MakeX, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules on a later page are known too, and are not added a second time."""
    x = make_x()
    client = _client(x)
    wanted = [Rule(f"word{number}") for number in range(25)]
    reconcile(client, wanted)
    monkeypatch.setattr("local.x.rules.MAX_RULES", 10)
    assert len(active_rules(client)) == 25
    assert not reconcile(client, wanted)


CAP = "You have exceeded the maximum number of rules"


@pytest.fixture
def full(make_x: MakeX, monkeypatch: pytest.MonkeyPatch) -> XServer:
    """An X that allows five rules, with five of ours on it."""
    monkeypatch.setattr("local.x.rules.MAX_RULES", 5)
    x = make_x()
    reconcile(_client(x), [Rule(f"word{number}") for number in range(5)])
    return x


def test_a_full_set_can_be_changed(full: XServer) -> None:
    """With no room for the new rule beside the old one, the old one goes first; others stay."""
    before = _ids(full)
    wanted = [Rule(f"word{number}") for number in range(4)] + [Rule("edited", "tag")]
    change = reconcile(_client(full), wanted)
    assert [rule.value for rule in change.added] == ["edited"]
    assert [rule.value for rule in change.deleted] == ["word4"]
    assert set(active_rules(_client(full))) == set(wanted)
    assert {value: before[value] for value in _ids(full) if value != "edited"}.items() <= (
        _ids(full).items()
    )
    assert not reconcile(_client(full), wanted)


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_cap_told_for_the_whole_request(full: XServer, status: int) -> None:
    """A top-level RulesCapExceeded is the same cap, whatever status X gives it."""
    full.app.faults.add(
        {"kind": "http", "path": ROUTE, "method": "POST", "issue": "RulesCapExceeded",
         "status": status}
    )  # fmt: skip
    wanted = [Rule("word0"), Rule("edited")]
    reconcile(_client(full), wanted)
    assert set(active_rules(_client(full))) == set(wanted)


def test_a_cap_that_only_the_add_meets(full: XServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the dry run does not count, the add's refusal makes room in the same way."""
    add = full.app.rules.add
    monkeypatch.setattr(
        full.app.rules, "add", lambda wanted, dry: add([] if dry else wanted, dry=dry)
    )
    wanted = [Rule("word0"), Rule("edited")]
    reconcile(_client(full), wanted)
    assert set(active_rules(_client(full))) == set(wanted)


class _Failing:
    """Calls X, but its adds that are no dry runs fail from the first to the last of a range."""

    def __init__(self, x: XServer, adds: range, after: bool = False) -> None:
        self._api = _client(x)
        self._adds = adds
        self._after = after
        self._count = 0

    def call(self, method: str, route: str, params: Any = None, json: Any = None) -> Any:
        """Fail, or pass on."""
        if method == "POST" and "add" in json and not params:
            self._count += 1
            if self._count - 1 in self._adds:
                if self._after:
                    self._api.call(method, route, params, json)
                raise requests.ConnectionError("gone")
        return self._api.call(method, route, params, json)


@pytest.mark.parametrize("after", [False, True])
def test_what_was_deleted_is_put_back(full: XServer, *, after: bool) -> None:
    """When the add fails, before or after X took it, the rules deleted to make room are there
    again and the new ones are not.
    """
    before = set(active_rules(_client(full)))
    failing = _Failing(full, range(1), after=after)
    with pytest.raises(requests.ConnectionError):
        reconcile(failing, [Rule("word0"), Rule("edited")])
    assert set(active_rules(_client(full))) == before


def test_what_cannot_be_put_back_is_told(full: XServer) -> None:
    """When that fails too, the error says how many rules are gone."""
    with pytest.raises(RulesError, match="The 4 rules deleted to make room could not be put back"):
        reconcile(_Failing(full, range(2)), [Rule("word0"), Rule("edited")])


def test_more_rules_than_fit_cost_none_that_is_there(full: XServer) -> None:
    """A configuration larger than the cap is refused before anything is deleted: X takes 20 s to
    follow rules that come back.
    """
    before = _ids(full)
    wanted = [Rule("word0"), *(Rule(f"new{number}") for number in range(9))]
    with pytest.raises(RulesError, match=CAP) as caught:
        reconcile(_client(full), wanted)
    assert "'new4': You have exceeded" in str(caught.value)
    assert "(5).; and 4 more. X allows" in str(caught.value)
    assert _ids(full) == before


def test_a_cap_without_surplus_is_told(full: XServer) -> None:
    """Where nothing can be deleted, the cap is one line with what to do, and nothing changes."""
    before = _ids(full)
    wanted = [Rule(f"word{number}") for number in range(5)] + [Rule("sixth")]
    with pytest.raises(RulesError, match=CAP) as caught:
        reconcile(_client(full), wanted)
    assert "join some with OR" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _ids(full) == before


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "7",
        "<html><body>Sign in to the hotel</body></html>",
        '{"data": [{"id": "1", "tag": "no value"}]}',
        '{"data": [{"value": "no id"}]}',
        '{"data": {"id": "1"}}',
        '{"data": [null]}',
    ],
)
def test_an_answer_that_is_no_list_of_rules(make_x: MakeX, body: str) -> None:
    """Whatever stands where rules should, it is told as an answer that is not X's, in one line."""
    x = make_x()
    x.app.faults.add({"kind": "http", "path": ROUTE, "status": 200, "body": body})
    with pytest.raises(XRefusedError) as caught:
        reconcile(_client(x), [Rule("cat")])
    assert caught.value.refusal.kind is Kind.STRANGER
    assert "\n" not in str(caught.value)
    assert not x.app.rules.active


@pytest.mark.parametrize("body", ["[]", "null", "{}", "<html>"])
def test_an_answer_to_a_change_that_is_none(make_x: MakeX, body: str) -> None:
    """An answer to a POST that says nothing of rules is no success."""
    x = make_x()
    x.app.faults.add({"kind": "http", "path": ROUTE, "method": "POST", "status": 200, "body": body})
    with pytest.raises(XRefusedError):
        reconcile(_client(x), [Rule("cat")])


def test_a_repeated_page_ends(make_x: MakeX) -> None:
    """A pagination token that comes twice does not loop for ever."""
    x = make_x()
    body = '{"data": [{"id": "1", "value": "cat"}], "meta": {"next_token": "again"}}'
    x.app.faults.add({"kind": "http", "path": ROUTE, "status": 200, "body": body, "count": 9})
    assert len(active_rules(_client(x))) == 2


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
    """Rules that X refuses are sent again after ten minutes, not at each look at the file: X takes
    100 POSTs in 15 minutes. Corrected ones are sent at once.
    """
    x = make_x()
    path = tmp_path / "rules.json"
    path.write_text('[{"value": "cat"}]')
    changes: list[RulesChange] = []
    book = RuleBook(read_rules(path), path, lambda: _client(x), changes.append, lambda _: None)
    book.apply()
    tries: list[str] = []

    def counted(client: Caller, wanted: Sequence[Rule]) -> RulesChange:
        tries.append(wanted[0].value)
        return reconcile(client, wanted)

    monkeypatch.setattr(rulebook, "reconcile", counted)
    monkeypatch.setattr(rulebook, "RETRY_SECONDS", 0.0)
    path.write_text('[{"value": "cat ("}]')
    for _ in range(5):
        book.poll()
    assert tries == ["cat (", "cat"]  # a look at those in force, since the change failed
    path.write_text('[{"value": "dog"}]')
    book.poll()
    assert [rule.value for rule in changes[-1].added] == ["dog"]


@pytest.mark.parametrize("text", ["[", '[{"value": "cat ("}]'])
def test_a_wrong_file_does_not_end_the_watch(
    make_x: MakeX, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """While RULES_FILE cannot be used, another script's rules are noticed and put right still; each
    fault of the file is said once.
    """
    monkeypatch.setattr(rulebook, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(rulebook, "COMPARE_SECONDS", 0.0)
    x, said = make_x(), list[str]()
    monkeypatch.setattr(rulebook.log, "error", lambda form, *words: said.append(form % words))
    path = tmp_path / "rules.json"
    path.write_text('[{"value": "cat"}]')
    takeovers: list[Takeover] = []
    book = RuleBook(read_rules(path), path, lambda: _client(x), lambda _: None, takeovers.append)
    book.apply()
    path.write_text(text)
    for _ in range(3):
        reconcile(_client(x), [Rule("storm")])
        book.poll()
        assert set(_ids(x)) == {"cat"}
    assert len(takeovers) == 3
    assert [line[:17] for line in said].count("The changed rules") == 1
    assert sum("Another script" in line for line in said) == 3


def test_rules_of_a_change_that_failed_half_way_are_put_back(
    full: XServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When neither the new rules nor the old ones can be added, the old ones come back as soon as X
    takes them, and the time without them is told.
    """
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([{"value": rule.value} for rule in active_rules(_client(full))]))
    takeovers: list[Takeover] = []
    failing = _Failing(full, range(3))
    book = RuleBook(read_rules(path), path, lambda: failing, lambda _: None, takeovers.append)
    book.apply()
    before = time.time_ns() // 1000
    path.write_text('[{"value": "word0"}, {"value": "edited"}]')
    book.poll()
    assert set(_ids(full)) == {"word0"}
    path.write_text("[")
    monkeypatch.setattr(rulebook, "RETRY_SECONDS", 0.0)
    book._again_at.clear()
    book.poll()
    assert set(_ids(full)) == {f"word{number}" for number in range(5)}
    (takeover,) = takeovers
    assert takeover.missing_from is not None
    assert takeover.missing_from <= before


class _Book:
    """A rule book on a stand-in, and what it told."""

    def __init__(self, x: XServer, *rules: Rule) -> None:
        self.changes: list[RulesChange] = []
        self.takeovers: list[Takeover] = []
        self.book = RuleBook(
            rules, None, lambda: _client(x), self.changes.append, self.takeovers.append
        )
        self.book.apply()


def test_the_gap_begins_where_each_missing_rule_was_last_seen(make_x: MakeX) -> None:
    """Of two rules that are gone, the one seen last in force the earliest dates the gap; a rule
    of ours that is still there does not.
    """
    x = make_x()
    mine = _Book(x, Rule("cat"), Rule("dog"), Rule("bird"))
    ids, begin = _ids(x), time.time_ns() // 1000
    for value, at in (
        ("cat", begin + 1),
        ("dog", begin + 2),
        ("bird", begin + 9),
        ("dog", begin + 5),
    ):
        mine.book.matched([ids[value]], at)
    reconcile(_client(x), [Rule("bird"), Rule("storm")])
    mine.book.apply()
    (takeover,) = mine.takeovers
    assert takeover.missing_from == begin + 1
    assert {rule.value for rule in takeover.change.added} == {"cat", "dog"}
    assert [rule.value for rule in takeover.change.deleted] == ["storm"]
    assert set(_ids(x)) == {"cat", "dog", "bird"}


def test_a_rule_that_is_not_ours_is_looked_into_once_a_minute(
    make_x: MakeX, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strange rule's id wakes the clock; two scripts that fight do not use up X's limit. The ids
    of rules that we deleted are no news: X goes on matching them for a while.
    """
    x = make_x()
    reconcile(_client(x), [Rule("old")])
    old = _ids(x)["old"]
    mine = _Book(x, Rule("cat"))
    mine.book.matched([old, _ids(x)["cat"]], 1)
    assert not mine.book.news.is_set()
    for turn in range(3):
        reconcile(_client(x), [Rule("storm")])
        mine.book.matched([_ids(x)["storm"]], 2)
        assert mine.book.news.is_set() == (turn < 2)
        mine.book.poll()
    assert len(mine.takeovers) == 1
    monkeypatch.setattr(mine.book, "_quiet_until", 0.0)
    mine.book.poll()
    assert len(mine.takeovers) == 2
    assert set(_ids(x)) == {"cat"}


def test_a_changed_file_is_no_takeover(make_x: MakeX, tmp_path: Path) -> None:
    """Rules that change because RULES_FILE did are a change of ours."""
    x = make_x()
    path = tmp_path / "rules.json"
    path.write_text('[{"value": "cat"}]')
    changes: list[RulesChange] = []
    takeovers: list[Takeover] = []
    book = RuleBook(read_rules(path), path, lambda: _client(x), changes.append, takeovers.append)
    book.apply()
    path.write_text('[{"value": "dog"}]')
    book.poll()
    assert [len(changes), len(takeovers)] == [2, 0]
