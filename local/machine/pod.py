"""The declared Deployment's container: its volumes as directories, started as a process."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local.machine.errors import StackError
from local.machine.function import Launch
from local.machine.runtime import Runtime


@dataclass
class PodContext:
    """What the other resources hold that a pod may mount or refer to.

    Attributes:
        config_maps: name to its data, file name to text.
        secrets: Secret Manager id, `projects/P/secrets/S`, to the payload of its version.
        secret_providers: name of a SecretProviderClass to its spec.
        context: the image's build context, where the container's command finds its code.
    """

    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    secret_providers: dict[str, dict[str, Any]] = field(default_factory=dict)
    context: Path | None = None


def pod_launch(
    deployment: Mapping[str, Any],
    cluster: PodContext,
    folder: Path,
    state: Path,
    port: int,
    overrides: Mapping[str, str],
) -> Launch:
    """Prepare the inputs of `kubernetes:apps/v1:Deployment` to run on this machine.

    Command, arguments and environment stand as declared; a path below a volume's mount is this
    machine's directory for it. Only PORT and the `overrides` differ.

    Args:
        deployment: the resource's inputs, with one container.
        cluster: config maps, secrets and image that the pod refers to.
        folder: where packages, home and config mounts go; mounts are written anew.
        state: where volumes that outlive the pod are kept.
        port: PORT of the health and metrics server.
        overrides: environment that points to the stand-ins, and keeps ports on this machine.

    Raises:
        StackError: something the pod refers to is not declared, or has no local counterpart.
    """
    name = str((deployment.get("metadata") or {}).get("name") or "producer")
    pod = deployment["spec"]["template"]["spec"]
    if len(pod["containers"]) != 1:
        raise StackError(f"the local stack runs one container, not {len(pod['containers'])}.")
    (container,) = pod["containers"]
    if cluster.context is None:
        raise StackError(
            "no docker-build Image is declared, so the local stack does not know the code of "
            "its container; unset `tweets:image`."
        )
    if not container.get("command"):
        raise StackError("the container declares no command.")
    volumes = {volume["name"]: volume for volume in pod.get("volumes") or []}
    mounts: dict[str, Path] = {}
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in volumes:
            raise StackError(f"volume {mount['name']!r} is mounted, not declared.")
        directory = _volume(volumes[mount["name"]], cluster, folder / "volumes", state)
        mounts[mount["mountPath"].rstrip("/")] = directory
    env = Runtime(folder / "runtime", cluster.context / "requirements.txt").env
    for key, value in _environment(name, container).items():
        env[key] = _local(value, mounts)
    env |= {"PORT": str(port), **overrides}
    words = [*container["command"], *(container.get("args") or [])]
    # A copy, as a container has: bytecode in the context would change what the next build hashes.
    image = folder / "image"
    shutil.copytree(cluster.context, image, dirs_exist_ok=True)
    return Launch([_local(str(word), mounts) for word in words], env, image)


def _environment(name: str, container: Mapping[str, Any]) -> dict[str, str]:
    env: dict[str, str] = {}
    if container.get("envFrom"):
        raise StackError("envFrom has no local counterpart.")
    for variable in container.get("env") or []:
        key, source = variable["name"], variable.get("valueFrom")
        if not source:
            env[key] = str(variable.get("value", ""))
        elif source == {"fieldRef": {"fieldPath": "metadata.name"}}:
            env[key] = f"{name}-local"
        else:
            raise StackError(f"{key} from {source} has no local counterpart.")
    return env


def _volume(volume: Mapping[str, Any], cluster: PodContext, folder: Path, state: Path) -> Path:
    """The local directory of a volume, filled as Kubernetes would fill it."""
    directory = folder / str(volume["name"])
    if "configMap" in volume:
        config_map = volume["configMap"]["name"]
        if config_map not in cluster.config_maps:
            raise StackError(f"ConfigMap {config_map!r} is not declared.")
        _write(directory, cluster.config_maps[config_map].items(), 0o644)
    elif "csi" in volume:
        provider = volume["csi"]["volumeAttributes"].get("secretProviderClass")
        _write(directory, _provided_secrets(provider, cluster), 0o600)
    elif "persistentVolumeClaim" in volume or "emptyDir" in volume:
        directory = state / str(volume["name"])
        directory.mkdir(parents=True, exist_ok=True)
    else:
        kind = ", ".join(sorted(set(volume) - {"name"}))
        raise StackError(f"volume {volume['name']!r} ({kind}) has no local counterpart.")
    return directory


def _provided_secrets(provider: str | None, cluster: PodContext) -> Iterable[tuple[str, str]]:
    """File and payload of each secret that a SecretProviderClass mounts.

    `spec.parameters.secrets` is YAML: a list of {resourceName, path}
    (cloud.google.com/secret-manager/docs/secret-manager-managed-csi-component).
    """
    if provider not in cluster.secret_providers:
        raise StackError(f"SecretProviderClass {provider!r} is not declared.")
    parameters = cluster.secret_providers[provider].get("parameters") or {}
    for entry in yaml.safe_load(parameters.get("secrets") or "[]"):
        secret = str(entry["resourceName"]).split("/versions/")[0]
        if secret not in cluster.secrets:
            raise StackError(f"SecretProviderClass {provider}: {secret} has no declared version.")
        yield entry["path"], cluster.secrets[secret]


def _write(directory: Path, files: Iterable[tuple[str, str]], mode: int) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in files:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=mode)
        path.write_text(text)


def _local(value: str, mounts: Mapping[str, Path]) -> str:
    """`value` with a leading mount path replaced by the directory that stands for it."""
    for mount, directory in sorted(mounts.items(), key=lambda item: -len(item[0])):
        if value == mount or value.startswith(f"{mount}/"):
            return str(directory) + value[len(mount) :]
    return value
