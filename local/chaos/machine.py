"""What can happen to the machine under the reader: its clock jumps, its volume is damaged."""

from __future__ import annotations

import random
from pathlib import Path

from local.demo.stack import LocalStack

PAGE = 4096
_CLOCK = Path(__file__).with_name("clock")


class Machine:
    """The producer's clock and volume.

    Args:
        stack: started, with a data directory.

    The clock can be set once the producer has been started again.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._process = stack.processes["producer"]
        self._offset = stack.logs / "clock-offset"
        self._process.env |= {"PYTHONPATH": str(_CLOCK), "CLOCK_OFFSET": str(self._offset)}

    def set_clock(self, seconds: float) -> None:
        """Put the clock ahead by so many seconds; 0 sets it right."""
        new = self._offset.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self._offset)

    def damage(self, rng: random.Random) -> str:
        """Damage a file of the volume, whose process must be down; returns what was done.

        A page is zeroed, bits are flipped, or the end is cut off, as after a node's crash.
        """
        folder = Path(self._process.env["STATE_DIR"])
        files = [each for each in sorted(folder.iterdir()) if each.stat().st_size > PAGE]
        if not files:
            raise RuntimeError(f"nothing to damage in {folder}")
        file = rng.choice(files)
        content = bytearray(file.read_bytes())
        act = rng.choice(("page zeroed", "bits flipped", "end cut off"))
        if act == "page zeroed":
            start = rng.randrange(len(content) // PAGE) * PAGE
            content[start : start + PAGE] = bytes(PAGE)
        elif act == "bits flipped":
            for _ in range(20):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        else:
            del content[rng.randrange(len(content)) :]
        file.write_bytes(content)
        return f"{file.name}: {act}"

    def zero(self) -> None:
        """Leave nothing of the volume's state that may be trusted; its process must be down."""
        for file in Path(self._process.env["STATE_DIR"]).iterdir():
            if file.is_file() and file.stat().st_size:
                file.write_bytes(bytes(file.stat().st_size))
