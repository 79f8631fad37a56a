"""Tables of the Dynamic data plane for tests, and strategies that draw any of them."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from wsroute.dataplane.dictionary import endpoint_id
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.router import Request
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    Forward,
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
from wsroute.graph.left_out import MAX_ENDPOINTS

CHAT = RouteRef("team-a", "chat")
HOST = "chat.example.com"
GROUP = "team-a/chat:8080"
ANY_ORIGIN = OriginRules("Off", (HOST,))


def address(number: int = 1, port: int = 8080) -> Address:
    """The address 10.0.0.number."""
    return Address(f"10.0.0.{number}", port)


def group(*addresses: Address, name: str = GROUP, returning: Sequence[Address] = ()) -> EndpointGroup:
    """A group of endpoints; one endpoint when told nothing."""
    return EndpointGroup(name, addresses or (address(),), tuple(returning))


def forward(*targets: Target, **changes: Any) -> Forward:
    """A path that takes WebSockets only, from any Origin; to the group that ``group`` makes, when told nothing."""
    whole: dict[str, Any] = {
        "websocket_only": True,
        "rewrite_prefix": None,
        "connect_timeout": 5_000,
        "idle_timeout": 3_600_000,
        "set_headers": (),
        "remove_headers": (),
        "policy": Policy.LEAST_CONNECTIONS,
        "origins": ANY_ORIGIN,
    }
    return Forward(targets=targets or (Target(GROUP, 1),), **(whole | changes))


def record(
    path: str = "/ws",
    action: Forward | Refuse | None = None,
    *,
    match: PathMatch = PathMatch.PREFIX,
    route: RouteRef = CHAT,
) -> PathRecord:
    """One path of one route."""
    return PathRecord(route, path, match, forward() if action is None else action)


def host(*paths: PathRecord, name: str = HOST, listeners: Sequence[str] = ("ws",)) -> HostRecord:
    """The paths of a host, which are put in order; /ws when told nothing."""
    ordered = sorted(paths or (record(),), key=lambda path: (path.path, path.match))
    return HostRecord(name, tuple(listeners), tuple(ordered))


def table(*hosts: HostRecord, groups: Sequence[EndpointGroup] | None = None) -> Table:
    """A table, put in order; with one host and one group when told nothing."""
    return Table(
        hosts=tuple(sorted(hosts or (host(),), key=lambda host: (host.host, host.listeners))),
        groups=tuple(sorted((group(),) if groups is None else groups, key=lambda group: group.name)),
    )


def largest() -> Table:
    """What one route with everything that the API lets it have makes of a host, and a Service with all the endpoints
    that it may have."""
    labels = ".".join(["h" * 63] * 3)
    hosts = tuple(f"{number:02}{'h' * 51}.{labels}.example" for number in range(16))
    listeners = tuple(f"{number:02}{'l' * 61}" for number in range(16))
    services = [f"{'n' * 63}/{number:02}{'s' * 61}:{'p' * 15}" for number in range(16)]
    crowd = [
        Address(f"2001:db8:1111:2222:3333:4444:5555:{number + 0x1000:x}", 65535) for number in range(MAX_ENDPOINTS)
    ]
    action = forward(
        *(Target(service, 1000) for service in services),
        rewrite_prefix="/" + "r" * 1023,
        set_headers=tuple((f"{number:02}{'H' * 254}", '"' * 2000) for number in range(16)),
        remove_headers=tuple(f"{number:02}{'R' * 254}" for number in range(16)),
        policy=Policy.HASH,
        hash_key=HashKey(HashSource.HEADER, "k" * 64),
        origins=OriginRules("Enforce", hosts, tuple(f"{number:02}{'o' * 265}" for number in range(32)), True),
        sticky=StickyCookie("c" * 64, 2**31 - 1),
    )
    ref = RouteRef("n" * 63, "r" * 253)
    paths = [record(f"/{'/'.join(['x'] * 510)}/{number:02}", action, route=ref) for number in range(32)]
    return table(
        host(*paths, name=hosts[0], listeners=listeners), groups=[group(*sorted(crowd), name=name) for name in services]
    )


LISTENERS = ("ws", "wss")
HOSTS = ("example.com", "a.example.com", "b.example.com", "*.example.com", "*.b.example.com")
PATHS = ("/", "/a", "/a/b", "/a/b/c", "/ab", "/b")
GROUPS = ("team-a/one:80", "team-a/two:web", "team-b/one:80")
ORIGINS = (
    "https://a.example.com",
    "https://*.example.com",
    "http://c.example.org:8080",
    "https://[2001:db9::1]",
    "chrome-extension://abcdef",
    "null",
)
HEADERS = ("X-Team", "X-Debug", "Authorization")
NAMES = ("room", "X-User", "wsr")

addresses = st.builds(
    Address,
    st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.200.100.4", "fd00::1", "fd00::2"]),
    st.sampled_from([80, 8080, 65535]),
)


@st.composite
def group_records(draw: st.DrawFn, name: str) -> EndpointGroup:
    """Any endpoints, none included, each in one of the two lists."""
    found = draw(st.lists(addresses, unique=True, max_size=6))
    ready = draw(st.integers(0, len(found)))
    return EndpointGroup(name, tuple(sorted(found[:ready])), tuple(sorted(found[ready:])))


@st.composite
def forwards(draw: st.DrawFn) -> Forward:
    """Any path that takes sockets."""
    policy = draw(st.sampled_from(Policy))
    hashed = policy is Policy.HASH
    source = draw(st.sampled_from(HashSource))
    named = "" if source is HashSource.CLIENT_IP else draw(st.sampled_from(NAMES))
    headers = draw(st.lists(st.sampled_from(HEADERS), unique=True))
    cut = draw(st.integers(0, len(headers)))
    names = draw(st.lists(st.sampled_from(GROUPS), unique=True, min_size=1, max_size=3))
    return Forward(
        targets=tuple(Target(name, draw(st.integers(1, 5))) for name in names),
        websocket_only=draw(st.booleans()),
        rewrite_prefix=draw(st.sampled_from([None, "/", "/new", "/new/"])),
        connect_timeout=draw(st.sampled_from([1, 999, 1_000, 5_000, 30_000])),
        idle_timeout=draw(st.sampled_from([1, 60_000, 60_001, 3_600_000, 86_400_000])),
        set_headers=tuple(sorted((name, draw(st.sampled_from(["1", "a b", '"']))) for name in headers[:cut])),
        remove_headers=tuple(sorted(headers[cut:])),
        policy=policy,
        origins=OriginRules(
            draw(st.sampled_from(["Enforce", "Report", "Off"])),
            tuple(sorted(draw(st.sets(st.sampled_from(HOSTS), min_size=1)))),
            tuple(sorted(draw(st.sets(st.sampled_from(ORIGINS))))),
            draw(st.booleans()),
        ),
        hash_key=HashKey(source, named) if hashed else None,
        sticky=draw(st.none() | st.builds(StickyCookie, st.sampled_from(NAMES), st.sampled_from([0, 3600]))),
    )


actions = forwards() | st.sampled_from([Refuse(reason) for reason in RefusalReason])


@st.composite
def host_records(draw: st.DrawFn, name: str) -> tuple[HostRecord, ...]:
    """All records of a host: one for all its listeners, or one for each."""

    def paths() -> tuple[PathRecord, ...]:
        keys = draw(st.sets(st.tuples(st.sampled_from(PATHS), st.sampled_from(PathMatch)), min_size=1, max_size=5))
        routes = st.builds(RouteRef, st.just("team-a"), st.sampled_from(["one", "two"]))
        return tuple(PathRecord(draw(routes), path, match, draw(actions)) for path, match in sorted(keys))

    parts = draw(st.sampled_from([(LISTENERS,), (LISTENERS[:1],), (LISTENERS[1:],), (LISTENERS[:1], LISTENERS[1:])]))
    return tuple(HostRecord(name, listeners, paths()) for listeners in parts)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Any table over a few hosts, paths and groups, so that two of them have much in common. It has the groups that it
    uses, and perhaps others."""
    names = draw(st.sets(st.sampled_from(HOSTS), max_size=4))
    hosts = tuple(record for name in sorted(names) for record in draw(host_records(name)))
    used = {
        target.group
        for host in hosts
        for path in host.paths
        if isinstance(path.action, Forward)
        for target in path.action.targets
    }
    groups = sorted(used | draw(st.sets(st.sampled_from(GROUPS))))
    return Table(hosts, tuple(draw(group_records(name)) for name in groups))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any request that such a table may have an answer to."""
    headers = {
        "upgrade": st.sampled_from(["websocket", "WebSocket", "h2c"]),
        "sec-websocket-version": st.sampled_from(["13", "13", "13", "8"]),
        "sec-websocket-key": st.sampled_from(["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==", "short=="]),
        "origin": st.sampled_from(
            [
                "https://a.example.com",
                "https://A.Example.COM:8443",
                "https://x.example.com:443",
                "http://c.example.org:8080",
                "https://evil.test",
                "chrome-extension://abcdef",
                "null",
            ]
        ),
        "x-user": st.sampled_from(["1", "2"]),
        "cookie": st.sampled_from(
            ["wsr=" + endpoint_id(Address("10.0.0.1", 80)), "a=1; room=" + endpoint_id(Address("10.0.0.2", 80)), "wsr"]
        ),
    }
    usual = {"upgrade", "sec-websocket-version", "sec-websocket-key"}
    names = (usual - draw(st.sets(st.sampled_from(sorted(usual)), max_size=1))) | draw(
        st.sets(st.sampled_from(sorted(headers)))
    )
    return Request(
        listener=draw(st.sampled_from(LISTENERS)),
        host=draw(st.sampled_from(["example.com", "a.example.com", "c.example.com", "a.b.example.com", "x.test"])),
        path=draw(st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/c", "/a/b/c/d/e", "/ab", "/b/a", "/c"])),
        query=draw(st.sampled_from(["", "room=1", "a=b&ROOM=2&room=3", "wsr"])),
        method=draw(st.sampled_from(["GET", "GET", "GET", "POST"])),
        headers={name: draw(headers[name]) for name in sorted(names)},
        client=draw(st.sampled_from(["192.0.2.1", "2001:db8::1"])),
    )
