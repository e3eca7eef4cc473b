"""Names that a project has once, and who has taken them.

Another stack's or a person's would be told by Google's 409, after 50 resources. Whose something is
tells its labels.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from infra import lookup
from infra.settings import Settings
from infra.standing import Description


@dataclass(frozen=True)
class Name:
    """How it is asked for, what asks for it here, what it is, and what to do if it is taken."""

    question: str
    args: dict[str, str]
    setting: str
    thing: str
    fix: str


@dataclass(frozen=True)
class Taken:
    """`refusals`: a line for each name that others have; `ours`: what a stack of this name made."""

    refusals: list[str]
    ours: list[str]


def to_take(settings: Settings, stands: Description) -> Iterator[Name]:
    """What this run declares and the last one did not."""
    project, dataset = settings.project, settings.dataset_id
    if stands.get("dataset") != f"{project}.{dataset}":
        yield Name(
            "bigquery/getDataset",
            {"project": project, "datasetId": dataset},
            f"tweets:dataset = {dataset!r}",
            f"{project}.{dataset}",
            "choose another: pulumi config set tweets:dataset <name>, or leave it out: pulumi "
            "config rm tweets:dataset",
        )
    if settings.owns_registry and not stands.get("registry"):
        yield Name(
            "artifactregistry/getRepository",
            {"project": project, "location": "us", "repositoryId": "gcr.io"},
            "tweets:ownsRegistry = True",
            f"the repository gcr.io of {project}",
            "use it: pulumi config set tweets:ownsRegistry false",
        )
    if not stands:
        yield Name(
            "pubsub/getTopic",
            {"project": project, "name": settings.prefix},
            f"stack = {settings.stack!r}",
            f"the topic {settings.prefix} of {project}",
            "choose another: pulumi stack init <name>",
        )


async def taken(settings: Settings, stands: Description) -> Taken:
    """Ask for each; what cannot be asked for is not there, or Google tells when it is made."""
    names = list(to_take(settings, stands))
    answers = await asyncio.gather(*(lookup.ask_if(n.question, **n.args) for n in names))
    found = Taken([], [])
    for name, answer in zip(names, answers, strict=True):
        labels = answer.get("effectiveLabels") or answer.get("labels") or {}
        ours, stack = labels.get("app") == "tweets", labels.get("stack", "")
        if ours and stack == settings.stack:
            found.ours.append(name.thing)
        elif answer:
            by = f"belongs to the stack {stack!r}" if ours else "was not made by this program"
            found.refusals.append(f"{name.setting}: {name.thing} exists and {by}; {name.fix}")
    return found
