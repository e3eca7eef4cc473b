"""A rule of the stream, and the file that holds the configured ones.

Source: https://docs.x.com/x-api/posts/filtered-stream/integrate/build-a-rule
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import orjson

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
