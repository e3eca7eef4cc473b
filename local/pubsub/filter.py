"""The filter language of subscriptions, over message attributes.

Grammar and operators: https://cloud.google.com/pubsub/docs/subscription-message-filter
(`attributes:k`, `attributes.k = "v"`, `!=`, `hasPrefix(attributes.k, "v")`, NOT or `-`, AND, OR;
AND and OR in one expression need parentheses). At most 256 bytes.
"""

import json
import re
from collections.abc import Callable, Mapping

from local.pubsub.refusal import invalid

MAX_FILTER_BYTES = 256

Predicate = Callable[[Mapping[str, str]], bool]

_STRING = re.compile(r'\s*("(?:[^"\\]|\\.)*")')
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)")


def parse_filter(text: str) -> Predicate | None:
    """The test a message's attributes must pass, None for an empty filter.

    Raises:
        Refusal: INVALID_ARGUMENT, naming the place where the text stops making sense.
    """
    if not text.strip():
        return None
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise invalid(f"The filter is {len(text.encode())} bytes; at most {MAX_FILTER_BYTES}.")
    parser = _Parser(text)
    predicate = parser.expression()
    if parser.rest():
        raise parser.error("end of filter, or AND/OR (mixing them needs parentheses)")
    return predicate


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def rest(self) -> str:
        return self._text[self._at :].strip()

    def error(self, expected: str) -> Exception:
        where = self.rest() or "the end"
        return invalid(f"Invalid filter {self._text!r}: expected {expected} at {where!r}.")

    def _accept(self, literal: str) -> bool:
        match = re.compile(r"\s*" + re.escape(literal)).match(self._text, self._at)
        if match:
            self._at = match.end()
        return match is not None

    def _accept_word(self, word: str) -> bool:
        match = re.compile(rf"\s*{word}\b").match(self._text, self._at)
        if match:
            self._at = match.end()
        return match is not None

    def _expect(self, literal: str) -> None:
        if not self._accept(literal):
            raise self.error(repr(literal))

    def expression(self) -> Predicate:
        terms = [self._term()]
        for word, combine in (("AND", all), ("OR", any)):
            while self._accept_word(word):
                terms.append(self._term())
            if len(terms) > 1:
                return _joined(terms, combine)
        return terms[0]

    def _term(self) -> Predicate:
        if self._accept_word("NOT") or self._accept("-"):
            inner = self._term()
            return lambda attributes: not inner(attributes)
        if self._accept("("):
            grouped = self.expression()
            self._expect(")")
            return grouped
        if self._accept_word("hasPrefix"):
            return self._has_prefix()
        return self._comparison()

    def _has_prefix(self) -> Predicate:
        self._expect("(")
        self._attributes()
        self._expect(".")
        key = self._key()
        self._expect(",")
        prefix = self._string()
        self._expect(")")
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def _comparison(self) -> Predicate:
        self._attributes()
        if self._accept(":"):
            present = self._key()
            return lambda attributes: present in attributes
        self._expect(".")
        key = self._key()
        if self._accept("!="):
            other = self._string()
            return lambda attributes: key not in attributes or attributes[key] != other
        if not self._accept("="):
            raise self.error("'=' or '!='")
        value = self._string()
        return lambda attributes: key in attributes and attributes[key] == value

    def _attributes(self) -> None:
        if not self._accept_word("attributes"):
            raise self.error("attributes, hasPrefix, NOT or '('")

    def _key(self) -> str:
        match = _KEY.match(self._text, self._at)
        if match is None:
            return self._string()
        self._at = match.end()
        return match[1]

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise self.error("a string in double quotes")
        try:
            value = json.loads(match[1])
        except ValueError:
            raise self.error("a string with JSON escapes only") from None
        self._at = match.end()
        return str(value)


def _joined(terms: list[Predicate], combine: Callable[..., bool]) -> Predicate:
    return lambda attributes: combine(term(attributes) for term in terms)
