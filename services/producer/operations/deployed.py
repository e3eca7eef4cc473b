"""What is deployed, beside what lies here: the form of the tables, the code of reader and function.

Schema and function lie here in a checkout only; the image holds neither.
"""

import json
from datetime import datetime, timedelta
from pathlib import Path

import producer
from operations.dataset import Dataset
from operations.text import harmless
from producer.revision import code_digest

READER = Path(producer.__file__).parent
FUNCTION = Path(__file__).parents[2] / "sink_function" / "sink"
SCHEMA = FUNCTION / "schema"


def table_differences(dataset: Dataset, expiration_days: int | None) -> tuple[str, str]:
    """Compare the tables' columns and expiry with what the program declares.

    Args:
        dataset: theirs.
        expiration_days: as declared, 0 for rows that are kept for ever; None if it is not known.

    Returns:
        What differs, or "", and what was seen.

    Raises:
        google.api_core.exceptions.GoogleAPICallError, RetryError: BigQuery does not answer.
    """
    wrong, expiry, compared = [], "", "columns are compared in a checkout only"
    for name in ("tweets", "stream_events"):
        columns, milliseconds = dataset.form(name)
        if (schema := SCHEMA / f"{name}.json").is_file():
            compared = "the columns are those of the program"
            wrong += [
                f"{name}.{column['name']} is {columns.get(column['name'], 'missing')}, must be "
                f"{column['type']}"
                for column in json.loads(schema.read_text("utf-8"))
                if columns.get(column["name"]) != column["type"]
            ]
        days = round((milliseconds or 0) / timedelta(days=1).total_seconds() / 1000)
        kept = f"{days:,} days" if days else "for ever"
        expiry = expiry or f"rows are kept {kept}"
        if expiration_days not in (None, days):
            wrong.append(f"{name} keeps rows {days or 'unlimited'} days, not {expiration_days}")
    return "; ".join(wrong[:3]), f"{compared}, {expiry}"


def code_differences(dataset: Dataset, since: datetime) -> tuple[bool, str]:
    """Compare the newest start of the reader, and the newest row of the function, with our code.

    Returns:
        True where one differs or cannot be told, and what was seen.

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
    differ, seen = False, []
    for name, rows, source, trace in (
        ("reader", started, READER, "start of the reader"),
        ("function", written, FUNCTION, "row of an event"),
    ):
        found = [harmless(row["revision"] or "code that has no digest")[:40] for row in rows]
        if not found:
            differ = True
            seen.append(f"no {trace} is in the table, so the {name}'s code is not known")
        elif not source.is_dir():
            seen.append(f"the {name} ({found[0]}) is compared in a checkout only")
        elif found[0] == (ours := code_digest(source)):
            seen.append(f"the {name} runs {ours}, as here")
        else:
            differ = True
            seen.append(f"the {name} runs {found[0]}, not {ours} as here")
    return differ, "; ".join(seen)
