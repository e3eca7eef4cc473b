"""X's bearer token: from a secret of Secret Manager to a file in the pods that need it.

The secret is a person's, made and filled outside, so that neither Pulumi nor who may run a preview
ever holds the token. With `xBearerToken` it is this stack's, filled from the encrypted
configuration. The token is in no environment variable, no pod spec and no Kubernetes Secret. Who
may read it is granted where the reader is declared.
"""

import json
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_gcp import secretmanager

from infra.apis import Apis
from infra.cluster import Cluster
from infra.settings import Settings

MOUNT = "/var/run/secrets/x"
FILE = "bearer-token"
PATH = f"{MOUNT}/{FILE}"
SECRET_CLASS = "x-bearer-token"  # noqa: S105


@dataclass(frozen=True)
class TokenArgs:
    """`settings.token`, if there is one, is a secret output; it stays one all the way."""

    settings: Settings
    apis: Apis
    cluster: Cluster


class Token(pulumi.ComponentResource):
    """The class by which a pod mounts the secret's newest version as `PATH`.

    A pod that mounts it depends on this component.
    """

    secret_id: pulumi.Output[str]
    """Short name of the secret, for grants on it."""

    def __init__(
        self, name: str, args: TokenArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Token", name, None, opts)
        settings = args.settings
        version: list[pulumi.Resource] = []
        if settings.token is None:
            self.secret_id = pulumi.Output.from_input(settings.token_secret)
            path = pulumi.Output.concat(f"projects/{settings.project}/secrets/", self.secret_id)
        else:
            secret, filled = _own(self, name, args, settings.token)
            self.secret_id, path, version = secret.secret_id, secret.id, [filled]
        kubernetes.apiextensions.CustomResource(
            name,
            api_version="secrets-store.csi.x-k8s.io/v1",
            kind="SecretProviderClass",
            metadata={
                "name": SECRET_CLASS,
                "namespace": args.cluster.namespace.metadata.name,
                "labels": settings.labels,
            },
            spec={
                "provider": "gke",
                "parameters": {
                    # `latest`: the add-on refreshes the file within minutes of a rotation, and
                    # the producer reads it at each connect, so no pod restarts.
                    "secrets": path.apply(
                        lambda secret: json.dumps(
                            [{"resourceName": f"{secret}/versions/latest", "path": FILE}]
                        )
                    )
                },
            },
            # A pod that mounts a secret without a version fails to start.
            opts=args.apis.after_apis(self, provider=args.cluster.provider, depends_on=version),
        )
        self.register_outputs({"secret_id": self.secret_id})


def _own(
    parent: Token, name: str, args: TokenArgs, token: pulumi.Output[str]
) -> tuple[secretmanager.Secret, secretmanager.SecretVersion]:
    """A secret of this stack and its version."""
    secret = secretmanager.Secret(
        name,
        secret_id=f"{args.settings.prefix}-x-bearer-token",
        replication={"auto": {}},
        labels=args.settings.labels,
        # The token is X's and in the stack's configuration: nothing is lost with this copy.
        deletion_protection=False,
        opts=args.apis.after_apis(parent),
    )
    version = secretmanager.SecretVersion(
        name,
        secret=secret.id,
        secret_data=token,
        opts=pulumi.ResourceOptions(parent=parent, additional_secret_outputs=["secretData"]),
    )
    return secret, version
