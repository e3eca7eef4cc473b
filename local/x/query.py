"""The rule language of the filtered stream and of recent search: parse, check, match.

Source: "Build a rule" and "Operators" of X's filtered stream documentation (operators.py). Words,
phrases, entities, authors and kinds are matched by what a post says; what the posts here carry
nothing of (places, profiles, counts) matches the posts that were written for such a rule.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

from local.x.operators import CONJUNCTION_REQUIRED, fault

_OPERATOR = re.compile(r"([A-Za-z_]+):(.*)", re.DOTALL)
_ENTITY = re.compile(r"#\w+|@\w{1,15}|\$[A-Za-z]{1,6}([._][A-Za-z]{1,2})?|\$\w+")
_WORD_END = re.compile(r'[\s()"]')
_UNSPACED_RANGES = "\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af"
_UNSPACED = re.compile(f"[{_UNSPACED_RANGES}]")
_TOKEN = re.compile(
    rf"[{_UNSPACED_RANGES}]+|[^\W{_UNSPACED_RANGES}]+|[^\w\s.,;:!?()\[\]\"'“”‘’/|…·、。！？-]+"
)


MAX_DEPTH = 50
"""Groups within groups. X names no limit; ours keeps a hostile rule from ending the stand-in."""


class QueryError(ValueError):
    """A rule that X would refuse; the message is the text of `details`, with a 1-based position."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} (at position {position})")


@dataclass(frozen=True)
class Subject:
    """What a post offers to a rule; every string is case-folded."""

    text: str
    author: frozenset[str]
    lang: str
    marks: frozenset[str]
    hashtags: frozenset[str] = frozenset()
    mentions: frozenset[str] = frozenset()
    cashtags: frozenset[str] = frozenset()
    urls: tuple[str, ...] = ()
    to: frozenset[str] = frozenset()
    retweets_of: frozenset[str] = frozenset()
    conversation_id: str = ""


@dataclass(frozen=True)
class Node:
    """One element: kind is "and", "or", "word", "phrase", "#", "@", "$" or an operator's name."""

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
        else:
            test = _TESTS.get(self.kind)
            found = test(self.value, post) if test else self.mark in post.marks
        return found != self.negated

    @property
    def mark(self) -> str:
        """Return how a post is marked that was written for this element."""
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


_TESTS: dict[str, Callable[[str, Subject], bool]] = {
    "word": lambda value, post: bool(_finder(value)(post.text)),
    "phrase": lambda value, post: bool(_finder(value)(post.text)),
    "#": lambda value, post: value.casefold() in post.hashtags,
    "@": lambda value, post: value.casefold() in post.mentions,
    "$": lambda value, post: value.casefold() in post.cashtags,
    "from": lambda value, post: value.casefold() in post.author,
    "to": lambda value, post: value.casefold() in post.to,
    "retweets_of": lambda value, post: value.casefold() in post.retweets_of,
    "lang": lambda value, post: value.casefold() == post.lang,
    "url": lambda value, post: any(value.casefold() in url for url in post.urls),
    "conversation_id": lambda value, post: value == post.conversation_id,
    "sample": lambda value, post: crc32(min(post.author).encode()) % 100 < int(value),
}


