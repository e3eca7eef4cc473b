"""Resources of the program on the stand-ins: what is applied, what is explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery
from pulumi.runtime.proto import resource_pb2

from local.engine.apply import APPLIERS, CLOUD_ONLY, Targets, apply
from local.engine.program import Resource
from local.engine.topics import Messaging
from local.machine.errors import StackError
from local.machine.pod import PodContext
from local.pubsub import PubSubServer
from tests.bigquery_server import BigQueryServer

PROJECT = "local-demo"
TOPIC = "gcp:pubsub/topic:Topic"
SUBSCRIPTION = "gcp:pubsub/subscription:Subscription"
TABLE = "gcp:bigquery/table:Table"
FUNCTION_URI = "https://tweets-dev-sink-abc.a.run.app"


def resource(kind: str, name: str, /, outputs: Mapping[str, Any] = {}, **inputs: Any) -> Resource:
    """A resource as the program's recorder gives it."""
    return Resource(
        type=kind,
        name=name,
        urn=f"urn:{kind}::{name}",
        parent="",
        custom=True,
        inputs=inputs,
        secret_inputs=frozenset(),
        outputs={**inputs, **outputs},
        id=name,
        options=resource_pb2.RegisterResourceRequest(),
    )


class Started:
    """Takes the processes that applying starts, in place of a launcher."""

    def __init__(self) -> None:
        self.functions: list[tuple[Mapping[str, Any], Path]] = []
        self.pods: list[tuple[Mapping[str, Any], PodContext]] = []

    def function(self, inputs: Mapping[str, Any], archive: Path) -> None:
        """Take a function."""
        self.functions.append((inputs, archive))

    def pod(self, inputs: Mapping[str, Any], cluster: PodContext) -> None:
        """Take a pod."""
        self.pods.append((inputs, cluster))


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[Messaging, bigquery.Client]]:
    """Official clients of both stand-ins."""
    with PubSubServer() as pubsub, BigQueryServer(project=PROJECT) as server:
        messaging, client = Messaging(pubsub.address, PROJECT), server.client()
        yield messaging, client
        messaging.close()
        client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def started() -> Started:
    """What the ground was asked to start."""
    return Started()


@pytest.fixture
def ground(clients: tuple[Messaging, bigquery.Client], started: Started) -> Targets:
    """A ground on the stand-ins."""
    messaging, client = clients
    return Targets(messaging, client, started.function, started.pod, "http://127.0.0.1:1234")


def function(**service: Any) -> list[Resource]:
    """A function with the object that holds its source."""
    return [
        resource("gcp:storage/bucketObject:BucketObject", "code", name="s.zip", source="/s.zip"),
        resource(
            "gcp:cloudfunctionsv2/function:Function",
            "sink",
            {"serviceConfig": {"uri": FUNCTION_URI}},
            buildConfig={"entryPoint": "sink", "source": {"storageSource": {"object": "s.zip"}}},
            serviceConfig=service,
        ),
    ]


def test_topic_and_subscription_stand_as_declared(ground: Targets) -> None:
    """Retention, retry, dead-letter policy and labels are as declared; only the push moves."""
    resources = [
        # A subscription first: the table's order, not the list's, decides.
        resource(
            SUBSCRIPTION,
            "sink",
            name="tweets-dev-sink",
            topic=f"projects/{PROJECT}/topics/tweets-dev",
            pushConfig={
                "pushEndpoint": f"{FUNCTION_URI}/in",
                "oidcToken": {"serviceAccountEmail": "push@p.iam.gserviceaccount.com"},
            },
            ackDeadlineSeconds=60,
            messageRetentionDuration="604800s",
            expirationPolicy={"ttl": ""},
            retryPolicy={"minimumBackoff": "1s", "maximumBackoff": "300s"},
            deadLetterPolicy={
                "deadLetterTopic": f"projects/{PROJECT}/topics/tweets-dev-dead",
                "maxDeliveryAttempts": 42,
            },
            labels={"app": "tweets"},
        ),
        resource(TOPIC, "topic", name="tweets-dev", messageRetentionDuration="604800s"),
        resource(TOPIC, "dead", name="tweets-dev-dead"),
        *function(),
    ]
    placements = apply(resources, ground)
    assert [each.state for each in placements] == ["applied"] * 5
    kept = ground.messaging.subscriber.get_subscription(
        subscription=f"projects/{PROJECT}/subscriptions/tweets-dev-sink"
    )
    assert kept.push_config.push_endpoint == "http://127.0.0.1:1234/in"
    assert kept.push_config.oidc_token.service_account_email == "push@p.iam.gserviceaccount.com"
    assert kept.ack_deadline_seconds == 60
    assert kept.message_retention_duration.total_seconds() == 604800
    assert kept.retry_policy.maximum_backoff.total_seconds() == 300
    assert kept.dead_letter_policy.max_delivery_attempts == 42
    assert dict(kept.labels) == {"app": "tweets"}
    assert "ttl" not in kept.expiration_policy
    topic = ground.messaging.publisher.get_topic(topic=f"projects/{PROJECT}/topics/tweets-dev")
    assert topic.message_retention_duration.total_seconds() == 604800


def test_applying_again_changes_what_changed(ground: Targets) -> None:
    """What a data directory kept becomes what is declared now."""
    topic = resource(TOPIC, "t", name="again")
    for seconds in (20, 30):
        reader = resource(
            SUBSCRIPTION, "s", name="again-reader", topic="again", ackDeadlineSeconds=seconds
        )
        apply([topic, reader], ground)
        kept = ground.messaging.subscriber.get_subscription(
            subscription=f"projects/{PROJECT}/subscriptions/again-reader"
        )
        assert kept.ack_deadline_seconds == seconds


