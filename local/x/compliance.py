"""Batch compliance: jobs, the upload of ids and the download of what happened to them.

Source: "Batch compliance" of X API v2. Which posts and users are gone is told to the stand-in at
/_standin/deleted. Result lines: {id, action: "delete", created_at, redacted_at, reason}.
"""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from local.x.problems import InvalidRequestError, answer, one_of, problem, wrong
from local.x.settings import Settings
from local.x.snowflake import Snowflakes, stamp

UPLOAD_SECONDS = 15 * 60
DOWNLOAD_SECONDS = 7 * 86400
REASONS = ("deleted", "deactivated", "protected", "suspended", "scrub_geo")


@dataclass
class Job:
    """One compliance job; base is the address of this server."""

    id: str
    type: str
    base: str
    name: str | None = None
    created: float = field(default_factory=time.time)
    key: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    uploaded: float | None = None
    ids: list[str] = field(default_factory=list)

    def status(self, delay: float) -> str:
        """Return X's status: created, in_progress, complete or expired."""
        if self.uploaded is None:
            return "expired" if time.time() > self.created + UPLOAD_SECONDS else "created"
        return "complete" if time.time() >= self.uploaded + delay else "in_progress"

    def shown(self, delay: float) -> dict[str, Any]:
        """Return the job with X's field names."""
        signed = f"{self.base}/_standin/compliance/{self.id}/{self.key}"
        shown = {
            "id": self.id,
            "type": self.type,
            "created_at": _moment(self.created),
            "upload_url": f"{signed}/submission",
            "upload_expires_at": _moment(self.created + UPLOAD_SECONDS),
            "download_url": f"{signed}/results",
            "download_expires_at": _moment(self.created + DOWNLOAD_SECONDS),
            "resumable": False,
            "status": self.status(delay),
        }
        return shown if self.name is None else {**shown, "name": self.name}


class ComplianceEndpoints:
    """Serves /2/compliance/jobs and the signed addresses of uploads and results."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs: dict[str, Job] = {}
        self._gone: dict[str, dict[str, tuple[str, float]]] = {"tweets": {}, "users": {}}
        self._ids = Snowflakes(settings.seed)

    def forget(self, kind: str, ids: Iterable[str], reason: str) -> None:
        """Mark posts ("tweets") or users ("users") as gone, for a reason of REASONS."""
        if kind not in self._gone or reason not in REASONS:
            raise ValueError(f"type must be tweets or users, reason one of {', '.join(REASONS)}")
        self._gone[kind].update(dict.fromkeys(map(str, ids), (reason, time.time())))

    async def create(self, request: web.Request) -> web.Response:
        """Make a job from {type, name}; one of each type may be open at a time."""
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise InvalidRequestError("The request body is not valid JSON") from None
        kind = body.get("type") if isinstance(body, dict) else None
        if kind not in self._gone:
            raise wrong("type", kind, one_of(self._gone))
        delay = self._settings.compliance_delay
        if any(
            job.type == kind and job.status(delay) in ("created", "in_progress")
            for job in self._jobs.values()
        ):
            return problem(
                409, "Conflict", f"You already have a {kind} job in progress.", "conflict"
            )
        base = f"{request.scheme}://{request.host}"
        job = Job(str(self._ids.next(int(time.time() * 1000))), kind, base, body.get("name"))
        self._jobs[job.id] = job
        return answer({"data": job.shown(delay)})

    async def list(self, request: web.Request) -> web.Response:
        """List the jobs of one `type`, and of one `status` where asked for."""
        kind, status = request.query.get("type", ""), request.query.get("status")
        if kind not in self._gone:
            raise wrong("type", kind, one_of(self._gone))
        shown = [
            job.shown(self._settings.compliance_delay)
            for job in self._jobs.values()
            if job.type == kind
        ]
        found = [job for job in shown if status in (None, job["status"])]
        return answer(
            {"data": found, "meta": {"result_count": len(found)}}
            if found
            else {"meta": {"result_count": 0}}
        )

    async def get(self, request: web.Request) -> web.Response:
        """Return one job."""
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            return problem(
                404, "Not Found Error", "Could not find the compliance job.", "resource-not-found"
            )
        return answer({"data": job.shown(self._settings.compliance_delay)})

    def _signed(self, request: web.Request) -> Job:
        job = self._jobs.get(request.match_info["id"])
        if job is None or job.key != request.match_info["key"]:
            raise web.HTTPForbidden(text="SignatureDoesNotMatch")
        return job

    async def upload(self, request: web.Request) -> web.Response:
        """Take the ids, one a line, as text/plain; no bearer token: the address is signed."""
        job = self._signed(request)
        if job.status(self._settings.compliance_delay) != "created":
            raise web.HTTPForbidden(text="the upload address was used or has expired")
        lines = (await request.text()).split()
        if not all(line.isdecimal() for line in lines):
            raise web.HTTPBadRequest(text="every line must be one decimal id")
        job.ids, job.uploaded = lines, time.time()
        return web.Response()

    async def download(self, request: web.Request) -> web.Response:
        """Return one JSON line for each uploaded id that is gone; 404 until the job is complete."""
        job = self._signed(request)
        if job.status(self._settings.compliance_delay) != "complete":
            raise web.HTTPNotFound(text="NoSuchKey")
        gone = self._gone[job.type]
        lines = [
            orjson.dumps(
                {
                    "id": item,
                    "action": "delete",
                    "created_at": _moment(job.created),
                    "redacted_at": _moment(gone[item][1]),
                    "reason": gone[item][0],
                }
            )
            for item in job.ids
            if item in gone
        ]
        return web.Response(
            body=b"".join(line + b"\n" for line in lines), content_type="application/json"
        )


def _moment(seconds: float) -> str:
    return stamp(int(seconds * 1000))
