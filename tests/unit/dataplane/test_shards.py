"""Tables as lines, and lines that are none."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tables import CHAT, GROUP, HOST, address, forward, group, host, record, tables
from wsroute.dataplane.dictionary import canonical
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse
from wsroute.dataplane.shards import (
    MAX_SHARDS,
    MAX_TEXT,
    Place,
    ShardError,
    endpoints_line,
    host_line,
    parse_group,
    parse_groups,
    parse_host,
    parse_hosts,
    parse_place,
    shard_index,
)
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    HashKey,
    HashSource,
    OriginRules,
    Policy,
    StickyCookie,
    Table,
    Target,
)

WHOLE = host(
    record(
        "/ws",
        forward(
            Target(GROUP, 9),
            Target("team-a/next:web", 1),
            rewrite_prefix="/",
            set_headers=(("X-Team", 'a "b"'),),
            remove_headers=("X-Debug",),
            policy=Policy.HASH,
            hash_key=HashKey(HashSource.QUERY, "room"),
            sticky=StickyCookie("wsr", 60),
            origins=OriginRules("Enforce", (HOST,), ("https://*.example.org", "null"), require_header=True),
        ),
    ),
    record("/old", Refuse(RefusalReason.ROUTE_INVALID), match=PathMatch.EXACT),
    listeners=("ws", "wss"),
)
ENDPOINTS = group(address(1), Address("fd00::1", 80), returning=[address(3)])


def test_a_host_s_line() -> None:
    assert host_line(host()) == (
        'host {"host":"chat.example.com","listeners":["ws"],"paths":[{"connect":5000,"idle":3600000,"match":"Prefix",'
        '"origins":{"allow":[],"ownHosts":["chat.example.com"],"policy":"Off","requireHeader":false},"path":"/ws",'
        '"policy":"LeastConnections","route":"team-a/chat","targets":[["team-a/chat:8080",1]],"websocketOnly":true}]}'
    )
    assert host_line(host(record("/", Refuse(RefusalReason.NO_ENDPOINTS)))) == (
        'host {"host":"chat.example.com","listeners":["ws"],'
        '"paths":[{"match":"Prefix","path":"/","refuse":"no-endpoints","route":"team-a/chat"}]}'
    )


def test_a_group_s_line() -> None:
    assert endpoints_line(ENDPOINTS) == (
        'endpoints {"name":"team-a/chat:8080","ready":["10.0.0.1:8080","[fd00::1]:80"],"returning":["10.0.0.3:8080"]}'
    )


@given(tables())
def test_lines_say_all_that_a_table_says(table: Table) -> None:
    hosts = "".join(f"{host_line(each)}\n" for each in table.hosts)
    assert parse_hosts(hosts) == table.hosts
    groups = "".join(f"{endpoints_line(each)}\n" for each in table.groups)
    assert parse_groups(groups) == table.groups
    assert hosts.isascii()


def test_everything_that_a_host_can_say() -> None:
    assert parse_host(host_line(WHOLE)) == WHOLE
    assert parse_group(endpoints_line(ENDPOINTS)) == ENDPOINTS


def test_no_lines() -> None:
    assert parse_hosts("") == ()
    assert parse_groups("") == ()


def changed(line: str, change: Callable[[Any], None]) -> str:
    """A line of which something was changed, and which is written as it should be."""
    word, _, rest = line.partition(" ")
    raw = json.loads(rest)
    change(raw)
    return f"{word} {canonical(raw)}"


def put(*place: str | int, value: Any) -> Callable[[Any], None]:
    """Changes a value."""

    def change(raw: Any) -> None:
        for step in place[:-1]:
            raw = raw[step]
        raw[place[-1]] = value

    return change


def drop(*place: str | int) -> Callable[[Any], None]:
    """Takes a field away."""

    def change(raw: Any) -> None:
        for step in place[:-1]:
            raw = raw[step]
        del raw[place[-1]]

    return change


PATH = ("paths", 1)
"""The path of WHOLE that forwards: /ws comes after /old."""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("host", value="Chat.example.com"), "host.host: 'Chat.example.com'"),
        (put("host", value="a" * 300), "host.host"),
        (put("host", value="a.example.com\n"), "host.host"),
        (put("host", value="*.*.example.com"), "host.host"),
        (put("host", value="a|ws"), "host.host"),
        (put("host", value=1), "host.host: It must be a text"),
        (put("listeners", value=[]), "host.listeners: It must be a list of 1 to 16"),
        (put("listeners", value="ws"), "host.listeners"),
        (put("listeners", value=["wss", "ws"]), "listeners: They must be in order"),
        (put("listeners", value=["ws", "ws"]), "listeners: They must be in order"),
        (put("listeners", value=["a,b"]), "host.listeners[0]"),
        (put("listeners", value=["a b"]), "host.listeners[0]"),
        (put("paths", value=[]), "host.paths"),
        (put("paths", value=None), "host.paths"),
        (put("paths", 0, value=[]), "host.paths[0]: It must be an object"),
        (put("more", value=1), "There is an unknown field 'more'"),
        (drop("host"), "The field host is missing"),
        (put(*PATH, "route", value="chat"), "host.paths[1].route"),
        (put(*PATH, "route", value="team-a/chat/x"), "host.paths[1].route"),
        (put(*PATH, "path", value="ws"), "host.paths[1].path"),
        (put(*PATH, "path", value="/ws/"), "must not end with a slash"),
        (put(*PATH, "path", value="/ws\x00"), "host.paths[1].path"),
        (put(*PATH, "path", value="/" + "a" * 1024), "host.paths[1].path"),
        (put(*PATH, "path", value="/a"), "paths: They must be in order"),
        (put(*PATH, "match", value="Regex"), "one of 'Exact', 'Prefix'"),
        (put(*PATH, "refuse", value="because"), "one of 'no-endpoints', 'route-invalid'"),
        (put(*PATH, "refuse", value="no-endpoints"), "unknown field 'connect'"),
        (put(*PATH, "targets", value=[]), "targets"),
        (put(*PATH, "targets", value=[["unix:/run/admin.sock", 1]]), "targets[0][0]"),
        (put(*PATH, "targets", value=[[GROUP]]), "It must be a list of two"),
        (put(*PATH, "targets", value=[[GROUP, 0]]), "targets[0][1]: It must be a whole number"),
        (put(*PATH, "targets", value=[[GROUP, True]]), "targets[0][1]: It must be a whole number"),
        (put(*PATH, "targets", value=[[GROUP, 1.5]]), "targets[0][1]: It must be a whole number"),
        (put(*PATH, "targets", value=[[GROUP, 10**40]]), "targets[0][1]: It must be a whole number"),
        (put(*PATH, "targets", value=[[GROUP, 1], [GROUP, 2]]), "A group stands there twice"),
        (put(*PATH, "websocketOnly", value=1), "It must be true or false"),
        (put(*PATH, "rewritePrefix", value="new"), "rewritePrefix"),
        (put(*PATH, "rewritePrefix", value=None), "rewritePrefix"),
        (put(*PATH, "connect", value=0), "connect"),
        (put(*PATH, "idle", value=2**31), "idle"),
        (put(*PATH, "idle", value="1h"), "idle"),
        (put(*PATH, "setHeaders", value=[["X Team", "a"]]), "setHeaders[0][0]"),
        (put(*PATH, "setHeaders", value=[["X-Team", "a\r\nX-Evil: 1"]]), "setHeaders[0][1]"),
        (put(*PATH, "setHeaders", value=[["X-Team", "ü"]]), "setHeaders[0][1]"),
        (put(*PATH, "setHeaders", value=[]), "setHeaders"),
        (put(*PATH, "removeHeaders", value=["x-team"]), "A header is set or removed twice"),
        (put(*PATH, "removeHeaders", value=[["x-team"]]), "removeHeaders[0]"),
        (put(*PATH, "policy", value="RoundRobin"), "hash: It goes with the policy Hash"),
        (put(*PATH, "policy", value=["Hash"]), "policy"),
        (drop(*PATH, "hash"), "hash: It goes with the policy Hash"),
        (put(*PATH, "hash", "on", value="Body"), "hash.on"),
        (put(*PATH, "hash", "on", value="ClientIP"), "hash.name"),
        (put(*PATH, "hash", "name", value="a b"), "hash.name"),
        (put(*PATH, "hash", "more", value=1), "unknown field 'more'"),
        (put(*PATH, "sticky", "name", value=""), "sticky.name"),
        (put(*PATH, "sticky", "maxAge", value=-1), "sticky.maxAge"),
        (put(*PATH, "sticky", value={}), "The field name is missing"),
        (put(*PATH, "origins", value=None), "origins: It must be an object"),
        (drop(*PATH, "origins"), "The field origins is missing"),
        (put(*PATH, "origins", "policy", value="Maybe"), "origins.policy"),
        (put(*PATH, "origins", "ownHosts", value=["*"]), "origins.ownHosts[0]"),
        (put(*PATH, "origins", "allow", value=["https://a b"]), "origins.allow[0]"),
        (put(*PATH, "origins", "requireHeader", value="no"), "origins.requireHeader"),
    ],
)
def test_a_host_that_is_none(change: Callable[[Any], None], words: str) -> None:
    line = changed(host_line(WHOLE), change)
    with pytest.raises(ShardError) as raised:
        parse_hosts(f"{host_line(host(name='a.example.com'))}\n{line}\n")
    assert str(raised.value).startswith("Line 2: ")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "unix:/run/wsroute/admin.sock:",
        "localhost:80",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:080",
        "10.0.0.1:65536",
        "10.0.0.1:99999",
        "10.0.0.01:80",
        "10.0.0.256:80",
        "10.0.0:80",
        "0.0.0.0:80",
        "224.0.0.1:80",
        "fd00::1:80",
        "[fd00:0::1]:80",
        "[FD00::1]:80",
        "[fe80::1%eth0]:80",
        "[::]:80",
        "[::ffff:10.0.0.1]:80",
        "[::ffff:a00:1]:80",
        "[ff02::1]:80",
        "[10.0.0.1]:80",
        " 10.0.0.1:80",
        "10.0.0.1:80\n",
        "10.0.0.1:٨٠",
        ["10.0.0.1", 80],
        80,
    ],
)
def test_an_address_that_is_none(text: Any) -> None:
    for field in ("ready", "returning"):
        with pytest.raises(ShardError, match=rf"^Line 1: endpoints\.{field}\[0\]: "):
            parse_groups(changed(endpoints_line(ENDPOINTS), put(field, value=[text])) + "\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("name", value="chat:8080"), "endpoints.name"),
        (put("name", value="team-a/chat:Web"), "endpoints.name"),
        (put("ready", value=["10.0.0.2:80", "10.0.0.1:80"]), "ready: They must be in order"),
        (put("ready", value=["10.0.0.1:80", "10.0.0.1:80"]), "ready: They must be in order"),
        (put("returning", value=["10.0.0.1:8080"]), "None of them may be ready as well"),
        (put("ready", value={}), "endpoints.ready"),
        (drop("returning"), "The field returning is missing"),
        (put("weight", value=1), "There is an unknown field 'weight'"),
    ],
)
def test_a_group_that_is_none(change: Callable[[Any], None], words: str) -> None:
    with pytest.raises(ShardError) as raised:
        parse_group(changed(endpoints_line(ENDPOINTS), change))
    assert words in str(raised.value)


LINE = endpoints_line(ENDPOINTS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LINE, "Line 1 has no end"),
        (f"{LINE}\n{LINE[:20]}", "Line 2 has no end"),
        (f"{LINE}\n{LINE}\n", "Line 2: team-a/chat:8080 stands in line 1 as well"),
        ("\n", "Line 1: It must begin with the word endpoints, and begins with ''"),
        (f"{LINE}\n\n", "Line 2: It must begin with the word"),
        (f"{host_line(WHOLE)}\n", "begins with 'host'"),
        ("endpoints\n", "is no JSON"),
        ("endpoints {\n", "is no JSON"),
        ("endpoints " + "[" * 100_000 + "\n", "is no JSON"),
        ("endpoints " + "9" * 5000 + "\n", "is no JSON"),
        ("endpoints []\n", "endpoints: It must be an object"),
        ("endpoints NaN\n", "endpoints: It must be an object"),
        (LINE.replace(":", ": ", 1) + "\n", "not written as it should be"),
        (LINE.replace("{", '{"name":"team-a/chat:8080",') + "\n", "not written as it should be"),
        (LINE.replace("10.0.0.1:", "\\u00310.0.0.1:") + "\n", "not written as it should be"),
        (LINE + "\r\n", "not written as it should be"),
        ("x" * (MAX_TEXT + 1), "characters"),
    ],
)
def test_a_text_that_is_none(text: str, words: str) -> None:
    with pytest.raises(ShardError) as raised:
        parse_groups(text)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_host_stands_on_each_listener_once() -> None:
    one, two = host(listeners=("a", "b")), host(listeners=("b", "c"))
    with pytest.raises(ShardError, match=r"^Line 2: chat\.example\.com on b stands in line 1 as well"):
        parse_hosts(f"{host_line(one)}\n{host_line(two)}\n")
    apart = host(listeners=("c",))
    assert parse_hosts(f"{host_line(one)}\n{host_line(apart)}\n") == (one, apart)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([HOST, str(CHAT)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_hostile_line_is_refused_or_read_as_it_stands(data: st.DataObject) -> None:
    kinds: list[tuple[str, Callable[[str], Any], Callable[[Any], str]]]
    kinds = [(host_line(WHOLE), parse_host, host_line), (LINE, parse_group, endpoints_line)]
    line, parse, write = data.draw(st.sampled_from(kinds))
    raw = json.loads(line.partition(" ")[2])
    spot, last = raw, data.draw(st.sampled_from(sorted(raw)))
    while data.draw(st.booleans()):
        inner = spot[last]
        if isinstance(inner, dict) and inner:
            spot, last = inner, data.draw(st.sampled_from(sorted(inner)))
        elif isinstance(inner, list) and inner:
            spot, last = inner, data.draw(st.integers(0, len(inner) - 1))
        else:
            break
    spot[last] = data.draw(json_values)
    hostile = f"{line.partition(' ')[0]} {canonical(raw)}"
    try:
        found = parse(hostile)
    except ShardError:
        return
    assert write(found) == hostile


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    for parse in (parse_hosts, parse_groups):
        if text:
            with pytest.raises(ShardError):
                parse(text)
    with pytest.raises(ShardError):
        parse_place(text)


@pytest.mark.parametrize("place", [Place("r", 0, 1), Place("e", 3, 8), Place("e", 127, MAX_SHARDS)])
def test_a_place(place: Place) -> None:
    assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    "text",
    ["", "r", "r 0", "x 0/1", "r 1/1", "r 0/0", "r 0/3", "r 0/256", "r 00/1", "r 0/01", "r  0/1", "r 0/1 ", "r ٠/1"],
)
def test_a_place_that_is_none(text: str) -> None:
    with pytest.raises(ShardError):
        parse_place(text)


def test_names_spread_over_shards_and_stay_where_they_are() -> None:
    names = [f"{number}.example.com" for number in range(1000)]
    counts = [0] * 8
    for name in names:
        counts[shard_index(name, 8)] += 1
        assert shard_index(name, 4) == shard_index(name, 8) % 4
    assert min(counts) > 80
    assert [shard_index(name, 128) for name in (HOST, GROUP)] == [41, 118]


def test_an_empty_group() -> None:
    assert parse_group(endpoints_line(EndpointGroup("a/b:1", ()))) == EndpointGroup("a/b:1", ())
