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
from infra.board import Watched
from infra.cluster import Cluster
from infra.policies import Policy, policies
from infra.producer import PORT
from infra.settings import Settings
from infra.sink import Sink
from infra.topic import Topic

SCRAPE_SECONDS = 30


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
        watched = Watched(
            args.sink.subscription.name,
            args.topic.dead_letter_reader.name,
            args.sink.function.name,
            args.cluster.cluster_name,
        )
        self.policies = {policy.key: self._policy(policy) for policy in policies(settings, watched)}
        self.board = monitoring.Dashboard(
            name,
            dashboard_json=pulumi.Output.json_dumps(board.layout(settings, watched)),
            opts=args.apis.after_apis(self),
        )
        self.register_outputs({"board": self.board.id})

    def _policy(self, policy: Policy) -> monitoring.AlertPolicy:
        settings = self._args.settings
        strategy: monitoring.AlertPolicyAlertStrategyArgsDict = {"auto_close": "86400s"}
        if policy.from_log:
            strategy["notification_rate_limit"] = {"period": "3600s"}
        return monitoring.AlertPolicy(
            f"{self._name}-{policy.key}",
            display_name=f"{settings.prefix}: {policy.title}",
            combiner="OR",
            severity=policy.severity,
            conditions=policy.conditions,
            documentation={
                "subject": f"{settings.prefix}: {policy.title}",
                "content": runbook.text(policy.key, settings),
                "mime_type": "text/markdown",
            },
            alert_strategy=strategy,
            notification_channels=[self.channel.name] if self.channel else [],
            user_labels={**settings.labels, "alert": policy.key},
            opts=self._args.apis.after_apis(self),
        )
