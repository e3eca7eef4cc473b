"""A fresh Google Cloud project and a new cluster: what is waited for, how long, and what is not."""

import http.server
import re
import threading
from collections.abc import Iterator

import pulumi
import pytest
import yaml

from infra import waiting
from local.engine.program import ROOT, Program, evaluate
from tests.infra.environments import BASE

# As Google and Kubernetes word them (terraform-provider-google #20571, Google's troubleshooting
# pages, the providers' sources): one text for each row of the table.
PASSES = [
    (
        "googleapi: Error 403: Cloud Pub/Sub API has not been used in project 1 before or it is "
        "disabled.",
        300,
    ),
    ("Error 403: Permission 'artifactregistry.repositories.uploadArtifacts' denied on x", 300),
    ("a@b.iam.gserviceaccount.com does not have storage.objects.get access to the object", 300),
    (
        "googleapi: Error 403: Unable to retrieve the repository metadata for "
        "projects/p/locations/us-central1/repositories/tweets-dev-sink. Ensure that the Cloud "
        "Functions service account has 'artifactregistry.repositories.list' and "
        "'artifactregistry.repositories.get' permissions.",
        300,
    ),
    ("googleapi: Error 400: Service account a@b.iam.gserviceaccount.com does not exist.", 300),
    ("googleapi: Error 400: Identity Pool does not exist (my-project.svc.id.goog).", 300),
    (
        "googleapi: Error 400: Kubernetes Engine Service Agent is missing required permissions on "
        "this project.",
        300,
    ),
    ('googleapi: Error 400: Project "my-project" has no network named "default".', 300),
    (
        "Error creating AlertPolicy: googleapi: Error 404: Cannot find metric(s) that match type = "
        '"run.googleapis.com/request_count". If a metric was created recently, it could take up to '
        "10 minutes to become available. Please try again soon.",
        660,
    ),
    (
        'creation of resource "tweets-dev/x-bearer-token" failed because the Kubernetes API server '
        "reported that the apiVersion for this resource does not exist: no matches for kind "
        '"SecretProviderClass" in version "secrets-store.csi.x-k8s.io/v1"',
        540,
    ),
    (
        'Internal error occurred: failed calling webhook "validate.podmonitorings.gmp-operator": '
        "InternalError",
        540,
    ),
]
FINAL = [
    "googleapi: Error 409: Resource already exists in the project",
    "googleapi: Error 400: The request has errors: quota exceeded",
    "Build failed: function.py has a syntax error",
    # Each of these left the function in the state: a second try would find nothing to change.
    "Error waiting to create function: Error waiting for Creating function: Error code 3, message: "
    "Build failed with status: FAILURE and message: Access to bucket gcf-v2-sources-1-us-central1 "
    "denied. You must grant Storage Object Viewer permission to a@b.iam.gserviceaccount.com.",
    "Error waiting to create function: Error waiting for Creating function: Error code 7, message: "
    "Unable to retrieve the repository metadata for projects/p/locations/l/repositories/r.",
    "Error waiting to update function: Error waiting for Updating function: Error code 7, message: "
    "PERMISSION_DENIED",
]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Seconds since a moment long ago."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Note a pause and let it pass."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Waits take no time."""
    made = Clock()
    monkeypatch.setattr(waiting, "sleep", made.sleep)
    monkeypatch.setattr(waiting, "monotonic", made.monotonic)
    return made


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the hooks say in Pulumi's log."""
    lines: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", lines.append)
    return lines


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> waiting.Patience:
    """The hook of a run, without an engine to register it with."""
    monkeypatch.setattr(pulumi, "ErrorHook", lambda name, callback: None)
    return waiting.Patience("apis-not-yet")


def failed(*errors: str, urn: str = "urn:sink") -> pulumi.ErrorHookArgs:
    """What the engine tells the hook, newest error first."""
    return pulumi.ErrorHookArgs(
        urn=urn, id="", name="sink", type="type", failed_operation="create", errors=list(errors)
    )


def test_every_row_has_a_text() -> None:
    """No pattern stands in the table without a real answer that it is for."""
    for row in waiting.NOT_YET:
        assert any(re.search(row.answer, text) for text, _ in PASSES), row.answer


@pytest.mark.parametrize(("error", "most"), PASSES, ids=range(len(PASSES)))
async def test_what_has_not_spread_yet_is_waited_for_and_not_for_ever(
    error: str, most: int, patience: waiting.Patience, clock: Clock, said: list[str]
) -> None:
    """It is tried again every 20 s until its time is up, and the log names it once."""
    errors: list[str] = []
    while await patience.again(failed(error, *errors)):
        errors.append(error)
    assert sum(clock.slept) == most
    assert set(clock.slept) == {20}
    assert len(said) == 1
    assert said[0].startswith("sink: waiting for ")


@pytest.mark.parametrize("error", FINAL)
async def test_what_will_not_pass_is_told_at_once(
    error: str, patience: waiting.Patience, clock: Clock
) -> None:
    """A failed build or operation is never tried again by the hook, whatever words it quotes."""
    assert await patience.again(failed(error)) is False
    assert clock.slept == []


async def test_the_providers_own_tries_count(patience: waiting.Patience, clock: Clock) -> None:
    """A provider that tries for a minute by itself does not make nine minutes into thirty."""
    tries = 0
    while await patience.again(failed("no matches for kind")):
        clock.now += 60
        tries += 1
    assert tries == 7


