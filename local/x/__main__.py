"""`python -m local.x`: the X stand-in as a process of its own."""

import sys

from local import standin
from local.x.server import XServer


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    parser = standin.OneLineParser(prog="python -m local.x", description=__doc__)
    parser.add_argument("--port", type=standin.port, default=0, help="0 picks a free one (default)")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="posts a second, 0 as fast as read (default)"
    )
    parser.add_argument("--count", type=int, help="stop after so many posts; the stream stays open")
    parser.add_argument("--seed", type=int, default=1, help="same seed and rules, same posts")
    options = vars(parser.parse_args(argv))
    return standin.main("x", lambda: XServer(**options), ValueError)


if __name__ == "__main__":
    sys.exit(main())
