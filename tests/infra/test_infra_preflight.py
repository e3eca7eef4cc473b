"""What is asked before anything is declared: a line for each thing that does not fit, no more."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra import standing, tables
from infra.settings import Settings
from local.engine import program as program_module
from local.engine.program import Program, ProgramError, evaluate
from local.engine.recorder import Recorder
from tests.infra.environments import BASE, RULES

SETTINGS = Settings.model_validate(
    {
        "stack": "dev",
        "project": "my-project",
        "region": "us-central1",
        "rules": RULES,
        "dataset": "tweet_data",
    }
)
STANDS: dict[str, object] = {"standing": json.dumps(standing.describe(SETTINGS))}
DEV = {**BASE, "dataset": "tweet_data"}
NO_DOCKER = {"docker-build:host": ""}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """What each run declared, where it is refused too."""
    runs: list[Program] = []

    class Kept(Recorder):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            runs.append(self.program)

    monkeypatch.setattr(program_module, "Recorder", Kept)
    return runs


def refused(
    recorded: list[Program],
    config: dict[str, object],
    *,
    stands: dict[str, object] | None = None,
    answers: dict[str, Any] | None = None,
    stack: str = "dev",
) -> str:
    """The line that the program stops with, before it has declared anything."""
    with pytest.raises(ProgramError) as stopped:
        evaluate(stack, config, standing=stands, answers=answers)
    assert [r.name for r in recorded[-1].resources if r.custom] == []
    line = str(stopped.value)
    assert "\n" not in line
    return line


def test_first_and_second_run_pass(recorded: list[Program]) -> None:
    """A new stack has nothing that stands; the next run finds what the first left, and the same."""
    first = evaluate("dev", DEV)
    again = evaluate("dev", DEV, standing=first.outputs)
    assert first.outputs["standing"] == json.dumps(standing.describe(SETTINGS), sort_keys=True)
    assert {r.urn: r.inputs for r in again.resources} == {r.urn: r.inputs for r in first.resources}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"dataset": "other"},
            "tweets:dataset = 'other': the posts stand in my-project.",
        ),
        ({"dataset": ""}, "tweets:dataset = 'tweet_data_dev': the posts stand in my-project"),
        ({"gcp:project": "another-one"}, "gcp:project = 'another-one': the posts stand in my-proj"),
        (
            {"bigqueryLocation": "EU"},
            "tweets:bigqueryLocation = 'EU': my-project.tweet_data stands in US",
        ),
    ],
)
def test_a_move_that_would_delete_posts_is_refused(
    recorded: list[Program], change: dict[str, object], words: str
) -> None:
    """Another dataset, project or location stops the run and names both ways on."""
    line = refused(recorded, {**DEV, **change}, stands=dict(STANDS))
    assert line.startswith(words)
    assert "to keep it: docs/deploy.md, Move the posts" in line
    assert line.endswith("pulumi config set tweets:discardDataset my-project.tweet_data")


def test_posts_are_deleted_where_the_configuration_says_so() -> None:
    """`discardDataset` with the dataset's full name lets the change through, and no other name."""
    moved = {**DEV, "dataset": "other", "discardDataset": "my-project.tweet_data"}
    program = evaluate("dev", moved, standing=STANDS)
    dataset = program.one("bigquery/dataset:Dataset")
    assert dataset.inputs["datasetId"] == "other"
    # Another location keeps the id: what stands goes first, or Google answers 409.
    assert dataset.options.deleteBeforeReplace
    with pytest.raises(ProgramError, match=r"the posts stand in my-project\.tweet_data"):
        evaluate("dev", {**moved, "discardDataset": "my-project.tweet"}, standing=STANDS)