async def test_each_resource_has_its_own_time(patience: waiting.Patience, clock: Clock) -> None:
    """What waits late in a run waits as long as what waited first."""
    assert await patience.again(failed("is disabled", urn="urn:a"))
    clock.now += 1000
    assert not await patience.again(failed("is disabled", urn="urn:a"))
    assert await patience.again(failed("is disabled", urn="urn:b"))


def made(endpoint: str = "gke-1.us-central1.gke.goog") -> pulumi.ResourceHookArgs:
    """What the engine tells the hook of a cluster that was just created."""
    outputs = {"controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"endpoint": endpoint}}}
    return pulumi.ResourceHookArgs(
        urn="urn", id="id", name="tweets-dev", type="type", new_outputs=outputs
    )


async def test_grants_of_the_build_get_time_to_spread(clock: Clock, said: list[str]) -> None:
    """A new grant is given two minutes, since a build that lacks it is not tried again."""
    await waiting.for_grant(made())
    assert clock.slept == [120]
    assert "120 s, once" in said[0]


async def test_new_cluster_is_waited_for(
    clock: Clock, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook asks the DNS endpoint's /version until something answers, and says so."""
    asked: list[str] = []

    def answers(url: str) -> bool:
        asked.append(url)
        return len(asked) == 10

    monkeypatch.setattr(waiting, "_answers", answers)
    await waiting.for_endpoint(made())
    assert set(asked) == {"https://gke-1.us-central1.gke.goog/version"}
    assert sum(clock.slept) == 45
    assert asked[0] in said[0]
    assert "8 minutes at most" in said[0]


async def test_cluster_without_an_endpoint_is_not_waited_for(clock: Clock) -> None:
    """What has no address is told by the component, in a line, and not by a failing hook."""
    for outputs in (None, {}, {"controlPlaneEndpointsConfig": {"dnsEndpointConfig": None}}):
        await waiting.for_endpoint(
            pulumi.ResourceHookArgs("urn", "id", "tweets-dev", "type", new_outputs=outputs)
        )
    assert clock.slept == []


async def test_silent_cluster_is_not_waited_for_for_ever(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After eight minutes `up` ends with one line that says what to do."""
    monkeypatch.setattr(waiting, "_answers", lambda url: False)
    with pytest.raises(TimeoutError, match=r"did not answer for 8 minutes; run pulumi up again"):
        await waiting.for_endpoint(made())


class Refuses(http.server.BaseHTTPRequestHandler):
    """A control plane that wants a login."""

    def do_GET(self) -> None:
        """Refuse /version, as a cluster does without a login."""
        self.send_response(403 if self.path == "/version" else 200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def control_plane() -> Iterator[str]:
    """Its address."""
    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_refusal_is_an_answer(control_plane: str) -> None:
    """401 and 403 show that the endpoint is there; a closed port shows that it is not."""
    assert waiting._answers(f"{control_plane}/version")
    assert waiting._answers(f"{control_plane}/healthz")
    assert not waiting._answers("http://127.0.0.1:9/version")


def test_waits_stand_where_they_are_needed(program: Program) -> None:
    """Grants of the build and a new cluster wait once; custom resources outlast a new cluster."""
    for resource in program.resources:
        if resource.name in ("build-writes-logs", "build-reads-copy"):
            assert resource.options.hooks.after_create == ["build-grant"], resource.name
        elif resource.type.endswith(("PodMonitoring", "SecretProviderClass")):
            assert resource.options.hooks.on_error == ["apis-not-yet"], resource.name
    grants = [r for r in program.resources if "build-grant" in r.options.hooks.after_create]
    assert len(grants) == 4
    for cluster in program.of_type("container/cluster:Cluster"):
        assert cluster.options.hooks.after_create == ["cluster-endpoint"]


def test_a_failed_build_is_built_anew(program: Program) -> None:
    """The next `up` replaces what the last one left unfinished, instead of taking it for done."""
    replaced = {
        resource.type
        for resource in program.resources
        if resource.options.replaceOnChanges == ["#initerror"]
        and resource.options.deleteBeforeReplace
    }
    expected = {"gcp:cloudfunctionsv2/function:Function"}
    if program.of_type("cloudrunv2/service:Service"):
        expected.add("gcp:cloudrunv2/service:Service")
    assert replaced == expected


def test_project_number_needs_no_further_api() -> None:
    """The number comes from the name of Pub/Sub's own account; nothing asks for the project."""
    program = evaluate("dev", BASE)
    agent = program.one("projects/serviceIdentity:ServiceIdentity").outputs["member"]
    copy = program.one("projects/iAMMember:IAMMember", "build-reads-copy").inputs
    assert "service-123456789012@" in agent
    assert "gcf-v2-sources-123456789012-us-central1" in copy["condition"]["expression"]


def test_engine_is_one_that_retries() -> None:
    """The CLI that Pulumi.yaml asks for is the one that CI runs and the SDK that is pinned."""
    required = yaml.safe_load((ROOT / "Pulumi.yaml").read_text("utf-8"))["requiredPulumiVersion"]
    action = (ROOT / ".github" / "actions" / "pulumi" / "action.yml").read_text("utf-8")
    version = required.removeprefix(">=")
    assert f"pulumi-version: {version}\n" in action
    assert f"\npulumi=={version} " in (ROOT / "infra" / "requirements.txt").read_text("utf-8")
