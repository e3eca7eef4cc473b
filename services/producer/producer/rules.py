"""The stream's rules on X, brought to what the configuration says by difference.

What is already right is left alone, so the stream goes on while others change. X's own error
for a rule is passed on word for word. Leaves alone: the stream connection.

Source: https://docs.x.com/x-api/posts/filtered-stream/integrate/build-a-rule
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import tweepy

log = logging.getLogger(__name__)

MAX_RULES = 1_000
MAX_VALUE = 1_024


class RulesError(ValueError):
    """Rules that cannot be used: which one, why, what to do, in one line."""


@dataclass(frozen=True)
class Rule:
    """A rule of the stream.

    Attributes:
        value: X's query, 1 to 1,024 characters.
        tag: label given back with each matching post; None where there is none.
        id: X's id of the rule; None until X has it. Not part of equality.
    """

    value: str
    tag: str | None = None
    id: str | None = field(default=None, compare=False)

    @classmethod
    def checked(cls, value: object, tag: object = None, where: str = "the rule") -> Rule:
        """Return the rule.

        Raises:
            RulesError: not text, empty or longer than X allows.
        """
        if not isinstance(value, str) or not value.strip():
            raise RulesError(
                f"{where} has the value {value!r}: must be text such as 'cat has:images'."
            )
        if len(value) > MAX_VALUE:
            raise RulesError(
                f"{where} has {len(value)} characters: X allows {MAX_VALUE}. Split it "
                "into several rules."
            )
        if tag is not None and not isinstance(tag, str):
            raise RulesError(f"{where} has the tag {tag!r}: must be text or left out.")
        return cls(value.strip(), tag or None)


@dataclass(frozen=True)
class RulesChange:
    """What was done: rules added, rules deleted, and how many were right already."""

    added: tuple[Rule, ...]
    deleted: tuple[Rule, ...]
    kept: int

    def __bool__(self) -> bool:
        return bool(self.added or self.deleted)


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Return the rules of a JSON file of the form [{"value": "...", "tag": "..."}].

    Raises:
        RulesError: unreadable, not JSON, not of that form, no rules, too many, or one twice.
    """
    source = f"RULES_FILE ({path})"
    form = 'Write [{"value": "cat has:images", "tag": "cats"}].'
    try:
        items = orjson.loads(path.read_bytes())
    except OSError as error:
        raise RulesError(f"{source} cannot be read: {error.strerror or error}. {form}") from None
    except orjson.JSONDecodeError as error:
        raise RulesError(f"{source} is not JSON: {error}. {form}") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise RulesError(f"{source} is not a list of objects. {form}")
    if not items:
        raise RulesError(f"{source} holds no rules: X refuses a stream without any. {form}")
    if len(items) > MAX_RULES:
        raise RulesError(
            f"{source} holds {len(items)} rules: X allows {MAX_RULES}. Join some with OR."
        )
    rules = []
    for number, item in enumerate(items, 1):
        where = f"{source}: rule {number}"
        if unknown := sorted(set(item) - {"value", "tag"}):
            raise RulesError(f"{where} has the unknown key {unknown[0]!r}. {form}")
        rules.append(Rule.checked(item.get("value"), item.get("tag"), where))
    values: set[str] = set()
    for number, rule in enumerate(rules, 1):
        if rule.value in values:
            raise RulesError(
                f"{source}: rule {number} repeats the value {rule.value!r}: X takes each "
                "once. Delete it."
            )
        values.add(rule.value)
    return tuple(rules)


def active_rules(client: tweepy.StreamingClient) -> tuple[Rule, ...]:
    """Return the rules that X has now, all pages."""
    rules: list[Rule] = []
    params: dict[str, str] = {}
    while True:
        # tweepy's get_rules takes no pagination_token.
        response = client.request("GET", "/2/tweets/search/stream/rules", params=params)
        page = response.json()
        rules += (
            Rule(item["value"], item.get("tag") or None, str(item["id"]))
            for item in page.get("data") or ()
        )
        token = (page.get("meta") or {}).get("next_token")
        if not token:
            return tuple(rules)
        params = {"pagination_token": token}


