"""Names that the services rely on: environment, tables, topics, files in the pod."""

import json
from typing import Any

from local.engine.program import ROOT, Program

SCHEMAS = ROOT / "services" / "sink_function" / "sink" / "schema"


def producer(program: Program) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pod and container of the producer."""
    pod = program.one("apps/v1:Deployment", "producer").inputs["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Plain variables of a container."""
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def test_producer_gets_its_whole_environment(program: Program) -> None:
    """The producer is told every name that it reads, and none of them is the token."""
    _, container = producer(program)
    topic = program.one("pubsub/topic:Topic", "topic").id
    assert container["command"] == ["python", "-m", "producer"]
    assert environment(container) == {
        "TOPIC": topic,
        "DEAD_LETTER_TOPIC": f"{topic}-dead-letters",
        "X_BEARER_TOKEN_FILE": "/var/run/secrets/x/bearer-token",
        "X_API_BASE_URL": "https://api.x.com",
        "RULES_FILE": "/etc/producer/rules.json",
        "POST_BUDGET": "10000",
        "BACKFILL_MINUTES": "0",
        "X_FIELDS": "tweet.fields=withheld,paid_partnership&expansions=referenced_tweets.id",
        "STATE_DIR": "/var/lib/producer",
        "HOST": "0.0.0.0",
        "PORT": "8080",
        "LOG_LEVEL": "INFO",
    }
    named = [entry for entry in container["env"] if entry["name"] == "INSTANCE"]
    assert named[0]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


def test_every_path_in_the_environment_is_mounted(program: Program) -> None:
    """Rules, token and state lie on volumes that the pod declares."""
    pod, container = producer(program)
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    rules = program.one("core/v1:ConfigMap", "producer-rules")
    claim = program.one("core/v1:PersistentVolumeClaim")
    secret_class = program.one("SecretProviderClass")
    files = json.loads(secret_class.inputs["spec"]["parameters"]["secrets"])

    config_map = volumes[mounts["/etc/producer"]]["configMap"]
    assert config_map["name"] == rules.outputs["metadata"]["name"]
    assert "rules.json" in rules.inputs["data"]
    stored = volumes[mounts["/var/lib/producer"]]["persistentVolumeClaim"]
    assert stored["claimName"] == claim.inputs["metadata"]["name"]
    csi = volumes[mounts["/var/run/secrets/x"]]["csi"]
    assert csi["driver"] == "secrets-store-gke.csi.k8s.io"
    attributes = csi["volumeAttributes"]
    assert attributes["secretProviderClass"] == secret_class.inputs["metadata"]["name"]
    read = program.one("secretmanager/secretIamMember:SecretIamMember", "producer-reads-token")
    secret = f"projects/my-project/secrets/{read.inputs['secretId']}"
    assert files == [{"resourceName": f"{secret}/versions/latest", "path": "bearer-token"}]


def test_probes_ask_the_port_that_the_producer_serves(program: Program) -> None:
    """Kubernetes asks /healthz and /readyz where PORT says they are."""
    _, container = producer(program)
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_sink_gets_its_whole_environment(program: Program) -> None:
    """The function is told both tables and the dead letters, and runs the ASGI server."""
    service = program.one("cloudfunctionsv2/function:Function").inputs["serviceConfig"]
    dataset = program.one("bigquery/dataset:Dataset").inputs["datasetId"]
    assert service["environmentVariables"] == {
        "TWEETS_TABLE": f"my-project.{dataset}.tweets",
        "EVENTS_TABLE": f"my-project.{dataset}.stream_events",
        "DEAD_LETTER_TOPIC": program.one("pubsub/topic:Topic", "topic-dead-letters").id,
        "FUNCTION_USE_ASGI": "true",
    }


def test_tables_are_the_schema_files(program: Program) -> None:
    """Columns, partitions and descriptions of a table come from the file that the sink checks."""
    for table, day in (("tweets", "created_at"), ("stream_events", "at")):
        declared = program.one("bigquery/table:Table", f"warehouse-{table}").inputs
        columns = json.loads(declared["schema"])
        assert columns == json.loads((SCHEMAS / f"{table}.json").read_text("utf-8"))
        assert all(column["description"] for column in columns)
        assert declared["timePartitioning"]["type"] == "DAY"
        assert declared["timePartitioning"]["field"] == day
        # Stated even where nothing expires: left out, the provider keeps the value of before.
        assert declared["timePartitioning"]["expirationMs"] == 0
        assert set(declared["clusterings"]) <= {column["name"] for column in columns}


def test_names_are_the_documented_ones(program: Program) -> None:
    """Topic, dead letters and reader are named after the stack, as every tool expects."""
    topic = program.one("pubsub/topic:Topic", "topic").inputs["name"]
    reader = program.one("pubsub/subscription:Subscription", "topic-dead-letters-reader")
    assert topic.startswith("tweets-")
    assert reader.inputs["name"] == f"{topic}-dead-letters-reader"
    assert reader.inputs["topic"].endswith(f"/topics/{topic}-dead-letters")
    assert "pushConfig" not in reader.inputs


def test_other_rules_roll_the_pod(dev: Program) -> None:
    """Rules are in an immutable ConfigMap without a fixed name: a change makes a new one."""
    rules = dev.one("core/v1:ConfigMap", "producer-rules").inputs
    assert rules["immutable"] is True
    assert "name" not in rules["metadata"]
