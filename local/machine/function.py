"""The declared function: its source archive unpacked, started as Cloud Run starts it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.machine.errors import StackError
from local.machine.runtime import Runtime


@dataclass(frozen=True)
class Launch:
    """How a process of the stack is started: command, whole environment, working directory."""

    argv: list[str]
    env: dict[str, str]
    cwd: Path


def function_launch(
    inputs: Mapping[str, Any], archive: Path, folder: Path, port: int, overrides: Mapping[str, str]
) -> Launch:
    """Prepare the inputs of `gcp:cloudfunctionsv2/function:Function` to run on this machine.

    The buildpack starts the bare command `functions-framework` in the source's folder with
    FUNCTION_TARGET from the entry point; the environment is what `serviceConfig` declares.
    (github.com/GoogleCloudPlatform/buildpacks, cmd/python/functions_framework.)

    Args:
        inputs: the resource's inputs.
        archive: the source archive that the inputs refer to, or a folder.
        folder: where source, packages and home directory go; what is there is replaced.
        port: PORT, on the loopback interface.
        overrides: where the stand-ins are.

    Raises:
        StackError: archive, requirements, entry point or environment are not as they must be.
    """
    build, service = inputs.get("buildConfig") or {}, inputs.get("serviceConfig") or {}
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    try:
        if archive.is_dir():
            shutil.copytree(archive, source, dirs_exist_ok=True)
        else:
            shutil.unpack_archive(archive, source)
    except (OSError, shutil.ReadError, ValueError) as error:
        raise StackError(f"the function's source archive {archive}: {error}") from error
    if not build.get("entryPoint"):
        raise StackError(f"function {inputs.get('name')}: buildConfig.entryPoint is missing.")
    if not (source / "main.py").is_file():
        raise StackError(
            "the function's source archive has no main.py: it holds "
            f"{', '.join(sorted(p.name for p in source.iterdir())) or 'nothing'}."
        )
    if service.get("secretEnvironmentVariables") or service.get("secretVolumes"):
        raise StackError("the function declares secrets, which the local stack can't give it yet.")
    env = Runtime(folder / "runtime", source / "requirements.txt").env
    # A laptop's function is nobody else's business.
    env |= {"FUNCTION_TARGET": str(build["entryPoint"]), "PORT": str(port), "HOST": "127.0.0.1"}
    env |= {key: str(value) for key, value in (service.get("environmentVariables") or {}).items()}
    env |= overrides
    return Launch(["functions-framework"], env, source)
