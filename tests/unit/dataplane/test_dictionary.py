"""A table's entries, and the operations that make one table of another."""

import json

import pytest
from hypothesis import given

from tests.support.tables import GROUP, HOST, address, forward, group, host, record, table, tables
from wsroute.dataplane.dictionary import Entries, Operation, canonical, diff, endpoint_id, entries, mark, mark_after
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    Forward,
    HashKey,
    HashSource,
    OriginRules,
    Policy,
    StickyCookie,
    Table,
    Target,
)


def applied(old: Entries, operations: list[Operation]) -> dict[str, str]:
    """What nginx's side makes of the operations."""
    found = dict(old)
    for operation in operations:
        if operation[0] == "s":
            found[operation[1]] = operation[2]
        else:
            del found[operation[1]]
    return found


def test_a_small_table() -> None:
    found = entries(table(host(record("/"), record("/a/b", match=PathMatch.EXACT), record("/c"))))
    path = '{"b":{"p":"L"},"c":5000,"i":3600000,"r":"team-a/chat","t":[["team-a/chat:8080",1]],"w":1}'
    assert found == {
        "hws chat.example.com": "1 chat.example.com|ws",
        "^chat.example.com|ws/": path,
        "=chat.example.com|ws/a/b": path,
        "^chat.example.com|ws/c": path,
        "eteam-a/chat:8080": "1 0 21\n" + endpoint_id(address()) + "10.0.0.1:8080",
    }


def test_a_host_has_a_server_for_each_of_its_records() -> None:
    first = host(record("/a/b/c"), name="*.example.com", listeners=("a", "b"))
    second = host(record("/"), name="*.example.com", listeners=("c",))
    found = entries(table(first, second))
    assert found["ha *.example.com"] == found["hb *.example.com"] == "3 *.example.com|a,b"
    assert found["hc *.example.com"] == "0 *.example.com|c"
    assert "^*.example.com|a,b/a/b/c" in found
    assert "^*.example.com|c/" in found


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Refuse(RefusalReason.ROUTE_INVALID), {"r": "team-a/chat", "x": "route-invalid"}),
        (Refuse(RefusalReason.NO_ENDPOINTS), {"r": "team-a/chat", "x": "no-endpoints"}),
        (
            Forward(
                targets=(Target("team-a/a:1", 90), Target("team-a/b:2", 10)),
                websocket_only=False,
                rewrite_prefix="/new",
                connect_timeout=1,
                idle_timeout=2,
                set_headers=(("X-Team", "a"),),
                remove_headers=("X-Debug", "Authorization"),
                policy=Policy.HASH,
                origins=OriginRules("Report", (HOST,), ("https://*.example.com",), require_header=True),
                hash_key=HashKey(HashSource.QUERY, "room"),
                sticky=StickyCookie("wsr", 3600),
            ),
            {
                "r": "team-a/chat",
                "t": [["team-a/a:1", 90], ["team-a/b:2", 10]],
                "p": "/new",
                "c": 1,
                "i": 2,
                "s": {"x-team": "a"},
                "d": ["authorization", "x-debug"],
                "o": {"m": "R", "q": 1, "h": [HOST], "a": ["https://*.example.com"]},
                "b": {"p": "H", "on": "Q", "n": "room"},
                "k": {"n": "wsr", "a": 3600},
            },
        ),
    ],
)
def test_a_path_record(action: Forward | Refuse, expected: object) -> None:
    value = entries(table(host(record("/", action))))["^chat.example.com|ws/"]
    assert json.loads(value) == expected
    assert value == canonical(expected)


def test_endpoints_have_the_same_width() -> None:
    made = group(address(1, 80), Address("fd00::1", 80), returning=[address(2, 8080)])
    value = entries(table(groups=[made]))["e" + GROUP]
    head, body = value.split("\n")
    assert head == "2 1 21"
    texts = [body[start : start + 21] for start in range(0, 63, 21)]
    assert [text[8:].rstrip() for text in texts] == ["10.0.0.1:80", "[fd00::1]:80", "10.0.0.2:8080"]
    assert all(int(text[:8], 16) >= 0 for text in texts)


def test_a_group_without_endpoints() -> None:
    assert entries(Table((), (EndpointGroup("a/b:1", ()),))) == {"ea/b:1": "0 0 0\n"}


def test_one_changed_endpoint_is_one_operation() -> None:
    old, new = entries(table()), entries(table(groups=[group(address(2))]))
    assert diff(old, new) == [("s", "e" + GROUP, new["e" + GROUP])]


def test_a_new_route_is_there_before_its_host_and_goes_after_it() -> None:
    empty: dict[str, str] = {}
    one = entries(table(host(record("/"), record("/a/b"), record("/a/b", match=PathMatch.EXACT))))
    assert [operation[1] for operation in diff(empty, one)] == [
        "eteam-a/chat:8080",
        "=chat.example.com|ws/a/b",
        "^chat.example.com|ws/a/b",
        "^chat.example.com|ws/",
        "hws chat.example.com",
    ]
    assert [operation[1] for operation in diff(one, empty)] == [
        "hws chat.example.com",
        "^chat.example.com|ws/",
        "^chat.example.com|ws/a/b",
        "=chat.example.com|ws/a/b",
        "eteam-a/chat:8080",
    ]


def test_a_deeper_path_is_looked_for_before_it_is_there_and_until_it_is_gone() -> None:
    shallow, deep = entries(table(host(record("/")))), entries(table(host(record("/"), record("/a"))))
    assert [operation[1][0] for operation in diff(shallow, deep)] == ["h", "^"]
    assert [operation[1][0] for operation in diff(deep, shallow)] == ["^", "h"]


def test_a_host_with_other_listeners_is_another_server() -> None:
    old = entries(table(host(record("/"), listeners=("ws", "wss"))))
    new = entries(table(host(record("/", forward(websocket_only=False)), listeners=("ws",))))
    assert [operation[:2] for operation in diff(old, new)] == [
        ("s", "^chat.example.com|ws/"),
        ("s", "hws chat.example.com"),
        ("d", "hwss chat.example.com"),
        ("d", "^chat.example.com|ws,wss/"),
    ]


@given(tables(), tables())
def test_the_operations_make_the_new_table_of_the_old_one(one: Table, two: Table) -> None:
    old, new = entries(one), entries(two)
    operations = diff(old, new)
    assert applied(old, operations) == new
    assert len({operation[1] for operation in operations}) == len(operations)
    assert mark_after(mark(old), old, operations) == mark(new)
    assert diff(new, new) == []


@given(tables(), tables())
def test_what_is_equal_may_be_missing(one: Table, two: Table) -> None:
    old, new = entries(one), entries(two)
    same = old.items() & new.items()
    assert diff(dict(old.items() - same), dict(new.items() - same)) == diff(old, new)


def test_a_mark_names_the_content_in_any_order() -> None:
    found = entries(table())
    assert mark(found) == mark(dict(reversed(found.items())))
    assert len({mark({}), mark(found), mark({**found, "x": "y"})}) == 3
    assert mark({}) == "0" * 64
    assert mark({"a": "b"}) == "59b271ae1bbcb1d31d41929817f4b16fb439eb4f31520b5ad1d5ce98920a7138"
