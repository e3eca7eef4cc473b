"""What must hold of every environment, whatever it is configured to be."""

import json
import re
from typing import Any

import pytest

from local.engine import answers
from local.engine.program import UNKNOWN, Program, ProgramError, Resource, evaluate
from tests.infra.environments import BASE, ENVIRONMENTS, RULES, TOKEN

IAM = re.compile(r"(IamMember|IAMMember)$")

# Roles that Google offers on a project only, or whose condition names one resource.
PROJECT_ROLES = {
    "roles/logging.logWriter",
    "roles/container.defaultNodeServiceAccount",
    "roles/bigquery.jobUser",
    "roles/monitoring.metricWriter",
}
# Types without labels in Google's API.
UNLABELLED = re.compile(
    r"^pulumi:|^docker-build:|I[aA][mM]Member$|^gcp:projects/service:Service$"
    r"|:(ServiceIdentity|Account|BucketObject|SecretVersion|Dashboard|Metric|DatasetAccess)$"
)
# Protected by the provider unless they say otherwise.
PROTECTED_UNLESS_TOLD = {
    "gcp:bigquery/table:Table",
    "gcp:cloudrunv2/service:Service",
    "gcp:container/cluster:Cluster",
}
# Belong to the project, not to the stack, and are left on when a stack goes.
SHARED = {
    "gcp:projects/service:Service",
    "gcp:projects/serviceIdentity:ServiceIdentity",
}


def grants(program: Program) -> list[Resource]:
    """Every IAM grant."""
    return [resource for resource in program.resources if IAM.search(resource.type)]


def test_each_resource_has_a_component_for_parent(program: Program) -> None:
    """Nothing hangs off the stack but components, so a preview reads as the pipeline."""
    by_urn = {resource.urn: resource for resource in program.resources}
    for resource in program.resources:
        if resource.custom:
            assert not by_urn[resource.parent].custom, resource.name
        else:
            assert resource.parent not in by_urn, resource.name


def test_each_subscription_is_dead_lettered_or_reads_dead_letters(program: Program) -> None:
    """No message can circle for ever or vanish: each subscription ends in the dead letters."""
    dead = program.one("pubsub/topic:Topic", "topic-dead-letters").id
    for subscription in program.of_type("pubsub/subscription:Subscription"):
        policy: dict[str, Any] = subscription.inputs.get("deadLetterPolicy", {})
        if subscription.inputs["topic"] == dead:
            assert policy == {}
        else:
            assert policy["deadLetterTopic"] == dead
            assert 5 <= policy["maxDeliveryAttempts"] <= 100
        assert subscription.inputs["expirationPolicy"] == {"ttl": ""}
        assert subscription.inputs["messageRetentionDuration"] == "604800s"


def test_pub_sub_may_dead_letter_and_sign_its_push(program: Program) -> None:
    """Pub/Sub's account publishes dead letters, acknowledges, and gets the push account's token."""
    agent = program.one("projects/serviceIdentity:ServiceIdentity").outputs["member"]
    given = {
        (grant.type.rpartition(":")[2], grant.inputs["role"])
        for grant in grants(program)
        if grant.inputs["member"] == agent
    }
    assert given == {
        ("TopicIAMMember", "roles/pubsub.publisher"),
        ("SubscriptionIAMMember", "roles/pubsub.subscriber"),
        ("IAMMember", "roles/iam.serviceAccountOpenIdTokenCreator"),
    }
    signer = program.one("serviceaccount/iAMMember:IAMMember", "sink-agent-signs-push")
    subscription = program.one("pubsub/subscription:Subscription", "sink")
    account = program.one("serviceaccount/account:Account", "sink-push")
    assert signer.inputs["serviceAccountId"] == account.outputs["name"]
    assert signer.urn in subscription.options.dependencies


def test_nothing_is_read_from_x_before_it_can_become_a_row(program: Program) -> None:
    """The producer starts after the subscriptions and stops before they go, so no post is lost."""
    waits_for = program.one("apps/v1:Deployment", "producer").options.dependencies
    for subscription in program.of_type("pubsub/subscription:Subscription"):
        assert subscription.urn in waits_for, subscription.name


