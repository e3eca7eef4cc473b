"""Records what a Pulumi program declares, and answers it as Google Cloud would.

Pulumi's MockMonitor drops resource options, hands whole numbers over as floats and hides which
input is secret; here the registration itself is read, as the engine gets it.
"""

import hashlib
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import mocks, rpc
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.rpc import (  # marks of wrapped values on the wire
    _special_archive_sig,
    _special_asset_sig,
    _special_secret_sig,
    _special_sig_key,
)

from local.engine.answers import NoAnswer, auto_name, computed_outputs, invoke

# Where pickle looks for the message types (evaluate_apart): they say they are of this module.
sys.modules["pulumi.resource_pb2"] = resource_pb2
_PROGRAM = Path(__file__).resolve().parents[2] / "infra"

_ASSET_SIGS = (_special_asset_sig, _special_archive_sig)


class Unknown:
    """An input that only the cloud knows: what `pulumi preview` shows as [unknown]."""

    def __repr__(self) -> str:
        return "[unknown]"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Resource:
    """One declared resource.

    `inputs` are plain Python in the engine's camelCase; an asset or archive is its path, a value
    that only the cloud knows is `UNKNOWN`. `secret_inputs` names the top-level inputs that are
    encrypted in the state. `outputs` are the inputs and what the cloud would add. `options` are as
    the engine gets them, where a resource is named by its URN and a provider by `urn::id`.
    """

    type: str
    name: str
    urn: str
    parent: str
    custom: bool
    inputs: dict[str, Any]
    secret_inputs: frozenset[str]
    outputs: dict[str, Any]
    id: str
    options: resource_pb2.RegisterResourceRequest


@dataclass
class Program:
    """What one run of infra/ declared.

    `resources` come in an order in which they can be made: each after what it depends on.
    """

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    secret_outputs: frozenset[str] = frozenset()

    def of_type(self, type_: str) -> list[Resource]:
        """Resources whose type token ends with `type_`, such as "pubsub/topic:Topic"."""
        return [resource for resource in self.resources if resource.type.endswith(type_)]

    def one(self, type_: str, name: str | None = None) -> Resource:
        """The only resource of a type (and logical name).

        Raises:
            LookupError: there is none, or more than one.
        """
        found = [r for r in self.of_type(type_) if name is None or r.name == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} resources of type {type_} named {name or 'anyhow'}")
        return found[0]


class Recorder(mocks.MockMonitor):
    """Pulumi's mock monitor, which answers a program, with a memory.

    Args:
        config: the stack's configuration as text; `gcp:project` and `gcp:region` go into answers.
        preview: leave what only the cloud knows unknown.
        standing: outputs of the stack's last update.
        answers: what data sources answer in place of the usual, by module and name, such as
            "container/getCluster"; a text is a refusal in these words.

    Attributes:
        program: what was declared so far.
    """

    def __init__(
        self,
        config: Mapping[str, str],
        *,
        preview: bool,
        standing: Mapping[str, Any],
        answers: Mapping[str, Mapping[str, Any] | str],
    ) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # all that would ask mocks is below
        self.program = Program()
        self._config = config
        self._preview = preview
        self._standing = dict(standing)
        self._answers = answers
        self._lock = threading.Lock()

    def RegisterResource(  # noqa: N802
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Note the resource; answer with its inputs, and outside a preview with its outputs."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs, secrets = _plain_properties(request.object)
        if request.type == "docker-build:index:Image":
            _make_absolute(inputs)
        state = struct_pb2.Struct()
        state.CopyFrom(request.object)
        id_ = ""
        computed: dict[str, Any] = {}
        if request.custom:
            unique = hashlib.sha256(urn.encode()).hexdigest()
            named = auto_name(request.type, request.name, inputs, unique[:7])
            if self._preview:
                _merge(state, named)
            else:
                id_, computed = computed_outputs(request.type, {**inputs, **named}, self._config)
                computed = {**named, **computed}
                _merge(state, computed)
        with self._lock:
            self.program.resources.append(
                Resource(
                    type=request.type,
                    name=request.name,
                    urn=urn,
                    parent=request.parent,
                    custom=request.custom,
                    inputs=inputs,
                    secret_inputs=frozenset(secrets),
                    outputs={**inputs, **computed},
                    id=id_,
                    options=request,
                )
            )
        return resource_pb2.RegisterResourceResponse(urn=urn, id=id_, object=state)

    def ReadResource(  # noqa: N802
        self, request: resource_pb2.ReadResourceRequest
    ) -> resource_pb2.ReadResourceResponse:
        """Answer a reference to a stack with the outputs of its last update."""
        urn = self.make_urn(request.parent, request.type, request.name)
        read, _ = _plain_properties(request.properties)
        state = struct_pb2.Struct()
        state.update({**read, "outputs": self._standing, "secretOutputNames": []})
        return resource_pb2.ReadResourceResponse(urn=urn, properties=state)

    def RegisterResourceOutputs(  # noqa: N802
        self, request: resource_pb2.RegisterResourceOutputsRequest
    ) -> empty_pb2.Empty:
        """Note the outputs of the stack."""
        if "::pulumi:pulumi:Stack::" in request.urn:
            outputs, secrets = _plain_properties(request.outputs)
            self.program.outputs = outputs
            self.program.secret_outputs = frozenset(secrets)
        return empty_pb2.Empty()

    def Invoke(  # noqa: N802
        self, request: resource_pb2.ResourceInvokeRequest
    ) -> resource_pb2.ResourceInvokeResponse:
        """Answer a data source."""
        args, _ = _plain_properties(request.args)
        given = self._answers.get(request.tok.split(":")[1])
        if isinstance(given, str):
            raise NoAnswer(request.tok, given)
        answer = struct_pb2.Struct()
        answer.update(given if given is not None else invoke(request.tok, args, self._config))
        return resource_pb2.ResourceInvokeResponse(**{"return": answer})


def _plain_properties(properties: struct_pb2.Struct) -> tuple[dict[str, Any], set[str]]:
    secrets: set[str] = set()
    plain = {
        key: _plain(value, key, secrets)
        for key, value in json_format.MessageToDict(properties).items()
    }
    return plain, secrets


def _plain(value: Any, key: str, secrets: set[str]) -> Any:
    """Protobuf's JSON form to Python: whole numbers as int, wrappers undone, secrets noted."""
    if value == rpc.UNKNOWN:
        return UNKNOWN
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_plain(item, key, secrets) for item in value]
    if not isinstance(value, dict):
        return value
    signature = value.get(_special_sig_key)
    if signature == _special_secret_sig:
        secrets.add(key)
        return _plain(value["value"], key, secrets)
    if signature in _ASSET_SIGS:
        return value.get("path") or value.get("uri") or value.get("text")
    return {name: _plain(item, key, secrets) for name, item in value.items()}


def _make_absolute(image: dict[str, Any]) -> None:
    """Paths of a build are relative to infra/, where `pulumi up` runs the program."""
    for part in ("context", "dockerfile"):
        image[part]["location"] = str((_PROGRAM / image[part]["location"]).resolve())


def _merge(state: struct_pb2.Struct, more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and key in state.fields:
            _merge(state[key], value)
        else:
            state[key] = value
