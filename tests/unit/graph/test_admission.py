"""What a balancer lets a route do, and what the route's author reads when it does not."""

from typing import Any

import pytest

from tests.support import objects as made
from wsroute.api.conditions import Problem, Reason
from wsroute.api.policies import HashKey, HashSource, OriginRules
from wsroute.cluster.objects import Key
from wsroute.graph.conditions import RolloutView, route_conditions
from wsroute.graph.model import GraphSettings, RouteNode

DOMAIN = "ws.example.com"


def node(
    *more: made.Json, allowed: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **route: Any
) -> RouteNode:
    """The node of one route under a balancer with the given allowedRoutes and further spec."""
    whole = {**({} if allowed is None else {"allowedRoutes": allowed}), **(spec or {})}
    return made.route_node([made.balancer(spec=whole), made.route(**route), made.service(), *more])


def only(node: RouteNode) -> Problem:
    assert len(node.acceptance_problems) == 1, node.acceptance_problems
    return node.acceptance_problems[0]


def test_accepted() -> None:
    found = node()
    assert found.accepted
    assert (found.balancer, found.hosts, found.listeners) == (made.BALANCER, ("chat.example.com",), ("ws",))
    assert found.urls == ("ws://chat.example.com:8080/ws",)


@pytest.mark.parametrize(
    ("namespaces", "namespace", "labels", "admitted"),
    [
        (None, "team-a", {}, False),
        (None, "wsroute-system", {}, True),
        ({"from": "Same"}, "team-a", {}, False),
        ({"from": "Same"}, "wsroute-system", {}, True),
        ({"from": "All"}, "team-a", None, True),
        ({"from": "Selector", "selector": {"matchLabels": {"ws": "yes"}}}, "team-a", {"ws": "yes"}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"ws": "yes"}}}, "team-a", {"ws": "no"}, False),
        ({"from": "Selector", "selector": {"matchLabels": {"ws": "yes"}}}, "team-a", None, False),
        (
            {
                "from": "Selector",
                "selector": {"matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}]},
            },
            "team-a",
            {"t": "b"},
            True,
        ),
        (
            {
                "from": "Selector",
                "selector": {"matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["a"]}]},
            },
            "team-a",
            {},
            True,
        ),
        # A namespace of which we know nothing is not one without labels.
        (
            {"from": "Selector", "selector": {"matchExpressions": [{"key": "t", "operator": "DoesNotExist"}]}},
            "team-a",
            None,
            False,
        ),
        (
            {"from": "Selector", "selector": {"matchExpressions": [{"key": "t", "operator": "Exists"}]}},
            "team-a",
            {"t": ""},
            True,
        ),
    ],
)
def test_namespaces(namespaces: Any, namespace: str, labels: Any, admitted: bool) -> None:
    allowed = {"hosts": ["*"], **({} if namespaces is None else {"namespaces": namespaces})}
    raws = [
        made.balancer(spec={"allowedRoutes": allowed}),
        made.route(namespace=namespace),
        made.service("chat", namespace),
    ]
    if labels is not None:
        raws.append(made.namespace(namespace, labels))
    found = made.route_node(raws, key=Key(namespace, "chat"))
    assert found.accepted == admitted
    if not admitted:
        assert only(found).reason is Reason.NOT_ALLOWED
        assert only(found).path == "spec.balancerRef"
        assert (found.hosts, found.withdrawn_paths) == ((), ())


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ({"matchLabels": {"wsroute.dev/balancer": "shared"}}, "labelled wsroute.dev/balancer=shared:"),
        (
            {
                "matchLabels": {"a": "b"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["x", "y"]},
                    {"key": "old", "operator": "DoesNotExist"},
                    {"key": "new", "operator": "Exists"},
                    {"key": "env", "operator": "NotIn", "values": ["test"]},
                ],
            },
            "labelled a=b,tier in (x,y),!old,new,env notin (test):",
        ),
        (
            {"matchExpressions": [{"key": "k" * 63, "operator": "In", "values": ["v" * 60] * 3}]},
            "as its selector asks:",
        ),
    ],
)
def test_a_refused_namespace_is_told_the_label(selector: Any, words: str) -> None:
    allowed = {"hosts": ["*"], "namespaces": {"from": "Selector", "selector": selector}}
    raws = [
        made.balancer(spec={"allowedRoutes": allowed}),
        made.route(namespace="team-b"),
        made.namespace("team-b", {"old": "1"}),
    ]
    assert words in only(made.route_node(raws, key=Key("team-b", "chat"))).message


