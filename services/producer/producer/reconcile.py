"""The stream's rules on X, brought to what the configuration says by difference.

What is already right is left alone, so the stream goes on while others change. X's own error
for a rule is passed on word for word. Leaves alone: the stream connection.

Source: https://docs.x.com/x-api/posts/filtered-stream/integrate/build-a-rule
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from producer.rules import Rule, RulesError
from producer.x_api import Caller, Kind, XRefusal, XRefusedError

log = logging.getLogger(__name__)

ROUTE = "/2/tweets/search/stream/rules"
# Of refused rules in one line of the log: a thousand, of a thousand characters, are none.
_SHOWN = 5


class RulesCapError(RulesError):
    """X takes no more rules."""


@dataclass(frozen=True)
class RulesChange:
    """What was done: rules added, rules deleted, and those that were right already, with X's ids
    as far as X told them.
    """

    added: tuple[Rule, ...]
    deleted: tuple[Rule, ...]
    kept: tuple[Rule, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.deleted)


def active_rules(client: Caller) -> tuple[Rule, ...]:
    """Return the rules that X has now, all pages.

    Raises:
        XRefusedError: X's answer was an error, or is no list of rules.
        requests.RequestException: X was not reached.
    """
    rules: list[Rule] = []
    params: dict[str, str] = {}
    tokens: set[str] = set()
    while True:
        page = client.call("GET", ROUTE, params=params)
        items, meta = page.get("data") or [], page.get("meta")
        if not isinstance(items, list) or not all(map(_is_rule, items)):
            raise XRefusedError(XRefusal.stranger(200, f"something else than rules: {page}"))
        rules += (Rule(item["value"], item.get("tag") or None, str(item["id"])) for item in items)
        token = meta.get("next_token") if isinstance(meta, dict) else None
        if not token or token in tokens:
            return tuple(rules)
        tokens.add(token)
        params = {"pagination_token": str(token)}


def difference(
    present: Sequence[Rule], wanted: Collection[Rule]
) -> tuple[list[Rule], list[Rule], list[Rule]]:
    """Return which rules X lacks, which it has too many, and which are right, each once."""
    # X may hold one value twice with different tags; only exact ones are kept, and each once.
    kept: dict[Rule, Rule] = {}
    surplus = []
    for rule in present:
        if rule in wanted and rule not in kept:
            kept[rule] = rule
        else:
            surplus.append(rule)
    return [rule for rule in wanted if rule not in kept], surplus, list(kept.values())


def reconcile(client: Caller, wanted: Sequence[Rule]) -> RulesChange:
    """Make X's rules equal to `wanted`; delete what is not in it, touch nothing else.

    New rules are first tried with dry_run, so that a rule X refuses changes nothing. A new tag on
    an old value is an add and a delete, in this order where X allows both at once: a tag cannot
    be changed, and the stream should not miss posts in between. Where X's cap leaves no room for
    that, the delete comes first, and is taken back if the add fails.

    Raises:
        RulesError: X refuses a rule; its own words are in the message.
        XRefusedError: X's answer was an error, or is none of X's.
        requests.RequestException: X was not reached.
    """
    missing, surplus, kept = difference(active_rules(client), wanted)
    if missing:
        refused = _post(client, {"add": _payload(missing)}, dry_run=True)["errors"]
        values = {rule.value for rule in surplus}
        # With more new rules than there is room for, whatever goes, nothing is touched.
        full = 0 < sum(map(_is_cap, refused)) <= len(surplus)
        refusals = [
            error
            for error in refused
            if not _is_duplicate(error, values) and not (full and _is_cap(error))
        ]
        if refusals:
            raise RulesError(_refusal(refusals))
        missing = _swap(client, missing, surplus, refused, full=full)
    else:
        _delete(client, surplus)
    return RulesChange(tuple(missing), tuple(surplus), tuple(kept))


def _swap(
    client: Caller,
    missing: Sequence[Rule],
    surplus: Sequence[Rule],
    refused: Sequence[Mapping[str, Any]],
    *,
    full: bool,
) -> list[Rule]:
    """Add and delete, in the order for which there is room; return what was added."""
    first = [r for r in missing if not any(_is_duplicate(e, {r.value}) for e in refused)]
    try:
        added = [] if full else _add(client, first)
    except RulesCapError:
        full = True  # X did not count in the dry run
    if full:
        return _replace(client, missing, surplus)
    _delete(client, surplus)
    return added + _add(client, [rule for rule in missing if rule not in first])


def _replace(client: Caller, missing: Sequence[Rule], surplus: Sequence[Rule]) -> list[Rule]:
    """Make room first; put back what was there when the new rules are not taken."""
    _delete(client, surplus)
    try:
        there = [rule for rule in active_rules(client) if rule in missing]
        return there + _add(client, [rule for rule in missing if rule not in there])
    except (RulesError, XRefusedError, requests.RequestException) as error:
        try:
            present = active_rules(client)
            _delete(client, [rule for rule in present if rule in missing])
            _add(client, [rule for rule in surplus if rule not in present])
        except (RulesError, XRefusedError, requests.RequestException) as again:
            raise RulesError(
                f"{error} The {len(surplus)} rules deleted to make room could not be put back: "
                f"{again}"
            ) from None
        raise


def _add(client: Caller, rules: Sequence[Rule]) -> list[Rule]:
    if not rules:
        return []
    answer = _post(client, {"add": _payload(rules)})
    if errors := answer["errors"]:
        kind = RulesCapError if any(map(_is_cap, errors)) else RulesError
        raise kind(_refusal(errors))
    ids = {item["value"]: item["id"] for item in answer["data"] if _is_rule(item)}
    return [Rule(rule.value, rule.tag, ids.get(rule.value)) for rule in rules]


def _delete(client: Caller, rules: Sequence[Rule]) -> None:
    if rules:
        for error in _post(client, {"delete": {"ids": [rule.id for rule in rules]}})["errors"]:
            # Someone else deleted it in between: what we wanted.
            log.warning("X did not delete a rule: %s", _words(error))


def _post(
    client: Caller, body: Mapping[str, Any], *, dry_run: bool = False
) -> dict[str, list[Mapping[str, Any]]]:
    """Return `data` and `errors` of X's answer: the rules without an error are as asked."""
    try:
        # requests would write True as "True", which X does not take for true.
        answer = client.call("POST", ROUTE, {"dry_run": "true"} if dry_run else {}, body)
    except XRefusedError as error:
        refusal = error.refusal
        # A full set, and rules that are all wrong, may refuse the whole request.
        whole = refusal.kind is Kind.RULES_CAP
        errors = [item for item in refusal.errors if whole or "value" in item]
        if not errors or not (whole or refusal.status == 400):
            raise
        return {"data": [], "errors": errors}
    data, errors = answer.get("data") or [], answer.get("errors") or []
    if not (data or errors or "meta" in answer) or not (_objects(data) and _objects(errors)):
        raise XRefusedError(XRefusal.stranger(200, f"something else than rules: {answer}"))
    return {"data": data, "errors": errors}


