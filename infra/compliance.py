"""The scheduled purge of posts and users that X says are deleted; off unless `complianceSchedule`.

It runs `python -m operations compliance run --yes` in the producer's image: it asks X which of the
ids we hold are gone and removes them from the table and from the dead letters. X requires that
within 24 hours of a request (developer agreement), so a daily schedule is the least that keeps it.
"""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_gcp import bigquery, projects, pubsub, secretmanager

from infra import pod, x_token
from infra.apis import Apis
from infra.cluster import Cluster
from infra.image import Image
from infra.settings import Settings
from infra.topic import Topic
from infra.warehouse import Warehouse
from infra.x_token import Token


@dataclass(frozen=True)
class ComplianceArgs:
    """`settings.compliance_schedule` is five cron fields, UTC."""

    settings: Settings
    apis: Apis
    topic: Topic
    warehouse: Warehouse
    cluster: Cluster
    token: Token
    image: Image


class Compliance(pulumi.ComponentResource):
    """CronJob `compliance`, its account and grants. One run at a time."""

    job: kubernetes.batch.v1.CronJob

    def __init__(
        self, name: str, args: ComplianceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Compliance", name, None, opts)
        namespace = args.cluster.namespace.metadata.name
        labels = {**args.settings.labels, "component": "compliance"}
        inside = pulumi.ResourceOptions(parent=self, provider=args.cluster.provider)
        account = kubernetes.core.v1.ServiceAccount(
            name,
            metadata={"name": "compliance", "namespace": namespace, "labels": labels},
            automount_service_account_token=False,
            opts=inside,
        )
        grants = _grants(self, name, args)
        self.job = kubernetes.batch.v1.CronJob(
            name,
            metadata={"name": "compliance", "namespace": namespace, "labels": labels},
            spec={
                "schedule": args.settings.compliance_schedule,
                "time_zone": "Etc/UTC",
                "concurrency_policy": "Forbid",
                "starting_deadline_seconds": 3600,
                "successful_jobs_history_limit": 3,
                "failed_jobs_history_limit": 3,
                "job_template": {
                    "spec": {
                        # 10 minutes of tries: letters that a killed run had leased are back in
                        # one (exit code 3). What was asked for wrongly (2) never passes.
                        "backoff_limit": 6,
                        "pod_failure_policy": {
                            "rules": [
                                {
                                    "action": "FailJob",
                                    "on_exit_codes": {"operator": "In", "values": [2]},
                                }
                            ]
                        },
                        "active_deadline_seconds": 6 * 3600,
                        "template": {
                            "metadata": {"labels": labels},
                            "spec": {
                                **pod.spec(account, _container(args)),
                                "restart_policy": "Never",
                            },
                        },
                    }
                },
            },
            opts=pulumi.ResourceOptions(
                parent=self, provider=args.cluster.provider, depends_on=[*grants, args.token]
            ),
        )
        self.register_outputs({"job": self.job.metadata.name})


def _grants(parent: Compliance, name: str, args: ComplianceArgs) -> list[pulumi.Resource]:
    member = pulumi.Output.concat(args.cluster.identities, "compliance")
    child = args.apis.after_apis(parent)
    return [
        # DELETE and SELECT; on a table, dataEditor is the narrowest predefined role with both.
        bigquery.IamMember(
            f"{name}-purges-tweets",
            project=args.settings.project,
            dataset_id=args.warehouse.tweets.dataset_id,
            table_id=args.warehouse.tweets.table_id,
            role="roles/bigquery.dataEditor",
            member=member,
            opts=child,
        ),
        # The right to run a query is given on a project and opens no data.
        projects.IAMMember(
            f"{name}-runs-jobs",
            project=args.settings.project,
            role="roles/bigquery.jobUser",
            member=member,
            opts=child,
        ),
        pubsub.SubscriptionIAMMember(
            f"{name}-reads-dead-letters",
            subscription=args.topic.dead_letter_reader.name,
            role="roles/pubsub.subscriber",
            member=member,
            opts=child,
        ),
        pubsub.TopicIAMMember(
            f"{name}-publishes-events",
            topic=args.topic.topic.name,
            role="roles/pubsub.publisher",
            member=member,
            opts=child,
        ),
        secretmanager.SecretIamMember(
            f"{name}-reads-token",
            secret_id=args.token.secret_id,
            role="roles/secretmanager.secretAccessor",
            member=member,
            opts=child,
        ),
    ]


def _container(args: ComplianceArgs) -> kubernetes.core.v1.ContainerArgsDict:
    return {
        "name": "compliance",
        "image": args.image.ref,
        "command": ["python", "-m", "operations", "compliance", "run", "--yes"],
        "env": pod.environment(
            TOPIC=args.topic.path,
            DEAD_LETTER_TOPIC=args.topic.dead_letter_path,
            DEAD_LETTER_SUBSCRIPTION=args.topic.dead_letter_reader.id,
            DATASET=args.warehouse.path,
            X_BEARER_TOKEN_FILE=x_token.PATH,
            X_API_BASE_URL="https://api.x.com",
        ),
    }
