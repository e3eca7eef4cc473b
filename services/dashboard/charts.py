"""The charts, as Altair specifications: what a row becomes on the screen, and nothing else.

Times are UTC on every axis: Vega is told so, or it would shift them to the browser's zone.
Each chart comes with a sentence for people who cannot see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt

from queries import Bucket, Count, Mark
from window import Window, utc

# Readable on white and on near-black; blue is data, red is missing data, amber wants a look.
BLUE, PALE_BLUE, RED, AMBER, GREY = "#3b82f6", "#93c5fd", "#ef4444", "#f59e0b", "#808895"

Chart = alt.LayerChart | alt.FacetChart  # as alt.layer() is typed


def _milliseconds(moment: datetime) -> float:
    # Since 1970: Vega reads a number without a guess at its zone, which it makes for a text.
    return moment.replace(tzinfo=UTC).timestamp() * 1000


def _label(moment: datetime) -> str:
    # A text: Vega's tooltip would print the browser's time.
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _data(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _vega_moment(moment: datetime) -> alt.DateTime:
    # A domain of plain milliseconds leaves the axis empty in Streamlit 1.67.
    return alt.DateTime(
        year=moment.year,
        month=moment.month,
        date=moment.day,
        hours=moment.hour,
        minutes=moment.minute,
        seconds=moment.second,
        utc=True,
    )


def _time_axis(window: Window) -> alt.X:
    domain = [_vega_moment(utc(moment)) for moment in (window.since, window.until)]
    return alt.X(
        "start:T",
        title=None,
        scale=alt.Scale(type="utc", domain=domain),
        axis=alt.Axis(grid=False, labelOverlap=True, tickCount=6, format=_clock(window)),
    )


def _clock(window: Window) -> str:
    span = window.until - window.since
    if span <= timedelta(minutes=15):
        return "%H:%M:%S"
    return "%H:%M" if span <= timedelta(days=1) else "%d %b"


def _span(start: datetime, end: datetime) -> dict[str, Any]:
    return {
        "start": _milliseconds(start),
        "end": _milliseconds(end),
        "from": _label(start),
        "to": _label(end),
    }


def _mark(mark: Mark) -> dict[str, Any]:
    return {**_span(mark.start, mark.end), "reason": mark.reason, "count": mark.count}


def posts_over_time(
    buckets: Sequence[Bucket], gaps: Sequence[Mark], dead_letters: Sequence[Mark], window: Window
) -> Chart:
    """Bars of posts; gaps as red bands behind them, dead letters as amber marks on the axis."""
    width = timedelta(seconds=window.bucket * 0.9)
    x = _time_axis(window)
    bars = (
        alt.Chart(_data([{**_span(b.start, b.start + width), "posts": b.posts} for b in buckets]))
        .mark_rect(color=BLUE, clip=True)  # mark_bar with two ends in x loses its height
        .encode(
            x=x,
            x2="end:T",
            y=alt.Y("posts:Q", title=None, axis=alt.Axis(tickMinStep=1, tickCount=4)),
            y2=alt.datum(0),
            tooltip=[alt.Tooltip("from:N"), alt.Tooltip("posts:Q", format=",")],
        )
    )
    missing = alt.Chart(_data([_mark(gap) for gap in gaps]))
    seen = [alt.Tooltip("from:N", title="no stream from"), "to:N", "reason:N"]
    bands = missing.mark_rect(color=RED, opacity=0.25, clip=True).encode(
        x=x, x2="end:T", tooltip=seen
    )
    # A gap of a second is thinner than a pixel in a day's chart; its edge still shows.
    edges = missing.mark_rule(color=RED, clip=True).encode(x=x, tooltip=seen)
    letters = (
        alt.Chart(_data([_mark(mark) for mark in dead_letters]))
        .mark_point(
            shape="triangle-up",
            filled=True,
            color=AMBER,
            stroke="white",
            strokeWidth=1,
            size=150,
            opacity=1,
            yOffset=-7,
        )
        .encode(
            x=x,
            y=alt.datum(0),
            tooltip=[alt.Tooltip("from:N", title="dead letters from"), "reason:N", "count:Q"],
        )
    )
    return alt.layer(bands, edges, bars, letters).properties(height=210)


def latency_over_time(buckets: Sequence[Bucket], window: Window) -> Chart:
    """Seconds from post to row: the median as a line, the 99th percentile as a paler one."""
    points = [
        {
            "start": _milliseconds(bucket.start),
            "from": _label(bucket.start),
            "quantile": quantile,
            "seconds": milliseconds / 1000,
        }
        for bucket in buckets
        for quantile, milliseconds in (
            ("median", bucket.post_to_row_p50_ms),
            ("p99", bucket.post_to_row_p99_ms),
        )
        if milliseconds is not None
    ]
    base = alt.Chart(_data(points)).encode(
        x=_time_axis(window),
        y=alt.Y(
            "seconds:Q",
            title=None,
            axis=alt.Axis(tickCount=4, format="~g", labelExpr="datum.label + ' s'"),
        ),
        color=alt.Color(
            "quantile:N",
            scale=alt.Scale(domain=["median", "p99"], range=[BLUE, PALE_BLUE]),
            legend=alt.Legend(title=None, orient="top"),
        ),
        tooltip=["from:N", "quantile:N", alt.Tooltip("seconds:Q", format=".3f")],
    )
    return alt.layer(
        base.mark_line(clip=True), base.mark_point(filled=True, size=14, clip=True)
    ).properties(height=180)


def ranking(counts: Sequence[Count], prefix: str = "") -> Chart:
    """Horizontal bars, the most first, the number written at the end of each bar."""
    rows = [{"name": prefix + count.name, "posts": count.posts} for count in counts]
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y(
            "name:N",
            sort=None,
            title=None,
            axis=alt.Axis(labelLimit=140, ticks=False, domain=False),
        ),
        x=alt.X(
            "posts:Q",
            title=None,
            axis=None,
            # Room at the right end for the number of the longest bar.
            scale=alt.Scale(domain=[0, max((c.posts for c in counts), default=1) * 1.2]),
        ),
        tooltip=["name:N", alt.Tooltip("posts:Q", format=",")],
    )
    bars = base.mark_bar(color=BLUE, height=14, cornerRadiusEnd=2)
    numbers = base.mark_text(align="left", dx=5, color=GREY).encode(
        text=alt.Text("posts:Q", format=",")
    )
    return alt.layer(bars, numbers).properties(height=alt.Step(26))


def posts_in_words(buckets: Sequence[Bucket], window: Window) -> str:
    """What `posts_over_time` shows, in a sentence; each bar has its own numbers."""
    posts = [bucket.posts for bucket in buckets]
    most = max(posts, default=0)
    return f"Posts over time: {sum(posts)} in all, at most {most} in {window.bucket} s"


def latency_in_words(buckets: Sequence[Bucket]) -> str:
    """What `latency_over_time` shows, in a sentence; each point has its own numbers."""
    worst = max((bucket.post_to_row_p99_ms or 0 for bucket in buckets), default=0)
    return f"Post to row over time, median and p99: at most {worst} ms"


def ranking_in_words(title: str, counts: Sequence[Count], prefix: str = "") -> str:
    """The numbers of a `ranking`, in its order."""
    return f"{title}: " + ", ".join(f"{prefix}{count.name} {count.posts}" for count in counts)
