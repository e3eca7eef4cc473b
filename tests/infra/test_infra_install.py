"""What `pulumi install` gives is enough: the packages of infra's own lock and no more."""

import subprocess
from pathlib import Path

from local.engine.program import ROOT
from local.machine.runtime import Runtime


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