def reconcile(client: tweepy.StreamingClient, wanted: Sequence[Rule]) -> RulesChange:
    """Make X's rules equal to `wanted`; delete what is not in it, touch nothing else.

    New rules are first tried with dry_run, so that a rule X refuses changes nothing. A new tag on
    an old value is an add and a delete, in this order where X allows both at once: a tag cannot
    be changed, and the stream should not miss posts in between.

    Raises:
        RulesError: X refuses a rule; its own words are in the message.
        tweepy.HTTPException: X's answer was an error (4xx, 5xx).
        requests.RequestException: X was not reached.
    """
    present = active_rules(client)
    there, named = set(present), set(wanted)
    missing = [rule for rule in wanted if rule not in there]
    # X may hold one value twice with different tags; only exact ones are kept, and each once.
    kept: set[Rule] = set()
    surplus = []
    for rule in present:
        if rule in named and rule not in kept:
            kept.add(rule)
        else:
            surplus.append(rule)
    if missing:
        refused = _errors(_post(client, {"add": _payload(missing)}, dry_run=True))
        values = {rule.value for rule in surplus}
        if refusals := [error for error in refused if not _is_duplicate(error, values)]:
            raise RulesError(_refusal(refusals))
        first = [r for r in missing if not any(_is_duplicate(e, {r.value}) for e in refused)]
        later = [rule for rule in missing if rule not in first]
        _add(client, first)
        _delete(client, surplus)
        _add(client, later)
    else:
        _delete(client, surplus)
    return RulesChange(tuple(missing), tuple(surplus), len(kept))


def _add(client: tweepy.StreamingClient, rules: Sequence[Rule]) -> None:
    if rules and (errors := _errors(_post(client, {"add": _payload(rules)}))):
        raise RulesError(_refusal(errors))


def _delete(client: tweepy.StreamingClient, rules: Sequence[Rule]) -> None:
    if rules:
        answer = _post(client, {"delete": {"ids": [rule.id for rule in rules]}})
        for error in _errors(answer):
            # Someone else deleted it in between: what we wanted.
            log.warning("X did not delete a rule: %s", _words(error))


def _post(
    client: tweepy.StreamingClient, body: Mapping[str, Any], *, dry_run: bool = False
) -> Mapping[str, Any]:
    # tweepy would send dry_run=True as "True", which X does not take for true.
    params = {"dry_run": "true"} if dry_run else {}
    try:
        response = client.request("POST", "/2/tweets/search/stream/rules", params=params, json=body)
    except tweepy.BadRequest as error:
        # Where every rule is wrong, X answers 400 with the same body.
        answer = _body(error)
        if not _errors(answer):
            raise
        return answer
    answer = response.json()
    return answer if isinstance(answer, dict) else {}


def _body(error: tweepy.HTTPException) -> Mapping[str, Any]:
    try:
        answer = error.response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _payload(rules: Iterable[Rule]) -> list[dict[str, str]]:
    return [
        {"value": rule.value} if rule.tag is None else {"value": rule.value, "tag": rule.tag}
        for rule in rules
    ]


def _errors(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    errors = answer.get("errors") or []
    return [error if isinstance(error, dict) else {"detail": str(error)} for error in errors]


def _is_duplicate(error: Mapping[str, Any], values: Collection[object]) -> bool:
    return "duplicate" in str(error.get("title", "")).lower() and error.get("value") in values


def _words(error: Mapping[str, Any]) -> str:
    details = error.get("details")
    text = " ".join(map(str, details)) if isinstance(details, list) else None
    text = text or str(error.get("detail") or error.get("message") or error.get("title") or error)
    return " ".join(text.split())


def _refusal(errors: Sequence[Mapping[str, Any]]) -> str:
    refused = "; ".join(
        f"{error['value']!r}: {_words(error)}" if error.get("value") else _words(error)
        for error in errors
    )
    return f"X refuses {len(errors)} rule(s): {refused}. Correct them in the configuration."
