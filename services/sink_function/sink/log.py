"""Log lines as Cloud Logging reads them: one JSON object a line, severity and labels as fields.

Source: https://cloud.google.com/logging/docs/structured-logging. Post text is never logged.
"""

from __future__ import annotations

import logging
import sys
from time import gmtime

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FunctionFormatter(logging.Formatter):
    """Formats a record as one JSON object; what came in `extra` becomes labels."""

    converter = staticmethod(gmtime)  # Cloud Logging wants UTC; the default is the local time

    def format(self, record: logging.LogRecord) -> str:
        """One line without line break."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        labels = {
            name: str(value)
            for name, value in vars(record).items()
            if name not in _STANDARD and value is not None
        }
        entry = {
            "severity": record.levelname,
            "message": message,
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "logging.googleapis.com/labels": labels,
        }
        return orjson.dumps(entry).decode()


def _logger() -> logging.Logger:
    logger = logging.getLogger("sink")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(FunctionFormatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # functions-framework configures the root logger: each line would appear twice.
        logger.propagate = False
    return logger


logger = _logger()
