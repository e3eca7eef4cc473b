"""The image of services/producer under gcr.io, by digest, or a ready one from the configuration.

gcr.io/PROJECT is an Artifact Registry repository named `gcr.io` (Container Registry ended in
March 2025). A project has one, so one stack owns it (`ownsRegistry`) and the others push to it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_docker_build as docker_build
from pulumi_gcp import artifactregistry

from infra.apis import Apis
from infra.archive import SERVICES, stage_context
from infra.cluster import Cluster
from infra.settings import Settings

_PROGRAM = Path(__file__).resolve().parent
_REPOSITORY, _LOCATION = "gcr.io", "us"  # Google's fixed names behind the host gcr.io


@dataclass(frozen=True)
class ImageArgs:
    """`settings.image` is a ready reference or empty; the cluster's nodes pull the image."""

    settings: Settings
    apis: Apis
    cluster: Cluster


class Image(pulumi.ComponentResource):
    """The producer's image: `ref` is what a pod runs, with its digest when it is built here."""

    ref: pulumi.Output[str]

    def __init__(
        self, name: str, args: ImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Image", name, None, opts)
        settings, nodes = args.settings, args.cluster.nodes
        repository: list[pulumi.Resource] = []
        if settings.owns_registry:
            repository.append(
                artifactregistry.Repository(
                    name,
                    repository_id=_REPOSITORY,
                    location=_LOCATION,
                    format="DOCKER",
                    description="gcr.io of this project.",
                    # Earlier deployments leave untagged images behind; ten stay to roll back to.
                    cleanup_policies=[
                        {
                            "id": "keep-10",
                            "action": "KEEP",
                            "most_recent_versions": {"keep_count": 10},
                        },
                        {
                            "id": "drop-untagged",
                            "action": "DELETE",
                            "condition": {"tag_state": "UNTAGGED", "older_than": "2592000s"},
                        },
                    ],
                    labels=settings.labels,
                    opts=args.apis.after_apis(self, protect=settings.protect),
                )
            )
        if nodes:
            artifactregistry.RepositoryIamMember(
                f"{name}-nodes-pull",
                repository=_REPOSITORY,
                location=_LOCATION,
                role="roles/artifactregistry.reader",
                member=nodes.member,
                opts=args.apis.after_apis(self, depends_on=repository),
            )
        if settings.image:
            self.ref = pulumi.Output.from_input(settings.image)
        else:
            self.ref = built(
                name,
                "producer",
                f"gcr.io/{settings.project}/{settings.prefix}",
                args.apis.after_apis(self, depends_on=repository),
            )
        self.register_outputs({"ref": self.ref})


def built(
    name: str, service: str, repository: str, opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    """The image of services/<service>, built by Docker and pushed: its reference with digest."""
    # Seen from infra/, where Pulumi runs the program: an absolute path would differ from machine
    # to machine, and each difference would build the image and restart the reader.
    context = os.path.relpath(stage_context(service, SERVICES / service), _PROGRAM)
    return docker_build.Image(
        name,
        tags=[f"{repository}:latest"],
        context={"location": context},
        dockerfile={"location": f"{context}/Dockerfile"},
        platforms=[docker_build.Platform.LINUX_AMD64],
        push=True,
        # A preview needs neither Docker nor a login.
        build_on_preview=False,
        opts=opts,
    ).ref
