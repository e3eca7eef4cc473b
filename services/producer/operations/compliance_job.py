"""X's batch compliance jobs: upload the ids that we hold, learn which must go.

Source: https://docs.x.com/x-api/compliance/batch-compliance/integrate and .../quickstart.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from operations.outcome import UnavailableError, UnfinishedError
from operations.terminal import harmless, number, tell
from operations.x_account import XAccount
from producer.record import integer

Kind = Literal["tweets", "users"]

IDS_A_JOB = 5_000_000
"""X takes 128 MB an upload; an id and its line end have at most 20 bytes."""
_WAIT_SECONDS = 4 * 3600
_SLOWEST_POLL = 60.0


@dataclass
class Verdict:
    """What X wants done with what we hold.

    Attributes:
        posts: posts to remove.
        authors: users whose posts must be removed.
        scrub_geo: posts whose location must be removed.
        stale: posts that were edited since; their newer version is a post of its own.
        unclear: lines that say nothing we know.
    """

    posts: set[int] = field(default_factory=set)
    authors: set[int] = field(default_factory=set)
    scrub_geo: set[int] = field(default_factory=set)
    stale: set[int] = field(default_factory=set)
    unclear: int = 0

    def read(self, kind: Kind, lines: Iterable[bytes]) -> None:
        """Add the lines of a result, one JSON object each.

        Older results say `delete` with the reason `scrub_geo`; newer ones have the action
        `scrub_geo`. An id that is not in a result needs nothing.
        """
        for line in lines:
            if not line.strip():
                continue
            found = _object(line)
            number_ = integer(found.get("id"))
            action = found.get("action")
            if number_ is None or action not in {"delete", "scrub_geo", "rehydrate"}:
                self.unclear += 1
            elif action == "scrub_geo" or (kind == "tweets" and found.get("reason") == "scrub_geo"):
                self.scrub_geo.add(number_)
            elif action == "rehydrate":
                self.stale.add(number_)
            else:
                (self.posts if kind == "tweets" else self.authors).add(number_)


def run_job(account: XAccount, kind: Kind, ids: Iterable[int], verdict: Verdict) -> int:
    """Ask X about all ids, in as many jobs as it takes; return how many ids that were.

    Raises:
        UnavailableError: X refused or failed; another job of this kind is active.
        UnfinishedError: X has not answered within four hours.
    """
    asked = 0
    for part in _parts(ids):
        asked += len(part)
        tell(f"asking X about {number(len(part))} {kind} ...")
        job = _data(
            account.call(
                "POST", "/2/compliance/jobs", json={"type": kind, "name": "tweets-compliance"}
            )
        )
        account.put(job["upload_url"], b"".join(b"%d\n" % item for item in part))
        job = _finished(account, job)
        verdict.read(kind, account.get(job["download_url"]).splitlines())
    return asked


def _finished(account: XAccount, job: dict[str, Any]) -> dict[str, Any]:
    pause, until = 0.5, time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        current = {**job, **_data(account.call("GET", f"/2/compliance/jobs/{job['id']}"))}
        if current.get("status") == "complete":
            return current
        if current.get("status") in {"failed", "expired"}:
            raise UnavailableError(
                f"X's compliance job {job['id']} {current['status']}: nothing was removed; "
                "run the command again"
            )
        time.sleep(pause)
        pause = min(pause * 2, _SLOWEST_POLL)
    raise UnfinishedError(
        f"X's compliance job {job['id']} is not complete after {_WAIT_SECONDS // 3600} hours: "
        "nothing was removed; run the command again later"
    )


def _data(answer: dict[str, Any]) -> dict[str, Any]:
    data = answer.get("data")
    if not isinstance(data, dict) or "id" not in data:
        raise UnavailableError(f"X answered with no compliance job: {harmless(str(answer))[:200]}")
    return data


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _parts(ids: Iterable[int]) -> Iterator[list[int]]:
    part: list[int] = []
    for item in ids:
        part.append(item)
        if len(part) == IDS_A_JOB:
            yield part
            part = []
    if part:
        yield part
