"""The X stand-in on a thread of the test process."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.x import XServer
from tests.x.clients import RULES, post


@pytest.fixture
def start() -> Iterator[Callable[..., XServer]]:
    """Return a function that starts a stand-in with a rule for "data" and the given settings."""
    servers: list[XServer] = []

    def run(
        *, rules: tuple[tuple[str, str | None], ...] = (("data", "tech"),), **settings: Any
    ) -> XServer:
        server = XServer(**{"rate": 400.0, "seed": 7, **settings})
        server.start()
        servers.append(server)
        if rules:
            add = [
                {"value": value} if tag is None else {"value": value, "tag": tag}
                for value, tag in rules
            ]
            token = settings.get("token") or "any-token"
            added = post(
                server.url + RULES, json={"add": add}, headers={"Authorization": f"Bearer {token}"}
            )
            assert added.status_code == 201, added.text
        return server

    yield run
    for server in servers:
        server.stop()