def test_a_leave_to_delete_that_is_left_over_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once what it named is gone, or nothing of it goes, it would let the next change delete."""
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    config = {**DEV, "discardDataset": "my-project.tweet_data"}
    assert evaluate("dev", {**config, "bigqueryLocation": "EU"}, standing=STANDS)
    assert evaluate("dev", config)
    assert said == []
    assert evaluate("dev", config, standing=STANDS)
    assert len(said) == 1
    assert said[0].startswith("tweets:discardDataset = 'my-project.tweet_data': nothing of it")
    assert said[0].endswith("pulumi config rm tweets:discardDataset")


TWEETS: list[dict[str, Any]] = [
    {"name": "id", "type": "INTEGER", "mode": "REQUIRED"},
    {"name": "lang", "type": "STRING"},
    {"name": "metrics", "type": "RECORD", "fields": [{"name": "likes", "type": "INT64"}]},
]


def changed(*columns: dict[str, Any], without: str = "") -> list[dict[str, Any]]:
    """The columns of `TWEETS` with some replaced, added or left out."""
    named = {column["name"]: column for column in (*TWEETS, *columns)}
    return [column for name, column in named.items() if name != without]


LOSSES = [
    (
        changed({"name": "lang", "type": "INTEGER"}),
        "column lang is INTEGER NULLABLE, and stands",
    ),
    (
        changed({"name": "lang", "type": "STRING", "mode": "REQUIRED"}),
        "column lang is STRING REQUIRED, and stands as STRING NULLABLE",
    ),
    (
        changed({"name": "lang", "type": "STRING", "mode": "REPEATED"}),
        "column lang is STRING REPEATED",
    ),
    (changed(without="lang"), "column lang is gone, and its values would go with it"),
    (
        changed({"name": "metrics", "type": "RECORD", "fields": []}),
        "column metrics.likes is gone",
    ),
    (
        changed(
            {"name": "metrics", "type": "RECORD", "fields": [{"name": "likes", "type": "FLOAT"}]}
        ),
        "column metrics.likes is FLOAT NULLABLE, and stands as INTEGER NULLABLE",
    ),
    (
        changed({"name": "new", "type": "STRING", "mode": "REQUIRED"}),
        "column new is new and REQUIRED",
    ),
]
HARMLESS = [
    changed(),
    changed({"name": "new", "type": "STRING"}),
    changed({"name": "lang", "type": "STRING", "description": "Another text."}),
    changed({"name": "id", "type": "INT64", "mode": "NULLABLE"}),
    changed({"name": "new", "type": "RECORD", "fields": [
        {"name": "part", "type": "STRING", "mode": "REQUIRED"}]}),
]  # fmt: skip


@pytest.fixture
def schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of schema files of its own, with the columns of `TWEETS`."""
    folder = tmp_path / "services" / "sink_function" / "sink" / "schema"
    folder.mkdir(parents=True)
    (folder / "tweets.json").write_text(json.dumps(TWEETS), "utf-8")
    events = [{"name": "at", "type": "TIMESTAMP"}, {"name": "kind", "type": "STRING"}]
    (folder / "stream_events.json").write_text(json.dumps(events), "utf-8")
    monkeypatch.setattr(tables, "SCHEMAS", folder)
    monkeypatch.setattr(standing, "SCHEMAS", folder)
    return folder


@pytest.mark.parametrize(("columns", "words"), LOSSES, ids=range(len(LOSSES)))
def test_a_column_that_would_delete_posts_is_refused(
    schemas: Path, columns: list[dict[str, Any]], words: str
) -> None:
    """What BigQuery can't change in place is named with its file, before the table is replaced."""
    stands = standing.describe(SETTINGS)
    (schemas / "tweets.json").write_text(json.dumps(columns), "utf-8")
    (line,) = standing.losses(SETTINGS, stands)
    assert line.startswith(f"services/sink_function/sink/schema/tweets.json: {words}")
    assert "docs/deploy.md, Move the posts" in line


def test_a_changed_schema_file_stops_the_run(recorded: list[Program], schemas: Path) -> None:
    """The comparison is made with what the last run left, before anything is declared."""
    first = evaluate("dev", DEV)
    (schemas / "tweets.json").write_text(json.dumps(changed(without="lang")), "utf-8")
    assert "column lang is gone" in refused(recorded, DEV, stands=first.outputs)


@pytest.mark.parametrize("columns", HARMLESS, ids=range(len(HARMLESS)))
def test_a_column_that_bigquery_takes_passes(schemas: Path, columns: list[dict[str, Any]]) -> None:
    """New nullable columns, relaxed ones, other descriptions and other names of a type are fine."""
    stands = standing.describe(SETTINGS)
    (schemas / "tweets.json").write_text(json.dumps(columns), "utf-8")
    assert standing.losses(SETTINGS, stands) == []


def test_another_partition_and_a_lost_table_are_refused() -> None:
    """Both would delete rows: they are seen as columns are."""
    stands = standing.describe(SETTINGS)
    stands["tables"]["tweets"]["partition"] = "ingested_at"
    stands["tables"]["old"] = stands["tables"]["stream_events"]
    partition, table = standing.losses(SETTINGS, stands)
    assert "tweets is partitioned by created_at, and stands partitioned by ingested" in partition
    assert table.startswith("infra/tables.py: table old is gone; ")


