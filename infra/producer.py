"""The Deployment that reads X's stream and publishes each post, and what it may do.

X allows one connection, so there is one replica and a new pod starts only after the old one has
ended (Recreate). The cluster, the token and the topic belong to their own components.
"""

import json
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_gcp import pubsub, secretmanager

from infra import pod, x_token
from infra.apis import Apis
from infra.cluster import Cluster
from infra.image import Image
from infra.settings import Settings
from infra.sink import Sink
from infra.topic import Topic
from infra.x_token import Token

PORT = 8080
_RULES, _STATE = "/etc/producer", "/var/lib/producer"


@dataclass(frozen=True)
class ProducerArgs:
    """Where the producer runs, what it runs, where it publishes, and who reads that."""

    settings: Settings
    apis: Apis
    topic: Topic
    sink: Sink
    cluster: Cluster
    token: Token
    image: Image


class Producer(pulumi.ComponentResource):
    """Deployment `producer`, its account and grants, its rules, and the volume of its journal."""

    deployment: kubernetes.apps.v1.Deployment

    def __init__(
        self, name: str, args: ProducerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Producer", name, None, opts)
        namespace = args.cluster.namespace.metadata.name
        labels = {**args.settings.labels, "component": "producer"}
        inside = pulumi.ResourceOptions(parent=self, provider=args.cluster.provider)

        account = kubernetes.core.v1.ServiceAccount(
            name,
            metadata={"name": "producer", "namespace": namespace, "labels": labels},
            automount_service_account_token=False,
            opts=inside,
        )
        grants = _grants(self, name, args)
        rules = kubernetes.core.v1.ConfigMap(
            f"{name}-rules",
            # No name: other rules make another ConfigMap, so the pod rolls, and never half-way.
            metadata={"namespace": namespace, "labels": labels},
            immutable=True,
            data={
                "rules.json": json.dumps(
                    [rule.model_dump() for rule in args.settings.rules],
                    ensure_ascii=False,
                    indent=2,
                )
            },
            opts=inside,
        )
        state = kubernetes.core.v1.PersistentVolumeClaim(
            f"{name}-state",
            metadata={
                "name": "producer-state",
                "namespace": namespace,
                "labels": labels,
                # It is bound when the first pod mounts it, so waiting here would wait for ever.
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec={
                "access_modes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
            # It holds posts that are not published yet, and what the budget has spent.
            opts=args.apis.after_apis(
                self, protect=args.settings.protect, provider=args.cluster.provider
            ),
        )
        self.deployment = kubernetes.apps.v1.Deployment(
            name,
            metadata={"name": "producer", "namespace": namespace, "labels": labels},
            spec={
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "revision_history_limit": 3,
                "selector": {"match_labels": {"app": "tweets", "component": "producer"}},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        **pod.spec(
                            account,
                            _container(args),
                            volumes=[
                                {"name": "rules", "config_map": {"name": rules.metadata.name}},
                                {
                                    "name": "state",
                                    "persistent_volume_claim": {"claim_name": state.metadata.name},
                                },
                            ],
                            mounts=[
                                {"name": "rules", "mount_path": _RULES, "read_only": True},
                                {"name": "state", "mount_path": _STATE},
                            ],
                        ),
                        "termination_grace_period_seconds": 30,
                    },
                },
            },
            # A subscription gets nothing that was published before it: a producer that starts
            # earlier, or outlives it in a destroy, reads posts that are paid for and never rows.
            # Ready needs a first connect to X: with a wrong token `up` fails after ten minutes and
            # names the pod, instead of waiting for ever.
            opts=pulumi.ResourceOptions(
                parent=self,
                # Destroyed it reads no more; what it stands on cannot go before it.
                protect=args.settings.protect,
                provider=args.cluster.provider,
                depends_on=[*grants, args.token, args.image, args.topic, args.sink],
                custom_timeouts=pulumi.CustomTimeouts(create="10m", update="10m"),
            ),
        )
        self.register_outputs({"deployment": self.deployment.metadata.name})


def _grants(parent: Producer, name: str, args: ProducerArgs) -> list[pulumi.Resource]:
    member = pulumi.Output.concat(args.cluster.identities, "producer")
    child = args.apis.after_apis(parent)
    publish = [
        pubsub.TopicIAMMember(
            f"{name}-publishes-{key}",
            topic=topic.name,
            role="roles/pubsub.publisher",
            member=member,
            opts=child,
        )
        for key, topic in (("posts", args.topic.topic), ("dead-letters", args.topic.dead_letters))
    ]
    read = secretmanager.SecretIamMember(
        f"{name}-reads-token",
        secret_id=args.token.secret_id,
        role="roles/secretmanager.secretAccessor",
        member=member,
        opts=child,
    )
    return [*publish, read]


def _container(args: ProducerArgs) -> kubernetes.core.v1.ContainerArgsDict:
    return {
        "name": "producer",
        "image": args.image.ref,
        "command": ["python", "-m", "producer"],
        "env": [
            *pod.environment(
                TOPIC=args.topic.path,
                DEAD_LETTER_TOPIC=args.topic.dead_letter_path,
                X_BEARER_TOKEN_FILE=x_token.PATH,
                X_API_BASE_URL="https://api.x.com",
                RULES_FILE=f"{_RULES}/rules.json",
                POST_BUDGET=str(args.settings.post_budget),
                BACKFILL_MINUTES=str(args.settings.backfill_minutes),
                X_FIELDS=args.settings.x_fields,
                STATE_DIR=_STATE,
                HOST="0.0.0.0",  # noqa: S104 - the kubelet and the collector come from outside
                PORT=str(PORT),
                LOG_LEVEL="INFO",
            ),
            {"name": "INSTANCE", "value_from": {"field_ref": {"field_path": "metadata.name"}}},
        ],
        "ports": [{"name": "http", "container_port": PORT}],
        "liveness_probe": {
            "http_get": {"path": "/healthz", "port": "http"},
            "period_seconds": 20,
            "timeout_seconds": 5,
            "failure_threshold": 6,
        },
        "readiness_probe": {
            "http_get": {"path": "/readyz", "port": "http"},
            "period_seconds": 10,
            "timeout_seconds": 5,
        },
    }
