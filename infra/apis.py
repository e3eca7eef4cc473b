"""The Google APIs and service agents that the rest of the program stands on.

An API stays on when the stack is destroyed: other stacks and people may use it. In a project
where nothing was ever enabled, some must be on before the first run, since enabling APIs goes
through them and the provider lists regions: docs/deploy.md's first step does that.
"""

import re

import pulumi
from pulumi_gcp import projects

from infra import waiting
from infra.preflight import Preflight

_APIS = (
    "artifactregistry",
    "bigquery",
    "cloudbuild",
    "cloudfunctions",
    "cloudresourcemanager",
    "compute",
    "container",
    "iam",
    "logging",
    "monitoring",
    "pubsub",
    "run",
    "secretmanager",
    "storage",
)


class Apis(pulumi.ComponentResource):
    """APIs on, the project's number, and Pub/Sub's own account.

    Resources take their options from `after_apis`, because a project that has just got an API
    answers 403 for a while: it orders them after the APIs and retries such answers
    (infra/waiting.py), and no other.
    """

    project_number: pulumi.Output[str]
    pubsub_agent: pulumi.Output[str]
    """IAM member of the account under which Pub/Sub moves dead letters."""

    def __init__(
        self, name: str, preflight: Preflight, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        # Created before all that Google has of the stack, so only in a state without any of it.
        first = pulumi.ResourceOptions(
            depends_on=preflight.passed,
            hooks=pulumi.ResourceHookBinding(before_create=[preflight.first_run]),
        )
        super().__init__("tweets:index:Apis", name, None, pulumi.ResourceOptions.merge(first, opts))
        self._not_yet = waiting.Patience(f"{name}-not-yet").hook
        self._apis: list[pulumi.Resource] = [
            projects.Service(
                f"{name}-{api}",
                service=f"{api}.googleapis.com",
                disable_on_destroy=False,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for api in _APIS
        ]
        # The account does not exist before it is asked for, and a grant to it would fail.
        self.pubsub_agent = projects.ServiceIdentity(
            f"{name}-pubsub-agent",
            service="pubsub.googleapis.com",
            opts=self.after_apis(self),
        ).member
        # It is in the agent's name. Asking for the project would need one more API (cloudbilling).
        self.project_number = self.pubsub_agent.apply(_number)
        self.register_outputs(
            {"project_number": self.project_number, "pubsub_agent": self.pubsub_agent}
        )

    def after_apis(
        self,
        parent: pulumi.Resource,
        *,
        protect: bool = False,
        provider: pulumi.ProviderResource | None = None,
        depends_on: list[pulumi.Resource] | None = None,
        after_create: pulumi.ResourceHook | None = None,
        delete_before_replace: bool = False,
        replace_when_failed: bool = False,
    ) -> pulumi.ResourceOptions:
        """Options of a resource that must wait for its API, its account or its grant.

        Args:
            parent: the component that it belongs to.
            protect: refuse to destroy it.
            provider: of Kubernetes; without it, Google's.
            depends_on: what else it waits for.
            after_create: what to wait for once it is made.
            delete_before_replace: its name is fixed, so a replaced one has to make room.
            replace_when_failed: make it anew where its last operation failed. Such a resource is
                in the state with its new inputs, so the next run would find nothing to change.
                Its name is fixed too.
        """
        return pulumi.ResourceOptions(
            parent=parent,
            protect=protect,
            provider=provider,
            depends_on=[*self._apis, *(depends_on or [])],
            hooks=pulumi.ResourceHookBinding(
                on_error=[self._not_yet],
                after_create=[after_create] if after_create else None,
            ),
            replace_on_changes=["#initerror"] if replace_when_failed else None,
            delete_before_replace=delete_before_replace or replace_when_failed,
        )


def _number(agent: str) -> str:
    found = re.search(r"service-([0-9]+)@", agent)
    if not found:
        raise pulumi.RunError(
            f"Pub/Sub's own account is {agent!r}, without the project's number in it; "
            "report this as a fault of infra/apis.py"
        )
    return found[1]
