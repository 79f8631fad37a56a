"""What the API server's answers mean: statuses and lines of a watch, turned into this package's exceptions and records.

Pure functions. The statuses are those of the Kubernetes API conventions, section "HTTP status codes"; the body of a
failed request is an object of kind Status.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, Final

from wsroute.kube.port import (
    ConflictError,
    ForbiddenError,
    GoneError,
    Json,
    KubeError,
    NotFoundError,
    RejectedError,
    UnavailableError,
    WatchEvent,
)

MESSAGE_LIMIT: Final = 2_000
"""Characters of the server's message that are kept: a validation error may quote a whole object."""

_LATER: Final = frozenset({408, 425, 429})
_CLASSES: Final[dict[int, type[KubeError]]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
}


def error_class(status: int) -> type[KubeError]:
    """The exception for an HTTP status that says failure."""
    if status in _CLASSES:
        return _CLASSES[status]
    return RejectedError if 400 <= status < 500 and status not in _LATER else UnavailableError


def failure(what: str, *, status: int, body: bytes, retry_after: str | None = None) -> KubeError:
    """The exception for a failed request. ``what`` begins the sentence: "Reading ConfigMap shop/web"."""
    message = ""
    seconds = _seconds(retry_after)
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        # A proxy's page, or nothing: of no use to the reader.
        answer = None
    if isinstance(answer, dict):
        message, told = _status_fields(answer)
        seconds = told if seconds is None else seconds
    return _error(what, status, message, seconds)


def stream_failure(what: str, status_object: Any) -> KubeError:
    """The exception for an ERROR in the middle of a watch; it holds an object of kind Status."""
    if not isinstance(status_object, dict):
        return UnavailableError(f"{what}: the stream told of an error without saying which.")
    code = status_object.get("code")
    message, seconds = _status_fields(status_object)
    return _error(what, code if isinstance(code, int) else 0, message, seconds)


def _status_fields(status: dict[str, Any]) -> tuple[str, float | None]:
    message, details = status.get("message"), status.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    return (
        message[:MESSAGE_LIMIT] if isinstance(message, str) else "",
        float(seconds) if isinstance(seconds, int) and seconds > 0 else None,
    )


def _error(what: str, status: int, message: str, seconds: float | None) -> KubeError:
    words = f"{what}: the API server answers {status}{': ' + message if message else '.'}"
    return error_class(status)(words, status=status, retry_after=seconds)


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds (RFC 9110, section 10.2.3); a date, which no API server sends, counts as absent."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


class LineSplitter:
    """Cuts a stream of chunks into lines, in linear time however long a line is."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that this chunk completes, without their newlines."""
        if b"\n" not in chunk:
            self._rest += chunk
            return
        head, *lines, rest = chunk.split(b"\n")
        complete = bytes(self._rest + head)
        self._rest = bytearray(rest)
        yield complete
        yield from lines


def watch_event(what: str, line: bytes) -> WatchEvent:
    """One line of a watch. Raises the exception that an ERROR stands for, UnavailableError when it can't be read."""
    try:
        raw: Any = json.loads(line)
        kind, content = raw["type"], raw["object"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UnavailableError(f"{what}: the stream holds a line that is no watch event.") from None
    if kind == "ERROR":
        raise stream_failure(what, content)
    if kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") or not isinstance(content, dict):
        raise UnavailableError(f"{what}: the stream holds an event of an unknown type.")
    return WatchEvent(kind, content)


def resource_version(item: Json) -> str:
    """metadata.resourceVersion of an object or a list, empty when it has none."""
    metadata = item.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else ""
