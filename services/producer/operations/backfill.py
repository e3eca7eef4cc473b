"""`tweets backfill`: fill gaps of the stream, or read a history, from X's searches at X's price.

A search costs as much a post as the stream and returns no reposts. Recent search reaches seven
days back, --archive as far as there are posts. The posts go through the same topic as the
stream's, with source `backfill`. A post that is in the table already is not published again,
though X charges for reading it; within one UTC day X charges a post once
(docs.x.com/x-api/fundamentals/post-cap calls that a soft guarantee).
"""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from operations.dataset import Dataset
from operations.errors import UnfinishedError, WrongInputError
from operations.filling import fill
from operations.gaps import Gap, Span, beginless, open_spans, remaining
from operations.search import ARCHIVE, DOLLARS, RECENT, GapSearch, SearchProduct, price
from operations.settings import Settings
from operations.text import harmless, moment, table
from operations.topic import TopicPublisher
from operations.x_account import XAccount
from producer.rules import Rule, RulesError, read_rules

_LISTED_DAYS = 30
# X wants the end of a search ten seconds before now at least, and takes 30 where none is given:
# the index may still lack what is younger, and its gap would be closed for good.
_FRESH = timedelta(seconds=60)
_UNKNOWN_BEGIN = "since when is not known: fill by --from --to"


def backfill(settings: Settings, options: argparse.Namespace) -> None:
    """List the open gaps, or plan and with --yes do the filling of one, of all, or of an interval.

    Raises:
        WrongInputError: an unknown gap, impossible times, rules that the search cannot take.
        UnavailableError: X, Pub/Sub or BigQuery failed; what was published stays published.
        UnfinishedError: --max-posts was reached first; the rest is a gap still.
    """
    at = datetime.now(UTC)
    dataset = Dataset(settings.dataset)
    gaps, covered = dataset.gaps(at - timedelta(days=_LISTED_DAYS))
    product = ARCHIVE if options.archive else RECENT
    wanted = _wanted(options, gaps, covered)
    if wanted is None:
        _print_gaps(gaps, covered, at)
        return
    spans = [span for whole in wanted if (span := _reachable(whole, at, product)) is not None]
    if not spans:
        print("Nothing to read.")
        return
    account = XAccount(settings)
    rules = _rules(account, settings, options)
    searches = [
        GapSearch(account, product, rules, span, options.max_posts) for span in reversed(spans)
    ]
    _print_quote(dataset, searches, options)
    if not options.yes:
        print("Dry run: no post was read. To read and pay for them: the same command with --yes")
        return
    _check_budget(settings, account, options.max_posts)
    topic, read = TopicPublisher(settings.topic), 0
    for search in searches:
        search.max_posts = options.max_posts - read
        covered += fill(topic, dataset, search, covered, options.query)
        read += search.read
        if search.covered_from > search.span.start:
            _stop(search, options)


def _wanted(
    options: argparse.Namespace, gaps: Sequence[Gap], covered: Sequence[Span]
) -> list[Span] | None:
    """The intervals asked for, oldest first; None where none was asked for."""
    start, end = options.start, options.end
    if options.query and (options.rules or not (start and end)):
        raise WrongInputError(
            "--query reads a history of its own: give --from and --to, no --rules"
        )
    if options.gap or options.all:
        if start or end:
            raise WrongInputError(
                "--from and --to name an interval of their own: leave out --gap, --all"
            )
        chosen = [gap for gap in gaps if options.all or gap.event_id == options.gap]
        if options.gap and not chosen:
            raise WrongInputError(
                f"no gap of the last {_LISTED_DAYS} days has the id {options.gap!r}: "
                "tweets backfill lists them"
            )
        for gap in beginless(chosen, covered):
            why = f"gap {gap.event_id}: {_UNKNOWN_BEGIN}, to {_end(gap)}"
            if options.gap:
                raise WrongInputError(why)
            print(f"Not read: {why}")
        return open_spans(chosen, covered)
    if not (start or end):
        return None
    if not (start and end) or start >= end:
        raise WrongInputError("--from and --to go together, and --from must be before --to")
    return [Span(start, end)]


def _reachable(span: Span, at: datetime, product: SearchProduct) -> Span | None:
    """The part of a span that the search can read; what is lost to it is told."""
    oldest = product.oldest(at)
    if span.start < oldest:
        print(
            f"Out of reach: {Span(span.start, min(span.end, oldest))}. X's "
            + (
                f"recent search goes {product.days} days back; --archive reads all that X has."
                if product is RECENT
                else "posts of before have ids without their time."
            )
        )
    start, end = max(span.start, oldest), min(span.end, newest := at - _FRESH)
    if end < span.end:
        print(
            f"Too new: {Span(max(start, newest), span.end)}. X may lack posts of the last minute."
        )
    return Span(start, end) if start < end else None


