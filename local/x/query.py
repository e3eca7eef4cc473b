"""The rule language of the filtered stream and of recent search: parse, check, match.

Source: "Build a rule" and "Operators" of X's filtered stream documentation
(https://docs.x.com/x-api/posts/filtered-stream/integrate/operators, 2026-08). Words, phrases and
links are looked for in a post. Of everything else a post bears the mark: what it shows, and, where
the posts here carry nothing of it (places, profiles, counts), what it was written for.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

_ELEMENT = re.compile(
    r'\)|-?\(|-?(?:[A-Za-z_]+:)?"[^"]*"(?:~\d*)?|-?[A-Za-z_]+:\[[^\]]*\]|[^\s()"]+|"'
)
_OPERATOR = re.compile(r"(?!https?:)([A-Za-z_]+):(.*)", re.DOTALL)
_UNSPACED_RANGES = "\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af"
_UNSPACED = re.compile(f"[{_UNSPACED_RANGES}]")
_TOKEN = re.compile(
    rf"[{_UNSPACED_RANGES}]+|[^\W{_UNSPACED_RANGES}]+|[^\w\s.,;:!?()\[\]\"'“”‘’/|…·、。！？-]+"
)
_VALUES = {
    "is": "retweet|reply|quote|verified|nullcast",
    "has": "hashtags|cashtags|links|mentions|media|images|video_link|geo",
    "lang": "am|ar|hy|eu|bn|bs|bg|my|hr|ca|cs|da|nl|en|et|fi|fr|ka|de|el|gu|ht|iw|hi|hi-latn|hu|is"
    "|in|it|ja|kn|km|ko|lo|lv|lt|ml|dv|mr|ne|no|or|pa|ps|fa|pl|pt|ro|ru|sr|zh-cn|zh-tw|sd|si|sk|sl"
    "|ckb|es|sv|tl|ta|te|th|bo|tr|uk|ur|ug|vi|cy|und",
}
"""Operators that take one of these."""
_OPERATORS = re.compile(
    "is|has|lang|from|to|retweets_of|(from|to)_affiliate_of|conversation_id|in_reply_to_tweet_id"
    "|retweets_of_tweet_id|sample|place|place_country|context|point_radius|bounding_box|source"
    "|(followers|tweets|following|listed)_count|min_followers|entity|bio|bio_(name|location)"
    "|url|url_(title|description|contains)"
)
"""There are those of the Enterprise packages too (embedding:): X refuses them in the same words."""
_CONJUNCTION_REQUIRED = frozenset({"lang", "is", "has", "sample"})
"""Operators that X refuses when no standalone operator stands beside them."""


class QueryError(ValueError):
    """A rule that X would refuse; the message is the text of `details`, with a 1-based position."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} (at position {position})")


@dataclass(frozen=True)
class Subject:
    """What a post offers to a rule, case-folded: its text, its links, its marks (`Node.mark`)."""

    text: str
    marks: frozenset[str]
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """One element: kind is "and", "or", "word", "#", "@", "$" or an operator's name.

    A phrase is a word with spaces in it.
    """

    kind: str
    value: str = ""
    negated: bool = False
    children: tuple["Node", ...] = ()
    position: int = 1

    def matches(self, post: Subject) -> bool:
        """Say whether the post fits this element and everything below it."""
        if self.kind == "and":
            found = all(child.matches(post) for child in self.children)
        elif self.kind == "or":
            found = any(child.matches(post) for child in self.children)
        elif self.kind == "word":
            found = bool(_finder(self.value)(post.text))
        elif self.kind == "url":
            found = any(self.value.casefold() in url for url in post.urls)
        else:
            found = self.mark in post.marks
        return found != self.negated

    @property
    def mark(self) -> str:
        """Return how a post is marked that this element matches."""
        return f"{self.kind}:{self.value.casefold()}"

    def leaves(self) -> Iterator["Node"]:
        """Yield the elements that are not groups, left to right."""
        if self.children:
            for child in self.children:
                yield from child.leaves()
        else:
            yield self


