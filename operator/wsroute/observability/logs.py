"""Logging to standard error, one line for each record, plain or JSON.

What users write into objects ends up in messages, so control characters are shown as escapes: nobody can forge a line
or drive a terminal.
"""

import json
import logging
import re
import sys
import time
from typing import Final, Literal, TextIO

LogFormat = Literal["plain", "json"]

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_TRACEBACK_LIMIT: Final = 16_000


def sanitised(text: str) -> str:
    """The text with control characters, line separators and direction marks as escapes; tabs and newlines too."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


class PlainFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO wsroute.controller.runtime: message``; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname} {record.name}: {sanitised(record.getMessage())}"
        trace = _trace(self, record)
        return line if not trace else line + "".join(f"\n    {sanitised(part)}" for part in trace.splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object: ``time``, ``severity``, ``logger``, ``message`` and, after an exception, ``trace``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time(record),
            "severity": record.levelname,
            "logger": record.name,
            "message": sanitised(record.getMessage()),
        }
        trace = _trace(self, record)
        if trace:
            fields["trace"] = trace
        return json.dumps(fields)


def set_up(*, form: LogFormat, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all logging of this process to ``stream`` (standard error). Libraries speak from warnings upwards only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("wsroute").setLevel(level)


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return formatter.formatException(record.exc_info)[-_TRACEBACK_LIMIT:]
