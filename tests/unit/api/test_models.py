"""What a model says in normalised units: durations, defaults, selectors."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from wsroute.api.v1alpha1 import (
    Duration,
    WebSocketBalancerSpec,
    WebSocketRouteSpec,
    idle_is_too_short,
    parse_balancer_spec,
    parse_route_spec,
)


def route(**fields: Any) -> WebSocketRouteSpec:
    """A parsed route with some fields given."""
    paths = [{"path": "/ws", "backends": [{"service": "a", "port": 80}]}]
    parsed = parse_route_spec({"paths": paths} | fields)
    assert isinstance(parsed, WebSocketRouteSpec), parsed
    return parsed


def balancer(**fields: Any) -> WebSocketBalancerSpec:
    """A parsed balancer with some fields given."""
    listeners = [{"name": "ws", "port": 8080, "protocol": "HTTP"}]
    parsed = parse_balancer_spec({"dataPlane": "Static", "listeners": listeners} | fields, standalone=True)
    assert isinstance(parsed, WebSocketBalancerSpec), parsed
    return parsed


def test_a_duration_is_milliseconds_and_remembers_its_text() -> None:
    assert Duration("1h30m") == 5_400_000
    assert str(Duration("1h30m")) == "1h30m"
    assert repr(Duration("90s")) == "Duration('90s')"
    with pytest.raises(ValueError, match="units"):
        Duration("1d")


def test_models_can_be_copied() -> None:
    spec = route(timeouts={"idle": "1h"}, pingInterval="30s")
    copied = copy.deepcopy(spec)
    assert copied == spec
    assert str(copied.ping_interval) == "30s"


def test_two_ways_of_writing_one_duration_are_equal() -> None:
    assert route(timeouts={"idle": "60s"}) == route(timeouts={"idle": "1m"})


def test_what_is_left_out_of_a_path() -> None:
    (path,) = route().paths
    assert (path.type, path.upgrade, path.rewrite_prefix, path.backends[0].weight) == ("Prefix", "Required", None, 1)


@pytest.mark.parametrize(
    ("path", "kind", "matched"),
    [("/ws", "Prefix", "/ws"), ("/ws/", "Prefix", "/ws"), ("/", "Prefix", "/"), ("/ws/", "Exact", "/ws/")],
)
def test_the_path_to_match(path: str, kind: str, matched: str) -> None:
    backends = [{"service": "a", "port": 80}]
    assert route(paths=[{"path": path, "type": kind, "backends": backends}]).paths[0].match_path == matched


def test_exact_paths_with_and_without_slash_are_two() -> None:
    backends = [{"service": "a", "port": 80}]
    paths = [
        {"path": path, "type": kind, "backends": backends}
        for path, kind in [("/ws", "Exact"), ("/ws/", "Exact"), ("/ws", "Prefix"), ("/", "Prefix"), ("/", "Exact")]
    ]
    assert len(route(paths=paths).paths) == 5


def test_timeouts_and_policy_come_from_the_route_then_the_balancer_then_us() -> None:
    plain, own = route(), route(timeouts={"connect": "1s", "idle": "2h"}, loadBalancing={"policy": "RoundRobin"})
    bare = balancer()
    generous = balancer(
        defaults={
            "timeouts": {"connect": "2s", "idle": "3h"},
            "pingInterval": "20s",
            "loadBalancing": {"policy": "RoundRobin"},
        }
    )
    assert [plain.connect_timeout(bare), plain.idle_timeout(bare), plain.policy(bare)] == [
        5000,
        3_600_000,
        ("LeastConnections", None),
    ]
    assert [own.connect_timeout(generous), own.idle_timeout(generous)] == [1000, 7_200_000]
    assert [plain.connect_timeout(generous), plain.idle_timeout(generous)] == [2000, 10_800_000]
    assert [own.policy(bare), plain.policy(generous)] == [("RoundRobin", None), ("RoundRobin", None)]
    assert [plain.ping(bare), plain.ping(generous), route(pingInterval="9s").ping(generous)] == [None, 20_000, 9_000]


def test_our_own_idle_default_keeps_below_the_balancer_s_maximum() -> None:
    assert route().idle_timeout(balancer(maximums={"idle": "10m"})) == 600_000
    assert route().idle_timeout(balancer(maximums={"idle": "10h"})) == 3_600_000


@pytest.mark.parametrize(
    ("idle", "ping", "short"),
    [(60_000, 30_000, False), (59_999, 30_000, True), (None, 30_000, False), (1, None, False)],
)
def test_idle_must_outlast_a_late_ping(idle: int | None, ping: int | None, short: bool) -> None:
    assert idle_is_too_short(idle, ping) is short


@pytest.mark.parametrize(
    ("public", "scheme", "port"),
    [
        (None, "ws", 8080),
        ({"scheme": "ws"}, "ws", 80),
        ({"scheme": "wss"}, "wss", 443),
        ({"scheme": "wss", "port": 8443}, "wss", 8443),
    ],
)
def test_what_clients_see_of_a_listener(public: Any, scheme: str, port: int) -> None:
    spec = balancer(listeners=[{"name": "ws", "port": 8080, "protocol": "HTTP", "public": public}])
    assert (spec.listeners[0].public_scheme, spec.listeners[0].public_port) == (scheme, port)


SELECTOR = {
    "matchLabels": {"websockets": "yes"},
    "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "tier", "operator": "NotIn", "values": ["c"]},
        {"key": "team", "operator": "Exists"},
        {"key": "frozen", "operator": "DoesNotExist"},
    ],
}


@pytest.mark.parametrize(
    ("labels", "admitted"),
    [
        ({"websockets": "yes", "tier": "a", "team": ""}, True),
        ({"websockets": "yes", "tier": "b", "team": "x", "other": "y"}, True),
        ({"websockets": "no", "tier": "a", "team": ""}, False),
        ({"tier": "a", "team": ""}, False),
        ({"websockets": "yes", "tier": "c", "team": ""}, False),
        ({"websockets": "yes", "team": ""}, False),
        ({"websockets": "yes", "tier": "a"}, False),
        ({"websockets": "yes", "tier": "a", "team": "", "frozen": ""}, False),
    ],
)
def test_namespaces_by_selector(labels: dict[str, str], admitted: bool) -> None:
    allowed = balancer(allowedRoutes={"namespaces": {"from": "Selector", "selector": SELECTOR}}).allowed_routes
    assert allowed.from_namespaces == "Selector"
    assert allowed.admits_namespace("team-a", labels=labels, own="wsroute-system") is admitted


def test_not_in_holds_where_the_label_is_missing() -> None:
    expression = {"key": "tier", "operator": "NotIn", "values": ["c"]}
    allowed = balancer(
        allowedRoutes={"namespaces": {"from": "Selector", "selector": {"matchExpressions": [expression]}}}
    ).allowed_routes
    assert allowed.admits_namespace("team-a", labels={}, own="wsroute-system")


def test_namespaces_without_selector() -> None:
    left_out, everyone = (
        balancer().allowed_routes,
        balancer(allowedRoutes={"namespaces": {"from": "All"}}).allowed_routes,
    )
    assert left_out.from_namespaces == "Same"
    assert left_out.admits_namespace("wsroute-system", labels={}, own="wsroute-system")
    assert not left_out.admits_namespace("team-a", labels={}, own="wsroute-system")
    assert everyone.admits_namespace("team-a", labels={}, own="wsroute-system")


def test_permitted_headers_differ_in_more_than_case_and_underscores() -> None:
    spec = balancer(requestHeaders=["X-Team"])
    assert spec.permits_header("x_team")
    assert not spec.permits_header("X-Teams")


@pytest.mark.parametrize(
    ("nginx", "processes", "connections"),
    [
        (None, None, 16_384),
        ({"workerProcesses": "auto"}, None, 16_384),
        ({"workerProcesses": 4, "workerConnections": 1024}, 4, 1024),
    ],
)
def test_nginx_settings(nginx: Any, processes: int | None, connections: int) -> None:
    spec = balancer(nginx=nginx)
    assert (spec.worker_processes, spec.worker_connections) == (processes, connections)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        route().hosts = ()


def test_a_listener_that_ends_tls_is_wss_on_its_own_port_unless_told_otherwise() -> None:
    secure = {"name": "wss", "port": 8443, "protocol": "HTTPS", "tls": {"certificates": [{"secretName": "chat"}]}}
    (own,) = balancer(listeners=[secure]).listeners
    (public,) = balancer(listeners=[{**secure, "public": {"scheme": "wss"}}]).listeners
    assert (own.public_scheme, own.public_port, own.certificates) == ("wss", 8443, ("chat",))
    assert (public.public_scheme, public.public_port) == ("wss", 443)
