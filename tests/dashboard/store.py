"""Small known tables: rows of posts and events, and the store that takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud import bigquery

DATASET = "local-project.tweet_data"


def stamp(moment: datetime) -> str:
    """A moment as TIMESTAMP columns take it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def post(number: int, created: datetime, **columns: Any) -> dict[str, Any]:
    """A row of `tweets`: read 100 ms after it was created, in the table 250 ms after."""
    row = {
        "id": number,
        "created_at": f"{created.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000",
        "text": f"post {number}",
        "author_id": 1,
        "author_username": "ann",
        "lang": "en",
        "original_id": number,
        "edit_history_ids": [number],
        "hashtags": [],
        "mentions": [],
        "urls": [],
        "referenced_posts": [],
        "rule_tags": ["cats"],
        "source": "stream",
        "ingested_at": stamp(created + timedelta(milliseconds=100)),
        "inserted_at": stamp(created + timedelta(milliseconds=250)),
        "message_id": str(number),
    }
    return row | columns


def event(event_id: str, kind: str, at: datetime, **columns: Any) -> dict[str, Any]:
    """A row of `stream_events`; moments among the columns are written as timestamps."""
    moments = {k: stamp(v) if isinstance(v, datetime) else v for k, v in columns.items()}
    return {"event_id": event_id, "kind": kind, "at": stamp(at), **moments}


class Store:
    """The tables, to fill them."""

    def __init__(self, client: bigquery.Client) -> None:
        self.client = client

    def posts(self, *rows: Mapping[str, Any]) -> None:
        """Insert rows into `tweets`."""
        assert self.client.insert_rows_json(f"{DATASET}.tweets", list(rows)) == []

    def events(self, *rows: Mapping[str, Any]) -> None:
        """Insert rows into `stream_events`."""
        assert self.client.insert_rows_json(f"{DATASET}.stream_events", list(rows)) == []

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Run SQL in which `v` stands for the dataset, as in FROM v.tweets_latest."""
        sql = re.sub(r"\bv\.(\w+)", rf"`{DATASET}.\1`", sql)
        return [dict(row) for row in self.client.query(sql).result()]
