"""Everything that an environment consists of, by name."""

from collections import Counter

from local.engine.program import ROOT, Program, evaluate
from tests.infra.environments import BASE

VIEWS = sorted(path.stem for path in (ROOT / "infra" / "views").glob("*.sql"))

# Type token after its package, and logical names. Whoever adds a resource adds it here.
DEV: dict[str, set[str]] = {
    "gcp:artifactregistry/repository:Repository": {"build-images", "image"},
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": {
        "build-writes-images",
        "image-nodes-pull",
    },
    "gcp:bigquery/dataset:Dataset": {"warehouse"},
    "gcp:bigquery/datasetAccess:DatasetAccess": {"sink-sees-dataset"},
    "gcp:bigquery/iamMember:IamMember": {"sink-writes-tweets", "sink-writes-events"},
    "gcp:bigquery/table:Table": {
        f"warehouse-{name}" for name in ("tweets", "stream_events", *VIEWS)
    },
    "gcp:cloudfunctionsv2/function:Function": {"sink"},
    "gcp:cloudrunv2/serviceIamMember:ServiceIamMember": {"sink-push-invokes"},
    "gcp:container/cluster:Cluster": {"tweets-dev"},
    "gcp:monitoring/alertPolicy:AlertPolicy": {
        "alerts-backlog",
        "alerts-backoff",
        "alerts-dead-letters",
        "alerts-quiet",
        "alerts-sink-errors",
        "alerts-spend-100",
        "alerts-spend-80",
    },
    "gcp:monitoring/dashboard:Dashboard": {"alerts"},
    "gcp:projects/iAMMember:IAMMember": {
        "build-reads-copy",
        "build-writes-logs",
        "cluster-nodes-report",
    },
    "gcp:projects/service:Service": {
        f"apis-{api}"
        for api in (
            "artifactregistry",
            "bigquery",
            "cloudbuild",
            "cloudfunctions",
            "cloudresourcemanager",
            "compute",
            "container",
            "iam",
            "logging",
            "monitoring",
            "pubsub",
            "run",
            "secretmanager",
            "storage",
        )
    },
    "gcp:projects/serviceIdentity:ServiceIdentity": {"apis-pubsub-agent"},
    "gcp:pubsub/subscription:Subscription": {"sink", "topic-dead-letters-reader"},
    "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember": {"sink-agent-acknowledges"},
    "gcp:pubsub/topic:Topic": {"topic", "topic-dead-letters"},
    "gcp:pubsub/topicIAMMember:TopicIAMMember": {
        "producer-publishes-dead-letters",
        "producer-publishes-posts",
        "sink-publishes-dead-letters",
        "topic-agent-publishes-dead-letters",
    },
    "gcp:secretmanager/secretIamMember:SecretIamMember": {"producer-reads-token"},
    "gcp:serviceaccount/account:Account": {
        "build",
        "cluster-nodes",
        "sink-push",
        "sink-runtime",
    },
    "gcp:serviceaccount/iAMMember:IAMMember": {"sink-agent-signs-push"},
    "gcp:storage/bucket:Bucket": {"tweets-dev-source"},
    "gcp:storage/bucketIAMMember:BucketIAMMember": {"build-reads-source"},
    "gcp:storage/bucketObject:BucketObject": {"build-source"},
    "docker-build:index:Image": {"image"},
    "pulumi:providers:kubernetes": {"cluster"},
    "kubernetes:apps/v1:Deployment": {"producer"},
    "kubernetes:core/v1:ConfigMap": {"producer-rules"},
    "kubernetes:core/v1:Namespace": {"cluster"},
    "kubernetes:core/v1:PersistentVolumeClaim": {"producer-state"},
    "kubernetes:core/v1:ServiceAccount": {"producer"},
    "kubernetes:monitoring.googleapis.com/v1:PodMonitoring": {"alerts-scrape"},
    "kubernetes:secrets-store.csi.x-k8s.io/v1:SecretProviderClass": {"token"},
}
COMPONENTS = {
    "Alerts",
    "Build",
    "Cluster",
    "Token",
    "Image",
    "Preflight",
    "Producer",
    "Apis",
    "Sink",
    "Topic",
    "Warehouse",
}
OUTPUTS = {
    "topic",
    "deadLetterSubscription",
    "dataset",
    "table",
    "view",
    "function",
    "cluster",
    "namespace",
    "image",
    "lookerStudio",
    "query",
    "queryCommand",
    "credentialsCommand",
    "logsCommand",
    "sinkLogsCommand",
    "redriveCommand",
}


def names(program: Program) -> dict[str, set[str]]:
    """Logical names of the resources of a provider, by type."""
    found: dict[str, set[str]] = {}
    for resource in program.resources:
        if resource.custom:
            found.setdefault(resource.type, set()).add(resource.name)
    return found


