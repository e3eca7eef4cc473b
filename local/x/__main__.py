"""`python -m local.x`: the X stand-in as a process of its own."""

import argparse
import signal
import sys
import threading

from local.x.server import XServer


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.x", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    parser.add_argument(
        "--rate",
        type=float,
        default=0.0,
        help="posts a second, 0 as fast as they are read (default)",
    )
    parser.add_argument(
        "--count", type=int, help="stop after this many posts; the stream stays open"
    )
    parser.add_argument("--seed", type=int, default=1, help="same seed and rules, same posts")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    options = vars(arguments(argv))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server = XServer(**options)
        server.start()
    except ValueError as error:
        print(f"x: {error}", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        print(
            f"x: cannot listen on 127.0.0.1:{options['port']}: {error}. Choose another --port.",
            file=sys.stderr,
        )
        return 2
    print(f"ready {server.url}", flush=True)
    stopped.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