def test_without_allowed_routes_the_own_namespace_and_domain_count() -> None:
    raws = [
        made.balancer(spec={"allowedRoutes": None, "domain": DOMAIN}),
        made.route("chat", "wsroute-system", hosts=None),
        made.route("other", "wsroute-system", hosts=["chat.example.com"]),
        made.route("chat", "team-a", hosts=None),
    ]
    routes = made.graph_of(raws).routes
    assert routes[Key("wsroute-system", "chat")].hosts == (f"chat--wsroute-system.{DOMAIN}",)
    assert [key.namespace for key, found in routes.items() if found.accepted] == ["wsroute-system"]


def test_standalone_namespaces_need_no_object() -> None:
    allowed = {
        "namespaces": {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}}
    }
    raws = [made.balancer(spec={"allowedRoutes": {**allowed, "hosts": ["*"]}}), made.route()]
    assert made.route_node(raws, settings=GraphSettings(standalone=True)).accepted
    assert not made.route_node(raws).accepted


@pytest.mark.parametrize(
    ("host", "patterns", "admitted"),
    [
        ("chat.example.com", ["chat.example.com"], True),
        ("chat.example.com", ["*.example.com"], True),
        ("chat.example.com", ["*"], True),
        ("a.b.example.com", ["*.example.com"], False),
        ("example.com", ["*.example.com"], False),
        ("*.example.com", ["*.example.com"], True),
        ("*.example.com", ["chat.example.com"], False),
        ("*.b.example.com", ["*.example.com"], False),
        ("evilexample.com", ["*.example.com"], False),
        ("chat.example.com", [], False),
        (f"chat--team-a.{DOMAIN}", [], True),
        (f"other--team-a.{DOMAIN}", [], True),
        (f"chat--team-b.{DOMAIN}", [], False),
        (f"chat--team-b.{DOMAIN}", ["*", f"*.{DOMAIN}", f"chat--team-b.{DOMAIN}"], False),
        (f"*.{DOMAIN}", ["*", f"*.{DOMAIN}"], False),
        (f"plain.{DOMAIN}", [], False),
        (f"plain.{DOMAIN}", [f"*.{DOMAIN}"], True),
        # Whose is it, of the namespace team-a, or of b--team-a? Nobody's, unless the administrator lets it be claimed.
        (f"a--b--team-a.{DOMAIN}", [], False),
        (f"x.chat--team-a.{DOMAIN}", [], False),
    ],
)
def test_hosts(host: str, patterns: list[str], admitted: bool) -> None:
    found = node(allowed={"namespaces": {"from": "All"}, "hosts": patterns}, spec={"domain": DOMAIN}, hosts=[host])
    assert found.accepted == admitted
    assert found.hosts == ((host,) if admitted else ())
    if not admitted:
        assert only(found).reason is Reason.NOT_ALLOWED
        assert only(found).path == "spec.hosts[0]"
        assert host in only(found).message or host.startswith("*.")


def test_the_sentence_names_the_choices() -> None:
    found = node(
        allowed={"namespaces": {"from": "All"}, "hosts": ["*.example.com"]},
        spec={"domain": DOMAIN},
        hosts=["chat.example.com", "a.example.org"],
    )
    assert only(found) == Problem(
        Reason.NOT_ALLOWED,
        "spec.hosts[1]",
        "The balancer does not let routes claim a.example.org, only *.example.com, <name>--team-a.ws.example.com: "
        "choose such a host, or ask its administrator to extend allowedRoutes.hosts.",
    )
    assert found.hosts == ("chat.example.com",), "its good host stays its own"
    assert [path for path, _ in found.withdrawn_paths] == ["/ws"]


