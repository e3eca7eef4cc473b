"""The Deployment's container as a process: environment, volumes, command."""

from __future__ import annotations

import copy
import stat
from pathlib import Path
from typing import Any

import pytest

from local.machine.errors import StackError
from local.machine.function import Launch
from local.machine.pod import PodContext, pod_launch

SECRET = "projects/p/secrets/token"
CONTAINER: dict[str, Any] = {
    "name": "producer",
    "command": ["python", "-m", "producer"],
    "args": ["--state", "/var/lib/producer"],
    "env": [
        {"name": "TOPIC", "value": "projects/p/topics/t"},
        {"name": "X_BEARER_TOKEN_FILE", "value": "/var/run/secrets/x/token"},
        {"name": "X_API_BASE_URL", "value": "https://api.x.com"},
        {"name": "RULES_FILE", "value": "/etc/producer/rules.json"},
        {"name": "STATE_DIR", "value": "/var/lib/producer"},
        {"name": "LOOKS_LIKE_A_MOUNT", "value": "/etc/producers"},
        {"name": "PORT", "value": "8080"},
        {"name": "INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ],
    "volumeMounts": [
        {"name": "scratch", "mountPath": "/tmp"},
        {"name": "token", "mountPath": "/var/run/secrets/x"},
        {"name": "rules", "mountPath": "/etc/producer"},
        {"name": "state", "mountPath": "/var/lib/producer"},
    ],
}
VOLUMES: list[dict[str, Any]] = [
    {"name": "scratch", "emptyDir": {}},
    {"name": "token", "csi": {"volumeAttributes": {"secretProviderClass": "x"}}},
    {"name": "rules", "configMap": {"name": "r-1"}},
    {"name": "state", "persistentVolumeClaim": {"claimName": "producer-state"}},
]


@pytest.fixture
def cluster(tmp_path: Path) -> PodContext:
    """What the pod refers to."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "requirements.txt").write_text("orjson\n")
    return PodContext(
        config_maps={"r-1": {"rules.json": '[{"value": "고양이"}]'}},
        secrets={SECRET: "AAAA"},
        secret_providers={
            "x": {
                "parameters": {
                    "secrets": f'[{{"resourceName": "{SECRET}/versions/latest", "path": "token"}}]'
                }
            }
        },
        context=context,
    )


def launch(
    tmp_path: Path, cluster: PodContext, container: dict[str, Any] | None = None, **pod: Any
) -> Launch:
    """Prepare the pod with parts of it replaced."""
    spec = {"containers": [{**CONTAINER, **(container or {})}], "volumes": VOLUMES, **pod}
    deployment = {
        "metadata": {"name": "producer"},
        "spec": {"template": {"spec": copy.deepcopy(spec)}},
    }
    overrides = {"X_API_BASE_URL": "http://127.0.0.1:1"}
    return pod_launch(deployment, cluster, tmp_path / "pod", tmp_path / "state", 9999, overrides)


def test_the_environment_is_the_declared_one(tmp_path: Path, cluster: PodContext) -> None:
    """Every declared variable is there, paths below mounts are local, only endpoints differ."""
    prepared = launch(tmp_path, cluster)
    declared = {each["name"] for each in CONTAINER["env"]}
    assert prepared.env.keys() == declared | {"PATH", "HOME", "LANG"}
    assert prepared.env["TOPIC"] == "projects/p/topics/t"
    assert prepared.env["X_API_BASE_URL"] == "http://127.0.0.1:1"
    assert prepared.env["PORT"] == "9999"
    assert prepared.env["INSTANCE"] == "producer-local"
    assert prepared.env["LOOKS_LIKE_A_MOUNT"] == "/etc/producers"
    state = str(tmp_path / "state" / "state")
    assert prepared.env["STATE_DIR"] == state
    assert prepared.argv == ["python", "-m", "producer", "--state", state]
    # A copy: what runs may not write into the context, whose hash decides about a build.
    assert prepared.cwd != cluster.context
    assert (prepared.cwd / "requirements.txt").read_text() == "orjson\n"


def test_volumes_hold_what_is_declared(tmp_path: Path, cluster: PodContext) -> None:
    """The ConfigMap's file has its text, the secret's file its payload and one reader."""
    prepared = launch(tmp_path, cluster)
    assert Path(prepared.env["RULES_FILE"]).read_text() == '[{"value": "고양이"}]'
    token = Path(prepared.env["X_BEARER_TOKEN_FILE"])
    assert token.read_text() == "AAAA"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert "AAAA" not in str(prepared)


@pytest.mark.parametrize(
    ("container", "pod", "words"),
    [
        ({"command": None}, {}, "declares no command"),
        ({"volumeMounts": [{"name": "nix", "mountPath": "/n"}]}, {}, "'nix' is mounted, not decl"),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            {},
            "A from .* has no local counterpart",
        ),
        ({"envFrom": [{"configMapRef": {"name": "r-2"}}]}, {}, "envFrom has no local counterpart"),
        ({}, {"containers": [CONTAINER, CONTAINER]}, "one container, not 2"),
        (
            {"volumeMounts": [{"name": "h", "mountPath": "/h"}]},
            {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]},
            r"volume 'h' \(hostPath\) has no local counterpart",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(
    tmp_path: Path, cluster: PodContext, container: dict[str, Any], pod: dict[str, Any], words: str
) -> None:
    """A reference that leads nowhere, here or in the cloud, is one line with its name."""
    with pytest.raises(StackError, match=words):
        launch(tmp_path, cluster, container, **pod)


def test_a_secret_without_a_version_is_named(tmp_path: Path, cluster: PodContext) -> None:
    """Kubernetes would not start such a pod; here it is said why."""
    cluster.secrets.clear()
    with pytest.raises(StackError, match=f"{SECRET} has no declared version"):
        launch(tmp_path, cluster)
