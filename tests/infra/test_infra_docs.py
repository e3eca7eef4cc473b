"""What the pages tell people to type, and where messages send them, is there."""

import re
from pathlib import Path

import pytest

from infra.settings import NAMESPACE, PROVIDER_KEYS, Settings
from local.engine.program import ROOT, Program

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KEY = re.compile(r"pulumi config (?:set|rm) (?:--secret |--path )?'?([a-z][\w:-]*)")
OUTPUT = re.compile(r"pulumi stack output (\w+)")
SECTION = re.compile(r"docs/deploy\.md, ([\w' ]+)[;\"]")


def sources() -> str:
    """The program's text, a string that goes on in the next line joined."""
    text = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "infra").glob("*.py")))
    return re.sub(r'"\n\s*f?"', "", text)


def keys() -> set[str]:
    """Every key, as it may be written."""
    own = {str(field.alias) for field in Settings.model_fields.values()} - {"stack"}
    return own | {f"{NAMESPACE}:{key}" for key in own} | set(PROVIDER_KEYS.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_keys_and_outputs_of_a_page_are_the_programs(
    page: Path, programs: dict[str, Program]
) -> None:
    """Every `pulumi config set` names a key, and every `pulumi stack output` an output."""
    text = page.read_text("utf-8")
    assert set(KEY.findall(text)) - {"key"} <= keys()
    assert set(OUTPUT.findall(text)) - {"name"} <= set(programs["prod"].outputs)


def test_keys_of_the_messages_are_the_programs() -> None:
    """What a refusal or an alert tells to set can be set."""
    named = set(KEY.findall(sources()))
    assert len(named) >= 10
    assert named <= keys()


def test_the_pages_have_such_lines() -> None:
    """The patterns find what they are for."""
    told = "".join(page.read_text("utf-8") for page in PAGES)
    assert len(set(KEY.findall(told))) > 12
    assert {"queryCommand", "lookerStudio", "dashboardCommand"} <= set(OUTPUT.findall(told))


def test_messages_send_people_to_a_section_that_is_there() -> None:
    """A line that names docs/deploy.md and a section names one of its headings."""
    headings = re.findall(
        r"^## (?:\d+\. )?(.+)$", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE
    )
    named = set(SECTION.findall(sources()))
    assert len(named) == 3
    assert named - set(headings) == set()
