"""`python -m local.pubsub`: the embedded Pub/Sub server as a process of its own."""

import logging
import sys
from pathlib import Path

from local import standin
from local.pubsub.journal import JournalError
from local.pubsub.server import PubSubServer


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 2 when a port or the data directory cannot be had."""
    parser = standin.OneLineParser(prog="python -m local.pubsub", description=__doc__)
    parser.add_argument("--port", type=standin.port, default=8085, help="gRPC, 0 for a free one")
    parser.add_argument("--data-dir", type=Path, help="unacknowledged messages survive here")
    parser.add_argument(
        "--control-port", type=standin.port, default=0, help="GET /stats, POST /faults"
    )
    options = vars(parser.parse_args(argv))
    logging.basicConfig(level=logging.INFO, format="pubsub %(levelname)s %(message)s")
    return standin.main("pubsub", lambda: PubSubServer(**options), JournalError)


if __name__ == "__main__":
    sys.exit(main())
