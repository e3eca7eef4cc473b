"""What Kubernetes and Docker are given: valid, without privileges, pinned."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from local.engine import recorder
from local.engine.program import ROOT, Program, evaluate
from tests.infra.environments import ENVIRONMENTS

INFRA = ROOT / "infra"  # where Pulumi runs the program
IMAGES = [ROOT / "services" / name for name in ("producer", "dashboard")]
KUBERNETES = "1.33"  # GKE's regular channel in 2026


def manifests(program: Program) -> list[dict[str, Any]]:
    """Every Kubernetes object of built-in type, as it is sent."""
    found = []
    for resource in program.resources:
        match = re.fullmatch(r"kubernetes:(\w+)/(v\w+):(\w+)", resource.type)
        if match:
            group, version, kind = match.groups()
            api = version if group == "core" else f"{group}/{version}"
            found.append({**resource.inputs, "apiVersion": api, "kind": kind})
    return found


def pods(program: Program) -> list[dict[str, Any]]:
    """The pod specification of every workload."""
    found = []
    for manifest in manifests(program):
        spec = manifest.get("spec") or {}
        job = (spec.get("jobTemplate") or {}).get("spec") or spec
        if "template" in job:
            found.append(job["template"]["spec"])
    return found


def test_manifests_are_valid(program: Program) -> None:
    """Each object passes the strict schema of its kind, so no field is misspelt or misplaced."""
    kinds = set()
    for manifest in manifests(program):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        kinds.add(manifest["kind"])
    assert {"Deployment", "ConfigMap", "Namespace", "ServiceAccount"} <= kinds


def test_a_misspelt_field_would_be_found(dev: Program) -> None:
    """The validator is strict: a field that Kubernetes does not know is an error."""
    broken = next(m for m in manifests(dev) if m["kind"] == "Deployment")
    broken = {**broken, "spec": {**broken["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_pods_have_no_privileges(program: Program) -> None:
    """Each pod keeps the restricted Pod Security Standard, which its namespace enforces."""
    namespace = next(m for m in manifests(program) if m["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pods(program)
    for pod in pods(program):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for volume in pod["volumes"]:
            assert set(volume) & {"configMap", "csi", "emptyDir", "persistentVolumeClaim"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert container["resources"]["limits"]["memory"]


def test_requests_are_what_autopilot_leaves_as_they_are(program: Program) -> None:
    """50m of CPU or more, and 1 to 6.5 GiB of memory for each CPU: nothing is raised, no drift."""
    for pod in pods(program):
        for container in pod["containers"]:
            requests = container["resources"]["requests"]
            cpu = int(requests["cpu"].removesuffix("m")) / 1000
            memory = int(requests["memory"].removesuffix("Mi")) / 1024
            assert cpu >= 0.05
            assert 1 <= memory / cpu <= 6.5
            assert "cpu" not in container["resources"]["limits"]


def test_one_reader_at_a_time(program: Program) -> None:
    """X allows one connection: one replica, and the old pod ends before a new one starts."""
    spec = next(m for m in manifests(program) if m["kind"] == "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 30


def test_wrong_token_does_not_hang_an_update(program: Program) -> None:
    """A pod that never gets ready fails `pulumi up` after ten minutes; the claim is not awaited."""
    deployment = program.one("apps/v1:Deployment")
    timeouts = deployment.options.customTimeouts
    assert (timeouts.create, timeouts.update) == ("10m", "10m")
    claim = program.one("core/v1:PersistentVolumeClaim").inputs["metadata"]
    assert claim["annotations"]["pulumi.com/skipAwait"] == "true"


def test_image_is_built_on_up_only(dev: Program) -> None:
    """A preview needs no Docker; the pod runs the image by its digest."""
    image = dev.one("docker-build:index:Image")
    assert image.inputs["buildOnPreview"] is False
    assert image.inputs["push"] is True
    assert image.inputs["tags"] == ["gcr.io/my-project/tweets-dev:latest"]
    deployment = dev.one("apps/v1:Deployment").inputs["spec"]["template"]["spec"]
    assert re.fullmatch(
        r"gcr\.io/my-project/tweets-dev@sha256:[0-9a-f]{64}", deployment["containers"][0]["image"]
    )


def test_images_are_built_alike_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts are relative to infra/: another checkout's path would rebuild and restart."""
    monkeypatch.setattr(recorder, "_make_absolute", lambda image: None)
    found = set()
    for image in evaluate("prod", ENVIRONMENTS["prod"]).of_type("docker-build:index:Image"):
        context = image.inputs["context"]["location"]
        assert not Path(context).is_absolute()
        assert image.inputs["dockerfile"]["location"] == f"{context}/Dockerfile"
        staged = (INFRA / context).resolve()
        service = ROOT / "services" / staged.name.rpartition("-")[0]
        for path in staged.rglob("*"):
            # A laptop's umask is not CI's, and Docker's hash of a context covers modes.
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
            if path.is_file():
                assert path.read_bytes() == (service / path.relative_to(staged)).read_bytes()
        found.add(service)
    assert found == set(IMAGES)


@pytest.mark.parametrize("context", IMAGES, ids=lambda path: path.name)
def test_dockerfile_passes_the_linter(context: Path) -> None:
    """Hadolint finds nothing to say about the Dockerfile."""
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run(
        [hadolint, "--no-color", context / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("context", IMAGES, ids=lambda path: path.name)
def test_image_holds_only_what_it_needs(context: Path) -> None:
    """One base, named by tag and digest where Dependabot reads it (not behind an ARG), a numbered
    user without rights, hashed pins with nothing left to resolve, and an allow-list of files.
    """
    dockerfile = (context / "Dockerfile").read_text("utf-8")
    first, *others = re.findall(r"^FROM (.*)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"python:\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64} AS base", first)
    assert others == ["base AS build", "base"]
    assert re.search(r"^USER 65532:65532$", dockerfile, re.MULTILINE)
    assert "--no-deps --only-binary :all: --require-hashes" in dockerfile
    assert "--hash=sha256:" in (context / "requirements.txt").read_text("utf-8")
    ignored = (context / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[[line.startswith("#") for line in ignored].index(False)] == "*"
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    copied = {name for line in lines for name in line.split()}
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert copied == allowed
    for name in copied:
        assert list(context.glob(name)), name


def test_pod_user_is_the_images_user(program: Program) -> None:
    """The pod's user is the one that the Dockerfile ends with."""
    dockerfile = (IMAGES[0] / "Dockerfile").read_text("utf-8")
    user = int(re.findall(r"^USER (\d+):", dockerfile, re.MULTILINE)[-1])
    for pod in pods(program):
        assert pod["securityContext"]["runAsUser"] == user
