"""The alerts and the board, beside the metrics that the producer really exports."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from prometheus_client.core import CounterMetricFamily

from local.engine.program import Program, Resource, evaluate
from operations.__main__ import main as operations
from producer.backoff import Waits
from producer.stats import STATES, Stats

CONFIG: dict[str, object] = {
    "gcp:project": "my-project",
    "rules": [{"value": "cats", "tag": "cats"}],
    "xBearerToken": "AAAAAAAA",
    "alertEmail": "team@example.com",
    "quietMinutes": 45,
    "spikeFactor": 4,
    "complianceSchedule": "17 3 * * *",
    "dashboard": True,
}
METRIC = re.compile(r"\btweets_producer_\w+")


@pytest.fixture(scope="module")
def program() -> Program:
    """The program of a stack with alerts and page."""
    return evaluate("qa", CONFIG)


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """Names of the series on the producer's /metrics."""
    return {
        metric.name + ("_total" if isinstance(metric, CounterMetricFamily) else "")
        for metric in Stats().collect()
    }


def of_type(program: Program, kind: str) -> list[Resource]:
    """The resources of a Pulumi type."""
    return [resource for resource in program.resources if resource.type == kind]


def policies(program: Program) -> dict[str, dict[str, Any]]:
    """Alert policies by the key in their labels."""
    found = of_type(program, "gcp:monitoring/alertPolicy:AlertPolicy")
    return {policy.inputs["userLabels"]["alert"]: policy.inputs for policy in found}


def queries(policy: dict[str, Any]) -> list[str]:
    """The PromQL of a policy's conditions."""
    return [
        condition["conditionPrometheusQueryLanguage"]["query"]
        for condition in policy["conditions"]
        if "conditionPrometheusQueryLanguage" in condition
    ]


def test_what_is_watched(program: Program) -> None:
    """One policy for each thing that a person must know of."""
    assert set(policies(program)) == {
        "quiet", "backoff", "backlog", "dead-letters", "sink-errors", "spend-80", "spend-100",
        "compliance", "spike",
    }  # fmt: skip


def test_promql_names_what_the_producer_exports(program: Program, exported: set[str]) -> None:
    """A renamed metric would leave its alert silent for ever: each name is a real one."""
    [board] = of_type(program, "gcp:monitoring/dashboard:Dashboard")
    text = board.inputs["dashboardJson"] + "".join(
        query for policy in policies(program).values() for query in queries(policy)
    )
    named = set(METRIC.findall(text))
    assert named
    assert named <= exported
    assert set(re.findall(r'state=\\?"(\w+)', text)) <= set(STATES)


def test_promql_looks_at_its_own_stack(program: Program) -> None:
    """Two stacks in a project do not set off each other's alerts."""
    for policy in policies(program).values():
        for query in queries(policy):
            assert len(METRIC.findall(query)) == query.count('namespace="tweets-qa"')


def test_thresholds_are_the_settings(program: Program) -> None:
    """QuietMinutes reaches the query in seconds; the back-off is the first ceiling of X's rules."""
    assert "> 2700" in queries(policies(program)["quiet"])[0]
    assert f">= {Waits().network_max:.0f}" in queries(policies(program)["backoff"])[0]
    assert queries(policies(program)["spend-80"])[0].endswith(">= 0.8")


def test_spike_compares_with_the_same_hour_of_the_days_before(program: Program) -> None:
    """Far above and far below the mean of seven days; a day without data is left out of it."""
    above, below = queries(policies(program)["spike"])
    posts = 'tweets_producer_posts_total{namespace="tweets-qa"}'
    assert above.startswith(f"sum(rate({posts}[1h])) > 4 * clamp_min(avg(label_replace(")
    assert below.endswith(" > 1 / 60) / 4")
    for query in (above, below):
        assert re.findall(r"offset (\d)d", query) == ["1", "2", "3", "4", "5", "6", "7"]
        assert query.count("(") == query.count(")")
    assert "4 times" in policies(program)["spike"]["displayName"]
    assert "tweets:spikeFactor" in policies(program)["spike"]["documentation"]["content"]


def test_a_failed_purge_is_an_alert(program: Program) -> None:
    """The Job that Kubernetes gave up is found by its event, in its own namespace and cluster."""
    policy = policies(program)["compliance"]
    [condition] = policy["conditions"]
    entries = condition["conditionMatchedLog"]["filter"]
    cluster = program.outputs["cluster"]
    [job] = of_type(program, "kubernetes:batch/v1:CronJob")
    assert f'cluster_name="{cluster}"' in entries
    assert f'involvedObject.namespace="{job.outputs["metadata"]["namespace"]}"' in entries
    assert f'involvedObject.name=~"^{job.outputs["metadata"]["name"]}-"' in entries
    # What the Job's own specification can end it with.
    spec = job.inputs["spec"]["jobTemplate"]["spec"]
    for key, reason in (
        ("backoffLimit", "BackoffLimitExceeded"),
        ("activeDeadlineSeconds", "DeadlineExceeded"),
        ("podFailurePolicy", "PodFailurePolicy"),
    ):
        assert key in spec
        assert f'"{reason}"' in entries
    # Google refuses a policy on log entries without it.
    assert policy["alertStrategy"]["notificationRateLimit"] == {"period": "3600s"}
    assert "component=compliance" in policy["documentation"]["content"]


