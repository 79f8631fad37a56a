"""What an agent says of itself, and what the operator makes of values that a hand has put there."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.dataplane.acknowledgement import NOT_DRAINING, Acknowledgement, Draining, Failure, parse_acknowledgement

GOOD = Acknowledgement(
    version="0123456789ab",
    epoch=3,
    sockets=12,
    nginx="1.31.3",
    ipv6=True,
    failure=Failure(version="ba9876543210", phase="test", message="[emerg] no"),
    draining=Draining(generations=2, sockets=7, oldest=1_800_000_000),
    closed=3,
    table=123_456_789_012,
    formats=(1, 2),
    trouble="The table is full.",
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


def test_an_agent_that_knows_nothing_of_draining_is_understood() -> None:
    raw = json.loads(GOOD.to_json())
    del raw["draining"]
    assert parse_acknowledgement(json.dumps(raw)) == replace(GOOD, draining=NOT_DRAINING)


def test_an_agent_that_knows_nothing_of_tables_is_understood() -> None:
    raw = json.loads(GOOD.to_json())
    for name in ("table", "formats", "trouble"):
        del raw[name]
    assert parse_acknowledgement(json.dumps(raw)) == replace(GOOD, table=0, formats=(), trouble="")


@pytest.mark.parametrize("odd", [None, True, -1, 2**63, "3", 1.0])
def test_an_odd_resource_version_stands_for_no_table(odd: Any) -> None:
    assert parse_acknowledgement(json.dumps(json.loads(GOOD.to_json()) | {"table": odd})) == replace(GOOD, table=0)


@pytest.mark.parametrize(
    ("odd", "formats"),
    [
        (None, ()),
        ("12", ()),
        ({"1": 1}, ()),
        ([1] * 1000, ()),
        ([2, True, "1", -1, 0, 10**30, [], 1, 2], (1, 2)),
    ],
)
def test_of_odd_formats_the_numbers_count(odd: Any, formats: tuple[int, ...]) -> None:
    raw = json.loads(GOOD.to_json()) | {"formats": odd}
    assert parse_acknowledgement(json.dumps(raw)) == replace(GOOD, formats=formats)


@pytest.mark.parametrize(("odd", "trouble"), [(None, ""), (3, ""), ("a\nb\x1b", "a b "), ("x" * 5000, "x" * 1000)])
def test_trouble_is_a_short_line(odd: Any, trouble: str) -> None:
    raw = json.loads(GOOD.to_json()) | {"trouble": odd}
    assert parse_acknowledgement(json.dumps(raw)) == replace(GOOD, trouble=trouble)


def test_what_is_unknown_to_us_is_passed_over() -> None:
    assert parse_acknowledgement(json.dumps(json.loads(GOOD.to_json()) | {"more": [1]})) == GOOD


@pytest.mark.parametrize("odd", [None, True, -1, 10**30, "3"])
def test_an_odd_number_of_closed_sockets_is_none(odd: Any) -> None:
    assert parse_acknowledgement(json.dumps(json.loads(GOOD.to_json()) | {"closed": odd})) == replace(GOOD, closed=0)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        3,
        {},
        {"generations": True, "sockets": 1, "oldest": 1},
        {"generations": 1, "sockets": -1, "oldest": 1},
        {"generations": 1, "sockets": 1, "oldest": 10**30},
        {"generations": 1, "sockets": 1, "oldest": "1"},
    ],
)
def test_odd_numbers_of_draining_take_nothing_from_the_rest(odd: Any) -> None:
    raw = json.loads(GOOD.to_json()) | {"draining": odd}
    assert parse_acknowledgement(json.dumps(raw)) == replace(GOOD, draining=NOT_DRAINING)