@dataclass
class _Parser:
    text: str
    at: int = 0
    depth: int = 0

    def peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at] if self.at < len(self.text) else ""

    def alternatives(self) -> Node:
        start = self.at + 1
        nodes = [self.conjunction()]
        while self.word_ahead() == "OR":
            self.at += 2
            nodes.append(self.conjunction())
        return nodes[0] if len(nodes) == 1 else Node("or", children=tuple(nodes), position=start)

    def word_ahead(self) -> str:
        self.peek()
        end = _WORD_END.search(self.text, self.at)
        return self.text[self.at : end.start() if end else len(self.text)]

    def conjunction(self) -> Node:
        self.peek()
        start = self.at + 1
        nodes: list[Node] = []
        while (char := self.peek()) and char != ")" and self.word_ahead() != "OR":
            nodes.append(self.element())
        if not nodes:
            found = repr(self.word_ahead() or self.peek() or "<EOF>")
            raise QueryError(f"no viable alternative at input {found}", self.at + 1)
        return nodes[0] if len(nodes) == 1 else Node("and", children=tuple(nodes), position=start)

    def element(self) -> Node:
        start = self.at + 1
        negated = self.peek() == "-"
        if negated:
            self.at += 1
        char = self.text[self.at] if self.at < len(self.text) else ""
        if char == "(":
            return self.group(start, negated)
        if char == '"':
            return self.phrase(start, negated)
        return self.word(start, negated)

    def group(self, start: int, negated: bool) -> Node:
        self.at += 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise QueryError(f"more than {MAX_DEPTH} groups one within another", start)
        inner = self.alternatives()
        self.depth -= 1
        if self.peek() != ")":
            raise QueryError("missing ')' for the '(' opened here", start)
        self.at += 1
        if inner.children:
            return Node(inner.kind, "", negated, inner.children, start)
        return Node(inner.kind, inner.value, inner.negated != negated, (), start)

    def phrase(self, start: int, negated: bool) -> Node:
        value = self.quoted()
        near = re.compile(r"~(\d*)").match(self.text, self.at)
        if near is None:
            return Node("phrase", value, negated, position=start)
        if not 1 <= int(near[1] or 0) <= 6:
            raise QueryError("proximity must be from 1 to 6 words", self.at + 1)
        self.at = near.end()
        words = tuple(Node("word", word, position=start) for word in value.split())
        return words[0] if len(words) == 1 else Node("and", "", negated, words, start)

    def quoted(self) -> str:
        start = self.at + 1
        end = self.text.find('"', start)
        if end < 0:
            raise QueryError("token recognition error: the quotation mark is never closed", start)
        value = self.text[start:end]
        if not value.strip():
            raise QueryError("a quoted phrase must not be empty", start)
        self.at = end + 1
        return value

    def word(self, start: int, negated: bool) -> Node:
        raw = self.word_ahead()
        self.at += len(raw)
        if not raw:
            raise QueryError(f"no viable alternative at input '{self.peek() or '<EOF>'}'", start)
        operator = _OPERATOR.fullmatch(raw)
        if operator and not raw.startswith(("http:", "https:")):
            name, value = operator[1].lower(), operator[2]
            if not value and self.at < len(self.text) and self.text[self.at] == '"':
                value = self.quoted()
            elif value.startswith("["):
                value = self.bracketed(start)
            if reason := fault(name, value, negated=negated):
                raise QueryError(reason, start)
            return Node(name, value.removeprefix("@"), negated, position=start)
        if raw[0] in "#@$":
            if not _ENTITY.fullmatch(raw):
                raise QueryError(f"invalid character or length in '{raw}'", start)
            return Node(raw[0], raw[1:], negated, position=start)
        if raw.upper() in ("AND", "OR"):
            joins = "a space" if raw.upper() == "AND" else "OR"
            raise QueryError(  # X's words: github.com/felixdorn/twitter-stream-api, #10 and #12
                f"Ambiguous use of {raw} as a keyword. Use {joins} to logically join two clauses, "
                f'or "{raw}" to find occurrences of {raw} in text',
                start,
            )
        return Node("word", raw, negated, position=start)

    def bracketed(self, start: int) -> str:
        begin = self.text.index("[", start - 1)
        end = self.text.find("]", begin)
        if end < 0:
            raise QueryError("missing ']'", begin + 1)
        self.at = end + 1
        return self.text[begin : self.at]


def parse(text: str) -> Node:
    """Parse and check a rule or query; raises QueryError where X answers with an invalid rule."""
    parser = _Parser(text)
    if not parser.peek():
        raise QueryError("Rules must contain at least one operator", 1)
    node = parser.alternatives()
    if parser.peek():
        raise QueryError(f"no viable alternative at input '{parser.peek()}'", parser.at + 1)
    for branch in node.children if node.kind == "or" and not node.negated else (node,):
        _check_branch(branch)
    return node


def _check_branch(branch: Node) -> None:
    leaves = list(branch.leaves())
    positive = [leaf for leaf in leaves if not leaf.negated] if not branch.negated else []
    if not positive:
        raise QueryError(
            "Rules must contain at least one positive, non-stopword clause: "
            "a negation cannot stand alone",
            branch.position,
        )
    if all(leaf.kind in CONJUNCTION_REQUIRED for leaf in positive):
        alone = positive[0]
        raise QueryError(
            f"operator '{alone.kind}:{alone.value}' cannot be used as a standalone operator, "
            "it must be used with at least one standalone operator",
            alone.position,
        )
