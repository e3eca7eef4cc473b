"""Batch compliance jobs, from making one to reading its result."""

import json
from collections.abc import Callable

import pytest
import tweepy

from local.x import XServer
from tests.x.clients import TOKEN, Rewrite, get, post, put, until

Start = Callable[..., XServer]


@pytest.mark.parametrize("kind", ["tweets", "users"])
def test_a_job_tells_which_ids_are_gone(start: Start, kind: str) -> None:
    """Upload ids, wait for complete, download one line for each id that is gone."""
    server = start(rules=(), compliance_delay=0.2)
    reason = "suspended" if kind == "users" else "deleted"
    server.app.compliance.forget(kind, ["12", "14"], reason)
    jobs = f"{server.url}/2/compliance/jobs"
    job = post(jobs, json={"type": kind, "name": "daily"}, headers=TOKEN).json()["data"]
    assert (job["status"], job["type"], job["name"]) == ("created", kind, "daily")
    assert get(job["download_url"]).status_code == 404
    assert put(job["upload_url"], content="11\n12\n13\n14\n").status_code == 200

    def status() -> str:
        return str(get(f"{jobs}/{job['id']}", headers=TOKEN).json()["data"]["status"])

    assert status() == "in_progress"
    until(lambda: status() == "complete")
    lines = [json.loads(line) for line in get(job["download_url"]).text.splitlines()]
    assert [line["id"] for line in lines] == ["12", "14"]
    assert set(lines[0]) == {"id", "action", "created_at", "redacted_at", "reason"}
    assert {(line["action"], line["reason"]) for line in lines} == {("delete", reason)}


def test_tweepy_makes_and_lists_jobs(start: Start) -> None:
    """tweepy.Client's compliance calls work against it."""
    client = tweepy.Client("any-token")
    client.session.mount("https://api.twitter.com", Rewrite(start(rules=()).url))
    job = client.create_compliance_job("tweets").data
    assert client.get_compliance_job(job["id"]).data["status"] == "created"
    assert [found["id"] for found in client.get_compliance_jobs("tweets").data] == [job["id"]]
    assert client.get_compliance_jobs("users").data is None
    client.session.close()


def test_one_job_of_a_type_at_a_time(start: Start) -> None:
    """A second open job of the type is a 409; the other type is free."""
    jobs = f"{start(rules=()).url}/2/compliance/jobs"
    statuses = [
        post(jobs, json={"type": kind}, headers=TOKEN).status_code
        for kind in ("tweets", "tweets", "users")
    ]
    assert statuses == [200, 409, 200]


def test_wrong_use_is_refused(start: Start) -> None:
    """Unknown types and jobs, and second uploads are refused."""
    server = start(rules=())
    jobs = f"{server.url}/2/compliance/jobs"
    assert post(jobs, json={"type": "cats"}, headers=TOKEN).status_code == 400
    assert get(jobs, headers=TOKEN).status_code == 400
    assert get(f"{jobs}/99", headers=TOKEN).status_code == 404
    job = post(jobs, json={"type": "tweets"}, headers=TOKEN).json()["data"]
    assert put(job["upload_url"], content="1").status_code == 200
    assert put(job["upload_url"], content="2").status_code == 403
