"""Where each resource of the program goes on this machine: one table to apply, one to explain.

`APPLIERS` is in the order of application: the function first, since it takes longest to start,
and the producer last. Within a type, resources keep the program's order, so a view comes after
what it reads. A type in neither table is listed as having no local
counterpart: nothing is skipped silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from google.cloud import bigquery

from local.engine.program import Resource
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


@dataclass
class Targets:
    """What resources are applied to, and what later resources need of earlier ones.

    Attributes:
        messaging: where topics and subscriptions go.
        bigquery: where dataset, tables and views go.
        start_function: starts the inputs of a Function with its source archive.
        start_pod: starts the inputs of a Deployment with what its pod may refer to.
        function_url: where the function is on this machine.
        cluster: what was applied for the pod so far.
        archives: source archives by object name.
        declared_url: where the cloud would have the function, once it is applied.
    """

    messaging: Messaging
    bigquery: bigquery.Client
    start_function: Callable[[Mapping[str, Any], Path], None]
    start_pod: Callable[[Mapping[str, Any], PodContext], None]
    function_url: str
    cluster: PodContext = field(default_factory=PodContext)
    archives: dict[str, Path] = field(default_factory=dict)
    declared_url: str = ""


def _subscription(ground: Targets, resource: Resource) -> str:
    declared = (resource.inputs.get("pushConfig") or {}).get("pushEndpoint")
    if not declared:
        return ground.messaging.create_subscription(resource.inputs)
    if not ground.declared_url or not str(declared).startswith(ground.declared_url):
        raise StackError(
            f"subscription {resource.name} pushes to {declared}, which is not the function "
            f"({ground.declared_url or 'none is declared'}): nothing here would answer."
        )
    local = ground.function_url + str(declared).removeprefix(ground.declared_url)
    return f"{ground.messaging.create_subscription(resource.inputs, local)}, push to {local}"


def _archive(ground: Targets, resource: Resource) -> str:
    if "content" in resource.inputs:
        return "not needed: nothing here loads it"
    source = resource.inputs.get("source")
    if not isinstance(source, (str, Path)):
        raise StackError(f"{resource.name}: the source archive is not a file: {source!r}")
    ground.archives[str(resource.inputs["name"])] = Path(source)
    return "unpacked for the function"


def _function(ground: Targets, resource: Resource) -> str:
    source = resource.inputs["buildConfig"]["source"]["storageSource"]["object"]
    if source not in ground.archives:
        raise StackError(f"function {resource.name}: no BucketObject {source!r} is declared.")
    ground.start_function(resource.inputs, ground.archives[source])
    ground.declared_url = resource.outputs["serviceConfig"]["uri"]
    return "functions-framework on this machine"


def _image(ground: Targets, resource: Resource) -> str:
    location = (resource.inputs.get("context") or {}).get("location")
    if not location:
        raise StackError(f"{resource.name}: the image declares no build context.")
    ground.cluster.context = Path(location)
    return f"run from its build context {Path(location).name}/, not built"


def _secret_version(ground: Targets, resource: Resource) -> str:
    ground.cluster.secrets[str(resource.inputs["secret"])] = str(resource.inputs["secretData"])
    return "a file that only you can read"


def _config_map(ground: Targets, resource: Resource) -> str:
    ground.cluster.config_maps[_name(resource)] = resource.inputs.get("data") or {}
    return "files"


def _secret_provider(ground: Targets, resource: Resource) -> str:
    ground.cluster.secret_providers[_name(resource)] = resource.inputs.get("spec") or {}
    return "which secret goes into which file"


def _deployment(ground: Targets, resource: Resource) -> str:
    ground.start_pod(resource.inputs, ground.cluster)
    return "a process with its command, environment and volumes"


def _name(resource: Resource) -> str:
    return str(resource.outputs["metadata"]["name"])  # the cloud chooses one where none is declared


APPLIERS: dict[str, Callable[[Targets, Resource], str]] = {
    "gcp:storage/bucketObject:BucketObject": _archive,
    "gcp:cloudfunctionsv2/function:Function": _function,
    "gcp:pubsub/topic:Topic": lambda to, each: to.messaging.create_topic(each.inputs),
    "gcp:pubsub/subscription:Subscription": _subscription,
    "gcp:bigquery/dataset:Dataset": lambda ground, each: create_dataset(
        ground.bigquery, each.inputs
    ),
    "gcp:bigquery/table:Table": lambda to, each: create_table(to.bigquery, each.inputs),
    "gcp:secretmanager/secretVersion:SecretVersion": _secret_version,
    "docker-build:index:Image": _image,
    "kubernetes:core/v1:ConfigMap": _config_map,
    "kubernetes:secrets-store.csi.x-k8s.io/v1:SecretProviderClass": _secret_provider,
    "kubernetes:core/v1:PersistentVolumeClaim": lambda *_: "a directory",
    "kubernetes:apps/v1:Deployment": _deployment,
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
    waiting = [each for each in resources if each.custom]
    placements = []
    for kind, applier in APPLIERS.items():
        for resource in waiting:
            if resource.type == kind:
                try:
                    placements.append(Placement(resource, "applied", applier(ground, resource)))
                except (KeyError, TypeError, json.JSONDecodeError) as error:
                    raise StackError(
                        f"{kind} {resource.name}: not as expected: {error!r}"
                    ) from error
    for resource in waiting:
        if resource.type not in APPLIERS:
            usual = _IAM if _IDENTITY.search(resource.type) else "no local counterpart"
            note = CLOUD_ONLY.get(resource.type, usual)
            placements.append(Placement(resource, "cloud-only", note))
    return placements
