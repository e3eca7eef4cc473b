"""X's searches over one interval for several rules at once, newest posts first.

The rules advance side by side: always the one that has come the least far back is asked next. So
at any moment there is one time down to which every rule is complete, and stopping early (because
the posts that may be paid for are used up, or X fails) leaves one clean, shorter interval.

Neither search returns reposts, since 2026-05-04. Sources, read 2026-11:
https://docs.x.com/x-api/posts/search/integrate/paginate (pages are newest first) and .../counts.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from operations.errors import OperationError, UnavailableError, WrongInputError
from operations.gaps import Span
from operations.text import harmless
from operations.x_account import XAccount
from producer.fields import asked
from producer.record import SNOWFLAKE_EPOCH, created_ms, integer, json_object, json_objects
from producer.rules import Rule

DOLLARS = 0.005
"""Price of a post, and of one count request; X says that it may differ by the range of the data."""
SMALLEST_PAGE = 10
EMPTY_SECONDS = 2.0
"""Pause after an empty page, so that X's 450 requests in 15 minutes are never passed by these."""
_EMPTY_PAGES = 30
# What the columns need. The stream's further fields are not bought again: no search gives reposts.
_PARAMETERS = asked("")


class SearchProduct(NamedTuple):
    """One of X's two searches: https://docs.x.com/x-api/getting-started/pricing.

    Attributes:
        path: last part of its addresses.
        days: how far back it goes; None to the first id that holds its time.
        max_query: characters of a query, pay per use; a rule of the stream may have 1,024.
        largest_page: posts.
        every: seconds from one request to the next, at least.
    """

    name: str
    path: str
    days: int | None
    max_query: int
    largest_page: int
    every: float

    def oldest(self, at: datetime) -> datetime:
        """Return the first moment that it can read."""
        if self.days is None:
            return datetime.fromtimestamp(math.ceil(SNOWFLAKE_EPOCH / 1000), UTC)
        return at - timedelta(days=self.days) + timedelta(minutes=1)


RECENT = SearchProduct("recent search", "recent", 7, 512, 100, 0.0)
ARCHIVE = SearchProduct("full-archive search", "all", None, 1_024, 500, 1.0)


def price(posts: int) -> str:
    """Return what so many posts cost, such as $5.00."""
    return f"${posts * DOLLARS:,.2f}"


@dataclass
class _Progress:
    """How far back one rule has come: every match with an id from `oldest` on was read."""

    rule: Rule
    oldest: float = math.inf
    tokens: list[str] = field(default_factory=list)
    empty: int = 0
    done: bool = False


