"""What the admin socket of a Dynamic balancer takes as entries of its table, and what it does not."""

import json
from typing import Any

import pytest

from tests.nginx.test_dynamic_table import MARK, described, post
from tests.support.nginx_runner import Nginx
from tests.support.tables import table

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

RECORD = {"r": "a/b", "t": [["g", 1]], "b": {"p": "L"}, "i": 1, "c": 1}
NO_RECORDS: tuple[dict[str, Any], ...] = (
    {"r": 1},
    {"t": [[1, 1]]},
    {"t": [["g", 1.5]]},
    {"t": ["g"]},
    {"i": "1"},
    {"c": None},
    {"b": None},
    {"b": {"p": "X"}},
)


@pytest.mark.parametrize(
    "operation",
    [
        "text",
        [],
        ["s"],
        ["s", "hws a.example.com"],
        ["s", "hws a.example.com", 1],
        ["s", 1, "1"],
        ["x", "hws a.example.com", "0 a|ws"],
        ["d", "m"],
        ["s", "m", f"a {MARK}"],
        ["s", "hws A.example.com", "0 a|ws"],
        ["s", "hws a.example.com\n", "0 a|ws"],
        ["s", "hws a.example.com", "many a|ws"],
        ["s", "^a.example.com|ws/" + "a" * 4_000, '{"r":"a/b","x":"no-endpoints"}'],
        ["s", "^a.example.com|ws/", "{}"],
        ["s", "^a.example.com|ws/", "[" * 20_000],
        ["s", "^a.example.com|ws/", '{"r":"a/b","t":[],"b":{"p":"L"},"i":1,"c":1}'],
        ["s", "^a.example.com|ws/", '{"r":"a/b","t":[["g",0]],"b":{"p":"L"},"i":1,"c":1}'],
        ["s", "ea/b:80", "1 0 20\n0123456710.0.0.1:80"],
        ["s", "ea/b:80", "1 0 30\n01234567unix:/run/admin.sock:  "],
        ["s", "ea/b:80", "1 0 21\n0123456example.com:80 "],
        ["s", "ea/b:80", "99999 0 0\n"],
        ["s", "ea/b:80", "x" * 300_000],
        ["d", "ea/b:80"],
        ["s", "ea/b:80\n", "0 0 0\n"],
        ["s", "ea/b:80", "0 0 0\n", "more"],
        ["s", "ea/b:80", "1 0 0\n"],
        ["s", "ea/b:80", "0 0 0"],
        ["s", "ea/b:80", "1 0 19\n0123456z10.0.0.1:80"],
        ["s", "ea/b:80", "1 0 20\n0123456710.0.0.1:80;"],
        ["s", "ea/b:80", "6990 0 40\n" + "0123456710.0.0.1:80".ljust(40) * 6_990],
        ["s", "^/", '{"r":"a/b","x":"no-endpoints"}'],
        ["s", "^a.example.com|ws/", '{"r":"a/b","x":1}'],
        *(["s", "^a.example.com|ws/", json.dumps(RECORD | changes)] for changes in NO_RECORDS),
        ["s", "cwss a.example.com\n", MARK],
        ["s", "cwss a.example.com", [MARK]],
        ["s", "cwss a.example.com", "../../etc/passwd"],
        ["s", "cwss a.example.com", "data:" + MARK],
        ["s", "cwss a.example.com", MARK + "\n"],
        ["s", "cwss a.example.com", f"{MARK} {MARK} {MARK}"],
        ["s", "cwss a.example.com", MARK.upper()],
        ["s", "cwss a.example.com", ""],
        ["s", "cwss a.*.example.com", MARK],
        ["s", "cwss A.example.com", MARK],
        ["s", "cwss a/b", MARK],
        ["s", "c a.example.com", MARK],
    ],
    ids=lambda operation: str(operation)[:40],
)
def test_what_is_no_entry_is_refused_with_all_that_came_with_it(nginx: Nginx, operation: object) -> None:
    good = ["s", "hws a.example.com", "0 a.example.com|ws"]
    before = described(nginx)
    assert post(nginx, "/table/entries?generation=a", [good, operation]) == 400
    assert described(nginx) == before


def test_the_record_that_they_are_not_is_one(nginx: Nginx) -> None:
    record = ["s", "^a.example.com|ws/", json.dumps(RECORD)]
    assert post(nginx, "/table/entries?generation=a", [record, ["s", "ea/b:80", "0 0 0\n"]]) == 204


@pytest.mark.parametrize(
    "operation",
    [["d", "m"], ["d", f"b{MARK}"], ["d", "hws chat.example.com", "more"], ["d", 1], ["x", "hws chat.example.com"]],
    ids=str,
)
def test_only_entries_are_deleted(nginx: Nginx, operation: list[Any]) -> None:
    nginx.pusher.push(table())
    found = described(nginx)
    query = f"generation={found['live']}&from={found['mark']}&mark={MARK}"
    assert post(nginx, f"/table/changes?{query}", [["d", "hws chat.example.com"], operation]) == 400
    assert described(nginx) == found


def test_a_body_has_no_more_operations_than_nginx_has_time_for(nginx: Nginx) -> None:
    for number, status in ((2_001, 400), (2_000, 204)):
        entries = [["s", f"hws h{each}.example.com", "0 a|ws"] for each in range(number)]
        assert post(nginx, "/table/entries?generation=a", entries) == status
