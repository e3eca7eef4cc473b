"""Evaluating the program: the tool that the demo and every test here stand on."""

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pulumi.runtime.settings import SETTINGS

from local.engine import program as program_module
from local.engine.program import ROOT, ProgramError, checked_in_config, evaluate, main
from tests.infra.environments import BASE


def test_runs_do_not_see_each_other() -> None:
    """Several evaluations in one process give each stack its own names and configuration."""
    first = evaluate("one", {**BASE, "protect": False})
    second = evaluate("two", {**BASE, "protect": False})
    again = evaluate("one", {**BASE, "protect": False})
    assert second.outputs["topic"] == "projects/my-project/topics/tweets-two"
    assert {r.urn: r.inputs for r in again.resources} == {r.urn: r.inputs for r in first.resources}
    assert again.outputs == first.outputs


async def test_runs_inside_a_running_event_loop() -> None:
    """A test or demo that has a loop of its own can evaluate in it or beside it."""
    here = evaluate("dev", BASE)
    beside = await asyncio.to_thread(evaluate, "dev", BASE)
    assert len(here.resources) == len(beside.resources)


def test_views_come_after_what_they_read() -> None:
    """The order of the resources is an order in which they can be made."""
    program = evaluate("dev", BASE)
    order = {resource.urn: place for place, resource in enumerate(program.resources)}
    for resource in program.resources:
        for needed in resource.options.dependencies:
            if needed in order:
                assert order[needed] < order[resource.urn], resource.name


def test_failing_program_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in infra/ is a ProgramError that names it, not a hang."""
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "__main__.py").write_text("raise LookupError('no such part')\n", "utf-8")
    (tmp_path / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(program_module, "ROOT", tmp_path)
    with pytest.raises(ProgramError, match="infra/ failed: LookupError: no such part"):
        evaluate("dev", BASE)


def test_failing_resource_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data source without an answer fails the run with the line that says where to add it."""
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "__main__.py").write_text(
        textwrap.dedent(
            """
            import pulumi
            pulumi.export("a", pulumi.runtime.invoke_async("gcp:x/y:z", {}))
            """
        ),
        "utf-8",
    )
    (tmp_path / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(program_module, "ROOT", tmp_path)
    with pytest.raises(ProgramError, match=r"no answer for gcp:x/y:z"):
        evaluate("dev", BASE)


def test_unknown_stack_is_named() -> None:
    """Asking for a stack that is not checked in lists those that are."""
    with pytest.raises(ProgramError, match=r"Pulumi\.nowhere\.yaml does not exist; known: .*dev"):
        checked_in_config("nowhere")


def test_table_of_resources_for_a_reviewer(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m local.engine.program` prints each resource, where it belongs, and the outputs."""
    assert main(["--stack", "dev"]) == 0
    printed = capsys.readouterr().out
    assert "gcp:pubsub/topic:Topic" in printed
    assert "my-project.tweet_data.tweets_latest" in printed


def test_command_line_fails_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong stack or value ends with exit code 2, one line and no traceback."""
    for arguments in (["--stack", "nowhere"], ["--config", "postBudget=-1"]):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
    # Told by a question to Google, when every resource already waits for the answer: asyncio would
    # tell of each of them when the process ends.
    arguments = ["-m", "local.engine.program", "--config", "gcp:region=us-centrl1"]
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 1


def test_no_module_hides_one_of_python() -> None:
    """Pulumi runs tools of Python in infra/, where a module such as token.py would replace theirs.

    `cd infra && python -m pip list` then ends with a traceback, and so does `pulumi up`.
    """
    modules = {path.stem for path in (ROOT / "infra").glob("*.py")}
    assert modules & sys.stdlib_module_names == set()


def test_what_a_run_that_broke_off_left_does_not_end_the_next() -> None:
    """An output that a refused run did not settle is none of the next run's."""
    loop = asyncio.new_event_loop()
    left: asyncio.Future[object] = loop.create_future()
    left.cancel()
    loop.close()
    SETTINGS.outputs.add(left)
    try:
        assert evaluate("dev", BASE).outputs
    finally:
        SETTINGS.outputs.discard(left)
