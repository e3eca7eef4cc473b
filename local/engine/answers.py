"""What Google Cloud and Kubernetes would answer when the program's resources are created.

Only outputs that infra/ reads are given, in the form that the providers give them, for a project
of the configured name. Nothing is called: this is the mock engine's half of the conversation.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import grpc

PROJECT_NUMBER = "123456789012"

# Types that a provider names itself (logical name and a random suffix) when no name is given.
_AUTO_NAMED = {"gcp:storage/bucket:Bucket", "gcp:container/cluster:Cluster"}


_REGIONS = ("us-central1", "us-east1", "europe-west1", "europe-west4")
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
    project, region = config.get("gcp:project", ""), config.get("gcp:region", "")
    answer = _ANSWERS.get(type_)
    if answer is not None:
        return answer(inputs, project, region)
    if type_.startswith("kubernetes:"):
        metadata = inputs.get("metadata") or {}
        return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".lstrip("/"), {}
    return f"{type_.rpartition(':')[2].lower()}/{_made_from(inputs)}", {}


def invoke(token: str, args: Mapping[str, Any], config: Mapping[str, str]) -> dict[str, Any]:
    """Answer of a data source.

    Raises:
        LookupError: the program asks for a data source that this module does not know.
        NoAnswer: Google has no such thing.
    """
    project, region = config.get("gcp:project", ""), config.get("gcp:region", "")
    if token in _NOTHING:
        raise NoAnswer(token, f"googleapi: Error 404: Not found: {_NOTHING[token]}, notFound")
    if token == "gcp:compute/getRegions:getRegions":  # noqa: S105
        return {"project": project, "names": [*_REGIONS]}
    if token == "gcp:container/getCluster:getCluster":  # noqa: S105
        name = args["name"]
        return {
            "id": f"projects/{project}/locations/{region}/clusters/{name}",
            "name": name,
            "controlPlaneEndpointsConfigs": [
                {
                    "dnsEndpointConfigs": [
                        {"endpoint": _dns_endpoint(region), "allowExternalTraffic": True}
                    ]
                }
            ],
            "workloadIdentityConfigs": [{"workloadPool": f"{project}.svc.id.goog"}],
            "secretManagerConfigs": [{"enabled": True, "rotationConfigs": [{"enabled": True}]}],
            "enableAutopilot": True,
        }
    if token == "gcp:secretmanager/getSecret:getSecret":  # noqa: S105
        return {"id": f"projects/{project}/secrets/{args['secretId']}", **args}
    raise LookupError(f"local/engine/answers.py has no answer for {token}; add one")


_Answer = Callable[[Mapping[str, Any], str, str], tuple[str, dict[str, Any]]]


def _dns_endpoint(region: str) -> str:
    return f"gke-0123456789abcdef0123456789abcdef0123-{PROJECT_NUMBER}.{region}.gke.goog"


def _account(inputs: Mapping[str, Any], project: str, _: str) -> tuple[str, dict[str, Any]]:
    email = f"{inputs['accountId']}@{project}.iam.gserviceaccount.com"
    path = f"projects/{project}/serviceAccounts/{email}"
    return path, {"email": email, "member": f"serviceAccount:{email}", "name": path}


def _agent(inputs: Mapping[str, Any], project: str, _: str) -> tuple[str, dict[str, Any]]:
    service = inputs["service"]
    email = f"service-{PROJECT_NUMBER}@gcp-sa-{service.partition('.')[0]}.iam.gserviceaccount.com"
    return (
        f"projects/{project}/services/{service}",
        {"email": email, "member": f"serviceAccount:{email}"},
    )


def _function(inputs: Mapping[str, Any], project: str, region: str) -> tuple[str, dict[str, Any]]:
    name = inputs["name"]
    return (
        f"projects/{project}/locations/{region}/functions/{name}",
        {
            "url": f"https://{region}-{project}.cloudfunctions.net/{name}",
            "state": "ACTIVE",
            "serviceConfig": {
                "uri": f"https://{name}-a1b2c3d4e5-uc.a.run.app",
                "service": f"projects/{project}/locations/{region}/services/{name}",
            },
        },
    )


def _service(inputs: Mapping[str, Any], project: str, region: str) -> tuple[str, dict[str, Any]]:
    name = inputs["name"]
    return (
        f"projects/{project}/locations/{region}/services/{name}",
        {"uri": f"https://{name}-a1b2c3d4e5-uc.a.run.app"},
    )


def _cluster(inputs: Mapping[str, Any], project: str, region: str) -> tuple[str, dict[str, Any]]:
    return (
        f"projects/{project}/locations/{region}/clusters/{inputs['name']}",
        {
            "endpoint": "192.0.2.10",
            "controlPlaneEndpointsConfig": {
                "dnsEndpointConfig": {"endpoint": _dns_endpoint(region)}
            },
        },
    )


def _object(inputs: Mapping[str, Any], *_: str) -> tuple[str, dict[str, Any]]:
    digest = hashlib.md5(str(inputs.get("source")).encode(), usedforsecurity=False).digest()
    return (
        f"{inputs['bucket']}-{inputs['name']}",
        {"md5hash": base64.b64encode(digest).decode(), "outputName": inputs["name"]},
    )


def _built_image(inputs: Mapping[str, Any], *_: str) -> tuple[str, dict[str, Any]]:
    tag = inputs["tags"][0]
    digest = "sha256:" + hashlib.sha256(tag.encode()).hexdigest()
    return digest, {"digest": digest, "ref": f"{tag.rpartition(':')[0]}@{digest}"}


def _made_from(inputs: Mapping[str, Any]) -> str:
    """A number such as Google gives, the same for the same resource."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return str(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))


