"""The GitHub workflows as data."""

from pathlib import Path
from typing import Any

import pytest
import yaml

GITHUB = Path(__file__).resolve().parents[2] / ".github"


class StringLoader(yaml.SafeLoader):
    """YAML without the reading of `on` as True."""


StringLoader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Path) -> dict[str, Any]:
    """One YAML file; booleans stay the words `true` and `false`."""
    document: dict[str, Any] = yaml.load(path.read_text("utf-8"), StringLoader)
    return document


@pytest.fixture(scope="session")
def workflows() -> dict[str, dict[str, Any]]:
    """Every workflow by its file's stem."""
    return {path.stem: load(path) for path in sorted((GITHUB / "workflows").glob("*.yml"))}


@pytest.fixture(scope="session")
def action() -> dict[str, Any]:
    """The composite action that prepares a runner for pulumi."""
    return load(GITHUB / "actions" / "pulumi" / "action.yml")


@pytest.fixture(scope="session")
def sources() -> str:
    """All workflow and action files as text, comments included."""
    paths = [*GITHUB.glob("workflows/*.yml"), *GITHUB.glob("actions/*/action.yml")]
    return "\n".join(path.read_text("utf-8") for path in paths)