def test_spike_and_purge_are_watched_only_where_they_are_on() -> None:
    """Neither alert exists without its setting."""
    plain = {key: CONFIG[key] for key in ("gcp:project", "rules", "xBearerToken")}
    assert not {"spike", "compliance"} & policies(evaluate("qa", plain)).keys()


def test_google_metrics_name_the_declared_resources(program: Program) -> None:
    """Filters carry the names of the push subscription, the dead-letter reader and the function."""
    names = {
        "backlog": 'subscription_id = "tweets-qa-sink"',
        "dead-letters": 'subscription_id = "tweets-qa-dead-letters-reader"',
        "sink-errors": 'service_name = "tweets-qa-sink"',
    }
    for key, name in names.items():
        [condition] = policies(program)[key]["conditions"]
        assert name in condition["conditionThreshold"]["filter"]


def test_each_alert_says_what_to_do(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbered steps with commands for this stack; each `tweets` command exists."""
    for key, policy in policies(program).items():
        text = policy["documentation"]["content"]
        assert "\n1. " in text, key
        assert "`" in text, key
        assert not re.search(r"\$[a-z]|\{", text), key
        for command in re.findall(r"`tweets ([a-z ]+)", text):
            with pytest.raises(SystemExit) as ended:
                operations([*command.split(), "--help"])
            assert ended.value.code == 0
    capsys.readouterr()


def test_mail_goes_to_the_configured_address(program: Program) -> None:
    """All policies notify the one channel; without an address they notify nobody, and exist."""
    [channel] = of_type(program, "gcp:monitoring/notificationChannel:NotificationChannel")
    assert channel.inputs["labels"] == {"email_address": "team@example.com"}
    assert all(len(policy["notificationChannels"]) == 1 for policy in policies(program).values())
    silent = evaluate("qa", {key: CONFIG[key] for key in CONFIG if key != "alertEmail"})
    assert not of_type(silent, "gcp:monitoring/notificationChannel:NotificationChannel")
    assert set(policies(silent)) == set(policies(program))
    assert not any(policy.get("notificationChannels") for policy in policies(silent).values())


def test_managed_prometheus_scrapes_the_producer_pod(program: Program) -> None:
    """PodMonitoring selects the Deployment's labels and its container's port."""
    [scrape] = of_type(program, "kubernetes:monitoring.googleapis.com/v1:PodMonitoring")
    [deployment] = of_type(program, "kubernetes:apps/v1:Deployment")
    template = deployment.inputs["spec"]["template"]
    wanted = scrape.inputs["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= template["metadata"]["labels"].items()
    [endpoint] = scrape.inputs["spec"]["endpoints"]
    ports = template["spec"]["containers"][0]["ports"]
    assert endpoint["port"] in [port["containerPort"] for port in ports]
    assert scrape.inputs["metadata"]["namespace"] == "tweets-qa"


def test_board_has_one_chart_a_tile_and_none_overlaps(program: Program) -> None:
    """Cloud Monitoring refuses a mosaic whose tiles overlap or leave its 48 columns."""
    [board] = of_type(program, "gcp:monitoring/dashboard:Dashboard")
    layout = json.loads(board.inputs["dashboardJson"])["mosaicLayout"]
    cells = [
        (x, y)
        for tile in layout["tiles"]
        for x in range(tile.get("xPos", 0), tile.get("xPos", 0) + tile["width"])
        for y in range(tile.get("yPos", 0), tile.get("yPos", 0) + tile["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < layout["columns"] == 48
    assert all(tile["widget"]["xyChart"]["dataSets"] for tile in layout["tiles"])


def test_page_reads_its_dataset_and_nothing_else(program: Program) -> None:
    """The page's account reads one dataset and may run queries; nobody may call it by default."""
    [service] = [
        resource
        for resource in of_type(program, "gcp:cloudrunv2/service:Service")
        if resource.inputs["name"] == "tweets-qa-dashboard"
    ]
    [container] = service.inputs["template"]["containers"]
    assert container["envs"] == [{"name": "DATASET", "value": "my-project.tweet_data_qa"}]
    assert service.inputs["invokerIamDisabled"] is False
    inside = [one for one in program.resources if one.parent == service.parent]
    roles = {one.inputs["role"] for one in inside if "role" in one.inputs}
    # READER on the dataset is BigQuery's name for dataViewer there (DatasetAccess).
    assert roles == {"READER", "roles/bigquery.jobUser"}
