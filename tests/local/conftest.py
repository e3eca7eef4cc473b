"""What the tests of the local stack share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.machine.watchdog import Watchdog


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    """A watchdog that ends with the test."""
    dog = Watchdog()
    yield dog
    dog.close()
