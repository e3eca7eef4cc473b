"""Which code the reader and the function run, beside the code that lies here."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import producer
from operations.dataset import Dataset
from operations.text import harmless
from producer.revision import code_digest

READER = Path(producer.__file__).parent
# In a checkout; the image holds no function.
FUNCTION = Path(__file__).parents[2] / "sink_function" / "sink"


def compare(dataset: Dataset, since: datetime) -> tuple[bool, str]:
    """Compare the newest start of the reader, and the newest row of the function, with our code.

    Returns:
        False where one differs or cannot be told, and what was seen.

    Raises:
        google.api_core.exceptions.GoogleAPICallError, RetryError: BigQuery does not answer.
    """
    started = dataset.rows(
        "SELECT JSON_VALUE(detail, '$$.revision') AS revision "
        "FROM `${dataset}.stream_events_latest` "
        "WHERE `at` >= @since AND kind = 'started' ORDER BY `at` DESC LIMIT 1",
        since=since,
    )
    written = dataset.rows(
        "SELECT sink AS revision FROM `${dataset}.stream_events` "
        "WHERE `at` >= @since AND inserted_at IS NOT NULL ORDER BY inserted_at DESC LIMIT 1",
        since=since,
    )
    same, seen = True, []
    for name, rows, source, trace in (
        ("reader", started, READER, "start of the reader"),
        ("function", written, FUNCTION, "row of an event"),
    ):
        found = [row["revision"] for row in rows]
        runs = harmless(found[0] or "code that has no digest")[:40] if found else None
        if runs is None:
            same = False
            seen.append(f"no {trace} is in the table, so the {name}'s code is not known")
        elif not source.is_dir():
            seen.append(f"the {name} ({runs}) is compared in a checkout only")
        elif runs == (ours := code_digest(source)):
            seen.append(f"the {name} runs {runs}, as here")
        else:
            same = False
            seen.append(f"the {name} runs {runs}, not {ours} as here")
    return same, "; ".join(seen)
