"""Batch compliance: jobs, the upload of ids and the download of what happened to them.

Source: "Batch compliance" of X API v2. Result lines: {id, action: "delete", created_at,
redacted_at, reason}.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from local.x.problems import answer, one_of, problem, wrong
from local.x.snowflake import Snowflakes, stamp
from local.x.state import XState


@dataclass
class Job:
    """One compliance job."""

    id: str
    type: str
    name: str | None = None
    created: float = field(default_factory=time.time)
    uploaded: float | None = None
    ids: list[str] = field(default_factory=list)


class ComplianceEndpoints:
    """Serves /2/compliance/jobs and the addresses of uploads and results."""

    def __init__(self, state: XState) -> None:
        self._settings = state.settings
        self._jobs: dict[str, Job] = {}
        self._gone: dict[str, dict[str, tuple[str, float]]] = {"tweets": {}, "users": {}}
        self._ids = Snowflakes(state.settings.seed)

    def forget(self, kind: str, ids: Iterable[str], reason: str) -> None:
        """Mark posts ("tweets") or users ("users") as gone, for a reason of X's."""
        self._gone[kind].update(dict.fromkeys(ids, (reason, time.time())))

    def _status(self, job: Job) -> str:
        if job.uploaded is None:
            return "created"
        done = time.time() >= job.uploaded + self._settings.compliance_delay
        return "complete" if done else "in_progress"

    def _shown(self, job: Job, request: web.Request) -> dict[str, Any]:
        address = f"{request.scheme}://{request.host}/_standin/compliance/{job.id}"
        shown = {
            "id": job.id,
            "type": job.type,
            "created_at": _moment(job.created),
            "upload_url": f"{address}/submission",
            "download_url": f"{address}/results",
            "status": self._status(job),
        }
        return shown if job.name is None else {**shown, "name": job.name}

    async def create(self, request: web.Request) -> web.Response:
        """Make a job from {type, name}; one of each type may be open at a time."""
        body = orjson.loads(await request.read())
        kind = body.get("type")
        if kind not in self._gone:
            raise wrong("type", kind, one_of(self._gone))
        if any(j.type == kind and self._status(j) != "complete" for j in self._jobs.values()):
            return problem(409, detail=f"You already have a {kind} job in progress.")
        job = Job(str(self._ids.next(int(time.time() * 1000))), kind, body.get("name"))
        self._jobs[job.id] = job
        return answer({"data": self._shown(job, request)})

    async def list(self, request: web.Request) -> web.Response:
        """List the jobs of one `type`."""
        kind = request.query.get("type", "")
        if kind not in self._gone:
            raise wrong("type", kind, one_of(self._gone))
        found = [self._shown(job, request) for job in self._jobs.values() if job.type == kind]
        meta = {"meta": {"result_count": len(found)}}
        return answer({"data": found, **meta} if found else meta)

    async def get(self, request: web.Request) -> web.Response:
        """Return one job."""
        return answer({"data": self._shown(self._job(request), request)})

    def _job(self, request: web.Request) -> Job:
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            raise web.HTTPNotFound
        return job

    async def upload(self, request: web.Request) -> web.Response:
        """Take the ids, one a line, as text/plain, without a token; once."""
        job = self._job(request)
        if job.uploaded is not None:
            raise web.HTTPForbidden(text="the upload address was used")
        job.ids, job.uploaded = (await request.text()).split(), time.time()
        return web.Response()

    async def download(self, request: web.Request) -> web.Response:
        """Return one JSON line for each uploaded id that is gone; 404 until the job is complete."""
        job = self._job(request)
        if self._status(job) != "complete":
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
