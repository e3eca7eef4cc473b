"""What the stand-in servers share."""

import pytest

from local.standin import bypass_proxies


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"no_proxy": "ours", "NO_PROXY": "corp, localhost"}, "ours,corp,localhost,127.0.0.1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_loopback_is_reached_without_a_proxy(environ: dict[str, str], expected: str) -> None:
    """Hosts that the environment excepts stay so, in the spelling that each library reads."""
    bypass_proxies(environ)
    assert environ == {"no_proxy": expected, "NO_PROXY": expected}
