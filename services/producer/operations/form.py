"""The tables as they are in BigQuery, beside what the program declares."""

import json
from datetime import timedelta
from pathlib import Path

from operations.dataset import Dataset
from operations.text import number

# services/, in a checkout; the image holds no schema of the table.
SCHEMA = Path(__file__).parents[2] / "sink_function" / "sink" / "schema"


def differences(dataset: Dataset, expiration_days: int | None) -> tuple[str, str]:
    """Compare columns and expiry.

    Args:
        dataset: theirs.
        expiration_days: as declared, 0 for rows that are kept for ever; None if it is not known.

    Returns:
        What differs, or "", and what was seen.

    Raises:
        google.api_core.exceptions.GoogleAPICallError, RetryError: BigQuery does not answer.
    """
    wrong, expiry = [], ""
    for name in ("tweets", "stream_events"):
        columns, milliseconds = dataset.form(name)
        if (SCHEMA / f"{name}.json").is_file():
            declared = json.loads((SCHEMA / f"{name}.json").read_text("utf-8"))
            wrong += [
                f"{name}.{column['name']} is {columns.get(column['name'], 'missing')}, must be "
                f"{column['type']}"
                for column in declared
                if columns.get(column["name"]) != column["type"]
            ]
        days = round((milliseconds or 0) / timedelta(days=1).total_seconds() / 1000)
        if name == "tweets":
            expiry = f"rows are kept {number(days)} days" if days else "rows are kept for ever"
        if expiration_days is not None and days != expiration_days:
            wrong.append(f"{name} keeps rows {days or 'unlimited'} days, not {expiration_days}")
    if not SCHEMA.is_dir():
        return "; ".join(wrong[:3]), f"{expiry}; columns are compared in a checkout only"
    return "; ".join(wrong[:3]), f"the columns are those of the program, {expiry}"