def labelled(**labels: str) -> dict[str, Any]:
    """A dataset or repository that is there."""
    return {"id": "there", "labels": labels}


def test_a_dataset_of_another_stack_is_found_before_anything_is_made(
    recorded: list[Program],
) -> None:
    """A file copied from Pulumi.dev.yaml names dev's dataset: one line instead of a late 409."""
    there = {"bigquery/getDataset": labelled(app="tweets", stack="dev")}
    line = refused(recorded, DEV, answers=there, stack="prod")
    assert line.startswith(
        "tweets:dataset = 'tweet_data': my-project.tweet_data exists and belongs"
    )
    assert "the stack 'dev'" in line
    assert line.endswith("pulumi config rm tweets:dataset")
    by_hand = {"bigquery/getDataset": labelled()}
    assert "was not made by this program" in refused(recorded, DEV, answers=by_hand)


def test_a_registry_that_is_there_is_found_before_anything_is_made(
    recorded: list[Program],
) -> None:
    """gcr.io is one per project: the second stack is told to use it."""
    there = {"artifactregistry/getRepository": labelled(app="tweets", stack="dev")}
    line = refused(recorded, BASE, answers=there, stack="prod")
    assert line.startswith("tweets:ownsRegistry = True: the repository gcr.io of my-project exists")
    assert line.endswith("pulumi config set tweets:ownsRegistry false")
    assert evaluate("prod", {**BASE, "ownsRegistry": False}, answers=there)


def test_a_topic_made_by_hand_is_found_before_anything_is_made(recorded: list[Program]) -> None:
    """What carries the stack's own name, and no label of ours, is somebody's."""
    line = refused(recorded, BASE, answers={"pubsub/getTopic": labelled()})
    assert line.startswith("stack = 'dev': the topic tweets-dev of my-project exists and was not")
    assert line.endswith("pulumi stack init <name>")


