"""What every pod of ours has in common: no root, no writable image, no privileges, one secret.

Passes the Kubernetes Pod Security Standard `restricted`, which the namespace enforces.
"""

import pulumi
from pulumi_kubernetes.core import v1

from infra import x_token

_USER = 65532  # the Dockerfile's user, by number, so that the kubelet can tell it is not root

HARDENED: v1.PodSpecArgsDict = {
    "containers": [],
    "automount_service_account_token": False,
    "enable_service_links": False,
    "security_context": {
        "run_as_non_root": True,
        "run_as_user": _USER,
        "run_as_group": _USER,
        "fs_group": _USER,
        "seccomp_profile": {"type": "RuntimeDefault"},
    },
}
UNPRIVILEGED: v1.SecurityContextArgsDict = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "run_as_non_root": True,
    "capabilities": {"drop": ["ALL"]},
}
SCRATCH_MOUNT: v1.VolumeMountArgsDict = {"name": "scratch", "mount_path": "/tmp"}  # noqa: S108
TOKEN_MOUNT: v1.VolumeMountArgsDict = {
    "name": "x-bearer-token",
    "mount_path": x_token.MOUNT,
    "read_only": True,
}


def scratch() -> v1.VolumeArgsDict:
    """A small /tmp, since the root file system is read-only."""
    return {"name": "scratch", "empty_dir": {"size_limit": "64Mi"}}


def token() -> v1.VolumeArgsDict:
    """X's bearer token as a file, by the GKE Secret Manager add-on."""
    return {
        "name": "x-bearer-token",
        "csi": {
            "driver": "secrets-store-gke.csi.k8s.io",
            "read_only": True,
            "volume_attributes": {"secretProviderClass": x_token.SECRET_CLASS},
        },
    }


def environment(**values: pulumi.Input[str]) -> list[v1.EnvVarArgsDict]:
    """Environment of a container, by name."""
    return [{"name": name, "value": value} for name, value in values.items()]


def resources(cpu: str, memory: str) -> v1.ResourceRequirementsArgsDict:
    """Requests, and the same limit of memory; Autopilot bills requests.

    It takes 50m and more of CPU, and 1 to 6.5 GiB of memory for each CPU; other requests it raises
    by itself, and a refresh then shows a change (docs.cloud.google.com/kubernetes-engine/docs/
    concepts/autopilot-resource-requests, general purpose, clusters with bursting: those made since
    version 1.30.2). Without a limit of CPU a pod may use what the node has left: replay does.
    """
    return {
        "requests": {"cpu": cpu, "memory": memory, "ephemeral-storage": "1Gi"},
        "limits": {"memory": memory, "ephemeral-storage": "1Gi"},
    }
