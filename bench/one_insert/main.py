"""What people write first: one insert a message, in the framework's default server.

After the seed's step 3 and Google's own tutorials: a CloudEvent function, the client kept for the
life of the instance, insert_rows_json for the message, an exception when it fails.
"""

from __future__ import annotations

import base64
import json
import os
from functools import cache
from typing import Any

import functions_framework
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery


@cache
def _client() -> bigquery.Client:
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return bigquery.Client(project="bench", credentials=credentials)


@functions_framework.cloud_event
def sink(event: Any) -> None:
    """Write one message."""
    row = json.loads(base64.b64decode(event.data["message"]["data"]))
    errors = _client().insert_rows_json(os.environ["TWEETS_TABLE"], [row])
    if errors:
        raise RuntimeError(errors)
