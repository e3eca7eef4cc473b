"""The live page over the posts: what arrives, how fast, what is missing, what it costs.

Streamlit, because the people who read this table write Python: the page is one script that they
can change without HTML, its charts are Altair, only its live part reruns, and the same process
serves the demo and Cloud Run. Looker Studio needs a Google account and cannot read the stand-in;
Grafana and Superset are servers with a configuration of their own to keep.

Run: DATASET=project.dataset streamlit run services/dashboard/app.py
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

import charts
import panels
import snapshot
from queries import Count
from snapshot import Snapshot
from warehouse import PageWarehouse, Query, Settings, SettingsError, WarehouseError
from window import Window

SPANS = {
    "5 min": timedelta(minutes=5),
    "15 min": timedelta(minutes=15),
    "1 hour": timedelta(hours=1),
    "6 hours": timedelta(hours=6),
    "1 day": timedelta(days=1),
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
}
# On the stand-in a refresh is free. BigQuery bills 10 MB a query at least (on-demand pricing,
# cloud.google.com/bigquery/pricing), so ten queries a minute are 3.6 cents an hour at $6.25 a TiB
# while a page is open; all viewers share one answer.
LOCAL_REFRESH_SECONDS, CLOUD_REFRESH_SECONDS = 2, 60
# Asking takes this share of the time at most: behind a slow warehouse the page renews less often.
BUSY_SHARE = 1 / 4
ESTIMATE_SECONDS = 600


@st.cache_resource(show_spinner=False)
def _warehouse(dataset: str, emulator: str | None) -> PageWarehouse:
    return PageWarehouse(Settings(dataset, emulator))


@st.cache_data(ttl=CLOUD_REFRESH_SECONDS, max_entries=50, show_spinner=False)
def _snapshot(_warehouse: PageWarehouse, window: Window) -> Snapshot:
    return snapshot.take(_warehouse, window)


@st.cache_data(ttl=ESTIMATE_SECONDS, max_entries=200, show_spinner=False)
def _bytes_read(_warehouse: PageWarehouse, _query: Query[Any], name: str, span: str) -> int | None:
    return _warehouse.bytes_read(_query)


def _filters(offered: Sequence[str], default: str) -> tuple[str, list[str]]:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        span = st.segmented_control("Time", list(SPANS), default=default, required=True, wrap=True)
    with right:
        rules = st.multiselect("Stream rules", offered, placeholder="all rules")
    return span or default, rules


def _page(shown: Snapshot, window: Window, span: str) -> None:
    letters = sum(mark.count for mark in shown.dead_letters)
    panels.headline(shown.totals, letters, shown.spend, window)
    if not shown.totals.posts:
        panels.nothing(span, window)
    st.subheader("Posts over time", anchor=False)
    st.altair_chart(
        charts.posts_over_time(shown.timeline, shown.gaps, shown.dead_letters, window),
        key="posts",
        alt=charts.posts_in_words(shown.timeline, window),
    )
    panels.marks(shown.gaps, shown.dead_letters)
    if shown.totals.posts:
        for left, right in (
            (("Languages", shown.languages, ""), ("Rules matched", shown.rules, "")),
            (("Hashtags", shown.hashtags, "#"), ("Authors", shown.authors, "@")),
        ):
            for column, ranking in zip(st.columns(2), (left, right), strict=True):
                with column:
                    _ranking(*ranking)
        st.subheader("From post to row", anchor=False)
        st.altair_chart(
            charts.latency_over_time(shown.timeline, window),
            key="latency",
            alt=charts.latency_in_words(shown.timeline),
        )
        st.caption(panels.latency(shown.totals))
        st.subheader("Latest posts", anchor=False)
        panels.posts(shown.posts)


def _ranking(title: str, counts: Sequence[Count], prefix: str) -> None:
    st.subheader(title, anchor=False)
    if not counts:
        st.caption(f"These posts have no {title.lower()}.")
        return
    st.altair_chart(
        charts.ranking(counts, prefix),
        key=title,
        alt=charts.ranking_in_words(title, counts, prefix),
    )


def main() -> None:
    """Draw the page, then its live part again at each refresh."""
    st.set_page_config(page_title="X stream", page_icon="📡", layout="wide")
    panels.style()
    try:
        settings = Settings.from_env(os.environ)
        warehouse = _warehouse(settings.dataset, settings.emulator)
    except (SettingsError, WarehouseError) as error:
        st.error(str(error))
        st.stop()
    local = settings.emulator is not None
    every = LOCAL_REFRESH_SECONDS if local else CLOUD_REFRESH_SECONDS
    state = st.session_state
    st.title("X stream", anchor=False)
    st.caption(f"`{settings.dataset}` · every {every} s · times in UTC")
    span, rules = _filters(state.get("offered", []), "15 min" if local else "1 day")

    @st.fragment(run_every=every)
    def live() -> None:
        window = Window.last(SPANS[span], datetime.now(UTC), rules, state.get("tick", every))
        # Only while there is nothing to look at: later the old figures stay until the new ones.
        loading = st.spinner(f"Reading the last {span} from BigQuery …")
        try:
            with contextlib.nullcontext() if "offered" in state else loading:
                shown = _snapshot(warehouse, window)
        except WarehouseError as error:
            st.error(f"{error} The page asks again in {every} s.")
            return
        _page(shown, window, span)
        panels.asked(
            shown.asked, warehouse, lambda query: _bytes_read(warehouse, query, query.name, span)
        )
        st.caption(f"As of {shown.taken:%Y-%m-%d %H:%M:%S} UTC.")
        state["tick"] = max(every, math.ceil(shown.seconds / BUSY_SHARE))
        if list(shown.offered) != state.get("offered"):
            state["offered"] = list(shown.offered)
            st.rerun()  # the whole page: the filter offers the rules that brought these posts

    live()


main()
