"""A clock that jumps, for one process: on its PYTHONPATH, this moves `time.time()`.

Python imports it before the program. The file that CLOCK_OFFSET names holds seconds; none where it
is missing. The monotonic clock stays, as it does when a machine's clock is set.
"""

import os
import time

_FILE = os.environ.get("CLOCK_OFFSET", "")
_time, _time_ns = time.time, time.time_ns


def _offset() -> float:
    try:
        with open(_FILE) as file:  # noqa: PTH123 - nothing more may be imported this early
            return float(file.read() or 0)
    except (OSError, ValueError):
        return 0.0


time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + int(_offset() * 1e9)
