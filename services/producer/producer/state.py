"""Small JSON files in STATE_DIR that outlive the process."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)


class StateError(ValueError):
    """STATE_DIR cannot be used: why, and what to do, in one line."""


class StateDir:
    """The directory, held by one process at a time.

    Raises:
        StateError: not writable, or held by another producer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / "lock").open("a")
            (path / "lock").touch()
        except OSError as error:
            raise StateError(
                f"STATE_DIR ({path}) is not writable: {error.strerror or error}. Give a directory "
                "that this user may write to and that outlives the process."
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise StateError(
                f"STATE_DIR ({path}) is in use by another producer: X allows one connection. Stop "
                "it, or give this one a directory of its own."
            ) from None

    def read(self, name: str) -> dict[str, Any]:
        """Return what write() kept under the name; {} where there is nothing usable."""
        try:
            value = orjson.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, orjson.JSONDecodeError) as error:
            log.warning("%s is not usable and is begun anew: %s", self.path / name, error)
            return {}
        return value if isinstance(value, dict) else {}

    def write(self, name: str, value: object) -> None:
        """Replace a file in one step, so that a kill leaves the old or the new one.

        Raises:
            OSError: the disk is full or gone.
        """
        temporary = self.path / f".{name}.new"
        temporary.write_bytes(orjson.dumps(value))
        os.replace(temporary, self.path / name)  # noqa: PTH105 - Path.replace is the same call

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()
