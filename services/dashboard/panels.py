"""The parts of the page that are not charts, as plain HTML: state, figures, gaps, rankings, posts.

Each text from elsewhere (a post, a tag, a reason, a handle) is escaped: it is shown as it was
written, and is never HTML, Markdown or a formula.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from pathlib import Path

import streamlit as st

from charts import FILLINGS
from queries import Count, LetterMark, ListedPost, StreamGap, Totals
from snapshot import Condition, Snapshot
from spend import PRICE, Month
from state import clock, words
from warehouse import DOLLARS_A_TIB, REFRESH_BYTES, Reads, ViewReader, billed, size_words
from window import Window, duration

# Characters of a post that are shown; the rest is behind "more".
_SHOWN = 400
_GAPS_LISTED = 5
_MONTH_SECONDS = 30 * 86_400
# Each tag that X's operator lang: knows, also by its newer spelling, with Unicode's name of it.
# https://docs.x.com/x-api/posts/search/integrate/operators, cldr.unicode.org
_LANGUAGES: dict[str, str] = json.loads(Path(__file__).with_name("languages.json").read_bytes())


def style() -> None:
    """The few rules of style that Streamlit's theme has no setting for."""
    st.html(Path(__file__).with_name("style.css"))


def title(dataset: str, every: float) -> None:
    """The name of the page, what it reads, and how often."""
    st.html(
        f'<h1 class="title">X stream <small>{escape(dataset)} · every {every:.0f} s · times in UTC'
        "</small></h1>"
    )


def grey() -> None:
    """Show that the figures are old: greyed, and still readable."""
    st.html("<style>.st-key-figures {opacity: .55; filter: grayscale(1);}</style>")


def state_line(condition: Condition | None, fault: str, now: datetime) -> None:
    """Is it live? The first line of the page: a word, a sentence, and as of when."""
    tone, word, says, taken = "bad", "No answer", fault, ""
    if condition and fault:
        age, then = duration(now - condition.taken), clock(condition.taken, now)
        says = f"{fault} What follows is {age} old, of {then} UTC."
    elif condition:
        tone, word, says = condition.state.tone, condition.state.word, condition.state.says
        taken = f"as of {condition.taken:%Y-%m-%d %H:%M:%S} UTC"
    st.html(
        f'<p class="state {tone}"><strong>{escape(word)}</strong> <span>{escape(says)}</span>'
        f" <small>{taken}</small></p>"
    )


def figures(shown: Snapshot, condition: Condition | None, gaps: Sequence[StreamGap]) -> None:
    """How much, what is missing, what it costs; and three smaller ones."""
    totals, now = shown.totals, shown.taken
    letters = sum(mark.count for mark in shown.dead_letters)
    told_since = condition.told_since if condition else None
    month = condition.month if condition else None
    p99 = _seconds(totals.post_to_row_p99_ms)
    _figures(
        "large",
        ("Posts", f"{totals.posts:,}", _compared(totals, shown.window, told_since)),
        ("Missing", *_missing(gaps)),
        ("X spend this month", *(_spend(month, now) if month else ("–", "not known"))),
    )
    _figures(
        "small",
        ("In the last minute", f"{totals.last_minute:,}", "posts"),
        ("Authors", f"{totals.authors:,}", "distinct"),
        ("Post to row", _seconds(totals.post_to_row_p50_ms), f"p99 {p99}"),
        ("Dead letters", f"{letters:,}", "set aside, not lost"),
    )


def _figures(size: str, *all_: tuple[str, str, str]) -> None:
    items = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd>"
        f'<dd class="note">{escape(note)}</dd></div>'
        for label, value, note in all_
    )
    st.html(f'<dl class="figures {size}">{items}</dl>')


def _compared(totals: Totals, window: Window, told_since: datetime | None) -> str:
    """The window beside the same length of time before it, where a reader was at work then."""
    before = f"the {duration(window.span)} before"
    if told_since is None or told_since > window.since - window.span:
        return f"{before}: not known"
    if not totals.before:
        return f"none in {before}"
    change = totals.posts / totals.before - 1
    if round(change * 100) == 0:
        return f"as many as in {before}"
    return f"{'▲' if change > 0 else '▼'} {abs(change):.0%} on {before}"