def test_a_stack_of_the_same_name_elsewhere_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another state backend nothing tells the two apart but that this state is new: so it is
    asked before the first resource is created, in a preview too, and never where one stands.
    """
    hooks: dict[str, pulumi.ResourceHook] = {}
    made = pulumi.ResourceHook.__init__

    def keep(hook: pulumi.ResourceHook, name: str, *rest: Any) -> None:
        hooks[name] = hook
        made(hook, name, *rest)

    monkeypatch.setattr(pulumi.ResourceHook, "__init__", keep)
    created = pulumi.ResourceHookArgs(urn="urn", id="", name="apis", type="tweets:index:Apis")
    mine = labelled(app="tweets", stack="dev")
    there = {"bigquery/getDataset": mine, "pubsub/getTopic": mine}
    program = evaluate("dev", DEV, answers=there)
    hook = hooks["preflight-first-run"]
    assert hook.opts is not None
    assert hook.opts.on_dry_run
    with pytest.raises(pulumi.RunError) as stopped:
        hook(created)
    assert str(stopped.value).startswith(
        "stack = 'dev': my-project.tweet_data, the topic tweets-dev of my-project stands"
    )
    assert str(stopped.value).endswith("pulumi stack init <name>")

    # Everything that Google has waits for the component that it stands before.
    (first,) = [r for r in program.resources if r.options.hooks.before_create]
    assert (first.name, *first.options.hooks.before_create) == ("apis", hook.name)
    apis = [r for r in program.resources if r.type == "gcp:projects/service:Service"]
    assert {api.parent for api in apis} == {first.urn}

    evaluate("dev", DEV)
    hooks["preflight-first-run"](created)


def test_what_a_broken_first_run_left_is_its_own() -> None:
    """A first `up` that ended half-way left no outputs, but its labels: the next one goes on."""
    mine = labelled(app="tweets", stack="dev")
    questions = ("bigquery/getDataset", "artifactregistry/getRepository", "pubsub/getTopic")
    answers = dict.fromkeys(questions, mine)
    assert evaluate("dev", DEV, answers=answers)
    # What stands by the last outputs is not even asked for.
    assert evaluate("dev", DEV, standing=STANDS, answers={"bigquery/getDataset": labelled()})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"gcp:region": "us-centrl1"},
            "gcp:region = 'us-centrl1': my-project has no such region; did you mean us-central1? "
            "set it: pulumi config set gcp:region us-central1",
        ),
        (
            {"bigqueryLocation": "europe-west99"},
            "tweets:bigqueryLocation = 'europe-west99': my-project has no such region; did you",
        ),
    ],
)
def test_a_place_that_google_does_not_have_is_refused(
    recorded: list[Program], change: dict[str, object], words: str
) -> None:
    """A misspelt region or location is told in the preview, with the near one."""
    assert refused(recorded, {**BASE, **change}).startswith(words)


def test_where_google_cannot_be_asked_the_run_goes_on() -> None:
    """In a new project the APIs behind the questions are off: that is no reason to stop."""
    off = "googleapi: Error 403: Compute Engine API has not been used in project 1 before"
    questions = ("compute/getRegions", "bigquery/getDataset", "artifactregistry/getRepository")
    assert evaluate("dev", DEV, answers=dict.fromkeys((*questions, "pubsub/getTopic"), off))
    quota = "googleapi: Error 403: Permission denied on resource project my-project-2."
    assert evaluate("dev", DEV, answers={"compute/getRegions": quota})


@pytest.mark.parametrize(
    "words",
    [
        "Error 403: Permission denied on resource project my-project.",
        "Error 404: The resource 'projects/my-project' was not found, notFound",
    ],
)
def test_a_project_that_is_none_is_refused(recorded: list[Program], words: str) -> None:
    """A misspelt project would be told by each API that cannot be switched on, after a preview
    that plans everything.
    """
    line = refused(recorded, BASE, answers={"compute/getRegions": f"googleapi: {words}"})
    assert line.startswith("gcp:project = 'my-project': Google answers ")
    assert words in line
    assert line.endswith("pulumi config set gcp:project <project id>")


ENDPOINT = [{"dnsEndpointConfigs": [{"endpoint": "gke-1.gke.goog", "allowExternalTraffic": True}]}]
GOOD: dict[str, Any] = {
    "id": "projects/my-project/locations/us-central1/clusters/shared",
    "controlPlaneEndpointsConfigs": ENDPOINT,
    "workloadIdentityConfigs": [{"workloadPool": "my-project.svc.id.goog"}],
    "secretManagerConfigs": [{"enabled": True, "rotationConfigs": [{"enabled": True}]}],
    "monitoringConfigs": [{"managedPrometheuses": [{"enabled": True}]}],
}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            "googleapi: Error 404: Not found: projects/my-project/locations/us-central1/clusters/x",
            "Google answers 'googleapi: Error 404: Not found: projects/my-project/",
        ),
        ({**GOOD, "controlPlaneEndpointsConfigs": []}, "--enable-dns-access"),
        (
            {
                **GOOD,
                "controlPlaneEndpointsConfigs": [
                    {"dnsEndpointConfigs": [{"endpoint": "e", "allowExternalTraffic": False}]}
                ],
            },
            "--enable-dns-access",
        ),
        ({**GOOD, "workloadIdentityConfigs": []}, "--workload-pool=my-project.svc.id.goog"),
        ({**GOOD, "secretManagerConfigs": []}, "--enable-secret-manager"),
        ({**GOOD, "secretManagerConfigs": [{"enabled": True}]}, "--enable-secret-manager-rotation"),
        ({**GOOD, "monitoringConfigs": []}, "--enable-managed-prometheus"),
    ],
)
def test_a_cluster_that_will_not_do_is_refused(
    recorded: list[Program], answer: object, words: str
) -> None:
    """One line says what the named cluster lacks, and the command that adds it."""
    line = refused(
        recorded, {**BASE, "cluster": "shared"}, answers={"container/getCluster": answer}
    )
    assert line.startswith("tweets:cluster = 'shared': ")
    assert words in line


def test_a_cluster_that_has_all_of_it_passes() -> None:
    """A Standard cluster with every part, and an Autopilot one, which always collects."""
    autopilot = {**GOOD, "monitoringConfigs": [], "enableAutopilot": True}
    for answer in (GOOD, autopilot):
        answers = {"container/getCluster": answer}
        assert evaluate("dev", {**BASE, "cluster": "shared"}, answers=answers)


def test_every_problem_gets_its_line() -> None:
    """What is wrong is told in one run, a line each."""
    config = {**DEV, "dataset": "other", "gcp:region": "us-centrl1", "cluster": "nope"}
    refusal = {"container/getCluster": "googleapi: Error 404: Not found"}
    with pytest.raises(ProgramError) as stopped:
        evaluate("dev", config, standing=STANDS, answers=refusal)
    lines = str(stopped.value).splitlines()
    assert [line.partition(" = ")[0] for line in lines] == [
        "tweets:dataset",
        "tweets:cluster",
        "gcp:region",
    ]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing in it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr("infra.lookup.DOCKER_SOCKET", tmp_path / "docker.sock")
    return tmp_path


def docker(path: Path, script: str) -> None:
    """A docker command."""
    (path / "docker").write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    (path / "docker").chmod(0o755)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "there is no docker command and no DOCKER_HOST"),
        (
            "echo 'WARNING: old' >&2; echo 'Cannot connect to the Docker daemon' >&2; exit 1",
            "Docker does not answer (Cannot connect to the Docker daemon)",
        ),
    ],
)
def test_without_docker_nothing_is_made(
    recorded: list[Program], path: Path, script: str, words: str
) -> None:
    """An `up` that would fail at the image says so first, with the way that needs no Docker."""
    if script:
        docker(path, script)
    line = refused(recorded, {**BASE, **NO_DOCKER})
    assert line.startswith(f"tweets:image not set, so Docker builds here, and {words}; ")
    assert line.endswith("docs/deploy.md, Without Docker")


def test_a_preview_without_docker_only_warns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview builds nothing, so it goes on and says what an `up` will need."""
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    config = {**BASE, **NO_DOCKER, "dashboard": True}
    assert evaluate("dev", config, preview=True).resources
    assert len(said) == 1
    assert said[0].startswith("tweets:image and tweets:dashboardImage not set, so Docker")


