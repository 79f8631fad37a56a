"""What a request gets from a table."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tables import CHAT, GROUP, HOST, address, forward, group, host, record, requests, table, tables
from wsroute.dataplane.dictionary import Entries, diff, entries
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.router import (
    NO_ROUTE,
    Buckets,
    Candidates,
    Decision,
    Forwarded,
    Refused,
    Request,
    argument,
    cookie,
    decide,
    prefixes,
)
from wsroute.dataplane.table import (
    EndpointGroup,
    HashKey,
    HashSource,
    HostRecord,
    OriginRules,
    PathRecord,
    Policy,
    StickyCookie,
    Table,
    Target,
)

BUCKETS = Buckets(idle=(60_000, 3_600_000), connect=(1_000, 5_000))
HANDSHAKE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
NAME = str(CHAT)


def answer(
    found: Entries, path: str = "/ws", *, listener: str = "ws", name: str = HOST, headers: Any = None, **more: Any
) -> Decision:
    """What a handshake gets."""
    whole = HANDSHAKE | (headers or {})
    kept = {key: value for key, value in whole.items() if value is not None}
    return decide(found, Request(listener, name, path, headers=kept, **more), BUCKETS)


def routed(*hosts: HostRecord, path: str = "/ws", **more: Any) -> str | None:
    """The name of the route that takes a handshake."""
    decision = answer(entries(table(*hosts)), path, **more)
    return decision.route if isinstance(decision, Forwarded) else None


def named(name: str, path: str, match: PathMatch = PathMatch.PREFIX) -> PathRecord:
    return record(path, match=match, route=RouteRef("team-a", name))


def test_a_handshake() -> None:
    action = forward(
        Target(GROUP, 9),
        Target("team-a/none:1", 1),
        set_headers=(("X-Team", "a"),),
        remove_headers=("X-Debug",),
        idle_timeout=60_001,
        connect_timeout=999,
    )
    found = entries(table(host(record("/ws", action)), groups=[group(address(1), returning=[address(2)])]))
    assert answer(found) == Forwarded(
        route=NAME,
        websocket=True,
        path=None,
        idle_timeout=3_600_000,
        connect_timeout=1_000,
        set_headers={"x-team": "a"},
        remove_headers=("x-debug",),
        candidates=(
            Candidates(GROUP, 9, (("120e9814", "10.0.0.1:8080"),), (("23ef3555", "10.0.0.2:8080"),)),
            Candidates("team-a/none:1", 1, (), ()),
        ),
        policy="L",
    )


def test_a_timeout_beyond_the_largest_bucket_gets_that() -> None:
    action = forward(idle_timeout=86_400_000, connect_timeout=60_000)
    decision = answer(entries(table(host(record("/ws", action)))))
    assert isinstance(decision, Forwarded)
    assert (decision.idle_timeout, decision.connect_timeout) == (3_600_000, 5_000)


@pytest.mark.parametrize(
    ("asked", "owner"),
    [
        (HOST, "exact"),
        ("a.example.com", "wild"),
        ("a.b.example.com", None),
        ("example.com", None),
        (".example.com", None),
        ("com", None),
        ("", None),
        ("chat.example.com.evil.test", None),
    ],
)
def test_a_wildcard_covers_one_label_and_an_exact_host_goes_first(asked: str, owner: str | None) -> None:
    hosts = host(named("wild", "/"), name="*.example.com"), host(named("exact", "/"))
    assert routed(*hosts, name=asked) == (None if owner is None else f"team-a/{owner}")


def test_a_host_of_its_own_hides_the_wildcard_s_paths() -> None:
    hosts = host(named("wild", "/"), name="*.example.com"), host(named("exact", "/ws"))
    assert routed(*hosts, path="/other") is None


def test_listeners_have_their_own_paths() -> None:
    hosts = host(named("one", "/"), listeners=("ws",)), host(named("two", "/"), listeners=("a", "b"))
    assert [routed(*hosts, listener=name) for name in ("ws", "a", "b", "c")] == [
        "team-a/one",
        "team-a/two",
        "team-a/two",
        None,
    ]


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws/a", "/ws/a/b/", "/ws/\x00\n%"])
def test_a_prefix_takes_whole_path_elements(path: str) -> None:
    assert routed(host(), path=path) == NAME


@pytest.mark.parametrize("path", ["/wsx", "/ws.", "/w", "/", "/WS", "/a/ws", "/ws\n"])
def test_a_prefix_takes_nothing_else(path: str) -> None:
    assert routed(host(), path=path) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "all"),
        ("/other", "all"),
        ("/wsx", "all"),
        ("/ws", "exact"),
        ("/ws/", "slash"),
        ("/ws/a", "below"),
        ("/ws/a/b", "deep"),
        ("/ws/a/bc", "below"),
    ],
)
def test_the_longest_path_wins_and_an_exact_one_before_it(path: str, expected: str) -> None:
    paths = [
        named("all", "/"),
        named("exact", "/ws", PathMatch.EXACT),
        named("slash", "/ws/", PathMatch.EXACT),
        named("below", "/ws"),
        named("deep", "/ws/a/b"),
    ]
    assert routed(host(*paths), path=path) == f"team-a/{expected}"


@pytest.mark.parametrize(
    ("path", "rewrite", "asked", "expected"),
    [
        ("/ws", None, "/ws/a", None),
        ("/ws", "/", "/ws", "/"),
        ("/ws", "/", "/ws/", "/"),
        ("/ws", "/", "/ws/a b", "/a b"),
        ("/ws", "/new", "/ws", "/new"),
        ("/ws", "/new", "/ws/", "/new/"),
        ("/ws", "/new/", "/ws/a", "/new/a"),
        ("/ws", "/new", "/ws/ws/a", "/new/ws/a"),
        ("/", "/new", "/", "/new/"),
        ("/", "/new", "/a", "/new/a"),
        ("/", "/", "/a", "/a"),
    ],
)
def test_a_prefix_is_rewritten(path: str, rewrite: str | None, asked: str, expected: str | None) -> None:
    decision = answer(entries(table(host(record(path, forward(rewrite_prefix=rewrite))))), asked)
    assert isinstance(decision, Forwarded)
    assert decision.path == expected


def test_an_exact_path_is_rewritten() -> None:
    action = forward(rewrite_prefix="/socket/")
    decision = answer(entries(table(host(record("/ws", action, match=PathMatch.EXACT)))))
    assert isinstance(decision, Forwarded)
    assert decision.path == "/socket/"


@pytest.mark.parametrize("reason", RefusalReason)
def test_a_path_that_is_refused(reason: RefusalReason) -> None:
    found = entries(table(host(record("/ws", Refuse(reason)))))
    assert answer(found) == answer(found, headers={"upgrade": None}) == Refused(503, str(reason), NAME)


@pytest.mark.parametrize(
    ("headers", "method", "expected"),
    [
        ({}, "GET", None),
        ({"upgrade": "WebSocket"}, "GET", None),
        ({"upgrade": None}, "GET", Refused(426, "upgrade-required", NAME)),
        ({"upgrade": "h2c"}, "GET", Refused(426, "upgrade-required", NAME)),
        ({"upgrade": "websocket, h2c"}, "GET", Refused(426, "upgrade-required", NAME)),
        ({"upgrade": "websocket/13"}, "POST", Refused(426, "upgrade-required", NAME)),
        ({"sec-websocket-version": "8"}, "POST", Refused(400, "bad-handshake", NAME)),
        ({"sec-websocket-version": None}, "GET", Refused(426, "upgrade-required", NAME, version=True)),
        ({"sec-websocket-version": "13, 8"}, "GET", Refused(426, "upgrade-required", NAME, version=True)),
        ({}, "POST", Refused(400, "bad-handshake", NAME)),
        ({"sec-websocket-key": None}, "GET", Refused(400, "bad-handshake", NAME)),
        ({"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ="}, "GET", Refused(400, "bad-handshake", NAME)),
        ({"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==\n"}, "GET", Refused(400, "bad-handshake", NAME)),
        ({"sec-websocket-key": "dGhlIHNhbXBsZSBub25j-_=="}, "GET", Refused(400, "bad-handshake", NAME)),
        ({"origin": "https://evil.test"}, "GET", Refused(403, "origin", NAME)),
        ({"origin": "https://evil.test"}, "POST", Refused(400, "bad-handshake", NAME)),
        ({"origin": f"https://{HOST}"}, "GET", None),
    ],
)
def test_what_is_wrong_with_a_handshake(headers: Any, method: str, expected: Refused | None) -> None:
    action = forward(origins=OriginRules("Enforce", (HOST,)))
    decision = answer(entries(table(host(record("/ws", action)))), headers=headers, method=method)
    assert (decision if isinstance(decision, Refused) else None) == expected


def test_a_route_that_takes_plain_http_too() -> None:
    action = forward(websocket_only=False, origins=OriginRules("Enforce", (HOST,)))
    found = entries(table(host(record("/ws", action))))
    plain = answer(found, headers={"upgrade": None, "origin": "https://evil.test"}, method="POST")
    assert isinstance(plain, Forwarded)
    assert not plain.websocket
    assert answer(found, headers={"origin": "https://evil.test"}) == Refused(403, "origin", NAME)


@pytest.mark.parametrize(
    ("policy", "require", "origin", "reported"),
    [
        ("Report", False, "https://evil.test", True),
        ("Report", False, f"https://{HOST}", False),
        ("Report", False, None, False),
        ("Report", True, None, True),
        ("Off", True, "https://evil.test", False),
    ],
)
def test_an_origin_that_is_only_reported(policy: Any, require: bool, origin: str | None, reported: bool) -> None:
    action = forward(origins=OriginRules(policy, (HOST,), require_header=require))
    decision = answer(entries(table(host(record("/ws", action)))), headers={"origin": origin})
    assert isinstance(decision, Forwarded)
    assert decision.origin_refused is reported


def test_no_endpoints_is_the_last_that_is_found_out() -> None:
    action = forward(origins=OriginRules("Enforce", (HOST,), require_header=True))
    found = entries(Table((host(record("/ws", action)),), (EndpointGroup(GROUP, ()),)))
    assert answer(found) == Refused(403, "origin", NAME)
    assert answer(found, headers={"origin": f"https://{HOST}"}) == Refused(503, "no-endpoints", NAME)
    without = {key: value for key, value in found.items() if not key.startswith("e")}
    assert answer(without, headers={"origin": f"https://{HOST}"}) == Refused(503, "no-endpoints", NAME)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (HashKey(HashSource.CLIENT_IP), "192.0.2.1"),
        (HashKey(HashSource.HEADER, "X-User"), "me"),
        (HashKey(HashSource.HEADER, "X-Other"), ""),
        (HashKey(HashSource.QUERY, "room"), "a%20b"),
        (HashKey(HashSource.QUERY, "token"), ""),
        (HashKey(HashSource.COOKIE, "user"), "1"),
    ],
)
def test_what_is_hashed(key: HashKey, expected: str) -> None:
    action = forward(policy=Policy.HASH, hash_key=key)
    headers = {"x-user": "me", "cookie": "a=b; user=1"}
    more: dict[str, Any] = {"query": "x=1&ROOM=a%20b&room=c&token", "client": "192.0.2.1"}
    decision = answer(entries(table(host(record("/ws", action)))), headers=headers, **more)
    assert isinstance(decision, Forwarded)
    assert (decision.policy, decision.hashed) == ("H", expected)


@pytest.mark.parametrize(("sent", "expected"), [("wsr=0011aaff", "0011aaff"), ("wsr=0011AAFF", ""), ("a=b", "")])
def test_a_sticky_cookie(sent: str, expected: str) -> None:
    action = forward(sticky=StickyCookie("wsr", 60))
    decision = answer(entries(table(host(record("/ws", action)))), headers={"cookie": sent})
    assert isinstance(decision, Forwarded)
    assert (decision.sticky, decision.returning_to) == (("wsr", 60), expected)


@pytest.mark.parametrize(
    ("path", "depth", "expected"),
    [
        ("/", 0, ["/"]),
        ("/", 5, ["/"]),
        ("/a", 0, ["/"]),
        ("/a", 1, ["/a", "/"]),
        ("/a/", 5, ["/a", "/"]),
        ("/a/b/c", 2, ["/a/b", "/a", "/"]),
    ],
)
def test_the_prefixes_of_a_path(path: str, depth: int, expected: list[str]) -> None:
    assert prefixes(path, depth) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ""),
        ("wsr=1", "1"),
        ("WSR=1", "1"),
        ("a=b; wsr=1; wsr=2", "1"),
        ("a=b;wsr = 1 ;c", "1 "),
        ("a=b,wsr=1,2;c", "1,2"),
        ("xwsr=1", ""),
        ("wsrx=1", ""),
        ("wsrx=1; wsr=2", "2"),
        ("wsr", ""),
        ("wsr; wsr=1", ""),  # so nginx reads it
        ("wsr=; wsr=1", ""),
    ],
)
def test_a_cookie(header: str, expected: str) -> None:
    assert cookie(Request("ws", HOST, "/", headers={"cookie": header}), "wsr") == expected


def test_an_argument() -> None:
    assert argument("", "room") == ""
    assert argument("aroom=1&room=&room=2", "room") == ""
    assert argument("room&room=2=3", "room") == "2=3"


def paths_of(one: Entries, groups_of: Entries) -> Entries:
    """The hosts and paths of one table with the groups of another."""
    return {key: value for key, value in one.items() if key[0] != "e"} | {
        key: value for key, value in groups_of.items() if key[0] == "e"
    }


def owners(one: Table, two: Table, request: Request) -> list[str]:
    """Whose a request is while one table becomes another, each once."""
    now = entries(one)
    seen = [decide(now, request, BUCKETS).route]
    for operation in diff(dict(now), entries(two)):
        if operation[0] == "s":
            now[operation[1]] = operation[2]
        else:
            del now[operation[1]]
        seen.append(decide(now, request, BUCKETS).route)
    return list(dict.fromkeys(seen))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (host(named("one", "/")), host(named("late", "/"), named("two", "/a"))),
        (host(named("one", "/a")), host(named("late", "/a"), named("two", "/a/b"))),
        (host(named("one", "/a")), host(named("late", "/a"), named("two", "/a/b", PathMatch.EXACT))),
        (host(named("one", "/")), host(named("late", "/a"), named("two", "/a/b"), listeners=("ws", "wss"))),
        (host(named("one", "/"), name="*.example.com"), host(named("two", "/"))),
    ],
)
def test_nobody_passes_by_a_third_route(one: HostRecord, two: HostRecord) -> None:
    wild = host(named("late", "/"), name="*.example.com")
    before = table(one)
    after = table(two, wild) if one.host == wild.host else table(two)
    request = Request("ws", HOST, "/a/b", headers=HANDSHAKE)
    assert owners(before, after, request) == ["team-a/one", "team-a/two"]
    assert owners(after, before, request) == ["team-a/two", "team-a/one"]


@settings(max_examples=60)
@given(tables(), tables(), st.lists(requests(), min_size=8, max_size=8))
def test_on_the_way_to_another_table_a_request_gets_what_it_gets_from_one_of_them(
    one: Table, two: Table, asked: Sequence[Request]
) -> None:
    old, new = entries(one), entries(two)
    now = dict(old)
    for operation in diff(old, new):
        if operation[0] == "s":
            now[operation[1]] = operation[2]
        else:
            del now[operation[1]]
        for request in asked:
            expected = [decide(paths_of(whole, now), request, BUCKETS) for whole in (old, new)]
            assert decide(now, request, BUCKETS) in expected


@given(tables(), requests())
def test_every_request_gets_an_answer(one: Table, request: Request) -> None:
    decision = decide(entries(one), request, BUCKETS)
    if isinstance(decision, Refused):
        assert decision.status in (400, 403, 404, 426, 503)
        assert (decision == NO_ROUTE) is (decision.route == "")
    else:
        assert any(part.ready for part in decision.candidates)
