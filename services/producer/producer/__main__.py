"""`python -m producer`: X's filtered stream to Pub/Sub, or with --print to the terminal."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence

from producer.health import PortError
from producer.log import redact, start_log
from producer.recovery import StateError
from producer.service import Service
from producer.settings import Settings, SettingsError, log_level
from producer.x_api import ignore_netrc

_EPILOG = """\
environment: X_BEARER_TOKEN or X_BEARER_TOKEN_FILE (needed), TOPIC, DEAD_LETTER_TOPIC, RULES_FILE,
X_API_BASE_URL, X_FIELDS, POST_BUDGET, BACKFILL_MINUTES, STATE_DIR, HOST, PORT, INSTANCE,
LOG_LEVEL; Google credentials as usual.
exit codes: 0 stopped by a signal, what was read is published or kept in STATE_DIR (the log says
so where the disk took it not); 1 Pub/Sub refuses the topic (what was read is kept); 2 a setting, a
rule or the token is wrong."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run until a signal or until it cannot go on; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m producer",
        description="Read X's filtered stream and publish each post to Pub/Sub.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--print", action="store_true",
        help="print each post to standard output as X sends it; publishes too where TOPIC is set",
    )  # fmt: skip
    parser.add_argument(
        "--rule", action="append", default=[], metavar="VALUE",
        help="a rule of the stream, may be repeated; takes the place of RULES_FILE. X's rules are "
        "made equal to these. With --print and no rules, those that X has are used and left alone",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    ignore_netrc()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only a note: a handler that takes locks could meet itself. Before the store is looked
        # through, which may take a minute: a container's first process ignores what has no handler.
        signal.signal(number, lambda received, _: asked.append(received))
    plain = arguments.print or sys.stderr.isatty()
    try:
        instance = environ.get("INSTANCE") or socket.gethostname()
        start_log(log_level(environ), instance, plain=plain)
        service = Service(Settings.from_env(environ, arguments))
    except (SettingsError, StateError, PortError) as error:
        print(f"producer: {redact(str(error))}", file=sys.stderr)  # noqa: T201 - one line for a person
        return 2
    if not asked:
        service.start()
    while not asked and not service.ended.is_set():
        time.sleep(0.1)
    return service.close()


if __name__ == "__main__":
    sys.exit(main())
