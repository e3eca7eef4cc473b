"""Structured log: one JSON object a line, which Cloud Logging reads without an agent's help,
and from which the bearer token is removed whatever library wrote it.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import unquote

import orjson

# tweepy writes its request headers at DEBUG; an OAuth header of another library looks alike.
_CREDENTIAL = re.compile(r"(?i)\b(bearer|basic|oauth)(\s+)[A-Za-z0-9%._~+/=\-]{12,}")
_secrets: set[str] = set()
# So much of a secret is hidden by itself: what X or a proxy echoes may be cut within it.
_PART = 8


def hide(secret: str) -> None:
    """Never let this text appear in the log, in clear or percent-decoded."""
    _secrets.update(form for form in (secret, unquote(secret)) if len(form) >= 4)


def redact(text: str) -> str:
    """Return the text without any known secret, the start of one that was cut off with the text
    around it, or an authorization header's value.
    """
    for secret in tuple(_secrets):
        text = _without(text, secret)
    return _CREDENTIAL.sub(r"\1\2[hidden]", text)


def _without(text: str, secret: str) -> str:
    start = secret[:_PART]
    at = text.find(start)
    while at >= 0:
        end = at + len(start)
        while end < len(text) and end - at < len(secret) and text[end] == secret[end - at]:
            end += 1
        text = f"{text[:at]}[hidden]{text[end:]}"
        at = text.find(start, at + len("[hidden]"))
    return text


class CloudFormatter(logging.Formatter):
    """A line of JSON with Cloud Logging's special fields.

    https://docs.cloud.google.com/logging/docs/structured-logging
    """

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._labels = {"service": "producer", "instance": instance}

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; `labels` passed in `extra` are added as strings."""
        entry: dict[str, Any] = {
            "severity": record.levelname,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "message": record.getMessage(),
            "logging.googleapis.com/labels": self._labels
            | {"logger": record.name}
            | {key: str(value) for key, value in getattr(record, "labels", {}).items()},
        }
        if record.exc_info:
            entry["stack_trace"] = self.formatException(record.exc_info)
        # A lone surrogate in a library's message must not cost the line.
        text = orjson.dumps(_encodable(entry)).decode()
        return redact(text)


class PlainFormatter(logging.Formatter):
    """A line for a person at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without secrets."""
        return redact(super().format(record))


def start_log(level: str, instance: str, *, plain: bool, stream: TextIO | None = None) -> None:
    """Send every logger of the process to standard error (standard output belongs to --print)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(PlainFormatter() if plain else CloudFormatter(instance))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Python's own words about a failed thread would go past the formatter.
    threading.excepthook = _log_failed_thread
    logging.captureWarnings(capture=True)
    if level != "DEBUG":
        # Each drop of the stream is told by us, with its reason; theirs would double it.
        for name in ("tweepy", "urllib3", "google.api_core"):
            logging.getLogger(name).setLevel("CRITICAL")


def _log_failed_thread(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread else "?"
    error = failed.exc_value or failed.exc_type()
    logging.getLogger(__name__).critical("The thread %s failed", name, exc_info=error)


class OncePerMinute:
    """Lets one entry a kind through each minute and says how many were held back."""

    def __init__(self, logger: logging.Logger, seconds: float = 60.0) -> None:
        self._logger = logger
        self._seconds = seconds
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}

    def log(self, level: int, kind: str, message: str, **labels: object) -> None:
        """Log `message` unless an entry of this kind was logged within the last minute."""
        now = time.monotonic()
        with self._lock:
            last, held = self._seen.get(kind, (-self._seconds, 0))
            if now - last < self._seconds:
                self._seen[kind] = (last, held + 1)
                return
            self._seen[kind] = (now, 0)
        if held:
            message = f"{message} ({held} more of this kind since the last entry)"
        self._logger.log(level, "%s", message, extra={"labels": {"kind": kind, **labels}})


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    return value
