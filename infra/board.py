"""The Cloud Monitoring board of a stack, and the series that it shares with the alerts.

A dashboard there is one JSON document (cloud.google.com/monitoring/api/ref_v3/rest/v1/
projects.dashboards); this is that document. PromQL names the producer's own metrics as it exports
them; Google's are named by filters.
"""

from dataclasses import dataclass
from typing import Any

import pulumi

from infra.settings import Settings

Widget = dict[str, Any]


@dataclass(frozen=True)
class Watched:
    """Physical names of what Google's own metrics and logs are about."""

    push: pulumi.Input[str]
    dead_letters: pulumi.Input[str]
    function: pulumi.Input[str]
    cluster: pulumi.Input[str]


def selector(namespace: str) -> str:
    """PromQL labels of one stack's producer: another stack in the project has another namespace."""
    return f'{{namespace="{namespace}"}}'


def state(namespace: str, name: str) -> str:
    """PromQL of one state of the stream: 1 while it is in it."""
    return f'tweets_producer_stream_state{{namespace="{namespace}",state="{name}"}}'


def subscription(name: pulumi.Input[str], metric: str) -> pulumi.Output[str]:
    """Filter of a metric of a Pub/Sub subscription."""
    return pulumi.Output.concat(
        'resource.type = "pubsub_subscription" AND resource.labels.subscription_id = "',
        name,
        f'" AND metric.type = "pubsub.googleapis.com/subscription/{metric}"',
    )


def requests(service: pulumi.Input[str], *, failed: bool = False) -> pulumi.Output[str]:
    """Filter of the requests of a Cloud Run service; a gen 2 function is one of the same name."""
    return pulumi.Output.concat(
        'resource.type = "cloud_run_revision" AND resource.labels.service_name = "',
        service,
        '" AND metric.type = "run.googleapis.com/request_count"',
        ' AND metric.labels.response_code_class != "2xx"' if failed else "",
    )


def layout(settings: Settings, watched: Watched) -> Widget:
    """The board: the stream on top, then delivery, then the sink."""
    only = selector(settings.prefix)

    def rate(counter: str) -> str:
        return f"rate(tweets_producer_{counter}_total{only}[2m])"

    widgets = [
        _promql("Posts a second: read, published", [rate("posts"), rate("published")]),
        _promql("Seconds since the last post", [f"tweets_producer_last_post_age_seconds{only}"]),
        _promql("Lag behind X, seconds", [f"tweets_producer_lag_seconds{only}"]),
        _promql("Back-off, seconds", [f"tweets_producer_backoff_seconds{only}"]),
        _promql(
            "Posts of the month, and the budget",
            [f"tweets_producer_budget_used{only}", f"tweets_producer_budget_limit{only}"],
        ),
        _promql("Read, not published yet", [f"tweets_producer_held_messages{only}"]),
        _series(
            "Oldest message that waits for the sink, seconds",
            subscription(watched.push, "oldest_unacked_message_age"),
            "ALIGN_MAX",
        ),
        _series(
            "Dead letters waiting",
            subscription(watched.dead_letters, "num_undelivered_messages"),
            "ALIGN_MAX",
        ),
        _series("Pushes to the sink a second", requests(watched.function), "ALIGN_RATE"),
        _series("Refused pushes a second", requests(watched.function, failed=True), "ALIGN_RATE"),
    ]
    tiles = [_tile(place, widget) for place, widget in enumerate(widgets)]
    return {
        "displayName": settings.prefix,
        # A board's labels are names alone; a value would not be shown.
        "labels": {f"{key}-{value}": "" for key, value in settings.labels.items()},
        "mosaicLayout": {"columns": 48, "tiles": tiles},
    }


def _tile(place: int, widget: Widget) -> Widget:
    """Two in a row. Google leaves out a position of 0: stating it is a change at every `up`."""
    position = {"xPos": 24 * (place % 2), "yPos": 14 * (place // 2)}
    stated = {axis: at for axis, at in position.items() if at}
    return {**stated, "width": 24, "height": 14, "widget": widget}


def _promql(title: str, queries: list[str]) -> Widget:
    return _chart(title, [{"prometheusQuery": query} for query in queries])


def _series(title: str, series: pulumi.Input[str], aligner: str) -> Widget:
    aggregation = {
        "alignmentPeriod": "60s",
        "perSeriesAligner": aligner,
        "crossSeriesReducer": "REDUCE_SUM",
    }
    return _chart(title, [{"timeSeriesFilter": {"filter": series, "aggregation": aggregation}}])


def _chart(title: str, queries: list[Widget]) -> Widget:
    sets = [{"plotType": "LINE", "timeSeriesQuery": query} for query in queries]
    return {"title": title, "xyChart": {"dataSets": sets}}