def test_a_push_to_somewhere_else_is_refused(ground: Targets) -> None:
    """A push endpoint that is not the function's would go nowhere, and is named."""
    declared = resource(
        SUBSCRIPTION,
        "s",
        name="far",
        topic="t",
        pushConfig={"pushEndpoint": "https://other.example"},
    )
    with pytest.raises(
        StackError, match=r"pushes to https://other\.example, which is not the func"
    ):
        apply([*function(), declared], ground)


def test_an_input_that_pubsub_does_not_know_is_named(ground: Targets) -> None:
    """A field that no topic has is an error with its name, not a silent difference."""
    with pytest.raises(StackError, match="retentionOfDreams"):
        apply([resource(TOPIC, "t", name="odd", retentionOfDreams="1s")], ground)


def test_table_and_view_come_from_their_declaration(ground: Targets) -> None:
    """Columns, partitions, clustering and the view's SQL are the declared ones."""
    resources = [
        resource("gcp:bigquery/dataset:Dataset", "d", datasetId="made", location="EU"),
        resource(
            TABLE,
            "t",
            datasetId="made",
            tableId="posts",
            schema='[{"name": "id", "type": "INTEGER", "mode": "REQUIRED"},'
            ' {"name": "at", "type": "DATETIME", "mode": "REQUIRED"}]',
            timePartitioning={"type": "DAY", "field": "at", "expirationMs": 0},  # 0: never
            clusterings=["id"],
            deletionProtection=False,
        ),
        resource(
            TABLE,
            "v",
            datasetId="made",
            tableId="posts_odd",
            view={
                "query": f"SELECT id FROM `{PROJECT}.made.posts` WHERE MOD(id, 2) = 1",
                "useLegacySql": False,
            },
        ),
    ]
    apply(resources, ground)
    client = ground.bigquery
    table = client.get_table(f"{PROJECT}.made.posts")
    assert [(f.name, f.mode) for f in table.schema] == [("id", "REQUIRED"), ("at", "REQUIRED")]
    assert table.time_partitioning.field == "at"
    assert table.time_partitioning.expiration_ms is None
    assert table.clustering_fields == ["id"]
    row = {"at": "2026-01-01T00:00:00"}
    assert client.insert_rows_json(table, [{"id": n, **row} for n in (1, 2, 3)]) == []
    rows = client.query("SELECT id FROM made.posts_odd ORDER BY id").result()
    assert [each["id"] for each in rows] == [1, 3]

    apply(resources, ground)  # as after a restart: rows stay, the view is made anew
    assert client.query("SELECT COUNT(*) AS n FROM made.posts_odd").result().total_rows == 1
    changed = resource(
        TABLE, "t", datasetId="made", tableId="posts", schema='[{"name": "x", "type": "STRING"}]'
    )
    with pytest.raises(StackError, match="another schema than the program declares now"):
        apply([changed], ground)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("not JSON", "the schema is not JSON"),
        ('[{"name": "id", "type": "INTEGRE", "mode": "REQUIRED"}]', "BigQuery refuses it"),
    ],
)
def test_a_wrong_schema_names_the_table(ground: Targets, schema: str, words: str) -> None:
    """A schema that BigQuery would refuse is refused here, with the table's name."""
    dataset = resource("gcp:bigquery/dataset:Dataset", "d", datasetId="wrong")
    table = resource(TABLE, "t", datasetId="wrong", tableId="t", schema=schema)
    with pytest.raises(StackError, match=rf"local-demo\.wrong\.t.*{words}"):
        apply([dataset, table], ground)


def test_function_and_pod_get_what_they_refer_to(ground: Targets, started: Started) -> None:
    """The function gets its archive, the pod what ConfigMap, secret and image hold."""
    metadata = {"metadata": {"name": "rules-abc"}}
    apply(
        [
            resource("kubernetes:apps/v1:Deployment", "pod", metadata={"name": "producer"}),
            resource("kubernetes:core/v1:ConfigMap", "rules", metadata, data={"rules.json": "[]"}),
            resource(
                "gcp:secretmanager/secretVersion:SecretVersion",
                "v",
                secret="projects/p/secrets/s",
                secretData="AAAA",
            ),
            resource("docker-build:index:Image", "image", context={"location": "/code"}),
            *function(),
        ],
        ground,
    )
    assert [archive for _, archive in started.functions] == [Path("/s.zip")]
    [(_, cluster)] = started.pods
    assert cluster.config_maps == {"rules-abc": {"rules.json": "[]"}}
    assert cluster.secrets == {"projects/p/secrets/s": "AAAA"}
    assert cluster.context == Path("/code")
    assert "AAAA" not in repr(cluster)


def test_a_function_without_its_archive_is_named(ground: Targets) -> None:
    """A function whose source object nobody declares can't be deployed anywhere."""
    with pytest.raises(StackError, match=r"function sink: no BucketObject 's\.zip' is declared"):
        apply(function()[1:], ground)


def test_nothing_is_skipped_silently(ground: Targets) -> None:
    """What is not applied is listed with the reason; a type nobody thought of is listed too."""
    resources = [
        resource("gcp:container/cluster:Cluster", "c"),
        resource("gcp:spanner/instance:Instance", "s"),
    ]
    notes = {each.resource.name: (each.state, each.note) for each in apply(resources, ground)}
    assert notes["c"] == ("cloud-only", "no Kubernetes; the pod is a process")
    assert notes["s"] == ("cloud-only", "no local counterpart")
    assert not APPLIERS.keys() & CLOUD_ONLY.keys()
