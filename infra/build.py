"""How the function's source becomes an image: archive, bucket, build account, image repository.

The account is ours because Google's default one has too few rights in projects made since July
2024 and too many in older ones. The function that runs the image belongs to the sink.
"""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import artifactregistry, cloudfunctionsv2, projects, serviceaccount, storage

from infra import waiting
from infra.apis import Apis
from infra.archive import SERVICES, build_archive
from infra.settings import Settings

SOURCE = SERVICES / "sink_function"
SOURCE_FILES = ("main.py", "requirements.txt", "sink/**/*.py", "sink/schema/*.json")


@dataclass(frozen=True)
class BuildArgs:
    """What the build is made from."""

    settings: Settings
    apis: Apis


class Build(pulumi.ComponentResource):
    """Everything that Cloud Build needs; what uses `config` depends on this component."""

    config: cloudfunctionsv2.FunctionBuildConfigArgsDict

    def __init__(
        self, name: str, args: BuildArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Build", name, None, opts)
        settings = args.settings
        child, first = pulumi.ResourceOptions(parent=self), args.apis.after_apis(self)
        granted = args.apis.after_apis(
            self, after_create=pulumi.ResourceHook(f"{name}-grant", waiting.for_grant)
        )
        account = serviceaccount.Account(
            name,
            account_id=f"{settings.prefix}-build",
            display_name=f"Builds the sink of {settings.prefix}",
            opts=first,
        )
        # Google has no narrower place than the project to write build logs to.
        projects.IAMMember(
            f"{name}-writes-logs",
            project=settings.project,
            role="roles/logging.logWriter",
            member=account.member,
            opts=granted,
        )
        bucket = storage.Bucket(
            f"{settings.prefix}-source",
            location=settings.region,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            # Nothing but builds of what is in git: the bucket never blocks a destroy.
            force_destroy=True,
            soft_delete_policy={"retention_duration_seconds": 0},
            labels=settings.labels,
            opts=first,
        )
        storage.BucketIAMMember(
            f"{name}-reads-source",
            bucket=bucket.name,
            role="roles/storage.objectViewer",
            member=account.member,
            opts=granted,
        )
        # Cloud Functions copies the source to a bucket of its own, made at the first deploy, and
        # the build reads it there; a grant on a bucket that does not exist yet is not possible,
        # so this one is on the project with a condition that names only that bucket.
        projects.IAMMember(
            f"{name}-reads-copy",
            project=settings.project,
            role="roles/storage.objectViewer",
            member=account.member,
            condition={
                "title": "function-sources-only",
                "expression": args.apis.project_number.apply(
                    lambda number: (
                        'resource.name.startsWith("projects/_/buckets/'
                        f'gcf-v2-sources-{number}-{settings.region}")'
                    )
                ),
            },
            opts=granted,
        )
        images = artifactregistry.Repository(
            f"{name}-images",
            repository_id=f"{settings.prefix}-sink",
            location=settings.region,
            format="DOCKER",
            description="Images that Cloud Build makes of the sink function.",
            cleanup_policies=[
                {"id": "keep-5", "action": "KEEP", "most_recent_versions": {"keep_count": 5}},
                {"id": "drop-old", "action": "DELETE", "condition": {"older_than": "604800s"}},
            ],
            labels=settings.labels,
            opts=first,
        )
        artifactregistry.RepositoryIamMember(
            f"{name}-writes-images",
            repository=images.name,
            location=settings.region,
            role="roles/artifactregistry.writer",
            member=account.member,
            opts=granted,
        )
        archive = build_archive("sink", SOURCE, SOURCE_FILES)
        code = storage.BucketObject(
            f"{name}-source",
            bucket=bucket.name,
            # The hash in the name is what makes a code change redeploy the function.
            name=archive.name,
            source=pulumi.FileAsset(str(archive)),
            opts=child,
        )
        self.config = {
            "runtime": "python313",
            "entry_point": "sink",
            "service_account": account.id,
            "docker_repository": images.id,
            "source": {"storage_source": {"bucket": bucket.name, "object": code.name}},
        }
        self.register_outputs({"source": code.name})