def test_dev_declares_exactly_this(dev: Program) -> None:
    """The development environment holds every part of the pipeline and nothing else."""
    assert names(dev) == DEV
    components = {resource.type for resource in dev.resources if not resource.custom}
    assert components == {f"tweets:index:{component}" for component in COMPONENTS}


def test_a_name_begins_with_its_component_s(programs: dict[str, Program]) -> None:
    """Names are part of every stack's state: `component` or `component-what`; one that Google has
    once, and Pulumi lengthens, begins with the stack's prefix.
    """
    for stack, program in programs.items():
        for resource in program.resources:
            component = resource.parent.rpartition("::")[2]
            if resource.custom and component:
                starts = (f"{component}-", f"tweets-{stack}")
                assert resource.name == component or resource.name.startswith(starts), resource.urn


def test_no_two_resources_share_a_urn(program: Program) -> None:
    """Pulumi refuses two resources of one type and name; the mock engine would not."""
    counted = Counter(resource.urn for resource in program.resources)
    assert [urn for urn, times in counted.items() if times > 1] == []


def test_existing_cluster_and_ready_image_are_only_referred_to(
    programs: dict[str, Program],
) -> None:
    """A pull request's stack makes no cluster, no registry, no image and no node account."""
    found = names(programs["pr-7"])
    assert "gcp:container/cluster:Cluster" not in found
    assert "docker-build:index:Image" not in found
    assert found["gcp:artifactregistry/repository:Repository"] == {"build-images"}
    assert "cluster-nodes" not in found["gcp:serviceaccount/account:Account"]
    deployment = programs["pr-7"].one("apps/v1:Deployment")
    image = deployment.inputs["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.endswith("@sha256:" + "a" * 64)
    assert programs["pr-7"].outputs["cluster"] == "shared"


def test_compliance_is_off_until_scheduled(programs: dict[str, Program]) -> None:
    """The purge exists only with a schedule, and then runs the documented command by that clock."""
    assert programs["dev"].of_type("batch/v1:CronJob") == []
    job = programs["prod"].one("batch/v1:CronJob").inputs["spec"]
    assert job["schedule"] == "17 3 * * *"
    assert job["concurrencyPolicy"] == "Forbid"
    # Wrong use never passes; letters that a killed run had leased (3) are back in a minute.
    assert job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"] == [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}
    ]
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    assert command == ["python", "-m", "operations", "compliance", "run", "--yes"]


def test_alerts_are_mailed_where_there_is_an_address(programs: dict[str, Program]) -> None:
    """Every policy reaches the configured address; without one it still opens incidents."""
    assert programs["dev"].of_type("NotificationChannel") == []
    channel = programs["prod"].one("NotificationChannel")
    assert channel.inputs["labels"] == {"email_address": "team@example.com"}
    for policy in programs["prod"].of_type("AlertPolicy"):
        assert policy.inputs["notificationChannels"] == [channel.id], policy.name


def test_dashboard_is_off_until_asked_for(programs: dict[str, Program]) -> None:
    """The page on Cloud Run exists only where it is configured, and then says how to open it."""
    assert programs["dev"].of_type("cloudrunv2/service:Service") == []
    assert "dashboardCommand" not in programs["dev"].outputs
    page = programs["prod"].one("cloudrunv2/service:Service").inputs
    assert page["name"] == "tweets-prod-dashboard"
    assert page["name"] in str(programs["prod"].outputs["dashboardCommand"])


def test_ready_images_need_no_docker() -> None:
    """With both images given, nothing is built, and the page and the reader run these."""
    ready = {key: f"gcr.io/my-project/{key}@sha256:" + "a" * 64 for key in ("one", "two")}
    config = {**BASE, "dashboard": True, "image": ready["one"], "dashboardImage": ready["two"]}
    program = evaluate("dev", config)
    assert program.of_type("docker-build:index:Image") == []
    page = program.one("cloudrunv2/service:Service").inputs["template"]["containers"][0]
    assert page["image"] == ready["two"]
    assert program.outputs["image"] == ready["one"]


def test_outputs_are_what_a_person_needs_next(program: Program) -> None:
    """Each environment prints its names, the query, and the commands for logs and dead letters."""
    assert set(program.outputs) >= OUTPUTS
    assert program.secret_outputs == frozenset()
    assert program.outputs["view"] in str(program.outputs["query"])
    assert str(program.outputs["namespace"]) in str(program.outputs["logsCommand"])


def test_main_reads_as_the_pipeline() -> None:
    """infra/__main__.py stays near 60 lines and holds no resource of its own."""
    text = (ROOT / "infra" / "__main__.py").read_text("utf-8")
    assert len(text.splitlines()) <= 75
    assert "pulumi_gcp" not in text
    assert "pulumi_kubernetes" not in text
