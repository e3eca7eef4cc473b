"""The Cloud Function that writes messages into BigQuery, and the subscription that feeds it.

The trigger is our own push subscription, not an Eventarc one: only ours can have a dead-letter
policy (terraform-provider-google #25069). Topic, tables and how the source becomes an image belong
to their own components.
"""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import bigquery, cloudfunctionsv2, cloudrunv2, pubsub, serviceaccount

from infra.apis import Apis
from infra.build import Build
from infra.settings import Settings
from infra.topic import WEEK, Topic
from infra.warehouse import Warehouse


@dataclass(frozen=True)
class SinkArgs:
    """What the sink reads from and writes to."""

    settings: Settings
    apis: Apis
    build: Build
    topic: Topic
    warehouse: Warehouse


class Sink(pulumi.ComponentResource):
    """Function, its accounts for run and push, and the push subscription."""

    function: cloudfunctionsv2.Function
    subscription: pubsub.Subscription

    def __init__(
        self, name: str, args: SinkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Sink", name, None, opts)
        self._name, self._args = name, args
        settings = args.settings
        runtime, grants = self._runtime()
        warehouse = args.warehouse

        self.function = cloudfunctionsv2.Function(
            name,
            name=f"{settings.prefix}-sink",
            location=settings.region,
            description="Writes pushed posts and events to BigQuery.",
            build_config=args.build.config,
            service_config={
                "service_account_email": runtime.email,
                "environment_variables": {
                    "TWEETS_TABLE": pulumi.Output.concat(
                        warehouse.path, ".", warehouse.tweets.table_id
                    ),
                    "EVENTS_TABLE": pulumi.Output.concat(
                        warehouse.path, ".", warehouse.stream_events.table_id
                    ),
                    "DEAD_LETTER_TOPIC": args.topic.dead_letter_path,
                    "FUNCTION_USE_ASGI": "true",
                },
                # Many requests wait for one insert, so one CPU serves hundreds of them.
                "max_instance_request_concurrency": settings.sink_concurrency,
                "available_cpu": "1",
                "available_memory": settings.sink_memory,
                "min_instance_count": 0,
                "max_instance_count": settings.sink_max_instances,
                "timeout_seconds": 60,
                "ingress_settings": "ALLOW_INTERNAL_ONLY",
                "all_traffic_on_latest_revision": True,
            },
            labels=settings.labels,
            opts=args.apis.after_apis(
                self,
                depends_on=[args.build, *grants],
                replace_when_failed=True,
            ),
        )
        self.subscription = self._push()
        self.register_outputs({"function": self.function.name})

    def _runtime(self) -> tuple[serviceaccount.Account, list[pulumi.Resource]]:
        """The account that the function runs as: two tables and the dead letters, no more."""
        name, args, settings = self._name, self._args, self._args.settings
        first = args.apis.after_apis(self)
        account = serviceaccount.Account(
            f"{name}-runtime",
            account_id=f"{settings.prefix}-sink",
            display_name=f"Sink function of {settings.prefix}",
            opts=first,
        )
        # insertAll needs tables.updateData and tables.get; on a table, dataEditor is the narrowest
        # predefined role with both.
        tables = {"tweets": args.warehouse.tweets, "events": args.warehouse.stream_events}
        writes = [
            bigquery.IamMember(
                f"{name}-writes-{key}",
                project=settings.project,
                dataset_id=table.dataset_id,
                table_id=table.table_id,
                role="roles/bigquery.dataEditor",
                member=account.member,
                opts=first,
            )
            for key, table in tables.items()
        ]
        # Google asks insertAll for datasets.get on the dataset too; this is the narrowest role with
        # it. Not by DatasetIamMember: see infra/dashboard.py.
        sees = bigquery.DatasetAccess(
            f"{name}-sees-dataset",
            dataset_id=args.warehouse.dataset.dataset_id,
            role="roles/bigquery.metadataViewer",
            user_by_email=account.email,
            opts=first,
        )
        letters = pubsub.TopicIAMMember(
            f"{name}-publishes-dead-letters",
            topic=args.topic.dead_letters.name,
            role="roles/pubsub.publisher",
            member=account.member,
            opts=first,
        )
        return account, [*writes, sees, letters]

    def _push(self) -> pubsub.Subscription:
        """The subscription, and the account whose token opens this function and nothing else."""
        name, args, settings = self._name, self._args, self._args.settings
        first = args.apis.after_apis(self)
        account = serviceaccount.Account(
            f"{name}-push",
            account_id=f"{settings.prefix}-push",
            display_name=f"Pub/Sub push to the sink of {settings.prefix}",
            opts=first,
        )
        # Pub/Sub's own account asks for the token. Without the right to (projects from before April
        # 2021 don't give it, cloud.google.com/pubsub/docs/authenticate-push-subscriptions) no push
        # arrives.
        signer = serviceaccount.IAMMember(
            f"{name}-agent-signs-push",
            service_account_id=account.name,
            role="roles/iam.serviceAccountOpenIdTokenCreator",
            member=args.apis.pubsub_agent,
            opts=first,
        )
        # A gen 2 function is a Cloud Run service of the same name.
        invoker = cloudrunv2.ServiceIamMember(
            f"{name}-push-invokes",
            name=self.function.name,
            location=settings.region,
            role="roles/run.invoker",
            member=account.member,
            opts=first,
        )
        url = self.function.service_config.apply(_url)
        subscription = pubsub.Subscription(
            name,
            name=f"{settings.prefix}-sink",
            topic=args.topic.path,
            push_config={
                "push_endpoint": url,
                # Google's default, stated: an answer that names it would be a change at each `up`.
                "attributes": {"x-goog-version": "v1"},
                "oidc_token": {"service_account_email": account.email, "audience": url},
            },
            ack_deadline_seconds=60,
            message_retention_duration=WEEK,
            expiration_policy={"ttl": ""},
            retry_policy={"minimum_backoff": "1s", "maximum_backoff": "300s"},
            dead_letter_policy={
                "dead_letter_topic": args.topic.dead_letter_path,
                "max_delivery_attempts": settings.max_delivery_attempts,
            },
            labels=settings.labels,
            # It holds the messages that are not rows yet, and gets none that came before it.
            opts=args.apis.after_apis(self, protect=settings.protect, depends_on=[invoker, signer]),
        )
        # Pub/Sub acknowledges a message here after it has dead-lettered it.
        pubsub.SubscriptionIAMMember(
            f"{name}-agent-acknowledges",
            subscription=subscription.name,
            role="roles/pubsub.subscriber",
            member=args.apis.pubsub_agent,
            opts=first,
        )
        return subscription


def _url(config: cloudfunctionsv2.outputs.FunctionServiceConfig | None) -> str:
    if config and config.uri:
        return config.uri
    if not pulumi.runtime.is_dry_run():
        raise pulumi.RunError(
            "the sink function has no address: its build did not end well; run pulumi up again, "
            "which builds it anew"
        )
    return ""
