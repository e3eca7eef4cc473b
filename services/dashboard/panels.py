"""The parts of the page that are not charts: figures, sentences, posts, the queries themselves."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import streamlit as st

from queries import Mark, Post, Spend, Totals
from warehouse import PageWarehouse, Query, WarehouseError
from window import Window, utc

# cloud.google.com/bigquery/pricing: on-demand analysis, 10 MB minimum a table referenced.
DOLLARS_A_TIB, MINIMUM_BYTES = 6.25, 10 * 2**20

_STYLE = """<style>
.stMainBlockContainer {padding: 2rem 1rem 3rem; max-width: 70rem;}
[data-stale="true"] {opacity: 1 !important;} /* a refresh replaces figures, it does not blink */
.post {padding: .55rem 0; border-bottom: 1px solid rgba(128,128,128,.25);}
.post p {margin: 0; overflow-wrap: anywhere; white-space: pre-line;}
.post .by {font-size: .8rem; opacity: .7;}
.post .by a {color: inherit;}
</style>"""


def style() -> None:
    """The few rules of style that Streamlit's theme has no setting for."""
    st.html(_STYLE)


def headline(totals: Totals, dead_letters: int, spend: Spend | None, window: Window) -> None:
    """The row of figures; two beside each other on a phone."""
    with st.container(horizontal=True, gap="small"):
        _figure("Posts", f"{totals.posts:,}", f"{totals.last_minute:,} in the last minute")
        _figure("Authors", f"{totals.authors:,}", "distinct")
        _figure(
            "Post to row",
            seconds(totals.post_to_row_p50_ms),
            f"p99 {seconds(totals.post_to_row_p99_ms)}",
        )
        _figure("Newest post", _age(totals, window), "before this refresh")
        _figure("Dead letters", f"{dead_letters:,}", "set aside, not lost")
        if spend is None:
            _figure("X spend, month", "–", "no usage event yet")
        else:
            _figure("X spend, month", f"${spend.dollars:,.2f}", _of_budget(spend))


def _figure(label: str, value: str, note: str) -> None:
    with st.container(border=True, width=165, gap=None):
        st.metric(label, value)
        st.caption(note)


def _of_budget(spend: Spend) -> str:
    if not spend.post_budget:
        return f"{spend.posts_used:,} posts, no budget set"
    share = spend.posts_used / spend.post_budget
    return f"{share:.0%} of ${spend.post_budget * 0.005:,.2f}"


def _age(totals: Totals, window: Window) -> str:
    if totals.newest is None:
        return "–"
    age = max(utc(window.until) - totals.newest, timedelta())
    if age < timedelta(minutes=2):
        return f"{age.seconds} s"
    return f"{age // timedelta(minutes=1)} min"


def seconds(milliseconds: int | None) -> str:
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


def marks(gaps: Sequence[Mark], dead_letters: Sequence[Mark]) -> None:
    """What the marks on the time line are, in words; rules do not filter them."""
    missing = sum((gap.end - gap.start for gap in gaps), timedelta()).total_seconds()
    letters = sum(mark.count for mark in dead_letters)
    parts = [
        f":red[▮] {len(gaps)} gap{'s' * (len(gaps) != 1)} without the stream, {missing:,.0f} s in "
        f"all ({_reasons(gaps)})"
        if gaps
        else "No gap in the stream",
        f":orange[▲] {letters:,} dead letter{'s' * (letters != 1)} ({_reasons(dead_letters)}): "
        "`tweets redrive list` shows them"
        if letters
        else "no dead letters",
    ]
    st.caption(" · ".join(parts) + ".")


def _reasons(found: Sequence[Mark]) -> str:
    counts: dict[str, int] = {}
    for mark in found:
        counts[mark.reason] = counts.get(mark.reason, 0) + mark.count
    return ", ".join(f"{reason.replace('_', ' ')} {n}" for reason, n in sorted(counts.items()))


def latency(totals: Totals) -> str:
    """What the latency chart's two moments are, and how much of it is this pipeline's."""
    return (
        "From X's created_at to the row in BigQuery, posts from the stream only. Of it, this "
        f"pipeline (read to row): median {seconds(totals.read_to_row_p50_ms)}, "
        f"p99 {seconds(totals.read_to_row_p99_ms)}."
    )


def posts(found: Sequence[Post]) -> None:
    """The latest posts. Their text is a stranger's: it is escaped, never Markdown or HTML."""
    st.html("".join(_post(post) for post in found))


def _post(post: Post) -> str:
    escape = html.escape
    text = re.sub(r"\s*\n\s*", "\n", post.text)
    tags = "".join(f" · {escape(tag)}" for tag in post.rule_tags)
    return (
        f'<div class="post"><p lang="{escape(post.lang)}" dir="auto">{escape(text)}</p>'
        f'<p class="by">@{escape(post.author)} · '
        f'<a href="https://x.com/i/web/status/{post.id}" target="_blank" rel="noreferrer">'
        f"{post.created_at:%H:%M:%S}</a> · {escape(post.lang)}{tags}</p></div>"
    )


def asked(
    found: Sequence[Query[Any]],
    warehouse: PageWarehouse,
    bytes_read: Callable[[Query[Any]], int | None],
) -> None:
    """The queries behind the page, with the bytes that each would bill."""
    if warehouse.settings.emulator:
        total = (
            "This page reads a stand-in on this machine, which does not count bytes and bills "
            "nothing. BigQuery would bill at least 10 MB a query; there, this line gives the bytes."
        )
        notes = ["bytes: not counted by the stand-in"] * len(found)
    else:
        try:
            sizes = [bytes_read(query) or 0 for query in found]
        except WarehouseError as error:
            st.caption(f"The bytes could not be estimated: {error}")
            sizes = []
        bills = [max(size, MINIMUM_BYTES) for size in sizes]
        notes = [f"reads {_size(s)}, bills {_size(b)}" for s, b in zip(sizes, bills, strict=True)]
        notes = notes or [""] * len(found)
        total = (
            f"Each refresh bills {_size(sum(bills))} at most, ${_dollars(sum(bills)):.5f} on "
            "demand, however many people look; by dry runs, renewed every ten minutes."
        )
    with st.expander("The queries of this page, and what they bill", key="queries"):
        st.caption(total)
        for query, note in zip(found, notes, strict=True):
            values = ", ".join(f"@{p.name} = {_value(p)}" for p in query.parameters)
            st.markdown(f"**{query.name}** · {note}")
            st.code(f"-- {values}\n{warehouse.sql(query)}", language="sql")


def _value(parameter: Any) -> str:
    api = parameter.to_api_repr()["parameterValue"]
    if "arrayValues" in api:
        return str([value["value"] for value in api["arrayValues"]])
    return str(api["value"])


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MB" if count < 2**30 else f"{count / 2**30:,.2f} GB"


def _dollars(count: int) -> float:
    return count / 2**40 * DOLLARS_A_TIB