def test_push_carries_the_token_of_an_account_that_opens_only_the_function(
    program: Program,
) -> None:
    """The function takes requests of one account, from inside, with its own address as audience."""
    function = program.one("cloudfunctionsv2/function:Function")
    push = program.one("pubsub/subscription:Subscription", "sink").inputs["pushConfig"]
    invoker = program.one(
        "cloudrunv2/serviceIamMember:ServiceIamMember", "sink-push-invokes"
    ).inputs
    account = push["oidcToken"]["serviceAccountEmail"]
    assert push["pushEndpoint"] == function.outputs["serviceConfig"]["uri"]
    assert push["oidcToken"]["audience"] == push["pushEndpoint"]
    # Stated, since Google may answer with it, which would be a change at each `up`.
    assert push["attributes"] == {"x-goog-version": "v1"}
    assert function.inputs["serviceConfig"]["ingressSettings"] == "ALLOW_INTERNAL_ONLY"
    assert invoker["name"] == function.inputs["name"]
    assert invoker["role"] == "roles/run.invoker"
    mine = [g for g in grants(program) if g.inputs["member"] == f"serviceAccount:{account}"]
    assert [grant.name for grant in mine] == ["sink-push-invokes"]
    # Pushes before the grant would be refused, and counted as deliveries.
    assert (
        mine[0].urn in program.one("pubsub/subscription:Subscription", "sink").options.dependencies
    )


def test_no_forbidden_role_or_member(program: Program) -> None:
    """No basic role, nobody outside, no admin role, and no data role on the whole project."""
    for grant in grants(program):
        role, member = grant.inputs["role"], grant.inputs["member"]
        assert role not in ("roles/owner", "roles/editor", "roles/viewer"), grant.name
        assert not role.lower().endswith("admin"), grant.name
        assert not member.startswith(("allUsers", "allAuthenticatedUsers", "domain:")), grant.name
        if grant.type == "gcp:projects/iAMMember:IAMMember" and role not in PROJECT_ROLES:
            condition = grant.inputs["condition"]["expression"]
            assert re.fullmatch(
                r'resource\.name\.startsWith\("projects/_/buckets/gcf-v2-sources-\d+-[a-z0-9-]+"\)',
                condition,
            ), grant.name


def test_what_can_be_shut_is_shut(program: Program) -> None:
    """Buckets are never public, the control plane has no address, the page asks for a login."""
    for bucket in program.of_type("storage/bucket:Bucket"):
        assert bucket.inputs["publicAccessPrevention"] == "enforced"
        assert bucket.inputs["uniformBucketLevelAccess"] is True
    for cluster in program.of_type("container/cluster:Cluster"):
        doors = cluster.inputs["controlPlaneEndpointsConfig"]
        assert doors["ipEndpointsConfig"] == {"enabled": False}
        assert doors["dnsEndpointConfig"] == {"allowExternalTraffic": True}
        # A new version of the token reaches the pod without a restart.
        rotation = cluster.inputs["secretManagerConfig"]["rotationConfig"]
        assert rotation == {"enabled": True, "rotationInterval": "120s"}
    for page in program.of_type("cloudrunv2/service:Service"):
        assert page.inputs["invokerIamDisabled"] is False
        # One instance shares its answers; each further one would bill the queries again.
        assert page.inputs["template"]["scaling"]["maxInstanceCount"] == 1


def test_no_key_of_a_service_account(program: Program) -> None:
    """Nothing signs in with a key file: no key is declared, no policy or binding is taken over."""
    for resource in program.resources:
        kind = resource.type.rpartition(":")[2]
        assert kind != "Key"
        assert not kind.endswith(("IamPolicy", "IamBinding", "IAMPolicy", "IAMBinding"))


def test_pods_sign_in_directly(program: Program) -> None:
    """Topic and secret are opened to the pod's own account, by workload identity."""
    namespace = program.one("core/v1:Namespace").inputs["metadata"]["name"]
    account = (
        "principal://iam.googleapis.com/projects/123456789012/locations/global/"
        f"workloadIdentityPools/my-project.svc.id.goog/subject/ns/{namespace}/sa/producer"
    )
    held = {
        (grant.inputs["role"], grant.name)
        for grant in grants(program)
        if grant.inputs["member"] == account
    }
    assert held == {
        ("roles/pubsub.publisher", "producer-publishes-posts"),
        ("roles/pubsub.publisher", "producer-publishes-dead-letters"),
        ("roles/secretmanager.secretAccessor", "producer-reads-token"),
    }