def _payload(rules: Iterable[Rule]) -> list[dict[str, str]]:
    return [
        {"value": rule.value} if rule.tag is None else {"value": rule.value, "tag": rule.tag}
        for rule in rules
    ]


def _objects(items: object) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _is_rule(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("value"), str) and bool(item.get("id"))


def _is_duplicate(error: Mapping[str, Any], values: Collection[object]) -> bool:
    return "duplicate" in str(error.get("title", "")).lower() and error.get("value") in values


def _is_cap(error: Mapping[str, Any]) -> bool:
    return error.get("title") == "RulesCapExceeded" or "rule-cap" in str(error.get("type"))


def _words(error: Mapping[str, Any]) -> str:
    details = error.get("details")
    text = " ".join(map(str, details)) if isinstance(details, list) else None
    text = text or str(error.get("detail") or error.get("message") or error.get("title") or error)
    return " ".join(text.split())


def _refusal(errors: Sequence[Mapping[str, Any]]) -> str:
    refused = "; ".join(
        f"{error['value']!r}: {_words(error)}" if error.get("value") else _words(error)
        for error in errors[:_SHOWN]
    )
    if len(errors) > _SHOWN:
        refused += f"; and {len(errors) - _SHOWN} more"
    if all(map(_is_cap, errors)):
        return f"X refuses to take more rules: {refused.rstrip('.')}. {Kind.RULES_CAP}."
    return f"X refuses {len(errors)} rule(s): {refused}. Correct them in the configuration."
