"""Files that say who lives: a lock which the system takes back when its holder ends, however."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from pathlib import Path
from typing import IO

LOCK = "lock"


def claim(file: Path) -> IO[str] | None:
    """Hold `file` until the answer is closed or this process ends; None where another holds it.

    Raises:
        OSError: the file can't be made.
    """
    held = file.open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        return None
    return held


def scratch_folder(prefix: str) -> tuple[Path, IO[str]]:
    """A new temporary folder and the claim on it; those of processes that were killed go.

    Its name has the prefix only once it is claimed, so that no other start takes it for left over.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*/{LOCK}"):
        # Not ours to open, or gone meanwhile: another's.
        try:
            orphan = claim(left)
        except OSError:
            continue
        if orphan is not None:
            with orphan:
                shutil.rmtree(left.parent, ignore_errors=True)
    unclaimed = Path(tempfile.mkdtemp(prefix=f"new-{prefix}"))
    held = claim(unclaimed / LOCK)
    if held is None:
        raise RuntimeError(f"{unclaimed} was made just now, and another process holds it")
    return unclaimed.rename(unclaimed.with_name(unclaimed.name.removeprefix("new-"))), held