def _missing(gaps: Sequence[StreamGap]) -> tuple[str, str]:
    if not gaps:
        return "None", "no gap in the stream"
    counts = Counter(gap.filling for gap in gaps)
    left = [gap for gap in gaps if gap.filling in ("open", "open now")]
    note = ", ".join(f"{counts[word]} {word}" for word in FILLINGS if word in counts)
    return _length(left) if left else "None", f"gaps: {note}"


def _length(gaps: Sequence[StreamGap]) -> str:
    most = "up to " * any(gap.begin_unknown for gap in gaps)
    return most + duration(sum((gap.end - gap.start for gap in gaps), timedelta()))


def _spend(month: Month, now: datetime) -> tuple[str, str]:
    before = f"; the month before {_dollars(month.before)}" if month.before is not None else ""
    if month.used is None:
        return "–", f"no usage told since {clock(month.start, now)}{before}"
    note = f"{month.used:,} posts, no budget"
    if month.budget:
        note = f"{month.used / month.budget:.0%} of {_dollars(month.budget)}"
    if month.spent_on:
        note += f"; at this pace all of it by {month.spent_on:%d %b}"
    elif month.projected is not None:
        note += f"; at this pace {_dollars(month.projected)} by {month.end:%d %b}"
    return _dollars(month.used), note


def _dollars(posts: int) -> str:
    return f"${posts * PRICE:,.2f}"


def _seconds(milliseconds: int | None) -> str:
    """A latency for people: 87 ms, 1.24 s; a dash where nothing was measured."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"


def nothing(span: str, window: Window) -> None:
    """The empty state: no post matched, and what that may mean."""
    if window.rules:
        st.info(f"No post of the last {span} matched these rules: choose others, or a longer time.")
    else:
        st.info(
            f"No post in the last {span}. A new rule takes about 20 seconds to bring posts; a "
            "quiet one brings none. Choose a longer time, or look at the producer's log."
        )


def marks(gaps: Sequence[StreamGap], dead_letters: Sequence[LetterMark], window: Window) -> None:
    """What the marks on the time line are, in words; rules do not filter them."""
    lines = [_gap_line(gap, window.until) for gap in gaps[-1 : -_GAPS_LISTED - 1 : -1]]
    if more := gaps[:-_GAPS_LISTED]:
        lines.append(f"<li>and {len(more)} more before, {_length(more)}</li>")
    letters: Counter[str] = Counter()
    for mark in dead_letters:
        letters[mark.reason] += mark.count
    if letters:
        said = ", ".join(f"{words(reason)} {n:,}" for reason, n in sorted(letters.items()))
        lines.append(
            f'<li><b class="letters">dead letters</b> {letters.total():,} ({escape(said)}): '
            "<code>tweets redrive list</code> shows them</li>"
        )
    lines = lines or ["<li>No gap in the stream, no dead letters.</li>"]
    lines.append('<li class="note">A pale bar is not whole: the time shown cuts it.</li>')
    st.html(f'<ul class="marks" aria-label="Gaps and dead letters">{"".join(lines)}</ul>')


def _gap_line(gap: StreamGap, now: datetime) -> str:
    word = gap.filling
    start, end = (clock(m.replace(tzinfo=now.tzinfo), now) for m in (gap.start, gap.end))
    if gap.begin_unknown:
        start = "unknown"
    return (
        f'<li><b class="gap {word.replace(" ", "-")}">gap, {word}</b> '
        f"{gap.length}, {start} to {'now' if gap.open else end} "
        f"({escape(words(gap.reason))})</li>"
    )


def ranking(title: str, counts: Sequence[Count], posts: int) -> None:
    """A table of names with bars, counts and shares of the window's posts, the most first."""
    most = max((count.posts for count in counts), default=0)
    none = "" if counts else '<p class="note">None in these posts.</p>'
    rows = "".join(
        f'<tr><th scope="row" title="{escape(count.name)}"><bdi>{escape(count.name)}</bdi></th>'
        f'<td class="bar"><i style="width: {count.posts / most:.1%}"></i></td>'
        f"<td>{count.posts:,}</td><td>{count.posts / max(posts, count.posts):.0%}</td></tr>"
        for count in counts
    )
    st.html(
        f'<table class="rank"><caption>{title}</caption><colgroup><col class="name"><col>'
        f'<col class="number"><col class="share"></colgroup><thead><tr><th>{title}</th>'
        f"<th></th><th>Posts</th><th>Share</th></tr></thead><tbody>{rows}</tbody></table>{none}"
    )


