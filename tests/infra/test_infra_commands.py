"""What the outputs and pods tell people and Kubernetes to run is what the commands take."""

import re
import shlex
import subprocess
from pathlib import Path

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


def test_commands_of_the_runbook_are_understood(
    programs: dict[str, Program], capsys: pytest.CaptureFixture[str]
) -> None:
    """What an alert tells to run parses, and none of it acts."""
    policies = programs["prod"].of_type("AlertPolicy")
    texts = [policy.inputs["documentation"]["content"] for policy in policies]
    told = {" ".join(found.split()) for found in re.findall(r"`(tweets [^`]+)`", "\n".join(texts))}
    assert {" ".join(command.split()[:3]) for command in told} == {
        "tweets backfill",
        "tweets redrive list",
    }
    for command in told:
        with pytest.raises(SystemExit) as ended:
            main([*shlex.split(command)[1:], "--help"])
        assert ended.value.code == 0, command
        assert "--yes" not in command
    assert "--subscription" in capsys.readouterr().out


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


def test_cluster_login_works_for_a_person_and_for_ci(program: Program, tmp_path: Path) -> None:
    """The printed command asks for the DNS endpoint, in a shell where gcloud would refuse it.

    With container/use_application_default_credentials set, as some people and images have it,
    gcloud ends with an error: it takes one of the two.
    """
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(
        '#!/bin/sh\necho "$CLOUDSDK_CONTAINER_USE_APPLICATION_DEFAULT_CREDENTIALS $*"\n', "utf-8"
    )
    gcloud.chmod(0o755)
    said = subprocess.run(
        ["sh", "-c", str(program.outputs["credentialsCommand"])],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "CLOUDSDK_CONTAINER_USE_APPLICATION_DEFAULT_CREDENTIALS": "true",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    cluster = program.outputs["cluster"]
    assert said == (
        f"false container clusters get-credentials {cluster} --dns-endpoint "
        "--region=us-central1 --project=my-project\n"
    )
