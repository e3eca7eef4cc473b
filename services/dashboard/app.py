"""The live page over the posts: is it live, what is missing, what does it cost, what is said.

Streamlit, because the people who read this table write Python: the page is one script that they
can change, its charts are Altair, and the same process serves the demo and Cloud Run. Data Studio
(Looker Studio) needs a Google account and cannot read the stand-in; Grafana and Superset are
servers with a configuration of their own to keep.

Run: DATASET=project.dataset streamlit run services/dashboard/app.py
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import streamlit as st

import charts
import panels
from queries import Count, StreamGap
from snapshot import Condition, Desk, Snapshot
from warehouse import Settings, SettingsError, ViewReader, WarehouseError
from window import utc

SPANS = {
    "5 min": timedelta(minutes=5),
    "15 min": timedelta(minutes=15),
    "1 hour": timedelta(hours=1),
    "6 hours": timedelta(hours=6),
    "1 day": timedelta(days=1),
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
}
# On the stand-in a refresh is free; what one costs on BigQuery stands at the foot of the page.
LOCAL_REFRESH_SECONDS, CLOUD_REFRESH_SECONDS = 2, 60


@st.cache_resource(show_spinner=False)
def _desk(dataset: str, emulator: str | None) -> Desk:
    every = LOCAL_REFRESH_SECONDS if emulator else CLOUD_REFRESH_SECONDS
    return Desk(ViewReader(Settings(dataset, emulator)), every)


def _chosen(default: str) -> tuple[str, list[str]]:
    """The viewer's choice, which the widgets keep and write into the URL, or the URL's own."""
    span = st.session_state.get("time", st.query_params.get("time"))
    rules = st.session_state.get("rule", st.query_params.get_all("rule"))
    return span if span in SPANS else default, list(rules)


def _choices(offered: Sequence[str], default: str, rules: Sequence[str]) -> None:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        st.segmented_control("Time", list(SPANS), default=default, required=True, wrap=True,
                             key="time", bind="query-params")  # fmt: skip
    with right:
        # A rule that was chosen stays, though it brought nothing just now.
        st.multiselect("Stream rules", sorted({*offered, *rules}), placeholder="all rules",
                       key="rule", bind="query-params")  # fmt: skip


def _gaps(shown: Snapshot, condition: Condition | None) -> list[StreamGap]:
    """The gaps of the window, cut to it, with the one that is open now."""
    since, until = utc(shown.window.since), utc(shown.window.until)
    gaps = list(shown.gaps)
    state = condition.state if condition else None
    if state and state.missing_since:
        gaps.append(StreamGap(utc(state.missing_since), until, state.reason, open=True))
    cut = (replace(gap, start=max(gap.start, since), end=min(gap.end, until)) for gap in gaps)
    return [gap for gap in cut if gap.start < gap.end]


def _rest(shown: Snapshot) -> None:
    """What people say: who, in which words and languages, by which rule, and how fast it came."""
    if not shown.totals.posts:
        return
    ranked = shown.rankings
    languages = [Count(panels.language(one.name), one.posts) for one in ranked.get("language", [])]
    hashtags = [Count(f"#{one.name}", one.posts) for one in ranked.get("hashtag", [])]
    authors = [Count(f"@{one.name}", one.posts) for one in ranked.get("author", [])]
    for pair in (
        (("Languages", languages), ("Rules matched", ranked.get("rule", []))),
        (("Hashtags", hashtags), ("Authors", authors)),
    ):
        for column, (title, counts) in zip(st.columns(2, gap="medium"), pair, strict=True):
            with column:
                panels.ranking(title, counts, shown.totals.posts)
    st.subheader("From post to row", anchor=False)
    st.altair_chart(
        charts.latency_over_time(shown.timeline, shown.window),
        key="latency",
        alt=charts.latency_in_words(shown.timeline),
    )
    panels.latency(shown.totals)
    st.subheader("Latest posts", anchor=False)
    with st.container(gap="xsmall"):
        panels.posts(shown.posts, shown.taken)


def _page(desk: Desk, default: str) -> None:
    condition, fault = desk.condition()
    panels.state_line(condition, fault, datetime.now(UTC))
    span, rules = _chosen(default)
    with st.container(key="figures"):
        choices, figures = st.container(key="choices"), st.container(key="main")
        rest = st.container(key="rest")
    shown, missing = desk.view(SPANS[span], rules)
    with choices:
        _choices(shown.offered if shown else [], default, rules)
    if missing:
        if not fault:
            st.warning(missing)
        panels.grey()
    if shown is None:
        return
    with figures:
        gaps = _gaps(shown, condition)
        panels.figures(shown, condition, gaps)
        if not shown.totals.posts:
            panels.nothing(span, shown.window)
        st.altair_chart(
            charts.posts_over_time(shown.timeline, gaps, shown.dead_letters, shown.window),
            key="posts",
            alt=charts.posts_in_words(shown.timeline, gaps, shown.window),
        )
        panels.marks(gaps, shown.dead_letters, shown.window)
    with rest:
        _rest(shown)
        reads = [*(condition.reads if condition else ()), *shown.reads]
        panels.cost(reads, desk.reader, desk.every)
        fresh = desk.fresh(SPANS[span])
        st.caption(f"Figures as of {shown.taken:%Y-%m-%d %H:%M:%S} UTC, asked every {fresh:.0f} s.")


def main() -> None:
    """Draw the page, then all of it again at each refresh."""
    # Google's client is a session of requests, which would take an entry of ~/.netrc for its token.
    os.environ["NETRC"] = os.devnull
    st.set_page_config(page_title="X stream", page_icon="📡", layout="wide")
    panels.style()
    try:
        settings = Settings.from_env(os.environ)
        desk = _desk(settings.dataset, settings.emulator)
    except (SettingsError, WarehouseError) as error:
        st.error(str(error))
        st.stop()
    panels.title(settings.dataset, desk.every)
    st.fragment(_page, run_every=desk.every)(desk, "15 min" if settings.emulator else "1 day")


main()
