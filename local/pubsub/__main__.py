"""`python -m local.pubsub`: the embedded Pub/Sub server as a process of its own."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from local.pubsub.faults import PubSubFaults
from local.pubsub.journal import JournalError
from local.pubsub.running import PUSH_LIMIT, PortBusyError, Running

HOST = "127.0.0.1"


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 (any free) to 65535")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.pubsub", description=__doc__)
    parser.add_argument("--port", type=_port, default=8085, help="gRPC port, 0 for a free one")
    parser.add_argument(
        "--data-dir", type=Path, help="unacknowledged messages and resources survive here"
    )
    parser.add_argument("--control-port", type=_port, help="GET /stats, POST /faults as JSON")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = Running(arguments.data_dir, PubSubFaults(), PUSH_LIMIT)
    port, control = await running.start(HOST, arguments.port, arguments.control_port)
    if control is not None:
        print(f"control http://{HOST}:{control}", flush=True)
    print(f"ready {HOST}:{port}", flush=True)
    await stop.wait()
    await running.stop()


def main() -> int:
    """Serve until SIGTERM or SIGINT; 2 when a port or the data directory cannot be had."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="pubsub %(levelname)s %(message)s")
    try:
        asyncio.run(_serve(arguments))
    except (PortBusyError, JournalError) as error:
        print(f"local.pubsub: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
