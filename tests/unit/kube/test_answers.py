"""Statuses, Status objects and lines of a watch."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.kube import port
from wsroute.kube.answers import MESSAGE_LIMIT, LineSplitter, failure, stream_failure, watch_event


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, port.RejectedError),
        (401, port.ForbiddenError),
        (403, port.ForbiddenError),
        (404, port.NotFoundError),
        (408, port.UnavailableError),
        (409, port.ConflictError),
        (410, port.GoneError),
        (413, port.RejectedError),
        (422, port.RejectedError),
        (429, port.UnavailableError),
        (500, port.UnavailableError),
        (503, port.UnavailableError),
        (302, port.UnavailableError),
    ],
)
def test_each_status_has_its_exception(status: int, expected: type[port.KubeError]) -> None:
    body = json.dumps({"kind": "Status", "code": status, "message": "why"}).encode()
    error = failure("Reading Pod a/b", status=status, body=body)
    assert type(error) is expected
    assert error.status == status
    assert str(error) == f"Reading Pod a/b: the API server answers {status}: why"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"[" * 100_000, b'{"message": 3, "details": []}'])
def test_an_answer_that_is_no_status_is_told_without_it(body: bytes) -> None:
    error = failure("Listing pods", status=502, body=body)
    assert str(error) == "Listing pods: the API server answers 502."
    assert error.retry_after is None


def test_the_server_may_ask_for_patience_in_two_places() -> None:
    body = json.dumps({"message": "later", "details": {"retryAfterSeconds": 7}}).encode()
    assert failure("x", status=429, body=body).retry_after == 7
    assert failure("x", status=429, body=body, retry_after="2").retry_after == 2


@pytest.mark.parametrize("header", ["", "soon", "-1", "0", "nan", "inf", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_strange_retry_after_is_none(header: str) -> None:
    assert failure("x", status=429, body=b"", retry_after=header).retry_after is None


def test_long_messages_are_cut() -> None:
    body = json.dumps({"message": "x" * 100_000}).encode()
    assert len(str(failure("x", status=422, body=body))) < MESSAGE_LIMIT + 100


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=10), st.data())
def test_lines_come_out_however_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"an unfinished one"
    splitter = LineSplitter()
    seen: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        seen += splitter.feed(stream[:size])
        stream = stream[size:]
    assert seen == lines


def test_a_watch_event() -> None:
    event = watch_event("w", b'{"type":"ADDED","object":{"kind":"Pod"}}')
    assert (event.type, event.object) == ("ADDED", {"kind": "Pod"})


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"3", b'{"type":"ADDED"}', b'{"type":"ADDED","object":[]}', b'{"type":"X","object":{}}']
)
def test_a_line_that_is_no_event_ends_the_watch(line: bytes) -> None:
    with pytest.raises(port.UnavailableError, match="Watching pods: the stream holds"):
        watch_event("Watching pods", line)


def test_an_error_in_the_stream_is_raised() -> None:
    line = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}).encode()
    with pytest.raises(port.GoneError, match="too old"):
        watch_event("w", line)
    assert isinstance(stream_failure("w", {"code": 500}), port.UnavailableError)
    assert isinstance(stream_failure("w", "?"), port.UnavailableError)
    assert isinstance(stream_failure("w", {"code": "?"}), port.UnavailableError)
