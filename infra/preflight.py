"""What is asked before anything is declared: does the configuration fit what is there?

A wrong value that only Google knows to be wrong would otherwise be told after minutes, half-way
through an `up`; a changed one may delete posts. What a value can tell by itself is settings.py's.
"""

import asyncio
import difflib
import json
from typing import Any

import pulumi

from infra import lookup, names, standing
from infra.settings import Settings


class Preflight(pulumi.ComponentResource):
    """Every check at once, a line for each that fails, and nothing is made then.

    It stands before the APIs, and so before everything: what depends on `passed` is not even
    registered before the checks have passed.
    """

    passed: pulumi.Output[list[pulumi.Resource]]
    cluster: pulumi.Output[lookup.FoundCluster | None]
    """The existing cluster, where the configuration names one."""
    first_run: pulumi.ResourceHook
    """Before the first resource is created, in a preview too: refuses a namesake's project."""

    def __init__(
        self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Preflight", name, None, opts)
        self._settings = settings
        self._namesakes: list[str] = []
        own = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
        last = pulumi.StackReference(name, own, pulumi.ResourceOptions(parent=self))
        self.cluster = last.outputs.apply(lambda outputs: self._check(outputs or {}))
        self.passed = self.cluster.apply(lambda _: list[pulumi.Resource]())
        self.first_run = pulumi.ResourceHook(
            f"{name}-first-run", self.no_namesake, pulumi.ResourceHookOptions(on_dry_run=True)
        )
        self.register_outputs({})

    async def _check(self, outputs: dict[str, Any]) -> lookup.FoundCluster | None:
        """The existing cluster, if one is named.

        Raises:
            pulumi.RunError: a line for each thing that does not fit.
        """
        settings = self._settings
        stands = json.loads(outputs.get("standing") or "{}")
        _, cluster, *_ = answers = await asyncio.gather(
            _posts(settings, stands),
            lookup.cluster(settings),
            _places(settings),
            self._names(stands),
            lookup.token_secret(settings),
            _builder(settings, stands),
            return_exceptions=True,
        )
        faults = [answer for answer in answers if isinstance(answer, BaseException)]
        for fault in faults:
            if not isinstance(fault, pulumi.RunError):
                raise fault
        if faults:
            raise pulumi.RunError("\n".join(map(str, faults)))
        return cluster if isinstance(cluster, lookup.FoundCluster) else None

    async def _names(self, stands: standing.Description) -> None:
        found = await names.taken(self._settings, stands)
        self._namesakes = found.ours
        _refuse(found.refusals)

    def no_namesake(self, _: pulumi.ResourceHookArgs) -> None:
        """A stack that has nothing yet can't have made what carries its name.

        What a first `up` that broke off has left is its own, and this is not asked again then.

        Raises:
            pulumi.RunError: a stack of the same name has its state elsewhere.
        """
        if self._namesakes:
            raise pulumi.RunError(
                f"stack = {self._settings.stack!r}: {', '.join(self._namesakes)} stands already, "
                "made by a stack of this name whose state is elsewhere; log in there (pulumi "
                "login), or choose another name: pulumi stack init <name>"
            )


async def _posts(settings: Settings, stands: standing.Description) -> None:
    """Posts are deleted where the configuration says so, once."""
    losses = standing.losses(settings, stands) if stands else []
    if not stands or settings.discard_dataset != stands["dataset"]:
        _refuse(losses)
    elif not losses:
        pulumi.log.warn(
            f"tweets:discardDataset = {settings.discard_dataset!r}: nothing of it goes now, and a "
            "later change would delete it unasked; remove it: pulumi config rm "
            "tweets:discardDataset"
        )


async def _places(settings: Settings) -> None:
    """Region and location against Google's own list, where the API that has it is on."""
    regions = await lookup.regions(settings)
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
    _refuse(lines)


async def _builder(settings: Settings, stands: standing.Description) -> None:
    """Docker, where an image is to be built by it: without, `up` would fail at the image."""
    stood = stands.get("images", {})
    keys = {"producer": "tweets:image", "dashboard": "tweets:dashboardImage"}
    anew = [
        keys[name] for name, made in standing.images(settings).items() if stood.get(name) != made
    ]
    if not anew or settings.build_daemon or not (problem := await lookup.docker()):
        return
    line = (
        f"{' and '.join(anew)} not set, so Docker builds here, and {problem}; start Docker, or let "
        "Cloud Build make it: docs/deploy.md, Without Docker"
    )
    if pulumi.runtime.is_dry_run():
        pulumi.log.warn(line)
    else:
        _refuse([line])


def _refuse(lines: list[str]) -> None:
    if lines:
        raise pulumi.RunError("\n".join(lines))
