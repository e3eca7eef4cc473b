"""Where each resource of the program goes on this machine: one table to apply, one to explain.

`APPLIERS` is in the order of application: the function first, since it takes longest to start,
and the pod last. Within a type, resources keep the program's order, so a view comes after what it
reads. A type in neither table is listed as having no local counterpart: nothing is skipped
silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from google.cloud import bigquery

from local.engine.program import Program, Resource
from local.engine.tables import create_dataset, create_table
from local.engine.topics import Messaging
from local.machine.errors import StackError
from local.machine.pod import PodContext


@dataclass(frozen=True)
class Placement:
    """What became of one resource: applied (and where), or cloud-only (and why)."""

    resource: Resource
    state: Literal["applied", "cloud-only"]
    note: str


@dataclass(frozen=True)
class Targets:
    """What resources are applied to.

    Attributes:
        messaging: where topics and subscriptions go.
        bigquery: where dataset, tables and views go.
        start_function: starts the inputs of a Function with its source archive.
        start_pod: starts the inputs of a Deployment with what its pod may refer to.
        function_url: where the function is on this machine.
    """

    messaging: Messaging
    bigquery: bigquery.Client
    start_function: Callable[[Mapping[str, Any], Path], None]
    start_pod: Callable[[Mapping[str, Any], PodContext], None]
    function_url: str


_OBJECT = "gcp:storage/bucketObject:BucketObject"
_FUNCTION = "gcp:cloudfunctionsv2/function:Function"
_SECRET_VERSION = "gcp:secretmanager/secretVersion:SecretVersion"  # noqa: S105
_IMAGE = "docker-build:index:Image"
_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_SECRET_PROVIDER = "kubernetes:secrets-store.csi.x-k8s.io/v1:SecretProviderClass"  # noqa: S105


def _subscription(ground: Targets, resource: Resource, program: Program) -> str:
    declared = (resource.inputs.get("pushConfig") or {}).get("pushEndpoint")
    if not declared:
        return ground.messaging.create_subscription(resource.inputs)
    urls = [each.outputs["serviceConfig"]["uri"] for each in program.of_type(_FUNCTION)]
    for url in urls:
        if declared.startswith(url):
            local = ground.function_url + declared.removeprefix(url)
            name = ground.messaging.create_subscription(resource.inputs, local)
            return f"{name}, push to {local}"
    raise StackError(
        f"subscription {resource.name} pushes to {declared}, which is not the function "
        f"({', '.join(urls) or 'none is declared'}): nothing here would answer."
    )


def _function(ground: Targets, resource: Resource, program: Program) -> str:
    source = resource.inputs["buildConfig"]["source"]["storageSource"]["object"]
    archives = {each.inputs["name"]: each.inputs for each in program.of_type(_OBJECT)}
    if "source" not in archives.get(source, ()):
        raise StackError(f"function {resource.name}: no BucketObject {source!r} is declared.")
    ground.start_function(resource.inputs, Path(archives[source]["source"]))
    return "functions-framework on this machine"


def _deployment(ground: Targets, resource: Resource, program: Program) -> str:
    def named(kind: str, part: str) -> dict[str, Any]:
        # By the name that the cloud gives where none is declared.
        found = program.of_type(kind)
        return {each.outputs["metadata"]["name"]: each.inputs.get(part) or {} for each in found}

    images = [Path(each.inputs["context"]["location"]) for each in program.of_type(_IMAGE)]
    secrets = [each.inputs for each in program.of_type(_SECRET_VERSION)]
    context = PodContext(
        config_maps=named(_CONFIG_MAP, "data"),
        secrets={each["secret"]: each["secretData"] for each in secrets},
        secret_providers=named(_SECRET_PROVIDER, "spec"),
        context=images[0] if images else None,
    )
    ground.start_pod(resource.inputs, context)
    return "a process with its command, environment and volumes"


Applier = Callable[[Targets, Resource, Program], str]
APPLIERS: dict[str, Applier] = {
    _FUNCTION: _function,
    "gcp:pubsub/topic:Topic": lambda to, each, _: to.messaging.create_topic(each.inputs),
    "gcp:pubsub/subscription:Subscription": _subscription,
    "gcp:bigquery/dataset:Dataset": lambda to, each, _: create_dataset(to.bigquery, each.inputs),
    "gcp:bigquery/table:Table": lambda to, each, _: create_table(to.bigquery, each.inputs),
    "kubernetes:apps/v1:Deployment": _deployment,
    # The function and the pod look at the rest.
    _OBJECT: lambda _, each, __: (
        "unpacked for the function" if "source" in each.inputs else "nothing here loads it"
    ),
    _SECRET_VERSION: lambda *_: "a file that only you can read",
    _IMAGE: lambda _, each, __: (
        f"run from its build context {Path(each.inputs['context']['location']).name}/, not built"
    ),
    _CONFIG_MAP: lambda *_: "files",
    _SECRET_PROVIDER: lambda *_: "which secret goes into which file",
    "kubernetes:core/v1:PersistentVolumeClaim": lambda *_: "a directory",
}

_IAM = "no identities on one machine"
_IDENTITY = re.compile(r"iam(member|binding)$|access$|account$|identity$", re.IGNORECASE)
_METRICS = "no Cloud Monitoring here; the producer's /metrics and the screen show the figures"
CLOUD_ONLY: dict[str, str] = {
    "gcp:artifactregistry/repository:Repository": "no image is built",
    "gcp:bigquery/job:Job": "no load jobs here: tweets_pseudonymous has no key and so no rows",
    "gcp:cloudrunv2/service:Service": "the demo starts the same page itself",
    "gcp:container/cluster:Cluster": "no Kubernetes; the pod is a process",
    "gcp:monitoring/alertPolicy:AlertPolicy": _METRICS,
    "gcp:monitoring/dashboard:Dashboard": _METRICS,
    "gcp:monitoring/notificationChannel:NotificationChannel": _METRICS,
    "gcp:logging/metric:Metric": _METRICS,
    "gcp:projects/service:Service": "nothing to enable",
    "gcp:secretmanager/secret:Secret": "its version is applied",
    "gcp:storage/bucket:Bucket": "its archive is applied",
    "kubernetes:batch/v1:CronJob": "run `tweets compliance` by hand",
    "kubernetes:core/v1:Namespace": "no Kubernetes; the pod is a process",
    "kubernetes:monitoring.googleapis.com/v1:PodMonitoring": _METRICS,
    "kubernetes:networking.k8s.io/v1:NetworkPolicy": "loopback only",
    "pulumi:providers:gcp": "no cloud to reach",
    "pulumi:providers:kubernetes": "no cluster to reach",
    "pulumi:providers:docker-build": "no image is built",
}


def apply(resources: Iterable[Resource], ground: Targets) -> list[Placement]:
    """Apply what has a local counterpart, in the order of `APPLIERS`, and explain the rest.

    Returns:
        One placement a resource, applied ones first. Components hold resources and are none.

    Raises:
        StackError: a resource that a stand-in refuses, with its name.
    """
    program = Program([each for each in resources if each.custom])
    placements = []
    for kind, applier in APPLIERS.items():
        for resource in program.of_type(kind):
            try:
                note = applier(ground, resource, program)
            except (KeyError, TypeError, json.JSONDecodeError) as error:
                raise StackError(f"{kind} {resource.name}: not as expected: {error!r}") from error
            placements.append(Placement(resource, "applied", note))
    for resource in program.resources:
        if resource.type not in APPLIERS:
            usual = _IAM if _IDENTITY.search(resource.type) else "no local counterpart"
            note = CLOUD_ONLY.get(resource.type, usual)
            placements.append(Placement(resource, "cloud-only", note))
    return placements