def _numbered(collection: str) -> _Answer:
    """Name and id of a resource that Google numbers."""

    def answer(inputs: Mapping[str, Any], project: str, _: str) -> tuple[str, dict[str, Any]]:
        name = f"projects/{project}/{collection}/{_made_from(inputs)}"
        return name, {"name": name}

    return answer


def _path(form: str, key: str, **more: str) -> _Answer:
    """An id made of project, region and one input; `more` are outputs made the same way."""

    def answer(inputs: Mapping[str, Any], project: str, region: str) -> tuple[str, dict[str, Any]]:
        values = {
            "project": project,
            "number": PROJECT_NUMBER,
            "region": inputs.get("location", region),
            "dataset": inputs.get("datasetId", ""),
            "key": inputs.get(key, ""),
        }
        return form.format(**values), {
            output: text.format(**values) for output, text in more.items()
        }

    return answer


_ANSWERS: dict[str, _Answer] = {
    "gcp:artifactregistry/repository:Repository": _path(
        "projects/{project}/locations/{region}/repositories/{key}", "repositoryId", name="{key}"
    ),
    "gcp:bigquery/dataset:Dataset": _path("projects/{project}/datasets/{key}", "datasetId"),
    "gcp:bigquery/table:Table": _path(
        "projects/{project}/datasets/{dataset}/tables/{key}", "tableId"
    ),
    "gcp:cloudfunctionsv2/function:Function": _function,
    "gcp:cloudrunv2/service:Service": _service,
    "gcp:container/cluster:Cluster": _cluster,
    "gcp:monitoring/alertPolicy:AlertPolicy": _numbered("alertPolicies"),
    "gcp:monitoring/notificationChannel:NotificationChannel": _numbered("notificationChannels"),
    "gcp:projects/service:Service": _path("{project}/{key}", "service"),
    "gcp:projects/serviceIdentity:ServiceIdentity": _agent,
    "gcp:pubsub/subscription:Subscription": _path("projects/{project}/subscriptions/{key}", "name"),
    "gcp:pubsub/topic:Topic": _path("projects/{project}/topics/{key}", "name"),
    "gcp:secretmanager/secret:Secret": _path(
        "projects/{project}/secrets/{key}", "secretId", name="projects/{number}/secrets/{key}"
    ),
    "gcp:secretmanager/secretVersion:SecretVersion": _path(
        "{key}/versions/1", "secret", name="{key}/versions/1"
    ),
    "gcp:serviceaccount/account:Account": _account,
    "gcp:storage/bucket:Bucket": _path("{key}", "name", url="gs://{key}"),
    "gcp:storage/bucketObject:BucketObject": _object,
    "docker-build:index:Image": _built_image,
}
