"""What holds for the tests of every folder."""

import logging
from collections.abc import Iterator

import pytest

from local.pubsub import PubSubServer
from local.standin import bypass_proxies


def pytest_configure() -> None:
    """The tests pass behind a company's proxy: all that they reach is on this machine."""
    bypass_proxies()


@pytest.fixture(autouse=True)
def loggers_are_left_on() -> Iterator[None]:
    """A test that disables loggers (as logging.config does) would silence those after it, as would
    a level that it leaves behind (`producer --print` hides tweepy's entries).
    """
    before = {name for name, logger in _loggers() if logger.disabled}
    levels = {name: logger.level for name, logger in _loggers()}
    yield
    for name, logger in _loggers():
        logger.setLevel(levels.get(name, logging.NOTSET))
    disabled = [(name, logger) for name, logger in _loggers() if logger.disabled]
    for name, logger in disabled:
        logger.disabled = name in before
    assert [name for name, _ in disabled if name not in before] == []


@pytest.fixture(scope="session")
def pubsub() -> Iterator[PubSubServer]:
    """One Pub/Sub stand-in for the folders that name it; each test makes topics of its own."""
    with PubSubServer() as server:
        yield server


def _loggers() -> list[tuple[str, logging.Logger]]:
    manager = logging.Logger.manager
    return [
        (name, logger)
        for name, logger in manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    ]
