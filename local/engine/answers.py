"""What Google Cloud and Kubernetes would answer when the program's resources are created.

Only outputs that infra/ reads are given, in the form that the providers give them, for a project
of the configured name. Nothing is called: this is the mock engine's half of the conversation.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import grpc

PROJECT_NUMBER = "123456789012"

# Types that a provider names itself (logical name and a random suffix) when no name is given.
_AUTO_NAMED = {"gcp:storage/bucket:Bucket", "gcp:container/cluster:Cluster"}

# A project in which this stack is the first.
_NOTHING = {
    "gcp:bigquery/getDataset:getDataset": "Dataset",
    "gcp:artifactregistry/getRepository:getRepository": "Repository",
    "gcp:pubsub/getTopic:getTopic": "Topic",
}


class NoAnswer(grpc.RpcError):  # type: ignore[misc]
    """A data source without an answer, as the engine hands over the provider's words."""

    def __init__(self, token: str, words: str) -> None:
        super().__init__()
        self._words = f"invocation of {token} returned an error: 1 error occurred:\n\t* {words}\n\n"

    def code(self) -> grpc.StatusCode:
        """What every error of a provider is."""
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        """The provider's words, in several lines."""
        return self._words


def auto_name(type_: str, name: str, inputs: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    """The physical name that the provider would choose, in the shape of the resource's outputs."""
    if type_ in _AUTO_NAMED and "name" not in inputs:
        return {"name": f"{name}-{suffix}"}
    if type_.startswith("kubernetes:"):
        metadata = inputs.get("metadata") or {}
        return {} if "name" in metadata else {"metadata": {"name": f"{name}-{suffix}"}}
    return {}


def computed_outputs(
    type_: str, inputs: Mapping[str, Any], config: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """Id and computed outputs of a created resource."""
    project, metadata = config.get("gcp:project", ""), inputs.get("metadata") or {}
    # A number such as Google gives, the same for the same resource.
    made_from = json.dumps(inputs, sort_keys=True, default=str).encode()
    values = {
        "location": config.get("gcp:region", ""),
        **{name: value for name, value in inputs.items() if isinstance(value, str)},
        "project": project,
        "number": PROJECT_NUMBER,
        "made": int.from_bytes(hashlib.sha256(made_from).digest()[:8]),
        "type": type_.rpartition(":")[2].lower(),
        "agent": str(inputs.get("service")).partition(".")[0],
        "image": str((inputs.get("tags") or [""])[0]).rpartition(":")[0],
        "sha256": hashlib.sha256(str(inputs.get("tags")).encode()).hexdigest(),
        "object": f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".lstrip("/"),
    }
    usual = "{object}" if type_.startswith("kubernetes:") else "{type}/{made}"
    id_, outputs = _ANSWERS.get(type_, (usual, {}))
    filled: dict[str, Any] = _filled(outputs, values)
    return id_.format(**values), filled


def _filled(form: Any, values: Mapping[str, object]) -> Any:
    if isinstance(form, dict):
        return {name: _filled(each, values) for name, each in form.items()}
    if isinstance(form, list):
        return [_filled(each, values) for each in form]
    return form.format(**values) if isinstance(form, str) else form


def invoke(token: str, args: Mapping[str, Any], config: Mapping[str, str]) -> dict[str, Any]:
    """Answer of a data source.

    Raises:
        LookupError: the program asks for a data source that this module does not know.
        NoAnswer: Google has no such thing.
    """
    if token in _NOTHING:
        raise NoAnswer(token, f"googleapi: Error 404: Not found: {_NOTHING[token]}, notFound")
    if token not in _SOURCES:
        raise LookupError(f"local/engine/answers.py has no answer for {token}; add one")
    known = {"project": config.get("gcp:project", ""), "location": config.get("gcp:region", "")}
    answer: dict[str, Any] = _filled(_SOURCES[token], {**args, **known})
    return answer


_DNS_ENDPOINT = f"gke-0123456789abcdef0123456789abcdef0123-{PROJECT_NUMBER}.{{location}}.gke.goog"
_ACCOUNT = "{accountId}@{project}.iam.gserviceaccount.com"
_AGENT = "service-{number}@gcp-sa-{agent}.iam.gserviceaccount.com"
_REGIONAL = "projects/{project}/locations/{location}"
# What data sources answer; in braces their arguments.
_SOURCES: dict[str, dict[str, Any]] = {
    "gcp:compute/getRegions:getRegions": {
        "project": "{project}",
        "names": ["us-central1", "us-east1", "europe-west1", "europe-west4"],
    },
    "gcp:container/getCluster:getCluster": {
        "id": _REGIONAL + "/clusters/{name}",
        "name": "{name}",
        "controlPlaneEndpointsConfigs": [
            {"dnsEndpointConfigs": [{"endpoint": _DNS_ENDPOINT, "allowExternalTraffic": True}]}
        ],
        "workloadIdentityConfigs": [{"workloadPool": "{project}.svc.id.goog"}],
        "secretManagerConfigs": [{"enabled": True, "rotationConfigs": [{"enabled": True}]}],
        "enableAutopilot": True,
    },
    "gcp:secretmanager/getSecret:getSecret": {
        "id": "projects/{project}/secrets/{secretId}",
        "secretId": "{secretId}",
    },
}
# Type: id, and outputs; in braces inputs of the resource and what `computed_outputs` adds to them.
_ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gcp:artifactregistry/repository:Repository": (
        _REGIONAL + "/repositories/{repositoryId}",
        {"name": "{repositoryId}"},
    ),
    "gcp:bigquery/dataset:Dataset": ("projects/{project}/datasets/{datasetId}", {}),
    "gcp:bigquery/table:Table": ("projects/{project}/datasets/{datasetId}/tables/{tableId}", {}),
    "gcp:cloudfunctionsv2/function:Function": (
        _REGIONAL + "/functions/{name}",
        {
            "serviceConfig": {"uri": "https://{name}-a1b2c3d4e5-uc.a.run.app"},
        },
    ),
    "gcp:cloudrunv2/service:Service": (_REGIONAL + "/services/{name}", {}),
    "gcp:container/cluster:Cluster": (
        _REGIONAL + "/clusters/{name}",
        {
            "controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"endpoint": _DNS_ENDPOINT}},
        },
    ),
    "gcp:monitoring/notificationChannel:NotificationChannel": (
        "projects/{project}/notificationChannels/{made}",
        {"name": "projects/{project}/notificationChannels/{made}"},
    ),
    "gcp:projects/service:Service": ("{project}/{service}", {}),
    "gcp:projects/serviceIdentity:ServiceIdentity": (
        "projects/{project}/services/{service}",
        {"email": _AGENT, "member": "serviceAccount:" + _AGENT},
    ),
    "gcp:pubsub/subscription:Subscription": ("projects/{project}/subscriptions/{name}", {}),
    "gcp:pubsub/topic:Topic": ("projects/{project}/topics/{name}", {}),
    "gcp:secretmanager/secret:Secret": ("projects/{project}/secrets/{secretId}", {}),
    "gcp:secretmanager/secretVersion:SecretVersion": ("{secret}/versions/1", {}),
    "gcp:serviceaccount/account:Account": (
        "projects/{project}/serviceAccounts/" + _ACCOUNT,
        {
            "email": _ACCOUNT,
            "member": "serviceAccount:" + _ACCOUNT,
            "name": "projects/{project}/serviceAccounts/" + _ACCOUNT,
        },
    ),
    "gcp:storage/bucket:Bucket": ("{name}", {}),
    "gcp:storage/bucketObject:BucketObject": ("{bucket}-{name}", {}),
    "docker-build:index:Image": ("sha256:{sha256}", {"ref": "{image}@sha256:{sha256}"}),
}