def language(tag: str) -> str:
    """The English name of X's tag for a language, the tag itself where it has none."""
    return _LANGUAGES.get(tag, tag)


def latency(totals: Totals) -> None:
    """What the latency chart's two moments are, and how much of it is this pipeline's."""
    st.caption(
        "From X's created_at to the row in BigQuery, posts from the stream only. Of it, this "
        f"pipeline (read to row): median {_seconds(totals.read_to_row_p50_ms)}, "
        f"p99 {_seconds(totals.read_to_row_p99_ms)}."
    )


def posts(found: Sequence[ListedPost], now: datetime) -> None:
    """The latest posts, with the day where that is not today; a long one is cut with "more"."""
    # In the session, since each refresh draws the list anew.
    whole: set[int] = st.session_state.setdefault("whole posts", set())
    for post in found:
        st.html(post_html(post, now, whole=post.id in whole))
        if len(_tidy(post.text)) > _SHOWN:
            st.button(
                "less" if post.id in whole else "more",
                key=f"whole {post.id}",
                type="tertiary",
                on_click=whole.symmetric_difference_update,
                args=({post.id},),
            )


def post_html(post: ListedPost, now: datetime, *, whole: bool = False) -> str:
    """One post of the list, cut unless it is to be `whole`, as HTML in which its text is text."""
    text = _tidy(post.text)
    shown = escape(text if whole or len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
    made = clock(post.created_at.replace(tzinfo=now.tzinfo), now)
    tags = "".join(f" · {escape(tag)}" for tag in post.rule_tags)
    return (
        f'<article class="post"><div class="text" lang="{escape(post.lang)}" dir="auto">{shown}'
        f'</div><p class="by">@{escape(post.author)} · '
        f'<a href="https://x.com/i/web/status/{post.id}" target="_blank" rel="noreferrer">'
        f"{made}</a> · {escape(language(post.lang))}{tags}</p></article>"
    )


def _tidy(text: str) -> str:
    # Lines without what surrounds them; a pattern for that takes quadratic time.
    return "\n".join(filter(None, map(str.strip, text.split("\n"))))


def cost(reads: Reads, reader: ViewReader, refresh: float) -> None:
    """The queries behind the page, what each bills, and what that makes in a month."""
    with st.expander("The queries of this page, and what they bill", key="queries"):
        st.caption(bill_words(billed(*(read for _, read in reads)), reader, refresh))
        for query, read in reads:
            note = "" if read is None else (
                f" · reads {size_words(read)}, bills {size_words(billed(read))}"
            )  # fmt: skip
            values = ", ".join(f"@{name} = {value!s}" for name, value in query.parameters.items())
            st.markdown(f"**{query.name}**{note}")
            st.code(f"-- {values}\n{reader.sql(query)}", language="sql")


def bill_words(total: int, reader: ViewReader, refresh: float) -> str:
    """What a refresh bills, the month that follows from it, and the worst month."""
    refreshes = _MONTH_SECONDS / refresh
    worst = _price(round(refreshes * REFRESH_BYTES))
    bound = (
        f"No refresh bills more than {size_words(REFRESH_BYTES)}, all its queries together: "
        f"BigQuery refuses them before. So one view, open day and night with a refresh each "
        f"{duration(timedelta(seconds=refresh))}, can't cost more than {worst} a month"
    )
    if reader.settings.emulator:
        return (
            "This page reads a stand-in on this machine, which counts no bytes and bills nothing. "
            f"On BigQuery each query bills 10 MB at least. {bound}."
        )
    return (
        f"A refresh bills {size_words(total)} by dry runs (renewed every ten minutes), "
        f"{_price(total, 5)} on demand, however many people look at this view: "
        f"{_price(round(refreshes * total))} a month if it is open day and night. {bound}; "
        "another time or other rules are another view. BigQuery's custom quota on query usage a "
        "day bounds all of them."
    )


def _price(size: int, digits: int = 2) -> str:
    # A dollar sign begins a formula in Streamlit's Markdown.
    return f"\\${size / 2**40 * DOLLARS_A_TIB:,.{digits}f}"
