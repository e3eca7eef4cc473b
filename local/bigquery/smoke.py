"""The start-up check of the BigQuery stand-in: what we rely on, asked over HTTP once."""

from __future__ import annotations

from typing import Any

import aiohttp

BQEMULATOR = "1.4.0"


class EmulatorChangedError(RuntimeError):
    """bqemulator is not the one that this launcher knows how to tame."""


async def smoke(url: str, project: str) -> None:
    """Insert into and read from a scratch table, with good and with bad rows and SQL.

    Raises:
        EmulatorChangedError: an answer is not the expected one.
    """
    base = f"{url}/bigquery/v2/projects/{project}"
    dataset = "_standin_smoke"
    reference = {"projectId": project, "datasetId": dataset}
    column = {"name": "id", "type": "INTEGER", "mode": "REQUIRED"}

    async def call(method: str, path: str, body: object = None, expect: int = 200) -> Any:
        async with session.request(method, base + path, json=body) as answer:
            text = await answer.text()
            if answer.status != expect:
                raise EmulatorChangedError(
                    f"start-up check of bqemulator {BQEMULATOR} failed: {method} {path} answered "
                    f"{answer.status}, expected {expect}: {text[:300]}"
                )
            return await answer.json() if text else None

    async with aiohttp.ClientSession() as session:
        await call("POST", "/datasets", {"datasetReference": reference})
        table = {"tableReference": {**reference, "tableId": "t"}, "schema": {"fields": [column]}}
        await call("POST", f"/datasets/{dataset}/tables", table)
        insert = f"/datasets/{dataset}/tables/t/insertAll"
        good, bad = {"json": {"id": 1}}, {"json": {"other": 1}}
        await call("POST", insert, {"rows": [good]})
        partial = await call("POST", insert, {"rows": [good, bad], "skipInvalidRows": True})
        sql = f"SELECT COUNT(*) AS n FROM `{project}.{dataset}.t`"  # noqa: S608 - our own names
        counted = await call("POST", "/queries", {"query": sql, "useLegacySql": False})
        wrong = "SELECT FROM nothing WHERE"
        await call("POST", "/queries", {"query": wrong, "useLegacySql": False}, 400)
        await call("GET", f"/queries/{counted['jobReference']['jobId']}")
        await call("DELETE", f"/datasets/{dataset}?deleteContents=true", expect=204)
    seen = (counted["rows"][0]["f"][0]["v"], [error["index"] for error in partial["insertErrors"]])
    if seen != ("2", [1]):
        raise EmulatorChangedError(
            f"start-up check of bqemulator {BQEMULATOR} failed: "
            f"expected 2 rows and one row error, got {seen}"
        )
