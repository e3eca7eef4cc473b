"""What the stand-in servers share."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

LOOPBACK = ("127.0.0.1", "localhost")


def bypass_proxies(environ: MutableMapping[str, str] = os.environ) -> None:
    """Reach loopback directly, though the environment names a company's proxy.

    What is in no_proxy stays. Both spellings are set to the same: urllib and requests prefer the
    one that gRPC does not read. Children that inherit the environment do as this process.
    """
    names = ("no_proxy", "NO_PROXY")
    known = [host.strip() for name in names for host in environ.get(name, "").split(",")]
    hosts = dict.fromkeys([host for host in known if host] + [*LOOPBACK])
    environ.update(dict.fromkeys(names, "*" if "*" in hosts else ",".join(hosts)))
