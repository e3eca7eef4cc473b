"""A fresh Google Cloud project: what is retried, how long, and what is not."""

import pulumi
import pytest
import yaml

from infra import apis
from local.engine.program import ROOT

# As Google words them (terraform-provider-google #20571 and Google's troubleshooting pages).
NOT_YET = [
    "googleapi: Error 403: Cloud Pub/Sub API has not been used in project 1 before or it is "
    "disabled.",
    "Build failed with status: FAILURE and message: Access to bucket gcf-v2-sources-1-us-central1 "
    "denied. You must grant Storage Object Viewer permission to a@b.iam.gserviceaccount.com.",
    "googleapi: Error 400: Service account a@b.iam.gserviceaccount.com does not exist.",
    "Error 403: Permission 'artifactregistry.repositories.uploadArtifacts' denied on resource",
    "googleapi: Error 400: Identity Pool does not exist (my-project.svc.id.goog).",
    "Error creating AlertPolicy: googleapi: Error 404: Cannot find metric(s) that match type = "
    '"run.googleapis.com/request_count". If a metric was created recently, it could take up to 10 '
    "minutes to become available. Please try again soon.",
    "a@b.iam.gserviceaccount.com does not have storage.objects.get access to the object",
]
FINAL = [
    "googleapi: Error 409: Resource already exists in the project",
    "googleapi: Error 400: The request has errors: quota exceeded",
    "Build failed: function.py has a syntax error",
]


def failed(*errors: str) -> pulumi.ErrorHookArgs:
    """What the engine tells the hook, newest error first."""
    return pulumi.ErrorHookArgs(
        urn="urn", id="", name="sink", type="type", failed_operation="create", errors=list(errors)
    )


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, without waiting."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(apis, "sleep", sleep)
    return waits


@pytest.mark.parametrize("error", NOT_YET)
async def test_what_has_not_spread_yet_is_tried_again(error: str, slept: list[float]) -> None:
    """An API, account or grant made a moment ago is waited for."""
    assert await apis._retry_not_yet(failed(error)) is True
    assert slept == [20]


@pytest.mark.parametrize("error", FINAL)
async def test_what_will_not_pass_is_not(error: str, slept: list[float]) -> None:
    """Any other failure is told at once."""
    assert await apis._retry_not_yet(failed(error)) is False
    assert slept == []


async def test_waiting_ends(slept: list[float]) -> None:
    """A permission that never comes is told after five minutes, not never."""
    errors: list[str] = []
    tries = 0
    while await apis._retry_not_yet(failed(NOT_YET[0], *errors)):
        errors.append(NOT_YET[0])
        tries += 1
    assert sum(slept) == 300
    assert tries == 15


def test_engine_is_one_that_retries() -> None:
    """The CLI that Pulumi.yaml asks for is the one that CI runs and the SDK that is pinned."""
    required = yaml.safe_load((ROOT / "Pulumi.yaml").read_text("utf-8"))["requiredPulumiVersion"]
    action = (ROOT / ".github" / "actions" / "pulumi" / "action.yml").read_text("utf-8")
    version = required.removeprefix(">=")
    assert f"pulumi-version: {version}\n" in action
    assert f"\npulumi=={version} " in (ROOT / "requirements" / "dev.txt").read_text("utf-8")
