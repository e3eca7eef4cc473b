"""The GKE Autopilot cluster that the producer runs on, or one that is there already.

An existing cluster (config `cluster`) is only read: it must have what ours has, Workload Identity,
the Secret Manager add-on and a DNS endpoint open to external traffic, and its nodes must be allowed
to pull the image. The default network is used as it is.
"""

import json
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_gcp import container, projects, serviceaccount

from infra import waiting
from infra.apis import Apis
from infra.lookup import FoundCluster
from infra.settings import Settings


@dataclass(frozen=True)
class ClusterArgs:
    """`found` is the cluster that `settings.cluster` names; without a name, one is made."""

    settings: Settings
    apis: Apis
    found: pulumi.Output[FoundCluster | None]


class Cluster(pulumi.ComponentResource):
    """A cluster, the namespace `tweets-<stack>` in it, and the provider that talks to it."""

    cluster_name: pulumi.Output[str]
    provider: kubernetes.Provider
    namespace: kubernetes.core.v1.Namespace
    nodes: serviceaccount.Account | None
    """The account of the nodes, which pulls images; None where the cluster is not ours."""
    identities: pulumi.Output[str]
    """IAM principal of this namespace's accounts, but for the account's name at the end."""

    def __init__(
        self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Cluster", name, None, opts)
        self.nodes = None
        settings = args.settings
        if settings.cluster:
            self.cluster_name = pulumi.Output.from_input(settings.cluster)
            identity: pulumi.Output[str] = args.found.apply(lambda found: found.id if found else "")
            endpoint = args.found.apply(lambda found: found.endpoint if found else "")
        else:
            cluster = self._autopilot(name, args)
            self.cluster_name = cluster.name
            identity = cluster.id
            endpoint = cluster.control_plane_endpoints_config.apply(_endpoint)

        self.provider = kubernetes.Provider(
            name,
            kubeconfig=endpoint.apply(_kubeconfig),
            # Only another cluster replaces what runs in it; a new address or flag does not.
            cluster_identifier=identity,
            # A cluster that is gone must not block `pulumi destroy` of what was in it.
            delete_unreachable=True,
            opts=args.apis.after_apis(self),
        )
        self.namespace = kubernetes.core.v1.Namespace(
            name,
            metadata={
                "name": settings.prefix,
                "labels": {
                    **settings.labels,
                    "pod-security.kubernetes.io/enforce": "restricted",
                },
            },
            opts=pulumi.ResourceOptions(parent=self, provider=self.provider),
        )
        # Workload identity with no key and no Google account between: a grant names the pod's own.
        # The pool comes with the project's first cluster: a grant before that is refused.
        self.identities = pulumi.Output.all(args.apis.project_number, identity).apply(
            lambda known: (
                f"principal://iam.googleapis.com/projects/{known[0]}/locations/global/"
                f"workloadIdentityPools/{settings.project}.svc.id.goog"
                f"/subject/ns/{settings.prefix}/sa/"
            )
        )
        self.register_outputs({"cluster_name": self.cluster_name})

    def _autopilot(self, name: str, args: ClusterArgs) -> container.Cluster:
        settings = args.settings
        first = args.apis.after_apis(self)
        self.nodes = serviceaccount.Account(
            f"{name}-nodes",
            account_id=f"{settings.prefix}-nodes",
            display_name=f"GKE nodes of {settings.prefix}",
            opts=first,
        )
        # Logs and metrics of nodes; Google offers this role on the project only.
        grant = projects.IAMMember(
            f"{name}-nodes-report",
            project=settings.project,
            role="roles/container.defaultNodeServiceAccount",
            member=self.nodes.member,
            opts=first,
        )
        return container.Cluster(
            # No `name`: Pulumi adds a suffix, so a replacement can stand beside the old one.
            settings.prefix,
            location=settings.region,
            enable_autopilot=True,
            cluster_autoscaling={
                "auto_provisioning_defaults": {"service_account": self.nodes.email}
            },
            ip_allocation_policy={},
            release_channel={"channel": "REGULAR"},
            # The bearer token reaches the pod as a file from Secret Manager, re-read on rotation.
            secret_manager_config={
                "enabled": True,
                "rotation_config": {"enabled": True, "rotation_interval": "120s"},
            },
            # Reached by a DNS name that checks IAM; the control plane has no address to scan.
            control_plane_endpoints_config={
                "dns_endpoint_config": {"allow_external_traffic": True},
                "ip_endpoints_config": {"enabled": False},
            },
            deletion_protection=settings.protect,
            resource_labels=settings.labels,
            opts=args.apis.after_apis(
                self,
                protect=settings.protect,
                depends_on=[grant],
                after_create=pulumi.ResourceHook(f"{name}-endpoint", waiting.for_endpoint),
            ),
        )


def _endpoint(config: container.outputs.ClusterControlPlaneEndpointsConfig) -> str:
    found = config.dns_endpoint_config.endpoint if config.dns_endpoint_config else None
    if not found and not pulumi.runtime.is_dry_run():
        raise pulumi.RunError(
            "the cluster has no DNS endpoint, so nothing in it can be reached; look at it: gcloud "
            "container clusters list; where it is in ERROR, delete it there and run pulumi up "
            "--refresh"
        )
    return found or ""


def _kubeconfig(endpoint: str) -> str:
    """Credentials come from the same login as Pulumi's own; nothing secret is in the text."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "gke", "cluster": {"server": f"https://{endpoint}"}}],
            "users": [
                {
                    "name": "gke",
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "gke-gcloud-auth-plugin",
                            "args": ["--use_application_default_credentials"],
                            "installHint": "gcloud components install gke-gcloud-auth-plugin",
                            "provideClusterInfo": True,
                            "interactiveMode": "Never",
                        }
                    },
                }
            ],
            "contexts": [{"name": "gke", "context": {"cluster": "gke", "user": "gke"}}],
            "current-context": "gke",
        }
    )
