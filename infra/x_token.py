"""X's bearer token: from the stack's encrypted configuration to a file in the pods that need it.

The token is in no environment variable, no pod spec and no Kubernetes Secret. Who may read it is
granted where the reader is declared.
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
    """`settings.token` is a secret output; it stays one all the way."""

    settings: Settings
    apis: Apis
    cluster: Cluster


class Token(pulumi.ComponentResource):
    """The secret, its newest version, and the class by which a pod mounts it as `PATH`.

    A pod that mounts it depends on this component.
    """

    secret: secretmanager.Secret

    def __init__(
        self, name: str, args: TokenArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Token", name, None, opts)
        settings = args.settings
        self.secret = secretmanager.Secret(
            name,
            secret_id=f"{settings.prefix}-x-bearer-token",
            replication={"auto": {}},
            labels=settings.labels,
            # The token is X's and in the stack's configuration: nothing is lost with this copy.
            deletion_protection=False,
            opts=args.apis.after_apis(self),
        )
        version = secretmanager.SecretVersion(
            name,
            secret=self.secret.id,
            secret_data=settings.token,
            opts=pulumi.ResourceOptions(parent=self, additional_secret_outputs=["secretData"]),
        )
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
                    "secrets": self.secret.id.apply(
                        lambda secret: json.dumps(
                            [{"resourceName": f"{secret}/versions/latest", "path": FILE}]
                        )
                    )
                },
            },
            # A pod that mounts a secret without a version fails to start.
            opts=args.apis.after_apis(self, provider=args.cluster.provider, depends_on=[version]),
        )
        self.register_outputs({"secret": self.secret.id})
