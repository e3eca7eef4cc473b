"""What X wants removed: a result of its batch compliance, from one of its jobs or from a file.

Source: https://docs.x.com/x-api/compliance/batch-compliance/integrate and .../quickstart.
"""

import io
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import orjson

from operations.errors import UnavailableError, UnfinishedError, WrongInputError
from operations.text import harmless, tell
from operations.x_account import XAccount
from producer.record import integer, json_object, json_objects

Kind = Literal["tweets", "users"]

_ROUTE = "/2/compliance/jobs"
_JOB_NAME = "tweets-compliance"
_WAIT_SECONDS = 4 * 3600
_SLOWEST_POLL = 60.0


class ResultError(ValueError):
    """What should be a compliance result is none: why, in one line."""


@dataclass
class Withdrawals:
    """What X wants done with what we hold: one result, eight bytes an id.

    Attributes:
        posts: posts to remove.
        authors: users whose posts must be removed.
        scrub_geo: posts whose location must be removed.
        scrub_geo_authors: users of whose posts the location must be removed.
        stale: how many posts were edited since; their newer version is a post of its own.
        unclear: how many entries say nothing we know, such as an id that X calls invalid.
    """

    posts: "array[int]" = field(default_factory=lambda: array("q"))
    authors: "array[int]" = field(default_factory=lambda: array("q"))
    scrub_geo: "array[int]" = field(default_factory=lambda: array("q"))
    scrub_geo_authors: "array[int]" = field(default_factory=lambda: array("q"))
    stale: int = 0
    unclear: int = 0

    @classmethod
    def read(cls, kind: Kind, lines: Iterable[bytes]) -> Self:
        """Read a result: JSON objects with an id, one a line.

        Older results say `delete` with the reason `scrub_geo`; newer ones have the action
        `scrub_geo`. An id that is not in a result needs nothing.

        Raises:
            ResultError: a line is something else, so what is read may be no result at all.
        """
        found = cls()
        for line in lines:
            if line.strip():
                found._add(kind, line)
        return found

    def _add(self, kind: Kind, line: bytes) -> None:
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            entry = None
        if "id" not in (entry := json_object(entry)):
            start = harmless(line[:60].decode("utf-8", "backslashreplace"))
            raise ResultError(
                f"a line begins {start!r}, and each must be a JSON object such as "
                '{"id": "123", "action": "delete", "reason": "deleted"}'
            )
        id_, action = integer(entry["id"]), entry.get("action")
        if id_ is None or action not in {"delete", "scrub_geo", "rehydrate"}:
            self.unclear += 1
        elif action == "scrub_geo" or (action == "delete" and entry.get("reason") == "scrub_geo"):
            (self.scrub_geo if kind == "tweets" else self.scrub_geo_authors).append(id_)
        elif action == "rehydrate":
            self.stale += 1
        else:
            (self.posts if kind == "tweets" else self.authors).append(id_)


def read_file(path: Path, kind: str) -> Withdrawals:
    """Read a result file of X's.

    Raises:
        WrongInputError: it cannot be read, is no result, or its `kind` is "both".
    """
    if kind == "both":
        raise WrongInputError("--result needs --type tweets or --type users: a result names none")
    try:
        with path.open("rb") as lines:
            return Withdrawals.read("users" if kind == "users" else "tweets", lines)
    except OSError as error:
        raise WrongInputError(f"--result {path} cannot be read: {error.strerror}") from None
    except ResultError as error:
        raise WrongInputError(f"--result {path} is no compliance result: {error}") from None


def ask(account: XAccount, kind: Kind, ids: "array[int]") -> Iterator[Withdrawals]:
    """Yield X's answer about these ids, after that of a job which a killed run left open.

    X takes one open job of a kind: without that, its own leftover would refuse the next run.

    Raises:
        UnavailableError: X refused or failed, or gave something else than a result.
        UnfinishedError: X has not answered within four hours.
    """
    listed = json_objects(account.call("GET", _ROUTE, {"type": kind}).get("data"))
    ours = {job.get("status"): {"data": job} for job in listed if job.get("name") == _JOB_NAME}
    if going := ours.get("in_progress"):
        job = _checked(going)
        tell(f"waiting for X's compliance job {job['id']} of an earlier run ...")
        yield _result(account, kind, job)
    made = ours.get("created") or account.call(
        "POST", _ROUTE, json={"type": kind, "name": _JOB_NAME}
    )
    job = _checked(made)
    tell(f"asking X about {len(ids):,} {kind} ...")
    body = io.BytesIO()
    body.writelines(b"%d\n" % item for item in ids)
    body.seek(0)
    account.put(_address(job, "upload_url"), body)
    yield _result(account, kind, job)


def _result(account: XAccount, kind: Kind, job: Mapping[str, Any]) -> Withdrawals:
    pause, until = 0.0, time.monotonic() + _WAIT_SECONDS
    while (status := job.get("status")) != "complete":
        if status in {"failed", "expired"}:
            raise UnavailableError(
                f"X's compliance job {job['id']} {status}: nothing of it was removed; "
                "run the command again"
            )
        if time.monotonic() > until:
            raise UnfinishedError(
                f"X's compliance job {job['id']} is not complete after {_WAIT_SECONDS // 3600} "
                "hours: nothing of it was removed; run the command again later"
            )
        time.sleep(pause)
        pause = min(max(pause * 2, 0.5), _SLOWEST_POLL)
        job = {**job, **_checked(account.call("GET", f"{_ROUTE}/{job['id']}"))}
    try:
        return Withdrawals.read(kind, account.lines(_address(job, "download_url")))
    except ResultError as error:
        raise UnavailableError(
            f"X's compliance job {job['id']} gave no result ({error}): nothing of it was removed; "
            "run the command again"
        ) from None


def _checked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    data = json_object(answer.get("data"))
    if not str(data.get("id", "")).isalnum():
        raise UnavailableError(f"X answered with no compliance job: {harmless(str(answer))[:200]}")
    return data


def _address(job: Mapping[str, Any], name: str) -> str:
    address = job.get(name)
    if not isinstance(address, str) or urlsplit(address).scheme not in {"https", "http"}:
        raise UnavailableError(f"X's compliance job {job['id']} has no usable {name}")
    return address