def test_grants_to_pods_wait_for_the_cluster(programs: dict[str, Program]) -> None:
    """The identity pool of the pods exists only once there is a cluster."""
    for stack in ("dev", "prod"):
        program = programs[stack]
        cluster = program.one("container/cluster:Cluster").urn
        for grant in grants(program):
            if grant.inputs["member"].startswith("principal://"):
                assert cluster in grant.options.dependencies, grant.name


@pytest.mark.parametrize("stack", ["dev", "pr-7"])
def test_a_preview_has_no_secret_to_read(stack: str, programs: dict[str, Program]) -> None:
    """Where the token is a person's secret, nothing that Pulumi holds is one: no input, no output.
    So whoever runs a preview, or reads state and configuration, has no way to X's token.
    """
    program = programs[stack]
    assert [r.name for r in program.resources if r.secret_inputs] == []
    assert program.secret_outputs == frozenset()
    assert program.of_type("secretmanager/secret:Secret") == []
    name = {"dev": "tweets-dev-x-token", "pr-7": "pull-requests-x-token"}[stack]
    read = program.one("secretmanager/secretIamMember:SecretIamMember")
    assert read.inputs["secretId"] == name


def test_token_in_the_configuration_is_secret_all_the_way(programs: dict[str, Program]) -> None:
    """With xBearerToken, it is in one input, marked secret, and in no output, name or pod."""
    program = programs["prod"]
    holders = []
    for resource in program.resources:
        for key, value in resource.inputs.items():
            if TOKEN in json.dumps(value, default=str):
                holders.append((resource.type, key))
                assert key in resource.secret_inputs
    assert holders == [("gcp:secretmanager/secretVersion:SecretVersion", "secretData")]
    assert TOKEN not in json.dumps(program.outputs)


def test_rules_are_readable_in_a_preview(program: Program) -> None:
    """A change of a rule is a readable diff of the ConfigMap: text, not escapes or secrets."""
    rules = program.one("core/v1:ConfigMap", "producer-rules")
    assert rules.secret_inputs == frozenset()
    assert json.loads(rules.inputs["data"]["rules.json"]) == RULES
    assert "고양이" in rules.inputs["data"]["rules.json"]


def test_everything_that_takes_labels_has_them(program: Program) -> None:
    """Cost and clean-up can be told by label, for each environment."""
    stack = program.one("pubsub/topic:Topic", "topic").inputs["name"].removeprefix("tweets-")
    for resource in program.resources:
        if not resource.custom or UNLABELLED.search(resource.type):
            continue
        place: dict[str, Any] = resource.inputs
        if resource.type.startswith("kubernetes:"):
            place = resource.inputs["metadata"]
        labels = place.get("userLabels") or place.get("labels") or place.get("resourceLabels")
        assert labels, resource.name
        assert labels["app"] == "tweets", resource.name
        assert labels["stack"] == stack, resource.name


@pytest.mark.parametrize(("one", "other"), [("dev", "pr-7"), ("dev", "prod"), ("prod", "pr-7")])
def test_environments_share_no_physical_name(
    programs: dict[str, Program], one: str, other: str
) -> None:
    """Two environments and a pull request's can live in one project."""

    def ids(program: Program) -> set[tuple[str, str]]:
        return {
            (resource.type, resource.id)
            for resource in program.resources
            if resource.custom
            and resource.type not in SHARED
            and not IAM.search(resource.type)
            and not resource.type.startswith("pulumi:")
        }

    def granted(program: Program) -> set[str]:
        # Two stacks that declare one grant would take it from each other when one goes.
        return {
            f"{grant.type} {json.dumps(grant.inputs, sort_keys=True)}" for grant in grants(program)
        }

    assert ids(programs[one]) & ids(programs[other]) == set()
    assert granted(programs[one]) & granted(programs[other]) == set()


