"""Text for a person: tables, times, and data of strangers without its control characters."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime


def tell(line: str) -> None:
    """Print a line of progress to standard error, so that standard output stays data."""
    print(line, file=sys.stderr, flush=True)


def progress(before: int, now: int, what: str) -> int:
    """Tell how many there are where one more thousand is passed; return `now`."""
    if now // 1000 > before // 1000:
        tell(f"{now:,} {what} ...")
    return now


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows in columns, head first; a row is one line whatever is in its cells."""
    lines = [[harmless(cell).replace("\n", "\\n") for cell in line] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def moment(at: datetime) -> str:
    """Return a time in UTC to the second, such as 2026-11-22 21:53:07Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def harmless(text: str) -> str:
    """Return the text with control characters escaped: a post cannot steer the terminal."""
    return "".join(
        letter if letter == "\n" or letter.isprintable() else ascii(letter)[1:-1] for letter in text
    )


def age(seconds: float) -> str:
    """Return a length of time in its two largest units: 45 s, 2 min 5 s, 3 h 10 min, 9 d 4 h."""
    left = round(seconds)
    if left < 60:
        return f"{left} s"
    for unit, large, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if left >= large:
            return f"{left // large} {unit} {left % large // small} {smaller}"
    return f"{left // 60} min {left % 60} s"
