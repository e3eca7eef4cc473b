"""Questions to the world outside, each with an answer or one line that says what to do.

Google is asked through the provider, as its data sources do. They are called by token, because
importing pulumi_gcp.compute for one question takes a second and 60 MB.
"""

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pulumi

from infra.settings import Settings

DOCKER_SOCKET = Path("/var/run/docker.sock")
_DOCKER_SECONDS = 20


@dataclass(frozen=True)
class FoundCluster:
    """An existing cluster: its full `id` (projects/P/locations/L/clusters/C) and DNS endpoint."""

    id: str
    endpoint: str


async def ask(function: str, **args: str) -> dict[str, Any]:
    """The answer of a data source of Google's provider, in the provider's camelCase.

    Args:
        function: module and name, such as "container/getCluster".
        args: arguments in camelCase.

    Raises:
        Exception: Google refused; Pulumi has no narrower class for it.
    """
    token = f"gcp:{function}:{function.partition('/')[2]}"
    # The version of the resources, or the engine would configure a second provider for questions.
    options = pulumi.InvokeOptions(version=version("pulumi-gcp"))
    return dict(await pulumi.runtime.invoke_async(token, args, options))


async def ask_if(function: str, **args: str) -> dict[str, Any]:
    """As `ask`; empty where there is no such thing or where it cannot be told.

    In a new project the API may be off, and a person may lack the right to look: neither is a
    reason to stop, since Google says so itself when the resource is made.
    """
    try:
        return await ask(function, **args)
    except Exception as error:  # noqa: BLE001 - as `ask` says, nothing narrower is raised
        pulumi.log.debug(f"{function}: {error}")
        return {}


async def regions(settings: Settings) -> list[str]:
    """Names of the project's regions; empty where it cannot be told, as in a new project.

    Raises:
        pulumi.RunError: there is no such project, or it is closed to who asks.
    """
    project = settings.project
    try:
        answer = await ask("compute/getRegions", project=project)
    except Exception as error:  # noqa: BLE001 - as `ask` says, nothing narrower is raised
        # An answer that names another project is about the quota project of the login.
        if re.search(rf"resource (project |'projects/){re.escape(project)}(?![\w-])", str(error)):
            raise pulumi.RunError(
                f"gcp:project = {project!r}: Google answers {_reason(error)!r}; name one of "
                "`gcloud projects list`: pulumi config set gcp:project <project id>"
            ) from None
        return []
    return list(answer.get("names") or [])


async def cluster(settings: Settings) -> FoundCluster | None:
    """The cluster that the configuration names; None where it names none.

    Raises:
        pulumi.RunError: it is not there, or lacks what the program needs of it.
    """
    name, region = settings.cluster, settings.region
    if not name:
        return None
    wrong = f"tweets:cluster = {name!r}: "
    fix = "name another: pulumi config set tweets:cluster <name>"
    try:
        found = await ask("container/getCluster", name=name, location=region)
    except Exception as error:  # noqa: BLE001 - as `ask` says, nothing narrower is raised
        raise pulumi.RunError(
            f"{wrong}Google answers {_reason(error)!r}; it must be in {settings.project} and "
            f"{region} (gcloud container clusters list --project={settings.project}); {fix}"
        ) from None
    endpoints = _only(_only(found.get("controlPlaneEndpointsConfigs")).get("dnsEndpointConfigs"))
    secrets = _only(found.get("secretManagerConfigs"))
    prometheus = _only(_only(found.get("monitoringConfigs")).get("managedPrometheuses"))
    needs = (
        (
            endpoints.get("endpoint") and endpoints.get("allowExternalTraffic"),
            "DNS endpoint that takes outside traffic",
            "--enable-dns-access",
        ),
        (
            _only(found.get("workloadIdentityConfigs")).get("workloadPool"),
            "Workload Identity, by which pods sign in",
            f"--workload-pool={settings.project}.svc.id.goog",
        ),
        (
            secrets.get("enabled") and _only(secrets.get("rotationConfigs")).get("enabled"),
            "Secret Manager add-on that follows a new version, which brings X's token",
            "--enable-secret-manager --enable-secret-manager-rotation",
        ),
        (
            found.get("enableAutopilot") or prometheus.get("enabled"),
            "managed collection, which brings the alerts what they look at",
            "--enable-managed-prometheus",
        ),
    )
    lines = [
        f"{wrong}it has no {what}; add it: gcloud container clusters update {name} "
        f"--region={region} {flags}"
        for has, what, flags in needs
        if not has
    ]
    if lines:
        raise pulumi.RunError("\n".join(lines))
    return FoundCluster(str(found["id"]), str(endpoints["endpoint"]))


async def token_secret(settings: Settings) -> None:
    """Ask for the secret that a person made for X's token; its content is not asked for.

    Raises:
        pulumi.RunError: it is not there; a pod that mounts it would wait until `up` gives up.
    """
    if settings.token is not None:
        return
    name = settings.token_secret
    try:
        await ask("secretmanager/getSecret", project=settings.project, secretId=name)
    except Exception as error:  # noqa: BLE001 - as `ask` says, nothing narrower is raised
        said = str(error)
        if "Error 403" in said and "SERVICE_DISABLED" not in said:
            return  # may not look; the grant on the secret will tell
        raise pulumi.RunError(
            f"tweets:xBearerTokenSecret = {name!r}: Google answers {_reason(error)!r}; make it and "
            "add X's bearer token as its version: docs/deploy.md, X's token; or name another: "
            "pulumi config set tweets:xBearerTokenSecret <name>"
        ) from None


async def docker() -> str:
    """What keeps an image from being built here; empty where nothing does."""
    command = shutil.which("docker")
    if command is None:
        if os.environ.get("DOCKER_HOST") or DOCKER_SOCKET.exists():
            return ""
        return "there is no docker command and no DOCKER_HOST"
    asked = await asyncio.create_subprocess_exec(
        *(command, "version", "--format", "{{.Server.Version}}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, words = await asyncio.wait_for(asked.communicate(), _DOCKER_SECONDS)
    except TimeoutError:
        asked.kill()
        await asked.wait()
        return f"Docker did not answer for {_DOCKER_SECONDS} s"
    if asked.returncode == 0:
        return ""
    return f"Docker does not answer ({_reason(words.decode(errors='replace'))})"


def _only(found: Any) -> dict[str, Any]:
    """The first of a list of blocks, as the provider gives them; empty where there is none."""
    return found[0] if isinstance(found, list) and found else {}


def _reason(said: object) -> str:
    """The one line of an error that says why: Google's own, else the last."""
    lines = [line.strip(" \t*") for line in str(said).splitlines() if line.strip()]
    google = [line for line in lines if "googleapi: " in line]
    return (google or lines or ["no reason"])[-1][:300]