def blockers(program: Program) -> dict[str, list[str]]:
    """What would stop `pulumi destroy`, by resource."""
    found: dict[str, list[str]] = {}
    for resource in program.resources:
        inputs, reasons = resource.inputs, []
        kind = resource.type.rpartition(":")[2]
        if resource.options.protect:
            reasons.append("protect")
        if inputs.get("deletionProtection", resource.type in PROTECTED_UNLESS_TOLD):
            reasons.append("deletionProtection")
        if kind == "Bucket" and not inputs.get("forceDestroy"):
            reasons.append("forceDestroy")
        if kind == "Dataset" and not inputs.get("deleteContentsOnDestroy"):
            reasons.append("deleteContentsOnDestroy")
        if resource.type == "gcp:projects/service:Service" and inputs["disableOnDestroy"]:
            reasons.append("disableOnDestroy")
        if reasons:
            found[resource.name] = reasons
    return found


@pytest.mark.parametrize("stack", ["dev", "pr-7"])
def test_unprotected_environment_can_be_destroyed(programs: dict[str, Program], stack: str) -> None:
    """With protection off nothing is left that blocks `pulumi destroy`."""
    assert blockers(programs[stack]) == {}


def test_protected_environment_keeps_data_and_cluster(programs: dict[str, Program]) -> None:
    """With protection on, what holds posts, reads them or is slow to come back refuses to go."""
    assert blockers(programs["prod"]) == {
        "warehouse": ["protect", "deleteContentsOnDestroy"],
        "warehouse-tweets": ["protect", "deletionProtection"],
        "warehouse-stream_events": ["protect", "deletionProtection"],
        "tweets-prod": ["protect", "deletionProtection"],
        "sink": ["protect"],
        "topic-dead-letters-reader": ["protect"],
        "producer-state": ["protect"],
        "producer": ["protect"],
    }


def test_protection_holds_what_the_reading_stands_on(programs: dict[str, Program]) -> None:
    """A destroy that skips its preview can take nothing that a protected resource needs."""
    program = programs["prod"]
    by_urn = {resource.urn: resource for resource in program.resources}
    kept, waiting = set(), [r.urn for r in program.resources if r.options.protect]
    while waiting:
        urn = waiting.pop()
        if urn in by_urn and urn not in kept:
            kept.add(urn)
            waiting += by_urn[urn].options.dependencies
    gone = [r for r in program.resources if r.custom and r.urn not in kept]
    # The nodes' right to pull the image, and the pod's own rights, stay too.
    assert not [r.name for r in gone if r.name.startswith(("producer", "sink", "token", "image"))]
    lost = {r.type.rpartition(":")[2] for r in gone}
    assert lost.isdisjoint(
        {"Function", "Topic", "Subscription", "Namespace", "Deployment", "Secret"}
    )
    assert lost.isdisjoint({"PersistentVolumeClaim", "Dataset", "Cluster", "SecretProviderClass"})


def test_cluster_that_is_gone_does_not_block(program: Program) -> None:
    """The Kubernetes provider lets go of an unreachable cluster, and is bound to one cluster."""
    provider = program.one("pulumi:providers:kubernetes")
    assert provider.inputs["deleteUnreachable"] in (True, "true")
    assert provider.inputs["clusterIdentifier"].startswith("projects/my-project/locations/")
    config = json.loads(provider.inputs["kubeconfig"])
    assert config["clusters"][0]["cluster"]["server"].startswith("https://gke-")
    user = config["users"][0]["user"]
    assert user["exec"]["command"] == "gke-gcloud-auth-plugin"
    assert set(user) == {"exec"}
    for resource in program.resources:
        if resource.type.startswith("kubernetes:"):
            assert resource.options.provider.startswith(f"{provider.urn}::"), resource.name


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_first_preview_works(stack: str, programs: dict[str, Program]) -> None:
    """Before anything exists, what only the cloud knows is unknown and nothing breaks on it."""
    preview = evaluate(stack, ENVIRONMENTS[stack], preview=True)
    assert {r.urn for r in preview.resources} == {r.urn for r in programs[stack].resources}
    push = preview.one("pubsub/subscription:Subscription", "sink").inputs["pushConfig"]
    assert push["pushEndpoint"] is UNKNOWN