@dataclass
class GapSearch:
    """Reads the posts of a span.

    Attributes:
        read: posts that X returned so far; each costs.
        covered_from: every rule is complete from this moment to the span's end.
        counts: count requests made so far; each costs.
        failure: what ended the search before `max_posts` did.
    """

    account: XAccount
    product: SearchProduct
    rules: Sequence[Rule]
    span: Span
    max_posts: int
    read: int = 0
    counts: int = 0
    covered_from: datetime = field(init=False)
    failure: OperationError | None = None
    _progress: list[_Progress] = field(init=False)
    _waiting: dict[int, dict[str, Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Check the rules.

        Raises:
            WrongInputError: a rule is longer than the search takes, or the cap too small.
        """
        for rule in self.rules:
            if len(rule.value) > self.product.max_query:
                raise WrongInputError(
                    f"the rule {rule.tag or rule.value[:40]!r} has {len(rule.value)} characters, "
                    f"and {self.product.name} takes {self.product.max_query}: give shorter ones "
                    "with --rules FILE"
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
        Only the last list, where `max_posts` or a failure ended the search, has posts from before
        `covered_from`: they are paid for, and a rule that was not read so far may match them too.
        """
        while open_rules := [item for item in self._progress if not item.done]:
            # A fair share, or one rule could use up what is paid for and nothing be complete.
            left = self.max_posts - self.read
            size = min(self.product.largest_page, max(left // len(open_rules), SMALLEST_PAGE))
            if left < size:
                break
            try:
                self._page(max(open_rules, key=lambda item: item.oldest), size)
            except OperationError as error:
                self.failure = error
            yield self._complete()
            if self.failure is not None:
                break
        yield list(self._waiting.values())

    def count(self) -> int:
        """Return posts by X's own counts, a request a rule; what two rules match counts twice."""
        total = 0
        for rule in self.rules:
            # The archive's counts come 31 days a page.
            tokens: list[str] = []
            while True:
                answer, token = self._ask("counts", rule, tokens, granularity="day")
                self.counts += 1
                found = integer(json_object(answer.get("meta")).get("total_tweet_count"))
                if found is None:
                    raise self._no_answer("count", answer)
                total += found
                if token is None or token in tokens:
                    break
                tokens.append(token)
        return total

    def _ask(
        self, kind: str, rule: Rule, tokens: Sequence[str], **parameters: Any
    ) -> tuple[Mapping[str, Any], str | None]:
        """Ask for the page of the last token, or the first; return it and the next one's token."""
        # What lies outside the gap, but in its whole seconds, is dropped.
        span = self.span.whole_seconds
        query = {
            "query": rule.value,
            "start_time": f"{span.start:%Y-%m-%dT%H:%M:%SZ}",
            "end_time": f"{span.end:%Y-%m-%dT%H:%M:%SZ}",
            **parameters,
        }
        if tokens:
            query["next_token"] = tokens[-1]
        route = f"/2/tweets/{kind}/{self.product.path}"
        answer = self.account.call("GET", route, query, every=self.product.every)
        token = json_object(answer.get("meta")).get("next_token")
        return answer, token if isinstance(token, str) and token else None

    def _page(self, progress: _Progress, size: int) -> None:
        answer, token = self._ask(
            "search", progress.rule, progress.tokens, max_results=size, **_PARAMETERS
        )
        posts = json_objects(answer.get("data"))
        self.read += len(posts)
        oldest = progress.oldest
        for post in posts:
            if (post_id := integer(post.get("id"))) is not None:
                oldest = min(oldest, post_id)
                if self.span.start <= _moment(post_id) < self.span.end:
                    self._found(post_id, post, answer, progress.rule)
        # Without this an error page, or half a page, would count as all that there is.
        if integer(json_object(answer.get("meta")).get("result_count")) != len(posts):
            raise self._no_answer(f"page with meta.result_count of its {len(posts)} posts", answer)
        progress.oldest = oldest
        if token is None:
            progress.done = True
            return
        if token in progress.tokens:
            raise UnavailableError(
                f"{self.product.name} of X leads back to a page that was read and paid for"
            )
        progress.tokens.append(token)
        progress.empty = 0 if posts else progress.empty + 1
        if progress.empty == _EMPTY_PAGES:
            raise UnavailableError(
                f"{self.product.name} of X gave {_EMPTY_PAGES} empty pages, one after another"
            )
        if progress.empty:
            time.sleep(EMPTY_SECONDS)

    def _no_answer(self, what: str, answer: Mapping[str, Any]) -> UnavailableError:
        said = {name: answer[name] for name in answer if name not in ("data", "includes")}
        return UnavailableError(
            f"{self.product.name} of X gave no {what}: {harmless(str(said))[:200]}"
        )

    def _found(
        self, post_id: int, post: Mapping[str, Any], answer: Mapping[str, Any], rule: Rule
    ) -> None:
        if post_id not in self._waiting:
            # As a line of the stream has it: of the page's users, the one of this post.
            users = json_objects(json_object(answer.get("includes")).get("users"))
            own = [user for user in users if user.get("id") == post.get("author_id")]
            includes = {"users": own} if own else {}
            self._waiting[post_id] = {"data": post, "includes": includes, "matching_rules": []}
        self._waiting[post_id]["matching_rules"].append(
            {"id": rule.id or rule.value} | ({"tag": rule.tag} if rule.tag else {})
        )

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


def _moment(post_id: int, after: int = 0) -> datetime:
    return datetime.fromtimestamp((created_ms(post_id) + after) / 1000, UTC)
