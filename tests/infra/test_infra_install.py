"""What `pulumi install` gives is enough: the packages of infra's own lock and no more."""

import re
import subprocess
import tomllib
from pathlib import Path

from local.engine.program import ROOT
from local.machine.runtime import Runtime

GCP = re.compile(r"^from pulumi_gcp import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)
KUBERNETES = re.compile(r"^from pulumi_kubernetes\.(\w+)|\bkubernetes\.(\w+)\.", re.MULTILINE)


def test_program_runs_on_its_own_lock(tmp_path: Path) -> None:
    """As `pulumi up` runs it after `pulumi install`, the program imports all its parts and stops
    at the first setting that is not there.
    """
    runtime = Runtime(tmp_path / "venv", ROOT / "infra" / "requirements.txt")
    run = "import runpy; runpy.run_path('infra', run_name='__main__')"
    done = subprocess.run(
        [runtime.bin / "python", "-P", "-W", "ignore", "-c", run],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError" not in done.stderr
    assert "pulumi config set" in done.stderr.splitlines()[-1]


def test_types_of_what_is_used_are_checked() -> None:
    """Mypy reads the provider modules that infra/ uses; any other would be Any, unchecked."""
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "infra").glob("*.py"))
    gcp = {name for groups in GCP.findall(sources) for name in re.findall(r"\w+", "".join(groups))}
    kubernetes = {"".join(groups) for groups in KUBERNETES.findall(sources)} - {"Provider"}
    used = {f"pulumi_gcp.{name}.*" for name in gcp}
    used |= {f"pulumi_kubernetes.{name}.*" for name in kubernetes}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    (read,) = (e["module"] for e in settings["overrides"] if e.get("follow_imports") == "normal")
    assert used - set(read) == set()
