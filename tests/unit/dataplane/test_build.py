"""What a balancer must do for its routes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import objects as made
from wsroute.api.policies import HashKey, HashSource, OriginRules, Policy
from wsroute.dataplane.build import build_configuration
from wsroute.dataplane.ir import (
    Configuration,
    Endpoint,
    Listener,
    Location,
    PathMatch,
    Proxy,
    RefusalReason,
    Refuse,
    RouteRef,
    Upstream,
    VirtualServer,
)
from wsroute.graph.memo import Memo

CHAT = RouteRef("team-a", "chat")
NO_ENDPOINTS = Refuse(RefusalReason.NO_ENDPOINTS)
ROUTE_INVALID = Refuse(RefusalReason.ROUTE_INVALID)


def configuration(*objects: made.Json, **balancer: Any) -> Configuration:
    return made.configuration_of([made.balancer(spec=balancer), *objects])


def proxy(upstream: str, **changes: Any) -> Proxy:
    whole: dict[str, Any] = {
        "websocket_only": True,
        "rewrite_prefix": None,
        "connect_timeout": 5_000,
        "idle_timeout": 3_600_000,
        "set_headers": (),
        "remove_headers": (),
        "origins": OriginRules("Enforce", ("chat.example.com",)),
    }
    return Proxy(upstream=upstream, **(whole | changes))


def test_a_balancer_without_routes() -> None:
    found = configuration(
        listeners=[
            {"name": "wss", "port": 8443, "protocol": "HTTP", "public": {"scheme": "wss"}},
            {"name": "a", "port": 9000, "protocol": "HTTP"},
        ],
        trustedProxies=["fd00::/8", "10.0.0.0/8"],
        nginx={"workerProcesses": 2, "workerConnections": 1024},
    )
    assert found == Configuration(
        balancer="shared",
        listeners=(Listener("a", 9000, "ws", 9000), Listener("wss", 8443, "wss", 443)),
        ipv6=True,
        trusted_proxies=("10.0.0.0/8", "fd00::/8"),
        worker_processes=2,
        worker_connections=1024,
        upstreams=(),
        servers=(),
    )


def test_one_route() -> None:
    found = configuration(
        made.route(
            paths=[made.path("/ws/", upgrade="Optional", rewritePrefix="/")],
            spec={
                "timeouts": {"connect": "1s", "idle": "2h"},
                "loadBalancing": {"policy": "RoundRobin"},
                "headers": {"set": [{"name": "X-Team", "value": "a"}], "remove": ["X-Debug"]},
            },
        ),
        made.service(),
        made.endpoint_slice(endpoints=["10.0.0.2", "10.0.0.1"]),
        requestHeaders=["X-Team", "X-Debug"],
    )
    assert found.upstreams == (
        Upstream(
            "team-a_chat_0",
            Policy.ROUND_ROBIN,
            (Endpoint("10.0.0.1", 8080, 1), Endpoint("10.0.0.2", 8080, 1)),
            ("team-a/chat:8080 weight 1",),
        ),
    )
    action = proxy(
        "team-a_chat_0",
        websocket_only=False,
        rewrite_prefix="/",
        connect_timeout=1_000,
        idle_timeout=7_200_000,
        set_headers=(("X-Team", "a"),),
        remove_headers=("X-Debug",),
    )
    assert found.servers == (
        VirtualServer("chat.example.com", ("ws",), (Location(CHAT, "/ws", PathMatch.PREFIX, action),)),
    )


def only_action(found: Configuration) -> Proxy | Refuse:
    (server,) = found.servers
    (location,) = server.locations
    return location.action


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [made.service()],
        [made.service(), made.endpoint_slice(endpoints=[made.endpoint(ready=False)])],
        [made.service(), made.endpoint_slice(ports=[{"name": "other", "port": 1}])],
        [made.service(spec={"type": "ExternalName"}), made.endpoint_slice()],
    ],
)
def test_without_endpoints_the_path_refuses(objects: list[made.Json]) -> None:
    found = configuration(made.route(), *objects)
    assert only_action(found) == NO_ENDPOINTS
    assert found.upstreams == ()


def endpoints(found: Configuration) -> dict[str, int]:
    (upstream,) = found.upstreams
    return {endpoint.address: endpoint.weight for endpoint in upstream.endpoints}


def two_backends(first: int, second: int, counts: tuple[int, int]) -> Configuration:
    backends = [made.backend("x", weight=first), made.backend("y", weight=second)]
    raws = [made.route(paths=[made.path(backends=backends)])]
    for name, count in zip("xy", counts, strict=True):
        addresses = [f"10.0.{ord(name)}.{host}" for host in range(count)]
        raws += [made.service(name), made.endpoint_slice(name, endpoints=addresses)]
    return configuration(*raws)


def test_weights_are_scaled_by_endpoint_counts() -> None:
    found = endpoints(two_backends(90, 10, (3, 1)))
    assert found == {"10.0.120.0": 3, "10.0.120.1": 3, "10.0.120.2": 3, "10.0.121.0": 1}


def test_a_backend_without_endpoints_leaves_its_share() -> None:
    assert endpoints(two_backends(90, 10, (0, 2))) == {"10.0.121.0": 1, "10.0.121.1": 1}


def test_weight_0_takes_nothing_even_when_it_is_the_last() -> None:
    assert endpoints(two_backends(1, 0, (1, 2))) == {"10.0.120.0": 1}
    assert only_action(two_backends(1, 0, (0, 2))) == NO_ENDPOINTS


def test_an_endpoint_of_two_backends_gets_both_shares() -> None:
    paths = [made.path(backends=[made.backend("x", weight=1), made.backend("y", weight=1)])]
    found = configuration(
        made.route(paths=paths),
        made.service("x"),
        made.service("y"),
        made.endpoint_slice("x", endpoints=["10.0.0.1"]),
        made.endpoint_slice("y", endpoints=["10.0.0.1", "10.0.0.2"]),
    )
    assert endpoints(found) == {"10.0.0.1": 3, "10.0.0.2": 1}


def test_equal_backends_share_an_upstream_and_names_do_not_move() -> None:
    paths = [
        made.path("/idle", [made.backend("idle")]),
        made.path("/a"),
        made.path("/b", upgrade="Optional"),
        made.path("/c", [made.backend(weight=5)]),
    ]
    raws = [made.route(paths=paths), made.service(), made.endpoint_slice(), made.service("idle")]
    found = configuration(*raws)
    assert [upstream.name for upstream in found.upstreams] == ["team-a_chat_1", "team-a_chat_2"]
    filled = configuration(*raws, made.endpoint_slice("idle", endpoints=["10.0.0.5"]))
    assert filled.upstreams[1:] == found.upstreams


def test_names_that_could_be_mistaken_are_told_apart() -> None:
    raws: list[made.Json] = []
    for namespace, name in (("a", "b-c"), ("a-b", "c"), ("a", "b.c")):
        raws += [
            made.route(name, namespace, hosts=[f"{name}.{namespace}.example.com"]),
            made.service("chat", namespace),
            made.endpoint_slice("chat", namespace, ["10.0.0.1"]),
        ]
    found = configuration(*raws)
    assert [upstream.name for upstream in found.upstreams] == ["a-b_c_0", "a_b-c_0", "a_b.c_0"]


LISTENERS = [{"name": name, "port": port, "protocol": "HTTP"} for name, port in (("a", 8080), ("b", 8090), ("c", 9000))]


def test_listeners_with_the_same_locations_share_a_server() -> None:
    found = configuration(
        made.route("all", paths=[made.path("/all")]),
        made.route("some", paths=[made.path("/some")], spec={"listeners": ["b"]}),
        listeners=LISTENERS,
    )
    assert [(server.listeners, [location.path for location in server.locations]) for server in found.servers] == [
        (("a", "c"), ["/all"]),
        (("b",), ["/all", "/some"]),
    ]


def test_servers_and_locations_are_sorted() -> None:
    paths = [made.path("/ws/a"), made.path("/ws"), made.path("/ws", type="Exact"), made.path("/")]
    found = configuration(made.route("z", hosts=["b.example.com", "a.example.com"], paths=paths))
    assert [server.host for server in found.servers] == ["a.example.com", "b.example.com"]
    assert [(location.path, str(location.match)) for location in found.servers[0].locations] == [
        ("/", "Prefix"),
        ("/ws", "Exact"),
        ("/ws", "Prefix"),
        ("/ws/a", "Prefix"),
    ]


def test_an_invalid_route_answers_that_it_is() -> None:
    found = configuration(
        made.route(paths=[made.path("/ws"), {"path": "/bad;"}]), made.service(), made.endpoint_slice()
    )
    assert found.servers == (
        VirtualServer("chat.example.com", ("ws",), (Location(CHAT, "/ws", PathMatch.PREFIX, ROUTE_INVALID),)),
    )
    assert found.upstreams == ()


def test_routes_that_are_not_allowed_are_not_there() -> None:
    allowed = {"namespaces": {"from": "Same"}, "hosts": ["*"]}
    assert configuration(made.route(), made.service(), made.endpoint_slice(), allowedRoutes=allowed).servers == ()


def test_a_broken_balancer_has_nothing_to_build() -> None:
    node = made.balancer_node([made.balancer(spec={"nonsense": 1})])
    with pytest.raises(ValueError, match="no valid spec"):
        build_configuration(node, ipv6=True)


def parts_of(found: Configuration, ref: RouteRef) -> Any:
    """All that a configuration says of one route."""
    locations = [
        (server.host, name, location)
        for server in found.servers
        for name in server.listeners
        for location in server.locations
        if location.route == ref
    ]
    own = [upstream for upstream in found.upstreams if upstream.name.startswith(f"{ref.namespace}_{ref.name}_")]
    return sorted(locations, key=repr), own


def test_a_route_that_hashes() -> None:
    found = configuration(
        made.route(
            hosts=["b.example.com", "a.example.com"],
            paths=[made.path("/ws", [made.backend(weight=99), made.backend("next", weight=1)])],
            spec={
                "loadBalancing": {"policy": "Hash", "hash": {"by": "Query", "name": "room"}},
                "origins": {"policy": "Report", "allow": ["https://b.example.net:443", "null"]},
            },
        ),
        made.service(),
        made.endpoint_slice(),
        made.service("next"),
        made.endpoint_slice("next", endpoints=["10.0.0.9"]),
    )
    [upstream] = found.upstreams
    assert (upstream.balancing, upstream.hash_key) == (Policy.HASH, HashKey(HashSource.QUERY, "room"))
    assert sorted(endpoint.weight for endpoint in upstream.endpoints) == [1, 16]
    actions = [location.action for server in found.servers for location in server.locations]
    assert len(actions) == 2
    rules = OriginRules("Report", ("a.example.com", "b.example.com"), ("https://b.example.net", "null"))
    assert [action.origins for action in actions if isinstance(action, Proxy)] == [rules, rules]


BREAKS: list[dict[str, Any]] = [
    {"nonsense": 1},
    {"hosts": ["BAD", "chat.example.com"]},
    {"hosts": "text"},
    {"paths": [{"path": "/ws"}]},
    {"paths": None},
    {"paths": [{"path": "/x;y", "backends": [{"service": "chat", "port": 1}]}]},
    {"listeners": ["gone"]},
    {"listeners": ["{"]},
    {"timeouts": {"idle": "soon"}},
    {"timeouts": {"idle": "48h"}},
    {"headers": {"set": [{"name": "X-Not-Allowed", "value": "a"}]}},
    {"headers": {"set": [{"name": "X", "value": "a\nb"}]}},
    {"loadBalancing": {"policy": "Magic"}},
    {"loadBalancing": {"stickyCookie": {"name": "wsr"}}},
    {"origins": {"allow": ["*"]}},
]


@pytest.mark.parametrize("broken", BREAKS, ids=repr)
def test_a_route_that_becomes_invalid_changes_nothing_for_others(broken: dict[str, Any]) -> None:
    others = [
        made.route("older", paths=[made.path("/older")], created="2025-01-01T00:00:00Z"),
        made.route("younger", paths=[made.path("/ws"), made.path("/y")], created="2026-03-01T00:00:00Z"),
        made.route("rival", "team-b", created="2026-03-01T00:00:00Z"),
        made.route("far", "team-b", hosts=["far.example.com"]),
        made.service("chat", "team-b"),
        made.endpoint_slice("chat", "team-b", ["10.0.0.3"]),
    ]
    common = [made.service(), made.endpoint_slice(), *others]
    maximums = {"idle": "24h"}
    before = configuration(made.route(), *common, maximums=maximums)
    spec = {"hosts": ["chat.example.com"], "paths": [made.path("/ws")], **broken}
    after = configuration(made.route(spec=spec), *common, maximums=maximums)
    assert isinstance(parts_of(before, CHAT)[0][0][2].action, Proxy)
    assert not any(isinstance(location.action, Proxy) for *_, location in parts_of(after, CHAT)[0])
    refs = [RouteRef("team-a", "older"), RouteRef("team-b", "far"), RouteRef("team-a", "younger")]
    if "paths" in broken or ("hosts" in broken and broken["hosts"] == "text") or broken.get("listeners"):
        refs.pop()  # what the broken spec no longer names is free again, in its own namespace too
    for ref in refs:
        assert parts_of(before, ref) == parts_of(after, ref)


WORDS = st.sampled_from(["/ws", "/", "/a;b", "", "chat.example.com", "*.example.com", "a b", "1h", "ws"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["path", "type", "name"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    spec=st.dictionaries(
        st.sampled_from(["hosts", "paths", "listeners", "timeouts", "headers", "balancerRef", "nonsense"]), VALUES
    )
)
@settings(max_examples=150)
def test_a_young_route_of_another_namespace_changes_nothing_whatever_it_holds(spec: dict[str, Any]) -> None:
    hosts = ["chat.example.com", "*.example.org"]
    common = [made.route(hosts=hosts), made.service(), made.endpoint_slice()]
    intruder = made.route("x", "team-b", created="2026-09-01T00:00:00Z", spec=spec)
    with_it, without = configuration(*common, intruder), configuration(*common)
    assert parts_of(with_it, CHAT) == parts_of(without, CHAT)
    for server in with_it.servers:
        if server.host in hosts:
            assert {location.route for location in server.locations} == {CHAT}


def test_a_memo_changes_nothing_but_the_cost() -> None:
    memo = Memo()
    raws = [made.balancer(), made.route(), made.service(), made.endpoint_slice()]
    node = made.balancer_node(raws)
    first = build_configuration(node, ipv6=True, memo=memo)
    memo.end_pass()
    second = build_configuration(node, ipv6=True, memo=memo)
    assert first == second
    assert second.servers[0] is first.servers[0]
    raws[3] = made.endpoint_slice(endpoints=["10.0.0.9"], version=2)
    node = made.balancer_node(raws)
    assert build_configuration(node, ipv6=False, memo=memo) == build_configuration(node, ipv6=False)
