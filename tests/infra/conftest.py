"""The program evaluated once for each kind of environment that people deploy."""

import pytest

from local.engine.program import Program, evaluate
from tests.infra.environments import ENVIRONMENTS


@pytest.fixture(scope="session")
def programs() -> dict[str, Program]:
    """Each environment after `pulumi up`."""
    return {stack: evaluate(stack, config) for stack, config in ENVIRONMENTS.items()}


@pytest.fixture(params=ENVIRONMENTS)
def program(request: pytest.FixtureRequest, programs: dict[str, Program]) -> Program:
    """One environment after another."""
    return programs[request.param]


@pytest.fixture
def dev(programs: dict[str, Program]) -> Program:
    """The development environment."""
    return programs["dev"]