def test_docker_is_asked_only_where_it_builds(path: Path) -> None:
    """Ready images, a build daemon elsewhere, a Docker that answers: each of them passes."""
    ready = "gcr.io/my-project/tweets@sha256:" + "a" * 64
    images = {"image": ready, "dashboard": True, "dashboardImage": ready}
    assert evaluate("dev", {**BASE, **NO_DOCKER, **images})
    assert evaluate("dev", {**BASE, "docker-build:host": "tcp://builder:2375"})
    (path / "docker.sock").touch()
    assert evaluate("dev", {**BASE, **NO_DOCKER})
    docker(path, '[ "$1 $2" = "version --format" ]')
    assert evaluate("dev", {**BASE, **NO_DOCKER})


def test_what_is_built_already_needs_no_docker(path: Path, recorded: list[Program]) -> None:
    """An `up` that changes no code needs no Docker; another context, or a new one, does."""
    built = standing.describe(SETTINGS)
    stands: dict[str, object] = {"standing": json.dumps(built)}
    assert evaluate("dev", {**DEV, **NO_DOCKER, "sinkMaxInstances": 50}, standing=stands)
    line = refused(recorded, {**DEV, **NO_DOCKER, "dashboard": True}, stands=stands)
    assert line.startswith("tweets:dashboardImage not set, so Docker builds here")
    built["images"]["producer"] += "0"
    line = refused(recorded, {**DEV, **NO_DOCKER}, stands={"standing": json.dumps(built)})
    assert line.startswith("tweets:image not set, so Docker builds here")


@pytest.mark.parametrize(
    "words",
    [
        "googleapi: Error 404: Secret [projects/1/secrets/tweets-dev-x-token] not found.",
        "projects/my-project/secrets/tweets-dev-x-token not found",
        "googleapi: Error 403: Secret Manager API has not been used, SERVICE_DISABLED",
    ],
)
def test_a_token_that_nobody_has_brought_is_told_first(recorded: list[Program], words: str) -> None:
    """Without the secret the pod would wait for its file until `up` gives up, ten minutes on."""
    line = refused(recorded, DEV, answers={"secretmanager/getSecret": words})
    assert line.startswith("tweets:xBearerTokenSecret = 'tweets-dev-x-token': Google answers")
    assert "docs/deploy.md, X's token" in line


def test_who_may_not_look_at_the_token_goes_on() -> None:
    """An identity without rights on secrets can still run a preview."""
    words = "googleapi: Error 403: Permission 'secretmanager.secrets.get' denied, IAM_PERMISSION"
    answers = {"secretmanager/getSecret": words}
    assert evaluate("dev", DEV, answers=answers).outputs["table"] == "my-project.tweet_data.tweets"


def test_no_secret_is_asked_for_where_the_configuration_has_the_token() -> None:
    """With xBearerToken the secret is the stack's own, and made by this `up`."""
    answers = {"secretmanager/getSecret": "googleapi: Error 404: not found"}
    program = evaluate("dev", {**DEV, "xBearerToken": "AAAA"}, answers=answers)
    assert program.one("secretmanager/secret:Secret").inputs["secretId"] == (
        "tweets-dev-x-bearer-token"
    )
