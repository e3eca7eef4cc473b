"""What a person needs after `pulumi up`: names, the query to run, the commands to operate it."""

import json

import pulumi

from infra import standing
from infra.cluster import Cluster
from infra.image import Image
from infra.looker import looker_studio_url
from infra.settings import Settings
from infra.sink import Sink
from infra.topic import Topic
from infra.warehouse import Warehouse


def outputs(
    settings: Settings,
    topic: Topic,
    warehouse: Warehouse,
    sink: Sink,
    cluster: Cluster,
    image: Image,
) -> dict[str, pulumi.Input[str]]:
    """Outputs of the stack by name; `pulumi stack output <name>` prints one."""
    project, region, namespace = settings.project, settings.region, settings.prefix
    dataset = f"{project}.{settings.dataset_id}"
    kubectl = f"kubectl -n {namespace}"
    query = (
        f"SELECT id, created_at, lang, text FROM `{dataset}.tweets_latest` "  # noqa: S608
        "WHERE created_at >= DATETIME_SUB(CURRENT_DATETIME(), INTERVAL 1 DAY) "
        "ORDER BY created_at DESC LIMIT 10"
    )
    return {
        "topic": topic.path,
        "deadLetterSubscription": topic.dead_letter_reader.id,
        "dataset": dataset,
        "table": f"{dataset}.tweets",
        "view": f"{dataset}.tweets_latest",
        "function": sink.function.name,
        "cluster": cluster.cluster_name,
        "namespace": namespace,
        "image": image.ref,
        # Looker Studio, which Google calls Data Studio again; addresses keep the old name.
        "lookerStudio": looker_studio_url(project, settings.dataset_id, f"Posts of {namespace}"),
        "query": query,
        "queryCommand": f"bq query --project_id={project} --use_legacy_sql=false '{query}'",
        "credentialsCommand": pulumi.Output.concat(
            # With this property set, gcloud refuses the DNS endpoint; both logins work without it.
            "CLOUDSDK_CONTAINER_USE_APPLICATION_DEFAULT_CREDENTIALS=false "
            "gcloud container clusters get-credentials ",
            cluster.cluster_name,
            f" --dns-endpoint --region={region} --project={project}",
        ),
        "logsCommand": f"{kubectl} logs --follow deployment/producer",
        "sinkLogsCommand": pulumi.Output.concat(
            "gcloud functions logs read ",
            sink.function.name,
            f" --gen2 --region={region} --project={project}",
        ),
        "redriveCommand": pulumi.Output.concat(
            "tweets redrive send --topic ",
            topic.path,
            " --subscription ",
            topic.dead_letter_reader.id,
        ),
        # What the next run compares itself with; a run that fails leaves the one before.
        "standing": pulumi.Output.all(
            warehouse.dataset.id, warehouse.tweets.id, warehouse.stream_events.id
        ).apply(lambda _: json.dumps(standing.describe(settings), sort_keys=True)),
    }
