"""The charts, as Altair specifications: what a row becomes on the screen, and nothing else.

Times are UTC on every axis: Vega is told so, or it would shift them to the browser's zone.
Each chart comes with a sentence for people who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt

from queries import Bucket, LetterMark, StreamGap
from window import Window, duration, utc

# Readable on white and on near-black; blue is data, red is missing data, amber wants a look.
BLUE, PALE_BLUE, RED, AMBER, GREEN = "#3b82f6", "#93c5fd", "#ef4444", "#f59e0b", "#10b981"
FILLINGS = {
    "open now": RED,
    "open": RED,
    "filled": GREEN,
    "filled without reposts": AMBER,
}

Chart = alt.LayerChart | alt.FacetChart  # as alt.layer() is typed


def _vega_moment(moment: datetime) -> alt.DateTime:
    # A domain of plain milliseconds leaves the axis empty in Streamlit 1.67.
    parts = ("year", "month", "date", "hours", "minutes", "seconds")
    return alt.DateTime(**dict(zip(parts, moment.timetuple(), strict=False)), utc=True)


def _time_axis(window: Window) -> alt.X:
    domain = [_vega_moment(utc(moment)) for moment in (window.since, window.until)]
    return alt.X(
        "start:T",
        title=None,
        scale=alt.Scale(type="utc", domain=domain),
        axis=alt.Axis(grid=False, labelOverlap=True, tickCount=6, format=_clock(window)),
    )


def _clock(window: Window) -> str:
    if window.span <= timedelta(minutes=15):
        return "%H:%M:%S"
    return "%H:%M" if window.span <= timedelta(days=1) else "%d %b"


def _span(start: datetime, end: datetime) -> dict[str, Any]:
    """Two moments, UTC without a zone, as Vega makes no guess at their zone.

    On the axis they are milliseconds since 1970, in a tooltip texts: it would print the browser's.
    """
    row: dict[str, Any] = {}
    for name, label, moment in ("start", "from", start), ("end", "to", end):
        row[name] = moment.replace(tzinfo=UTC).timestamp() * 1000
        row[label] = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return row


def _gap(gap: StreamGap) -> dict[str, Any]:
    return {
        **_span(gap.start, gap.end),
        **({"from": "unknown"} if gap.begin_unknown else {}),
        "reason": gap.reason,
        "length": gap.length,
        "filling": gap.filling,
    }


def _bucket(bucket: Bucket, window: Window) -> dict[str, Any]:
    width = timedelta(seconds=window.bucket * 0.9)
    counted = "whole" if window.holds(bucket.start) else "only a part: not finished"
    return {
        **_span(bucket.start, bucket.start + width), "posts": bucket.posts, "counted": counted,
    }  # fmt: skip


def posts_over_time(
    buckets: Sequence[Bucket],
    gaps: Sequence[StreamGap],
    dead_letters: Sequence[LetterMark],
    window: Window,
) -> Chart:
    """Bars of posts; gaps as bands behind them, dead letters as amber marks on the axis.

    A bar that the window's ends cut, the last one always, is pale: it is not a fall.
    """
    x = _time_axis(window)
    bars = (
        alt.Chart(alt.InlineData([_bucket(bucket, window) for bucket in buckets]))
        .mark_rect(clip=True)  # mark_bar with two ends in x loses its height
        .encode(
            x=x,
            x2="end:T",
            y=alt.Y(
                "posts:Q",
                title=None,
                axis=alt.Axis(tickMinStep=1, tickCount=4, format=",d"),
                scale=alt.Scale(domain=[0, max((b.posts for b in buckets), default=1)], nice=True),
            ),
            y2=alt.datum(0),
            color=alt.condition("datum.counted == 'whole'", alt.value(BLUE), alt.value(PALE_BLUE)),
            tooltip=[alt.Tooltip("from:N"), alt.Tooltip("posts:Q", format=","), "counted:N"],
        )
    )
    missing = alt.Chart(alt.InlineData([_gap(gap) for gap in gaps]))
    seen = [alt.Tooltip("from:N", title="no stream from"), "to:N", "length:N", "reason:N",
            alt.Tooltip("filling:N", title="backfill")]  # fmt: skip
    color = alt.Color(
        "filling:N",
        scale=alt.Scale(domain=list(FILLINGS), range=list(FILLINGS.values())),
        legend=None,
    )
    bands = missing.mark_rect(opacity=0.25, clip=True).encode(x=x, x2="end:T", color=color,
                                                              tooltip=seen)  # fmt: skip
    # A gap of a second is thinner than a pixel in a day's chart; its edge still shows.
    edges = missing.mark_rule(clip=True).encode(x=x, color=color, tooltip=seen)
    letters = (
        alt.Chart(
            alt.InlineData([
                {**_span(mark.start, mark.end), "reason": mark.reason, "count": mark.count}
                for mark in dead_letters
            ])
        )
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
    )  # fmt: skip
    return alt.layer(bands, edges, bars, letters).properties(height=210)


def latency_over_time(buckets: Sequence[Bucket], window: Window) -> Chart:
    """Seconds from post to row: the median as a line, the 99th percentile as a paler one."""
    points = [
        {
            **_span(bucket.start, bucket.start),
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
    base = alt.Chart(alt.InlineData(points)).encode(
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
    ).properties(height=150)


def posts_in_words(buckets: Sequence[Bucket], gaps: Sequence[StreamGap], window: Window) -> str:
    """What `posts_over_time` shows, for people who hear it; each bar has its own numbers."""
    bar = duration(timedelta(seconds=window.bucket))
    if not buckets:
        return f"Posts over time: none in {duration(window.span)}"
    most = max(buckets, key=lambda bucket: bucket.posts)
    total = sum(bucket.posts for bucket in buckets)
    said = (
        f"Posts over time: {total:,} in {duration(window.span)}, "
        f"at most {most.posts:,} in {bar}, at {most.start:%H:%M:%S} UTC"
    )
    whole = [bucket for bucket in buckets if window.holds(bucket.start)]
    if whole:
        said += f"; the last whole {bar} brought {whole[-1].posts:,}"
    return f"{said}; {len(gaps)} gap{'s' * (len(gaps) != 1)}"


def latency_in_words(buckets: Sequence[Bucket]) -> str:
    """What `latency_over_time` shows, for people who hear it; each point has its own numbers."""
    worst = max((bucket.post_to_row_p99_ms or 0 for bucket in buckets), default=0)
    return f"Post to row over time, median and p99: at most {worst} ms"
