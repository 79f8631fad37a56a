"""Log lines: plain, JSON, and nothing in them that forges a line."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.observability import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("wsroute")
    handlers, level, own = root.handlers, root.level, ours.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    ours.setLevel(own)


def test_a_plain_line_holds_time_level_logger_and_message() -> None:
    stream = io.StringIO()
    logs.set_up(form="plain", stream=stream)
    logging.getLogger("wsroute.test").info("route %s is served", "team-a/chat")
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == "INFO wsroute.test: route team-a/chat is served\n"


def test_json_lines_parse_and_carry_the_trace() -> None:
    stream = io.StringIO()
    logs.set_up(form="json", stream=stream)
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("wsroute.test").exception("it failed")
    line = json.loads(stream.getvalue())
    assert line["severity"] == "ERROR"
    assert line["message"] == "it failed"
    assert line["trace"].endswith("ValueError: odd")


def test_libraries_are_quiet_below_warnings() -> None:
    stream = io.StringIO()
    logs.set_up(form="plain", stream=stream)
    logging.getLogger("kopf.objects").info("chatter")
    assert not stream.getvalue()


@given(st.text())
def test_no_message_forges_a_second_line(text: str) -> None:
    for form in ("plain", "json"):
        stream = io.StringIO()
        logs.set_up(form=form, stream=stream)
        logging.getLogger("wsroute.test").warning("%s", text)
        written = stream.getvalue()
        assert written.endswith("\n")
        assert len(written[:-1].splitlines()) == 1
        assert "\x1b" not in written
