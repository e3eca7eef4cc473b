"""What every pod of ours has in common: no root, no writable image, no privileges, one secret.

Passes the Kubernetes Pod Security Standard `restricted`, which the namespace enforces.
"""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.core import v1

from infra import x_token

_USER = 65532  # the Dockerfile's user, by number, so that the kubelet can tell it is not root


def environment(**values: pulumi.Input[str]) -> list[v1.EnvVarArgsDict]:
    """Environment of a container, by name."""
    return [{"name": name, "value": value} for name, value in values.items()]


def spec(
    account: v1.ServiceAccount,
    container: v1.ContainerArgsDict,
    volumes: Sequence[v1.VolumeArgsDict] = (),
    mounts: Sequence[v1.VolumeMountArgsDict] = (),
) -> v1.PodSpecArgsDict:
    """A pod of one container, with a small /tmp and X's token beside its own volumes.

    Requests of resources are what Autopilot bills. It takes 50m and more of CPU, and 1 to 6.5 GiB
    of memory for each CPU; other requests it raises by itself, and a refresh then shows a change
    (docs.cloud.google.com/kubernetes-engine/docs/concepts/autopilot-resource-requests, general
    purpose, clusters with bursting: those made since version 1.30.2). Without a limit of CPU a pod
    may use what the node has left: replay does.
    """
    return {
        "service_account_name": account.metadata.name,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": {
            "run_as_non_root": True,
            "run_as_user": _USER,
            "run_as_group": _USER,
            "fs_group": _USER,
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                **container,
                "resources": {
                    "requests": {"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "1Gi"},
                    "limits": {"memory": "512Mi", "ephemeral-storage": "1Gi"},
                },
                "security_context": {
                    "allow_privilege_escalation": False,
                    "read_only_root_filesystem": True,
                    "run_as_non_root": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volume_mounts": [
                    {"name": "scratch", "mount_path": "/tmp"},  # noqa: S108
                    {"name": "x-bearer-token", "mount_path": x_token.MOUNT, "read_only": True},
                    *mounts,
                ],
            }
        ],
        "volumes": [
            {"name": "scratch", "empty_dir": {"size_limit": "64Mi"}},
            {
                "name": "x-bearer-token",
                "csi": {
                    "driver": "secrets-store-gke.csi.k8s.io",
                    "read_only": True,
                    "volume_attributes": {"secretProviderClass": x_token.SECRET_CLASS},
                },
            },
            *volumes,
        ],
    }
