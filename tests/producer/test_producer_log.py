"""The log: structured, without secrets, without floods."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from producer import log
from producer.log import OncePerMinute, hide, redact, start_log
from producer.messages import event


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the process would write to standard error."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    start_log("DEBUG", "pod-1", plain=False, stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    threading.excepthook = hook
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
    logger = logging.getLogger("tweepy.client")
    logger.debug("Headers: {'Authorization': 'Bearer AAAA%2Bvery%3Dsecret'}")
    logger.debug("decoded: %s", "AAAA+very=secret")
    logger.debug("another: authorization: bearer SOMEONE-ELSES-TOKEN")
    try:
        int("AAAA%2Bvery%3Dsecret")
    except ValueError:
        logger.exception("failed")
    text = written.getvalue()
    assert "secret" not in text
    assert "SOMEONE" not in text
    assert text.count("[hidden]") >= 4
    assert redact("Check the bearer token of the app") == "Check the bearer token of the app"


@pytest.mark.parametrize("cut", [8, 12, 25, 68, 69])
def test_a_cut_token_is_hidden(written: io.StringIO, cut: int) -> None:
    """An echo that was cut within the token shows nothing of it; in an event neither."""
    token = "AAAAAAAAAAAAAAAAAAAAAMLheAAAAAAA0%2BuSeid" + "%2BULvsea4JtiGRiSDSJSI"
    hide(token)
    words = "HTTP 407: your header was Authorization="
    echo = f"{words}{token}"[: len(words) + cut]
    logging.getLogger("producer.test").warning("X refuses: %s", echo)
    assert "AAAAAAAA" not in written.getvalue()
    assert "[hidden]" in written.getvalue()
    assert "AAAAAAAA" not in str(event("control_message", "me", detail={"echo": echo}))


def test_a_failed_thread_is_logged_without_secrets(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its traceback goes through the log, as one line, and not past it to standard error."""
    hide("AAAA%2Bvery%3Dsecret")
    monkeypatch.setattr(threading, "excepthook", log._log_failed_thread)
    thread = threading.Thread(target=int, args=("AAAA%2Bvery%3Dsecret",), name="worker")
    thread.start()
    thread.join()
    (line,) = written.getvalue().splitlines()
    assert "The thread worker failed" in json.loads(line)["message"]
    assert "secret" not in line
    assert "[hidden]" in json.loads(line)["stack_trace"]


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
