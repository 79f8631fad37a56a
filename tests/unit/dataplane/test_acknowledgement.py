"""What an agent says of itself, and what the operator makes of values that a hand has put there."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.dataplane.acknowledgement import Acknowledgement, Failure, parse_acknowledgement

GOOD = Acknowledgement(
    version="0123456789ab",
    epoch=3,
    sockets=12,
    nginx="1.31.3",
    ipv6=True,
    failure=Failure(version="ba9876543210", phase="test", message="[emerg] no"),
)


def test_it_comes_back_as_it_was_sent() -> None:
    assert parse_acknowledgement(GOOD.to_json()) == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"epoch": "3"},
        {"epoch": True},
        {"sockets": -1},
        {"sockets": 2**31},
        {"nginx": None},
        {"ipv6": 1},
        {"failure": []},
        {"failure": {"version": "x", "phase": "later", "message": ""}},
        {"failure": {"version": "x", "phase": "test", "message": 5}},
    ],
)
def test_wrong_types_are_no_acknowledgement(change: dict[str, Any]) -> None:
    assert parse_acknowledgement(json.dumps(json.loads(GOOD.to_json()) | change)) is None


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_nonsense_is_no_acknowledgement(text: str) -> None:
    assert parse_acknowledgement(text) is None