def test_everything_waits_for_its_api(program: Program) -> None:
    """Whatever calls an API comes after the APIs, itself or through what it needs."""
    by_urn = {resource.urn: resource for resource in program.resources}

    def waits(resource: Resource, seen: frozenset[str] = frozenset()) -> bool:
        needs = [by_urn[urn] for urn in resource.options.dependencies if urn in by_urn]
        return any(
            need.type == "gcp:projects/service:Service" or waits(need, seen | {need.urn})
            for need in needs
            if need.urn not in seen
        )

    for resource in program.resources:
        if resource.type.startswith("gcp:") and resource.type != "gcp:projects/service:Service":
            assert waits(resource), resource.name


def test_grants_are_retried_while_their_member_spreads(program: Program) -> None:
    """A grant to an account or identity pool of a moment ago is tried again, not failed."""
    for grant in grants(program):
        assert grant.options.hooks.on_error == ["apis-not-yet"], grant.name


def test_board_states_no_position_that_google_leaves_out(program: Program) -> None:
    """A second `up` has no change to make: a tile at 0 says nothing of it, as Google answers."""
    board = json.loads(program.one("monitoring/dashboard:Dashboard").inputs["dashboardJson"])
    tiles = board["mosaicLayout"]["tiles"]
    assert all(tile.get("xPos", 1) and tile.get("yPos", 1) for tile in tiles)
    places = {(tile.get("xPos", 0), tile.get("yPos", 0)) for tile in tiles}
    assert len(places) == len(tiles)
    assert (0, 0) in places


def test_function_retries_while_its_grants_spread(program: Program) -> None:
    """The resources that meet a fresh project's races carry the hook that retries them."""
    for type_ in ("function:Function", "topic:Topic", "dataset:Dataset"):
        for resource in program.of_type(type_):
            assert resource.options.hooks.on_error == ["apis-not-yet"], resource.name


def test_function_is_built_after_all_that_it_needs(program: Program) -> None:
    """A build that lacks a grant fails for good, and a function that lacks one loses its posts."""
    waits_for = program.one("cloudfunctionsv2/function:Function").options.dependencies
    mine = ("build-", "sink-writes-", "sink-sees-", "sink-publishes-dead-letters")
    needed = [r.urn for r in program.resources if r.custom and r.name.startswith(mine)]
    assert len(needed) >= 8
    assert [urn for urn in needed if urn not in waits_for] == []


def test_function_runs_as_configured() -> None:
    """Concurrency, memory, instances and delivery attempts are the configured ones."""
    program = evaluate(
        "dev",
        {
            **BASE,
            "sinkConcurrency": 80,
            "sinkMemory": "1Gi",
            "sinkMaxInstances": 3,
            "maxDeliveryAttempts": 7,
            "tableExpirationDays": 30,
            "postBudget": 0,
        },
    )
    service = program.one("cloudfunctionsv2/function:Function").inputs["serviceConfig"]
    assert service["maxInstanceRequestConcurrency"] == 80
    assert service["availableMemory"] == "1Gi"
    assert service["maxInstanceCount"] == 3
    policy = program.one("pubsub/subscription:Subscription", "sink").inputs["deadLetterPolicy"]
    assert policy["maxDeliveryAttempts"] == 7
    for name in ("tweets", "stream_events"):
        partitions = program.one("bigquery/table:Table", f"warehouse-{name}").inputs[
            "timePartitioning"
        ]
        assert partitions["expirationMs"] == 30 * 24 * 60 * 60 * 1000


def test_cluster_without_an_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No login is made for a cluster that cannot be reached."""
    monkeypatch.setitem(answers._ANSWERS, "gcp:container/cluster:Cluster", ("id", {}))
    with pytest.raises(ProgramError, match=r"the cluster has no DNS endpoint, .*--refresh"):
        evaluate("dev", BASE)


def test_function_without_an_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No subscription is made that pushes nowhere, where the build left no address behind."""
    monkeypatch.setitem(
        answers._ANSWERS,
        "gcp:cloudfunctionsv2/function:Function",
        ("id", {"serviceConfig": {"service": "s"}}),
    )
    with pytest.raises(ProgramError, match=r"no address: its build .*; run pulumi up again"):
        evaluate("dev", BASE)
