"""What is asked before anything is declared: does the configuration fit what is there?

A wrong value that only Google knows to be wrong would otherwise be told after minutes, half-way
through an `up`; a changed one may delete posts. What a value can tell by itself is settings.py's.
"""

import asyncio
import difflib
import json
from typing import Any

import pulumi

from infra import lookup, standing
from infra.settings import Settings


class Preflight(pulumi.ComponentResource):
    """Every check at once, a line for each that fails, and nothing is made then.

    It stands before the APIs, and so before everything: what depends on `passed` is not even
    registered before the checks have passed.
    """

    passed: pulumi.Output[list[pulumi.Resource]]
    cluster: pulumi.Output[lookup.FoundCluster | None]
    """The existing cluster, where the configuration names one."""

    def __init__(
        self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Preflight", name, None, opts)
        own = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
        last = pulumi.StackReference(name, own, pulumi.ResourceOptions(parent=self))
        self.cluster = last.outputs.apply(lambda outputs: _check(settings, outputs or {}))
        self.passed = self.cluster.apply(lambda _: list[pulumi.Resource]())
        self.register_outputs({})


async def _check(settings: Settings, outputs: dict[str, Any]) -> lookup.FoundCluster | None:
    """The existing cluster, if one is named.

    Raises:
        pulumi.RunError: a line for each thing that does not fit.
    """
    stands = json.loads(outputs.get("standing") or "{}")
    (cluster, missing), *told = await asyncio.gather(
        _cluster(settings),
        _places(settings),
        _dataset(settings, stands),
        _registry(settings, stands),
        _token(settings),
        _builder(settings),
    )
    problems = [*standing.losses(settings, stands), *missing]
    problems += [line for lines in told for line in lines]
    if problems:
        raise pulumi.RunError("\n".join(problems))
    return cluster


async def _cluster(settings: Settings) -> tuple[lookup.FoundCluster | None, list[str]]:
    if not settings.cluster:
        return None, []
    try:
        return await lookup.cluster(settings), []
    except pulumi.RunError as error:
        return None, [str(error)]


async def _places(settings: Settings) -> list[str]:
    """Region and location against Google's own list, where the API that has it is on."""
    answer = await lookup.ask_if("compute/getRegions", project=settings.project)
    regions = list(answer.get("names") or [])
    lines = []
    for key, place in (
        ("gcp:region", settings.region),
        ("tweets:bigqueryLocation", settings.bigquery_location),
    ):
        if regions and place not in (*regions, "US", "EU"):
            near = difflib.get_close_matches(place, regions, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            lines.append(
                f"{key} = {place!r}: {settings.project} has no such region; {meant}"
                f"set it: pulumi config set {key} {near[0] if near else '<region>'}"
            )
    return lines


async def _dataset(settings: Settings, stands: standing.Description) -> list[str]:
    """A dataset of another stack, or of a person, would be told by a 409 after 50 resources."""
    name = f"{settings.project}.{settings.dataset_id}"
    if stands.get("dataset") == name:
        return []
    there = await lookup.ask_if(
        "bigquery/getDataset", project=settings.project, datasetId=settings.dataset_id
    )
    if not (owner := _other_owner(there, settings)):
        return []
    return [
        f"tweets:dataset = {settings.dataset_id!r}: {name} exists and {owner}; choose another: "
        f"pulumi config set tweets:dataset <name>, or leave it out: pulumi config rm tweets:dataset"
    ]


async def _registry(settings: Settings, stands: standing.Description) -> list[str]:
    if not settings.owns_registry or stands.get("registry"):
        return []
    there = await lookup.ask_if(
        "artifactregistry/getRepository",
        project=settings.project,
        location="us",
        repositoryId="gcr.io",
    )
    if not (owner := _other_owner(there, settings)):
        return []
    return [
        f"tweets:ownsRegistry = True: the repository gcr.io of {settings.project} exists and "
        f"{owner}; use it: pulumi config set tweets:ownsRegistry false"
    ]


def _other_owner(there: dict[str, Any], settings: Settings) -> str:
    """Who made what is there, if not this stack: a first `up` that broke off left it labelled."""
    if not there:
        return ""
    labels = there.get("effectiveLabels") or there.get("labels") or {}
    if labels.get("app") != "tweets":
        return "was not made by this program"
    owner = labels.get("stack", "")
    return "" if owner == settings.stack else f"belongs to the stack {owner!r}"


async def _token(settings: Settings) -> list[str]:
    """A pod that mounts a secret which is not there would wait until `up` gives up on it."""
    if settings.token is not None:
        return []
    try:
        await lookup.token_secret(settings)
    except pulumi.RunError as error:
        return [str(error)]
    return []


async def _builder(settings: Settings) -> list[str]:
    """Docker, where an image is to be built by it: without, `up` would fail at the image."""
    wants = [("image", not settings.image)]
    wants.append(("dashboardImage", settings.dashboard and not settings.dashboard_image))
    keys = " and ".join(f"tweets:{key}" for key, wanted in wants if wanted)
    if not keys or settings.build_daemon or not (problem := await lookup.docker()):
        return []
    line = (
        f"{keys} not set, so Docker builds here, and {problem}; start Docker, or let Cloud "
        "Build make it: docs/deploy.md, Without Docker"
    )
    if pulumi.runtime.is_dry_run():
        pulumi.log.warn(line)
        return []
    return [line]
