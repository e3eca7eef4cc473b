"""The real engine, where it is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.engine.program import ROOT
from tests.infra.environments import TOKEN

PULUMI = shutil.which("pulumi")
PLUGINS = ("gcp", "kubernetes", "docker-build")


def _missing() -> str:
    if PULUMI is None:
        return "the pulumi CLI is not on PATH"
    listed = subprocess.run([PULUMI, "plugin", "ls"], capture_output=True, text=True, check=False)
    absent = [plugin for plugin in PLUGINS if plugin not in listed.stdout]
    if absent:
        return f"pulumi plugins are not installed: {', '.join(absent)}"
    if not os.environ.get("PULUMI_TEST_GCP_PROJECT"):
        return "PULUMI_TEST_GCP_PROJECT names no project to preview against"
    return ""


MISSING = _missing()


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_real_preview_plans_the_whole_pipeline(tmp_path: Path) -> None:
    """`pulumi preview` of a fresh stack, in a state directory of its own, plans every component."""
    assert PULUMI is not None
    environment = {
        **os.environ,
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    stack_file = tmp_path / "Pulumi.dev.yaml"
    stack_file.write_text((ROOT / "Pulumi.dev.yaml").read_text("utf-8"), "utf-8")

    def pulumi(*arguments: str, given: str | None = None) -> str:
        ran = subprocess.run(
            [PULUMI or "", *arguments, "--non-interactive", "--cwd", str(ROOT)],
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    config = ("--stack", "dev", "--config-file", str(stack_file))
    project = os.environ["PULUMI_TEST_GCP_PROJECT"]
    pulumi("stack", "init", "dev")
    pulumi("config", "set", "gcp:project", project, *config)
    pulumi("config", "set", "--secret", "xBearerToken", *config, given=TOKEN)
    planned = pulumi("preview", *config)
    for component in ("Topic", "Warehouse", "Sink", "Cluster", "Producer"):
        assert f"tweets:index:{component}" in planned
