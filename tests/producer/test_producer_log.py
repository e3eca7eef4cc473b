"""The log: structured, without secrets, without floods."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator

import pytest

from producer.log import OncePerMinute, hide, redact, start_log


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the process would write to standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    start_log("DEBUG", "pod-1", plain=False, stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level


def test_entries_are_cloud_logging_json(written: io.StringIO) -> None:
    """Each entry is one line of JSON with severity, message and labels, exceptions too."""
    root = logging.getLogger()
    # What pytest captures goes between its workers as UTF-8, which the lone surrogate is not.
    root.handlers[:] = [
        handler for handler in root.handlers if getattr(handler, "stream", None) is written
    ]
    logging.getLogger("producer.test").warning("두 줄\nof %s \ud800", "text",
                                               extra={"labels": {"kind": "a", "n": 1}})  # fmt: skip
    try:
        int("boom")
    except ValueError:
        logging.getLogger("producer.test").exception("failed")
    first, second = map(json.loads, written.getvalue().splitlines())
    assert first["severity"] == "WARNING"
    assert first["message"].startswith("두 줄\nof text ")
    labels = first["logging.googleapis.com/labels"]
    assert labels == {
        "service": "producer", "instance": "pod-1", "logger": "producer.test",
        "kind": "a", "n": "1",
    }  # fmt: skip
    assert second["severity"] == "ERROR"
    assert "'boom'" in second["stack_trace"]


def test_tokens_are_hidden_in_any_form(written: io.StringIO) -> None:
    """A known token, its percent-decoded form, and any Authorization header are not written, in
    messages, arguments or tracebacks.
    """
    hide("AAAA%2Bvery%3Dsecret")
    log = logging.getLogger("tweepy.client")
    log.debug("Headers: {'Authorization': 'Bearer AAAA%2Bvery%3Dsecret'}")
    log.debug("decoded: %s", "AAAA+very=secret")
    log.debug("another: authorization: bearer SOMEONE-ELSES-TOKEN")
    try:
        int("AAAA%2Bvery%3Dsecret")
    except ValueError:
        log.exception("failed")
    text = written.getvalue()
    assert "secret" not in text
    assert "SOMEONE" not in text
    assert text.count("[hidden]") >= 4
    assert redact("Check the bearer token of the app") == "Check the bearer token of the app"


def test_once_a_minute(written: io.StringIO) -> None:
    """A kind is logged once in its time; the next entry says how many were held back."""
    once = OncePerMinute(logging.getLogger("producer.test"), seconds=0.2)
    for _ in range(50):
        once.log(logging.WARNING, "a", "same again")
    once.log(logging.WARNING, "b", "another")
    time.sleep(0.25)
    once.log(logging.WARNING, "a", "same again")
    messages = [json.loads(line)["message"] for line in written.getvalue().splitlines()]
    assert messages == [
        "same again", "another", "same again (49 more of this kind since the last entry)",
    ]  # fmt: skip
