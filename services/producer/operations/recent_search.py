"""X's recent search over one interval for several rules at once, newest posts first.

The rules advance side by side: always the one that has come the least far back is asked next. So
at any moment there is one time down to which every rule is complete, and stopping early (because
the posts that may be paid for are used up) leaves one clean, shorter interval.

Source: https://docs.x.com/x-api/posts/search/integrate/paginate (pages are newest first).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from operations.errors import WrongInputError
from operations.gaps import Span
from operations.x_account import XAccount
from producer.record import created_ms, integer
from producer.rules import Rule
from producer.stream import FIELDS

DAYS = 7
"""How far back recent search goes."""
MAX_QUERY = 512
"""Characters of a query, pay per use; a rule of the stream may have 1,024."""
SMALLEST_PAGE, LARGEST_PAGE = 10, 100
_PARAMETERS = {
    name.replace("_", ".", 1): ",".join(value)
    for name, value in FIELDS.items()
    if name.endswith("_fields")
}


@dataclass
class _Progress:
    """How far back one rule has come: every match with an id from `oldest` on was read."""

    rule: Rule
    oldest: float = math.inf
    next_token: str | None = None
    done: bool = False


@dataclass
class GapSearch:
    """Reads the posts of a span.

    Attributes:
        read: posts that X returned so far; each costs.
        covered_from: every rule is complete from this moment to the span's end.
    """

    account: XAccount
    rules: Sequence[Rule]
    span: Span
    max_posts: int
    read: int = 0
    covered_from: datetime = field(init=False)
    _progress: list[_Progress] = field(init=False)
    _waiting: dict[int, dict[str, Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Check the rules.

        Raises:
            WrongInputError: a rule is longer than recent search takes, or the cap too small.
        """
        for rule in self.rules:
            if len(rule.value) > MAX_QUERY:
                raise WrongInputError(
                    f"the rule {rule.tag or rule.value[:40]!r} has {len(rule.value)} characters, "
                    f"and recent search takes {MAX_QUERY}: give shorter ones with --rules FILE"
                )
        if self.max_posts < (least := SMALLEST_PAGE * len(self.rules)):
            raise WrongInputError(
                f"--max-posts {self.max_posts} is less than one page of {SMALLEST_PAGE} posts for "
                f"each of the {len(self.rules)} rules: give {least} or more"
            )
        self.covered_from = self.span.end
        self._progress = [_Progress(rule) for rule in self.rules]

    def lines(self) -> Iterator[list[dict[str, Any]]]:
        """Yield posts as lines of the stream (data, includes, matching_rules), each post once.

        A post comes out when every rule has come past it, so it carries every rule that matched.
        Only the last list, where `max_posts` ended the search, has posts from before
        `covered_from`: they are paid for, and a rule that was not read so far may match them too.
        """
        while open_rules := [item for item in self._progress if not item.done]:
            # A fair share, or one rule could use up what is paid for and nothing be complete.
            left = self.max_posts - self.read
            size = min(LARGEST_PAGE, max(left // len(open_rules), SMALLEST_PAGE))
            if left < size:
                yield list(self._waiting.values())
                return
            self._page(max(open_rules, key=lambda item: item.oldest), size)
            yield self._complete()

    def count_queries(self) -> list[dict[str, str]]:
        """Return the parameters of X's count requests, one a rule; each request costs."""
        return [{**self._query(rule), "granularity": "day"} for rule in self.rules]

    def _query(self, rule: Rule) -> dict[str, str]:
        # What lies outside the gap, but in its whole seconds, is dropped.
        asked = self.span.whole_seconds
        return {
            "query": rule.value,
            "start_time": f"{asked.start:%Y-%m-%dT%H:%M:%SZ}",
            "end_time": f"{asked.end:%Y-%m-%dT%H:%M:%SZ}",
        }

    def _page(self, progress: _Progress, size: int) -> None:
        parameters: dict[str, Any] = {
            **self._query(progress.rule),
            "max_results": size,
            "expansions": ",".join(FIELDS["expansions"]),
            **_PARAMETERS,
        }
        if progress.next_token:
            parameters["next_token"] = progress.next_token
        answer = self.account.call("GET", "/2/tweets/search/recent", parameters)
        posts = [post for post in answer.get("data") or () if isinstance(post, dict)]
        self.read += len(posts)
        for post in posts:
            post_id = integer(post.get("id"))
            if post_id is None:
                continue
            progress.oldest = min(progress.oldest, post_id)
            if not self.span.start <= _moment(post_id) < self.span.end:
                continue
            line = self._waiting.setdefault(
                post_id, {"data": post, "includes": _includes(post, answer), "matching_rules": []}
            )
            rule = progress.rule
            line["matching_rules"].append(
                {"id": rule.id or rule.value} | ({"tag": rule.tag} if rule.tag else {})
            )
        progress.next_token = (answer.get("meta") or {}).get("next_token")
        progress.done = not progress.next_token

    def _complete(self) -> list[dict[str, Any]]:
        newest = max((item.oldest for item in self._progress if not item.done), default=-math.inf)
        if newest == -math.inf:
            self.covered_from = self.span.start
        elif newest != math.inf:
            # Other posts of this very millisecond may be on the next page.
            self.covered_from = max(
                self.span.start, min(self.span.end, _moment(int(newest), after=1))
            )
        ready = sorted(
            post_id for post_id in self._waiting if _moment(post_id) >= self.covered_from
        )
        return [self._waiting.pop(post_id) for post_id in ready]


def _includes(post: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a line of the stream would include: the author."""
    users = (answer.get("includes") or {}).get("users") or ()
    return {"users": [user for user in users if user.get("id") == post.get("author_id")]}


def _moment(post_id: int, after: int = 0) -> datetime:
    return datetime.fromtimestamp((created_ms(post_id) + after) / 1000, UTC)