@pytest.mark.parametrize(
    ("name", "namespace", "domain"),
    [
        ("chat", "team-a", None),
        ("chat.v2", "team-a", DOMAIN),
        ("c" * 56, "team-a", DOMAIN),
        ("a--b", "team-a", DOMAIN),
        ("a", "b--c", DOMAIN),
    ],
)
def test_no_host_can_be_derived(name: str, namespace: str, domain: str | None) -> None:
    raws = [made.balancer(spec={"domain": domain}), made.route(name, namespace, hosts=None)]
    problem = only(made.route_node(raws, key=Key(namespace, name)))
    assert (problem.reason, problem.path) == (Reason.INVALID, "spec.hosts")


def test_listeners() -> None:
    listeners = [
        {"name": "b", "port": 8080, "protocol": "HTTP"},
        {"name": "a", "port": 8443, "protocol": "HTTP", "public": {"scheme": "wss"}},
    ]
    assert node(spec={"listeners": listeners}).listeners == ("a", "b")
    raws = [made.balancer(spec={"listeners": listeners}), made.route(spec={"listeners": ["b"]}), made.service()]
    assert made.route_node(raws).listeners == ("b",)
    raws[1] = made.route(spec={"listeners": ["b", "c"]})
    found = made.route_node(raws)
    assert only(found) == Problem(Reason.INVALID, "spec.listeners[1]", "The balancer has no listener c; it has a, b.")
    assert found.listeners == ("b",)


def test_headers_need_permission() -> None:
    headers: dict[str, Any] = {
        "set": [{"name": "X-Team", "value": "a"}, {"name": "X-Other", "value": "b"}],
        "remove": ["x_debug"],
    }
    raws = [made.balancer(spec={"requestHeaders": ["x-team", "X-Debug"]}), made.route(spec={"headers": headers})]
    assert only(made.route_node(raws)) == Problem(
        Reason.NOT_ALLOWED,
        "spec.headers.set[1].name",
        "The balancer does not let routes change the header X-Other; its requestHeaders are x-team, X-Debug.",
    )
    del headers["set"][1]
    raws[1] = made.route(spec={"headers": headers})
    settings = made.route_node(raws).settings
    assert settings is not None
    assert (settings.set_headers, settings.remove_headers) == ((("X-Team", "a"),), ("x_debug",))


def timeouts(balancer: dict[str, Any], route: dict[str, Any]) -> RouteNode:
    return made.route_node([made.balancer(spec=balancer), made.route(spec=route)])


@pytest.mark.parametrize(
    ("balancer", "route", "connect", "idle"),
    [
        ({}, {}, 5_000, 3_600_000),
        ({"defaults": {"timeouts": {"connect": "1s", "idle": "2h"}}}, {}, 1_000, 7_200_000),
        ({"defaults": {"timeouts": {"idle": "2h"}}}, {"timeouts": {"connect": "2s", "idle": "1m"}}, 2_000, 60_000),
        ({"maximums": {"idle": "30m"}}, {}, 5_000, 1_800_000),
        ({"maximums": {"idle": "30m"}}, {"timeouts": {"idle": "30m"}}, 5_000, 1_800_000),
    ],
)
def test_timeouts_in_force(balancer: dict[str, Any], route: dict[str, Any], connect: int, idle: int) -> None:
    settings = timeouts(balancer, route).settings
    assert settings is not None
    assert (settings.connect_timeout, settings.idle_timeout) == (connect, idle)


def test_idle_above_the_maximum() -> None:
    found = timeouts({"maximums": {"idle": "24h"}}, {"timeouts": {"idle": "25h"}})
    assert only(found) == Problem(
        Reason.INVALID,
        "spec.timeouts.idle",
        "The balancer's maximum (maximums.idle) is 24h, and this is 25h: choose no more.",
    )
    assert found.settings is None


