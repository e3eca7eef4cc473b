"""The Google APIs and service agents that the rest of the program stands on.

An API stays on when the stack is destroyed: other stacks and people may use it. In a project
where nothing was ever enabled, `cloudresourcemanager` must be on before the first run, since
enabling APIs goes through it; the README's first step does that.
"""

import re
from asyncio import sleep

import pulumi
from pulumi_gcp import organizations, projects

_APIS = (
    "artifactregistry",
    "bigquery",
    "cloudbuild",
    "cloudfunctions",
    "cloudresourcemanager",
    "container",
    "iam",
    "logging",
    "monitoring",
    "pubsub",
    "run",
    "secretmanager",
    "storage",
)

# What Google answers while an API, an account or a grant made seconds ago is still spreading.
_NOT_YET = re.compile(
    r"has not been used in project|is disabled|PERMISSION_DENIED|Permission .* denied"
    r"|does not have (permission|.* access)|[Ss]ervice account .* does not exist"
    r"|Access to bucket .* denied|[Ii]dentity [Pp]ool does not exist"
    r"|metric was created recently",
)
_RETRY_SECONDS = 20
_RETRIES = 15


class Apis(pulumi.ComponentResource):
    """APIs on, the project's number, and Pub/Sub's own account.

    Resources take their options from `after_apis`, because a project that has just got an API
    answers 403 for a while: it orders them after the APIs and retries that answer, and no other,
    for five minutes. Google states no upper bound ("a few minutes").
    """

    project_number: pulumi.Output[str]
    pubsub_agent: pulumi.Output[str]
    """IAM member of the account under which Pub/Sub moves dead letters."""

    def __init__(self, name: str, project: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tweets:index:Apis", name, None, opts)
        self._retry = pulumi.ErrorHook(f"{name}-not-yet", _retry_not_yet)
        self._apis: list[pulumi.Resource] = [
            projects.Service(
                f"{name}-{api}",
                service=f"{api}.googleapis.com",
                disable_on_destroy=False,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for api in _APIS
        ]
        # Waits for the API: on a fresh project the number is unknown in the first preview.
        self.project_number = organizations.get_project_output(
            project_id=project,
            opts=pulumi.InvokeOutputOptions(parent=self, depends_on=self._apis),
        ).number
        # The account does not exist before it is asked for, and a grant to it would fail.
        self.pubsub_agent = projects.ServiceIdentity(
            f"{name}-pubsub-agent",
            service="pubsub.googleapis.com",
            opts=self.after_apis(self),
        ).member
        self.register_outputs(
            {"project_number": self.project_number, "pubsub_agent": self.pubsub_agent}
        )

    def after_apis(
        self,
        parent: pulumi.Resource,
        *,
        protect: bool = False,
        depends_on: list[pulumi.Resource] | None = None,
    ) -> pulumi.ResourceOptions:
        """Options of a resource that must wait for its API, its account or its grant."""
        return pulumi.ResourceOptions(
            parent=parent,
            protect=protect,
            depends_on=[*self._apis, *(depends_on or [])],
            hooks=pulumi.ResourceHookBinding(on_error=[self._retry]),
        )


async def _retry_not_yet(args: pulumi.ErrorHookArgs) -> bool:
    """Try again when the newest error only says that something new has not spread yet."""
    if len(args.errors) > _RETRIES or not _NOT_YET.search(args.errors[0]):
        return False
    await sleep(_RETRY_SECONDS)
    return True