def _rules(account: XAccount, settings: Settings, options: argparse.Namespace) -> Sequence[Rule]:
    """The query; else the configured rules, which the gap is of; else those now active on X."""
    try:
        if options.query:
            return [Rule.checked(options.query, None, "--query")]
        if settings.rules_file is not None:
            return read_rules(settings.rules_file)
    except RulesError as error:
        said = str(error)
        raise WrongInputError(
            said.replace("RULES_FILE", "--rules") if options.rules else said
        ) from None
    if not (rules := account.rules()):
        raise WrongInputError("X has no active rule for this app: give some with --rules FILE")
    return rules


def _print_gaps(gaps: Sequence[Gap], covered: Sequence[Span], at: datetime) -> None:
    rows = []
    unknown = beginless(gaps, covered)
    for gap in gaps:
        left = remaining(Span(gap.start, gap.end), covered) if gap.start else []
        state = f"open {sum(span.length.total_seconds() for span in left):,.1f} s"
        if gap in unknown:
            state = f"open, {_UNKNOWN_BEGIN}"
        elif not left:
            state = "filled but for reposts"
        elif left[-1].end <= RECENT.oldest(at):
            state += f", by --archive alone (over {RECENT.days} days ago)"
        start = moment(gap.start) if gap.start else "?"
        rows.append((gap.event_id, start, _end(gap), gap.reason, state))
    if not rows:
        print(f"No gap in the last {_LISTED_DAYS} days.")
        return
    print(table(("GAP", "FROM", "TO", "REASON", "STATE"), rows))
    print("What one would cost: tweets backfill --gap GAP (or --all)")


def _end(gap: Gap) -> str:
    # Of an unknown begin the end is copied into --to, and all of its second must be covered.
    return moment(gap.end if gap.start else Span(gap.end, gap.end).whole_seconds.end)


def _stop(search: GapSearch, options: argparse.Namespace) -> None:
    """Say why the search ended before its span did, and how to go on."""
    reached = search.covered_from
    left = f"{Span(search.span.start, reached)} is "
    if options.query:
        moment_ = reached.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        left += f"not read; go on by --to {moment_}"
    else:
        left += "a gap still; run the command again to go on"
    if search.failure is None:
        raise UnfinishedError(f"--max-posts {options.max_posts:,} is reached: {left}")
    if not search.read:
        raise search.failure
    raise type(search.failure)(f"{search.failure}. What was read is published; {left}")


def _print_quote(
    dataset: Dataset, searches: Sequence[GapSearch], options: argparse.Namespace
) -> None:
    """Print which posts would be read and what X would charge for them."""
    product, total, cap = searches[0].product, 0, options.max_posts
    for rule in searches[0].rules:
        print(f"rule  {harmless(rule.tag or '(no tag)')}: {harmless(rule.value)}")
    for search in searches:
        if options.count or options.query:
            expected, how = search.count(), "by X's counts"
        else:
            expected, how = dataset.expected_posts(search.span), "at the rate before it"
        total += expected
        cost = price(expected)
        print(f"read  {search.span}: about {expected:,} posts ({cost}), {how}")
    if requests := sum(search.counts for search in searches):
        print(f"paid  ${requests * DOLLARS:,.3f} for {requests:,} count requests")
    print(
        f"cost  at most {cap:,} posts, {price(cap)} (--max-posts) by "
        f"{product.name}; X charges for posts that are in the table already, too"
    )
    print("note  X's searches return no reposts: these stay missing")
    if total > cap:
        print(
            f"note  {total:,} are expected: the newest {cap:,} would be read, the rest "
            "stays open; raise --max-posts to read all"
        )


def _check_budget(settings: Settings, account: XAccount, max_posts: int) -> None:
    """Refuse what could pass the month's post budget, where the stack has one."""
    if not settings.post_budget:
        return
    used = account.posts_used()
    if used + max_posts > settings.post_budget:
        free = max(settings.post_budget - used, 0)
        raise WrongInputError(
            f"--max-posts {max_posts} would pass the month's budget: {used:,} of "
            f"{settings.post_budget:,} posts are used; at most --max-posts {free} fits"
        )