@pytest.mark.parametrize(
    ("balancer", "route", "field"),
    [
        ({"defaults": {"timeouts": {"idle": "1m"}}}, {"pingInterval": "31s"}, "spec.pingInterval"),
        ({"defaults": {"pingInterval": "31s"}}, {"timeouts": {"idle": "1m"}}, "spec.timeouts.idle"),
    ],
)
def test_pings_against_the_timeout_in_force(balancer: Any, route: Any, field: str) -> None:
    problem = only(timeouts(balancer, route))
    assert (problem.reason, problem.path) == (Reason.INVALID, field)
    assert "60s" in problem.message or "1m" in problem.message


def test_policy_in_force() -> None:
    for balancer, route, policy in (
        ({}, {}, "LeastConnections"),
        ({"defaults": {"loadBalancing": {"policy": "RoundRobin"}}}, {}, "RoundRobin"),
        (
            {"defaults": {"loadBalancing": {"policy": "RoundRobin"}}},
            {"loadBalancing": {"policy": "LeastConnections"}},
            "LeastConnections",
        ),
    ):
        settings = timeouts(balancer, route).settings
        assert settings is not None
        assert settings.policy == policy


def test_a_hash_key_and_a_cookie_in_force() -> None:
    settings = timeouts({}, {"loadBalancing": {"policy": "Hash", "hash": {"by": "Header", "name": "X-Room"}}}).settings
    assert settings is not None
    assert (settings.policy, settings.hash_key, settings.sticky) == ("Hash", HashKey(HashSource.HEADER, "X-Room"), None)


def test_origins_in_force() -> None:
    strict = {"defaults": {"origins": {"allow": ["https://a.example.net:443"], "requireHeader": True}}}
    for balancer, route, rules in (
        ({}, {}, OriginRules("Enforce", ("chat.example.com",))),
        (strict, {}, OriginRules("Enforce", ("chat.example.com",), ("https://a.example.net",), require_header=True)),
        (
            strict,
            {"origins": {"policy": "Report", "allow": []}},
            OriginRules("Report", ("chat.example.com",), (), True),
        ),
    ):
        settings = timeouts(balancer, route).settings
        assert settings is not None
        assert settings.origins == rules


@pytest.mark.parametrize(
    ("chosen", "field", "words"),
    [
        ({"stickyCookie": {"name": "wsr"}}, "spec.loadBalancing.stickyCookie", "has no sticky cookies"),
        (
            {"policy": "Hash", "hash": {"by": "Cookie", "name": "connect.sid"}},
            "spec.loadBalancing.hash.name",
            "choose such a name",
        ),
    ],
)
def test_what_the_data_plane_can_t_do(chosen: dict[str, Any], field: str, words: str) -> None:
    found = timeouts({}, {"loadBalancing": chosen})
    problem = only(found)
    assert (problem.reason, problem.path) == (Reason.UNSUPPORTED, field)
    assert words in problem.message
    assert "Dynamic" in problem.message
    accepted, *_, stalled = route_conditions(found, RolloutView(ready_pods=1, current_pods=1, total_pods=1))
    assert (accepted.status, accepted.reason) == (False, Reason.UNSUPPORTED)
    assert accepted.message.startswith(f"{field}: ")
    assert (stalled.status, stalled.reason) == (True, Reason.UNSUPPORTED)


def test_all_problems_are_told_in_the_order_of_their_rank() -> None:
    found = made.route_node(
        [
            made.balancer(spec={"allowedRoutes": {"namespaces": {"from": "All"}}, "maximums": {"idle": "1h"}}),
            made.route(
                spec={
                    "listeners": ["x"],
                    "headers": {"remove": ["X-A"]},
                    "timeouts": {"idle": "2h"},
                }
            ),
        ]
    )
    assert [problem.path for problem in found.acceptance_problems] == [
        "spec.listeners[0]",
        "spec.hosts[0]",
        "spec.headers.remove[0]",
        "spec.timeouts.idle",
    ]
