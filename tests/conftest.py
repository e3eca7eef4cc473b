"""What holds for the tests of every folder."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def loggers_are_left_on() -> Iterator[None]:
    """A test that disables loggers (as logging.config does) would silence those after it."""
    before = {name for name, logger in _loggers() if logger.disabled}
    yield
    disabled = [(name, logger) for name, logger in _loggers() if logger.disabled]
    for name, logger in disabled:
        logger.disabled = name in before
    assert [name for name, _ in disabled if name not in before] == []


def _loggers() -> list[tuple[str, logging.Logger]]:
    manager = logging.Logger.manager
    return [
        (name, logger)
        for name, logger in manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    ]
