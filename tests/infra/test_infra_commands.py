"""What the outputs and pods tell people and Kubernetes to run is what the commands take."""

import shlex

import pytest

from local.engine.program import Program
from operations.__main__ import main


def test_redrive_command_is_understood(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed redrive command parses, names both ends, and is a dry run."""
    words = shlex.split(str(program.outputs["redriveCommand"]))
    assert words[0] == "tweets"
    assert "--yes" not in words
    with pytest.raises(SystemExit) as ended:
        main([*words[1:], "--help"])
    assert ended.value.code == 0
    assert "--topic" in capsys.readouterr().out


def test_compliance_command_is_understood(
    programs: dict[str, Program], capsys: pytest.CaptureFixture[str]
) -> None:
    """The CronJob's command parses, and it removes instead of only counting."""
    job = programs["prod"].one("batch/v1:CronJob").inputs["spec"]["jobTemplate"]["spec"]
    words = job["template"]["spec"]["containers"][0]["command"]
    assert words[-1] == "--yes"
    with pytest.raises(SystemExit) as ended:
        main([*words[3:], "--help"])
    assert ended.value.code == 0
    assert "--yes" in capsys.readouterr().out
