"""What filling a gap would cost, before anything is paid for."""

import argparse
from collections.abc import Sequence
from datetime import timedelta

from operations.gaps import Span
from operations.outcome import BadInputError
from operations.recent_search import SMALLEST_PAGE, GapSearch
from operations.settings import Settings
from operations.terminal import harmless, moment, number
from operations.warehouse import Warehouse
from operations.x_account import XAccount

DOLLARS_A_POST = 0.005
"""Also the price of one count request. docs.x.com/x-api/getting-started/pricing, read 2026-11."""
_RATE_WINDOW = timedelta(hours=1)


def print_quote(
    warehouse: Warehouse,
    account: XAccount,
    searches: Sequence[GapSearch],
    options: argparse.Namespace,
) -> None:
    """Print which posts would be read and what X would charge for them."""
    rules, total = searches[0].rules, 0
    for rule in rules:
        print(f"rule  {harmless(rule.tag or '(no tag)')}: {harmless(rule.value)}")
    for search in searches:
        span = search.span
        if options.count:
            expected, how = _counted(account, search), "by X's counts"
        else:
            expected, how = _estimated(warehouse, span)
        total += expected
        print(
            f"read  {moment(span.start)} to {moment(span.end)}: about {number(expected)} posts "
            f"(${expected * DOLLARS_A_POST:,.2f}), {how}"
        )
    if options.count:
        requests = len(rules) * len(searches)
        print(f"paid  ${requests * DOLLARS_A_POST:,.3f} for {number(requests)} count requests")
    cap = options.max_posts
    print(
        f"cost  at most {number(cap)} posts, ${cap * DOLLARS_A_POST:,.2f} (--max-posts); X charges "
        "for posts that are in the table already, too"
    )
    if total > cap:
        print(
            f"note  {number(total)} are expected: the newest {number(cap)} would be read, the rest "
            "stays a gap; raise --max-posts to read all"
        )


def _estimated(warehouse: Warehouse, span: Span) -> tuple[int, str]:
    """Posts expected at the rate of the hour before the gap, which costs nothing to know."""
    asked = span.whole_seconds.length
    window = max(_RATE_WINDOW, asked)
    before = warehouse.post_count(Span(span.start - window, span.start))
    minutes = window.total_seconds() / 60
    return (
        round(before * (asked / window)),
        f"at the rate of the {minutes:,.0f} minutes before it ({number(before)} posts)",
    )


def _counted(account: XAccount, search: GapSearch) -> int:
    """Posts by X's own count, each rule for itself; a post that two rules match counts twice."""
    return sum(
        int((account.call("GET", "/2/tweets/counts/recent", query).get("meta") or {}).get(
            "total_tweet_count", 0
        ))
        for query in search.count_queries()
    )  # fmt: skip


def check_budget(settings: Settings, account: XAccount, max_posts: int) -> None:
    """Refuse what could pass the month's post budget, where the stack has one.

    Raises:
        BadInputError: it could.
        UnavailableError: X does not tell how many posts are used.
    """
    if not settings.post_budget:
        return
    used = account.posts_used()
    if used + max_posts > settings.post_budget:
        free = max(settings.post_budget - used, 0)
        raise BadInputError(
            f"--max-posts {max_posts} would pass the month's budget: {number(used)} of "
            f"{number(settings.post_budget)} posts are used; at most --max-posts {free} fits"
        )


def checked_max_posts(value: int) -> int:
    """Return the cap.

    Raises:
        BadInputError: below the smallest page of recent search.
    """
    if value < SMALLEST_PAGE:
        raise BadInputError(
            f"--max-posts {value}: X's smallest page has {SMALLEST_PAGE} posts; give that or more"
        )
    return value