def fold(text: str) -> str:
    """Fold case and width, and put single spaces between words, symbols and changes of script."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_TOKEN.findall(folded))


@lru_cache(maxsize=4096)
def _finder(value: str) -> Callable[[str], object]:
    folded = fold(value)
    if not folded or _UNSPACED.search(folded) or not re.search(r"\w", folded):
        needle = folded or value.casefold()
        return lambda text: needle in text
    return re.compile(rf"(?<!\w){re.escape(folded)}(?!\w)").search


def parse(text: str) -> Node:
    """Parse and check a rule or query; raises QueryError where X answers with an invalid rule."""
    parser = _Parser(text)
    if parser.ahead == _END:
        raise QueryError("Rules must contain at least one operator", 1)
    try:
        node = parser.alternatives()
    except RecursionError:
        raise QueryError("too many groups one within another", 1) from None
    if parser.ahead != _END:
        raise QueryError(f"no viable alternative at input '{parser.ahead}'", parser.position)
    for branch in node.children if node.kind == "or" and not node.negated else (node,):
        _check_branch(branch)
    return node


_END = "<EOF>"


class _Parser:
    """The elements of a text and how far they are read: `ahead` is the next one."""

    def __init__(self, text: str) -> None:
        found = [(match.group(), match.start() + 1) for match in _ELEMENT.finditer(text)]
        self._elements = iter([*found, (_END, len(text) + 1)])
        self._next()

    def _next(self) -> None:
        self.ahead, self.position = next(self._elements)

    def alternatives(self) -> Node:
        start, nodes = self.position, [self._conjunction()]
        while self.ahead == "OR":
            self._next()
            nodes.append(self._conjunction())
        return nodes[0] if len(nodes) == 1 else Node("or", "", False, tuple(nodes), start)

    def _conjunction(self) -> Node:
        start = self.position
        nodes: list[Node] = []
        while self.ahead not in (")", "OR", _END):
            nodes.append(self._element())
        if not nodes:
            raise QueryError(f"no viable alternative at input '{self.ahead}'", start)
        return nodes[0] if len(nodes) == 1 else Node("and", "", False, tuple(nodes), start)

    def _element(self) -> Node:
        raw, start = self.ahead.removeprefix("-"), self.position
        negated = raw != self.ahead
        self._next()
        if raw != "(":
            return replace(_leaf(raw, start), negated=negated)
        inner = self.alternatives()
        if self.ahead != ")":
            raise QueryError("missing ')' for the '(' opened here", start)
        self._next()
        return replace(inner, negated=inner.negated != negated, position=start)


def _leaf(raw: str, start: int) -> Node:
    """Return the node of one element without its sign."""
    if raw == '"':
        raise QueryError("token recognition error: the quotation mark is never closed", start)
    if raw.startswith('"'):
        phrase, _, near = raw[1:].rpartition('"')
        if not phrase.strip():
            raise QueryError("a quoted phrase must not be empty", start)
        words = tuple(Node("word", word, position=start) for word in phrase.split())
        if near and len(words) > 1:
            return Node("and", children=words, position=start)
        return Node("word", phrase, position=start)
    if operator := _OPERATOR.fullmatch(raw):
        return _operator(operator[1].lower(), operator[2].strip('"'), start)
    if raw.upper() in ("AND", "OR"):
        joins = "a space" if raw.upper() == "AND" else "OR"
        raise QueryError(  # X's words: github.com/felixdorn/twitter-stream-api, #10 and #12
            f"Ambiguous use of {raw} as a keyword. Use {joins} to logically join two clauses, "
            f'or "{raw}" to find occurrences of {raw} in text',
            start,
        )
    if raw in ("", *"#@$"):
        raise QueryError(f"no viable alternative at input '{raw or '-'}'", start)
    return (
        Node(raw[0], raw[1:], position=start)
        if raw[0] in "#@$"
        else Node("word", raw, position=start)
    )


def _operator(name: str, value: str, start: int) -> Node:
    fits = name not in _VALUES or re.fullmatch(_VALUES[name], value, re.IGNORECASE)
    if not _OPERATORS.fullmatch(name) or (value and not fits and name != "lang"):
        shown = f"{name}:{value}" if name in ("is", "has") else name
        raise QueryError(
            f"Reference to invalid operator '{shown}'. Operator is not available in current "
            "product or product packaging. Please refer to complete available operator list at "
            "http://t.co/operators.",
            start,
        )
    if not value:
        raise QueryError(f"operator '{name}:' needs a value", start)
    if not fits:
        words = f"'{value}' is not a supported language code"
        raise QueryError(f"invalid value for operator 'lang:': {words}", start)
    value = value.lower() if name in _VALUES else value.removeprefix("@")
    return Node(name, value, position=start)


def _check_branch(branch: Node) -> None:
    positive = [] if branch.negated else [leaf for leaf in branch.leaves() if not leaf.negated]
    if not positive:
        raise QueryError(
            "Rules must contain at least one positive, non-stopword clause: "
            "a negation cannot stand alone",
            branch.position,
        )
    if all(leaf.kind in _CONJUNCTION_REQUIRED for leaf in positive):
        alone = positive[0]
        raise QueryError(
            f"operator '{alone.kind}:{alone.value}' cannot be used as a standalone operator, "
            "it must be used with at least one standalone operator",
            alone.position,
        )
