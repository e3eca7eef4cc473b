"""What wakes a person: alert policies, each with the command to run, a board, and the scraping.

Producer metrics reach Cloud Monitoring through Managed Prometheus (PodMonitoring), which GKE
Autopilot runs by default; an existing Standard cluster must have managed collection on. Google's
own metrics of Pub/Sub and Cloud Run need nothing. Without `alertEmail` the incidents show in the
console only. Policies that exist in the project for other things are not touched.
"""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_gcp import monitoring

from infra import board, runbook
from infra.apis import Apis
from infra.cluster import Cluster
from infra.producer import PORT
from infra.settings import Settings
from infra.sink import Sink
from infra.topic import Topic

SCRAPE_SECONDS = 30
# The first back-off that lasts is the network's, at 16 s (producer/backoff.py, X's own rule).
CEILING_SECONDS = 16

_Condition = monitoring.AlertPolicyConditionArgsDict


@dataclass(frozen=True)
class AlertsArgs:
    """What is watched: the producer's namespace, the sink with its subscription, dead letters."""

    settings: Settings
    apis: Apis
    topic: Topic
    sink: Sink
    cluster: Cluster


class Alerts(pulumi.ComponentResource):
    """The e-mail channel, the policies by name, the board, and the PodMonitoring."""

    channel: monitoring.NotificationChannel | None
    policies: dict[str, monitoring.AlertPolicy]
    board: monitoring.Dashboard

    def __init__(
        self, name: str, args: AlertsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Alerts", name, None, opts)
        self._name, self._args = name, args
        settings = args.settings
        self.channel = None
        if settings.alert_email:
            self.channel = monitoring.NotificationChannel(
                name,
                type="email",
                display_name=f"{settings.prefix} alerts",
                labels={"email_address": settings.alert_email},
                user_labels=settings.labels,
                # A channel that a person has added to a policy of theirs must not block a destroy.
                force_delete=True,
                opts=args.apis.after_apis(self),
            )
        kubernetes.apiextensions.CustomResource(
            f"{name}-scrape",
            api_version="monitoring.googleapis.com/v1",
            kind="PodMonitoring",
            metadata={
                "name": "producer",
                "namespace": args.cluster.namespace.metadata.name,
                "labels": settings.labels,
            },
            spec={
                "selector": {"matchLabels": {"app": "tweets", "component": "producer"}},
                "endpoints": [{"port": PORT, "path": "/metrics", "interval": f"{SCRAPE_SECONDS}s"}],
            },
            opts=args.apis.after_apis(self, provider=args.cluster.provider),
        )
        self.policies = {}
        self._stream_policies()
        self._spend_policies()
        self._delivery_policies()
        self.board = monitoring.Dashboard(
            name,
            dashboard_json=pulumi.Output.json_dumps(
                board.layout(
                    settings.prefix,
                    settings.labels,
                    args.sink.subscription.name,
                    args.topic.dead_letter_reader.name,
                    args.sink.function.name,
                )
            ),
            opts=args.apis.after_apis(self),
        )
        self.register_outputs({"board": self.board.id})

    def _stream_policies(self) -> None:
        settings, here = self._args.settings, self._args.settings.prefix
        only = board.selector(here)
        quiet = settings.quiet_minutes
        self._policy(
            "quiet",
            f"No post for {quiet} minutes",
            "CRITICAL",
            [
                # A pause for the budget is meant, and has an alert of its own.
                _promql(
                    "no post although the stream should run",
                    f"max(tweets_producer_last_post_age_seconds{only}) > {quiet * 60} unless "
                    f"max({board.state(here, 'paused_budget')}) == 1",
                ),
                _promql(
                    "no producer",
                    f"absent_over_time(tweets_producer_start_time_seconds{only}[15m])",
                ),
                # A new process counts silence from its start: one that keeps dying is never old.
                _promql(
                    "producer keeps restarting",
                    f"max(changes(tweets_producer_start_time_seconds{only}[30m])) > 3",
                ),
            ],
        )
        self._policy(
            "backoff",
            "X does not let the stream connect",
            "ERROR",
            [
                _promql(
                    f"back-off of {CEILING_SECONDS} s or more for 15 minutes",
                    f"max(min_over_time(tweets_producer_backoff_seconds{only}[15m])) "
                    f">= {CEILING_SECONDS}",
                )
            ],
        )

    def _spend_policies(self) -> None:
        here = self._args.settings.prefix
        only = board.selector(here)
        limit = f"(max(tweets_producer_budget_limit{only}) > 0)"
        share = f"max(tweets_producer_budget_used{only}) / {limit}"
        self._policy(
            "spend-80", "80 % of the post budget used", "WARNING",
            [_promql("80 % used", f"{share} >= 0.8")],
        )  # fmt: skip
        self._policy(
            "spend-100",
            "Post budget used up, the stream is paused",
            "ERROR",
            [
                _promql("all used", f"{share} >= 1"),
                # It disconnects before the budget is passed, so a little less than all is used.
                _promql("paused", f"max({board.state(here, 'paused_budget')}) == 1"),
            ],
        )

    def _delivery_policies(self) -> None:
        args = self._args
        self._policy(
            "backlog",
            "Posts wait for more than 5 minutes to become rows",
            "ERROR",
            [
                _threshold(
                    "oldest unacknowledged message",
                    board.subscription(args.sink.subscription.name, "oldest_unacked_message_age"),
                    above=300,
                    lasting=300,
                    aligner="ALIGN_MAX",
                )
            ],
        )
        self._policy(
            "dead-letters",
            "Dead letters are waiting",
            "WARNING",
            [
                _threshold(
                    "messages in the dead-letter subscription",
                    board.subscription(
                        args.topic.dead_letter_reader.name, "num_undelivered_messages"
                    ),
                    above=0,
                    lasting=0,
                    aligner="ALIGN_MAX",
                )
            ],
        )
        self._policy(
            "sink-errors",
            "The sink answers with errors",
            "ERROR",
            [
                _threshold(
                    "answers that are not 2xx",
                    board.requests(args.sink.function.name, failed=True),
                    above=0,
                    lasting=600,
                    aligner="ALIGN_DELTA",
                )
            ],
        )

    def _policy(self, key: str, title: str, severity: str, conditions: list[_Condition]) -> None:
        settings = self._args.settings
        self.policies[key] = monitoring.AlertPolicy(
            f"{self._name}-{key}",
            display_name=f"{settings.prefix}: {title}",
            combiner="OR",
            severity=severity,
            conditions=conditions,
            documentation={
                "subject": f"{settings.prefix}: {title}",
                "content": runbook.text(key, settings),
                "mime_type": "text/markdown",
            },
            alert_strategy={"auto_close": "86400s"},
            notification_channels=[self.channel.name] if self.channel else [],
            user_labels={**settings.labels, "alert": key},
            opts=self._args.apis.after_apis(self),
        )


def _promql(title: str, query: str) -> _Condition:
    return {
        "display_name": title,
        "condition_prometheus_query_language": {
            "query": query,
            "duration": "60s",
            "evaluation_interval": "60s",
            # The metric exists only after the first scrape; `up` comes before.
            "disable_metric_validation": True,
        },
    }


def _threshold(
    title: str, series: pulumi.Input[str], *, above: int, lasting: int, aligner: str
) -> _Condition:
    return {
        "display_name": title,
        "condition_threshold": {
            "filter": series,
            "comparison": "COMPARISON_GT",
            "threshold_value": above,
            "duration": f"{lasting}s",
            "aggregations": [
                {
                    "alignment_period": "300s" if aligner == "ALIGN_DELTA" else "60s",
                    "per_series_aligner": aligner,
                    "cross_series_reducer": "REDUCE_SUM",
                }
            ],
        },
    }
