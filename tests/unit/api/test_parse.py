"""From raw specs to models or to sentences: exact field paths, good words, and nothing ever raises."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsroute.api.conditions import Problem, Reason
from wsroute.api.parse import MAX_PROBLEMS, shown
from wsroute.api.v1alpha1 import (
    WebSocketBalancerSpec,
    WebSocketRouteSpec,
    balancer_name_problems,
    parse_balancer_spec,
    parse_route_spec,
)

Json = dict[str, Any]


def route(**fields: Any) -> Json:
    """A good spec with some fields replaced."""
    good: Json = {"hosts": ["a.example.com"], "paths": [{"path": "/ws", "backends": [{"service": "a", "port": 80}]}]}
    return good | fields


def path(**fields: Any) -> Json:
    """A good spec with some fields of its only path replaced."""
    return route(paths=[{"path": "/ws", "backends": [{"service": "a", "port": 80}]} | fields])


def backend(**fields: Any) -> Json:
    """A good spec with some fields of its only backend replaced."""
    return path(backends=[{"service": "a", "port": 80} | fields])


def hashed(key: Any) -> Json:
    """A route with the policy Hash and some key."""
    return route(loadBalancing={"policy": "Hash", "hash": key})


def balancer(**fields: Any) -> Json:
    """A good spec with some fields replaced."""
    good: Json = {
        "dataPlane": "Static",
        "deploymentRef": {"name": "shared"},
        "listeners": [{"name": "ws", "port": 8080, "protocol": "HTTP"}],
    }
    return good | fields


TLS = {"certificates": [{"secretName": "chat"}]}


def listener(**fields: Any) -> Json:
    """A good spec with some fields of its only listener replaced."""
    return balancer(listeners=[{"name": "ws", "port": 8080, "protocol": "HTTP"} | fields])


def the_problem(parsed: object) -> Problem:
    """The only problem."""
    assert isinstance(parsed, tuple)
    (problem,) = parsed
    assert isinstance(problem, Problem)
    assert problem.reason == Reason.INVALID
    assert problem.message.endswith(".")
    return problem


BAD_PORTS: list[Any] = [0, -1, 65_536, True, 80.0, "-1", "", "Web", "a b", "web\n", [], {}, 10**5000]

BAD_ROUTES: list[tuple[Any, str, str]] = [
    (None, "spec", "The field is required."),
    ([], "spec", "must be an object with fields; found a list."),
    ("text", "spec", "must be an object with fields; found 'text'."),
    (route(paths=None), "spec.paths", "The field is required."),
    (route(paths=[]), "spec.paths", "The list must not be empty."),
    (route(paths={}), "spec.paths", "must be a list; found an object."),
    (route(paths=[None]), "spec.paths[0]", "must be an object with fields; found null."),
    (route(paths=[{"path": "/ws"}]), "spec.paths[0].backends", "The field is required."),
    (route(paths=route()["paths"] * 33), "spec.paths", "The list must have at most 32 items."),
    (route(hosts=[]), "spec.hosts", "The list must not be empty."),
    (route(hosts="a.example.com"), "spec.hosts", "must be a list; found 'a.example.com'."),
    (route(hosts=[f"h{i}.example.com" for i in range(17)]), "spec.hosts", "at most 16 items."),
    (route(hosts=["a.example.com", "B.example.com"]), "spec.hosts[1]", "lower case; found 'B.example.com'."),
    (route(hosts=["a.example.com", "a.example.com"]), "spec.hosts[1]", "'a.example.com' is in the list already."),
    (route(hosts=[True]), "spec.hosts[0]", "must be a string: put yes, no and numbers in quotes; found true."),
    (route(hosts=["a\n.example.com"]), "spec.hosts[0]", r"found 'a\n.example.com'."),
    (route(hosts=["a\ud800.example.com"]), "spec.hosts[0]", r"found 'a\ud800.example.com'."),
    (route(listeners=["ws", "ws"]), "spec.listeners[1]", "in the list already"),
    (route(listeners=["w s"]), "spec.listeners[0]", "DNS label"),
    (route(balancerRef={"name": "a" * 41}), "spec.balancerRef.name", "At most 40 characters"),
    (route(balancerRef={}), "spec.balancerRef.name", "The field is required."),
    (route(balancerRef={"name": "a", "namespace": "A"}), "spec.balancerRef.namespace", "DNS label"),
    (route(host=["a.example.com"]), "spec.host", "There is no such field; the nearest one is hosts."),
    (route(zzz=1), "spec.zzz", "There is no such field; the fields here are balancerRef, listeners, hosts, paths,"),
    (route(tls={"secretName": "a"}), "spec.tls", "There is no such field"),
    (path(pathType="Prefix"), "spec.paths[0].pathType", "the nearest one is type."),
    (route(**{"a\x1b[31m": 1}), r"spec['a\x1b[31m']", "There is no such field"),
    (path(path="ws"), "spec.paths[0].path", "must start with a slash; found 'ws'."),
    (path(path="/" + "a" * 1100), "spec.paths[0].path", f"found '/{'a' * 59}'... (1101 characters)."),
    (path(type="prefix"), "spec.paths[0].type", "must be 'Prefix' or 'Exact'; found 'prefix'."),
    (path(type="Prefix\n"), "spec.paths[0].type", r"found 'Prefix\n'."),
    (path(type=["Prefix"]), "spec.paths[0].type", "must be 'Prefix' or 'Exact'; found a list."),
    (path(upgrade=True), "spec.paths[0].upgrade", "must be 'Required' or 'Optional'; found true."),
    (path(rewritePrefix="ws"), "spec.paths[0].rewritePrefix", "must start with a slash"),
    (path(rewritePrefix="/$1"), "spec.paths[0].rewritePrefix", "must consist of"),
    (path(backends=[]), "spec.paths[0].backends", "The list must not be empty."),
    (path(backends=[{"service": "a"}]), "spec.paths[0].backends[0].port", "The field is required."),
    (backend(service="a.b"), "spec.paths[0].backends[0].service", "DNS label"),
    (backend(service="a", namespace="b"), "spec.paths[0].backends[0].namespace", "There is no such field"),
    (backend(weight=0), "spec.paths[0].backends", "At least one backend must have a weight above 0."),
    (backend(weight=-1), "spec.paths[0].backends[0].weight", "must be at least 0; found -1."),
    (backend(weight=1001), "spec.paths[0].backends[0].weight", "must be at most 1000; found 1001."),
    (backend(weight=1.5), "spec.paths[0].backends[0].weight", "whole number, written without quotes; found 1.5."),
    (backend(weight=1.0), "spec.paths[0].backends[0].weight", "whole number"),
    (backend(weight="1"), "spec.paths[0].backends[0].weight", "whole number, written without quotes; found '1'."),
    (backend(weight=True), "spec.paths[0].backends[0].weight", "whole number"),
    (backend(weight=10**30), "spec.paths[0].backends[0].weight", "at most 1000; found a very large number."),
    *((backend(port=port), "spec.paths[0].backends[0].port", "must be a number from 1 to 65535") for port in BAD_PORTS),
    (backend(port="80"), "spec.paths[0].backends[0].port", "without quotes; found '80'."),
    (backend(port="a" * 64), "spec.paths[0].backends[0].port", "At most 63 characters"),
    (
        route(paths=[*route()["paths"], {"path": "/ws/", "backends": [{"service": "a", "port": 80}]}]),
        "spec.paths[1].path",
        "once for each type",
    ),
    (route(timeouts={"idle": 30}), "spec.timeouts.idle", "must be a string"),
    (route(timeouts={"idle": "30"}), "spec.timeouts.idle", "units h, m, s or ms"),
    (route(timeouts={"connect": "0s"}), "spec.timeouts.connect", "at least 1ms"),
    (route(timeouts={"read": "1s"}), "spec.timeouts.read", "There is no such field"),
    (route(timeouts={"idle": "59s"}, pingInterval="30s"), "spec.timeouts.idle", "at least twice pingInterval"),
    (
        route(loadBalancing={"policy": "Random"}),
        "spec.loadBalancing.policy",
        "must be 'LeastConnections', 'RoundRobin' or 'Hash'; found 'Random'.",
    ),
    (route(loadBalancing={"policy": "Hash"}), "spec.loadBalancing.hash", "as in hash: {by: ClientIP}."),
    (
        route(loadBalancing={"hash": {"by": "ClientIP"}}),
        "spec.loadBalancing.hash",
        "means nothing without policy: Hash",
    ),
    (
        route(loadBalancing={"policy": "RoundRobin", "hash": {"by": "ClientIP"}}),
        "spec.loadBalancing.hash",
        "means nothing without policy: Hash",
    ),
    (hashed({}), "spec.loadBalancing.hash.by", "The field is required."),
    (hashed({"by": "Query"}), "spec.loadBalancing.hash.name", "name is required"),
    (hashed({"by": "ClientIP", "name": "a"}), "spec.loadBalancing.hash.name", "means nothing with ClientIP"),
    (hashed({"by": "Header", "name": "X_Room"}), "spec.loadBalancing.hash.name", "write the name with hyphens"),
    (hashed({"by": "Cookie", "name": "a b"}), "spec.loadBalancing.hash.name", "letters, digits and"),
    (route(loadBalancing={"stickyCookie": {}}), "spec.loadBalancing.stickyCookie.name", "The field is required."),
    (
        route(loadBalancing={"stickyCookie": {"name": "__Host-a"}}),
        "spec.loadBalancing.stickyCookie.name",
        "choose another name",
    ),
    (
        route(loadBalancing={"stickyCookie": {"name": "a", "maxAge": "0s"}}),
        "spec.loadBalancing.stickyCookie.maxAge",
        "at least 1ms",
    ),
    (route(origins={"policy": "enforce"}), "spec.origins.policy", "must be 'Enforce', 'Report' or 'Off'"),
    (route(origins={"allow": "null"}), "spec.origins.allow", "must be a list"),
    (route(origins={"allow": [None]}), "spec.origins.allow[0]", "must be a string"),
    (route(origins={"allow": ["null", "null"]}), "spec.origins.allow[1]", "given once"),
    (route(origins={"allow": ["*"]}), "spec.origins.allow[0]", "policy: Off lets every page open sockets"),
    (route(origins={"allow": ["a.example.com"]}), "spec.origins.allow[0]", "must begin with its scheme"),
    (route(origins={"allow": ["wss://a.example.com"]}), "spec.origins.allow[0]", "scheme of the page"),
    (route(origins={"allow": ["https://a.example.com/"]}), "spec.origins.allow[0]", "without a slash"),
    (route(origins={"allow": ["https://A.example.com"]}), "spec.origins.allow[0]", "in lower case"),
    (route(origins={"allow": ["https://*.com"]}), "spec.origins.allow[0]", "two labels"),
    (route(origins={"allow": ["https://a.*.com"]}), "spec.origins.allow[0]", "whole first label"),
    (route(origins={"allow": ["https://a.example.com:65536"]}), "spec.origins.allow[0]", "from 1 to 65535"),
    (route(origins={"allow": [f"https://a{n}.example.com" for n in range(33)]}), "spec.origins.allow", "at most 32"),
    (route(origins={"requireHeader": "yes"}), "spec.origins.requireHeader", "must be true or false"),
    (route(headers={"set": [{"name": "Host", "value": "a"}]}), "spec.headers.set[0].name", "must not be changed"),
    (route(headers={"set": [{"name": "X-A"}]}), "spec.headers.set[0].value", "The field is required."),
    (route(headers={"remove": ["X-Forwarded-For"]}), "spec.headers.remove[0]", "set by the balancer"),
    (route(headers={"remove": ["X-A", "x_a"]}), "spec.headers.remove[1]", "named only once"),
    (
        route(headers={"set": [{"name": "X-A", "value": "1"}], "remove": ["x-a"]}),
        "spec.headers.remove[0]",
        "named only once",
    ),
    (
        route(headers={"set": [{"name": "X-A", "value": "1"}, {"name": "X_a", "value": "2"}]}),
        "spec.headers.set[1].name",
        "named only once",
    ),
]

BAD_BALANCERS: list[tuple[Any, str, str]] = [
    (balancer(dataPlane="Magic"), "spec.dataPlane", "must be 'Static' or 'Dynamic'; found 'Magic'."),
    (
        balancer(dataPlane="Dynamic", reload={"strategy": "Restart"}),
        "spec.dataPlane",
        "Dynamic needs the agent, which a Deployment with strategy Restart does not have",
    ),
    (balancer(dataPlane=None), "spec.dataPlane", "The field is required."),
    (
        balancer(deploymentRef=None),
        "spec.deploymentRef",
        "The field is required: it names the nginx Deployment to drive.",
    ),
    (balancer(deploymentRef={"name": "A"}), "spec.deploymentRef.name", "lower-case letters"),
    (balancer(serviceRef={"name": "a.b"}), "spec.serviceRef.name", "DNS label"),
    (balancer(domain="*.example.com"), "spec.domain", "without a wildcard"),
    (balancer(listeners=[]), "spec.listeners", "The list must not be empty."),
    (listener(port=80), "spec.listeners[0].port", "must be at least 1024; found 80."),
    (listener(port=70_000), "spec.listeners[0].port", "must be at most 65535"),
    (listener(port=8081), "spec.listeners[0].port", "8081 and 8082 are reserved"),
    (listener(port=8082), "spec.listeners[0].port", "8081 and 8082 are reserved"),
    (listener(protocol="TLS"), "spec.listeners[0].protocol", "must be 'HTTP' or 'HTTPS'"),
    (listener(protocol="HTTPS"), "spec.listeners[0].tls", "with protocol HTTPS, and only then"),
    (listener(tls=TLS), "spec.listeners[0].tls", "with protocol HTTPS, and only then"),
    (listener(protocol="HTTPS", tls={"certificates": []}), "spec.listeners[0].tls.certificates", "must not be empty"),
    (
        listener(protocol="HTTPS", tls={"certificates": [{"secretName": "a"}, {"secretName": "a"}]}),
        "spec.listeners[0].tls.certificates[1].secretName",
        "in the list already",
    ),
    (
        listener(protocol="HTTPS", tls={"certificates": [{"secretName": "../a"}]}),
        "spec.listeners[0].tls.certificates[0].secretName",
        "lower-case letters",
    ),
    (
        listener(protocol="HTTPS", tls=TLS, public={"scheme": "ws"}),
        "spec.listeners[0].public.scheme",
        "What clients see of a listener with protocol HTTPS is wss",
    ),
    (
        {**listener(protocol="HTTPS", tls=TLS), "reload": {"strategy": "Restart"}},
        "spec.listeners[0].protocol",
        "needs reload.strategy InPlace",
    ),
    (listener(public={"scheme": "http"}), "spec.listeners[0].public.scheme", "must be 'ws' or 'wss'"),
    (listener(public={"scheme": "ws", "port": 0}), "spec.listeners[0].public.port", "at least 1"),
    (
        balancer(listeners=[listener()["listeners"][0], listener(name="b")["listeners"][0]]),
        "spec.listeners[1].port",
        "a port of its own",
    ),
    (
        balancer(listeners=[listener()["listeners"][0], listener(port=8443)["listeners"][0]]),
        "spec.listeners[1].name",
        "'ws' is in the list already",
    ),
    (
        balancer(allowedRoutes={"namespaces": {"from": "Selector"}}),
        "spec.allowedRoutes.namespaces.selector",
        "with from: Selector, and only then",
    ),
    (
        balancer(allowedRoutes={"namespaces": {"from": "Selector", "selector": {}}}),
        "spec.allowedRoutes.namespaces.selector",
        "would select every namespace",
    ),
    (
        balancer(allowedRoutes={"namespaces": {"from": "Selector", "selector": {"matchLabels": {"a": True}}}}),
        "spec.allowedRoutes.namespaces.selector.matchLabels",
        "must be strings",
    ),
    (
        balancer(
            allowedRoutes={
                "namespaces": {
                    "from": "Selector",
                    "selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
                }
            }
        ),
        "spec.allowedRoutes.namespaces.selector.matchExpressions[0].values",
        "take none",
    ),
    (balancer(allowedRoutes={"hosts": ["*.com"]}), "spec.allowedRoutes.hosts[0]", "two labels"),
    (balancer(allowedRoutes={"maxPerNamespace": 0}), "spec.allowedRoutes.maxPerNamespace", "at least 1"),
    (balancer(allowedRoutes={"manualEndpoints": "yes"}), "spec.allowedRoutes.manualEndpoints", "true or false"),
    (balancer(allowedRoutes={"hostNetworkEndpoints": 1}), "spec.allowedRoutes.hostNetworkEndpoints", "true or false"),
    (balancer(reload={"strategy": "Rolling"}), "spec.reload.strategy", "must be 'InPlace' or 'Restart'"),
    (balancer(reload={"minInterval": "5"}), "spec.reload.minInterval", "with the units h, m, s or ms"),
    (balancer(reload={"minInterval": "99999h"}), "spec.reload.minInterval", "at most 2147483647ms"),
    (balancer(reload={"maxDrainingGenerations": 0}), "spec.reload.maxDrainingGenerations", "at least 1; found 0."),
    (balancer(reload={"maxDrainingGenerations": 65}), "spec.reload.maxDrainingGenerations", "at most 64; found 65."),
    (balancer(reload={"drainTimeout": "0s"}), "spec.reload.drainTimeout", "at least 1ms"),
    (balancer(reload={"drainTimeout": "4s"}), "spec.reload.drainTimeout", "must not be shorter than minInterval"),
    (
        balancer(reload={"minInterval": "2h"}),
        "spec.reload.drainTimeout",
        "must not be shorter than minInterval (5s when left out)",
    ),
    (
        balancer(reload={"strategy": "Restart", "maxDrainingGenerations": 3}),
        "spec.reload.maxDrainingGenerations",
        "means nothing with strategy Restart",
    ),
    (
        balancer(reload={"strategy": "Restart", "drainTimeout": "1h"}),
        "spec.reload.drainTimeout",
        "means nothing with strategy Restart",
    ),
    (balancer(trustedProxies=["10.0.0.1/8"]), "spec.trustedProxies[0]", "write 10.0.0.0/8; found '10.0.0.1/8'."),
    (balancer(trustedProxies=["10.0.0.0/8"] * 65), "spec.trustedProxies", "at most 64 items."),
    (balancer(requestHeaders=["Upgrade"]), "spec.requestHeaders[0]", "must not be changed"),
    (
        balancer(defaults={"timeouts": {"idle": "30s"}, "pingInterval": "20s"}),
        "spec.defaults.timeouts.idle",
        "at least twice pingInterval",
    ),
    (
        balancer(defaults={"timeouts": {"idle": "2h"}}, maximums={"idle": "1h"}),
        "spec.defaults.timeouts.idle",
        "must not exceed maximums.idle",
    ),
    (
        balancer(defaults={"loadBalancing": {"stickyCookie": {"name": "wsr"}}}),
        "spec.defaults.loadBalancing.stickyCookie",
        "Static has no sticky cookies",
    ),
    *(
        (
            balancer(defaults={"loadBalancing": {"policy": "Hash", "hash": {"by": source, "name": name}}}),
            "spec.defaults.loadBalancing.hash.name",
            "choose such a name",
        )
        for source, name in (("Header", "X.Room"), ("Query", "room-id"), ("Cookie", "connect.sid"))
    ),
    (
        balancer(defaults={"origins": {"allow": ["*"]}}),
        "spec.defaults.origins.allow[0]",
        "An origin must not be * alone",
    ),
    *(
        (balancer(nginx={"workerProcesses": wrong}), "spec.nginx.workerProcesses", "from 1 to 64, or auto")
        for wrong in (0, 65, "4", "AUTO", True)
    ),
    (balancer(nginx={"workerConnections": 63}), "spec.nginx.workerConnections", "at least 64"),
    (balancer(nginx={"templateRef": "a"}), "spec.nginx.templateRef", "must be an object with fields"),
    (balancer(nginx={"templateRef": {}}), "spec.nginx.templateRef.configMap", "The field is required"),
    (balancer(nginx={"templateRef": {"configMap": "A_b"}}), "spec.nginx.templateRef.configMap", "A name must consist"),
    (
        balancer(nginx={"templateRef": {"configMap": "a", "key": "a/../b"}}),
        "spec.nginx.templateRef.key",
        "A key must consist of letters",
    ),
]


@pytest.mark.parametrize(("raw", "field", "words"), BAD_ROUTES)
def test_bad_routes(raw: Any, field: str, words: str) -> None:
    problem = the_problem(parse_route_spec(raw))
    assert problem.path == field
    assert words in problem.message


@pytest.mark.parametrize(("raw", "field", "words"), BAD_BALANCERS)
def test_bad_balancers(raw: Any, field: str, words: str) -> None:
    problem = the_problem(parse_balancer_spec(raw))
    assert problem.path == field
    assert words in problem.message


def test_a_balancer_without_a_cluster_has_no_deployment() -> None:
    assert isinstance(parse_balancer_spec(balancer(deploymentRef=None), standalone=True), WebSocketBalancerSpec)


def test_the_name_of_a_balancer() -> None:
    assert balancer_name_problems("a" * 40) == ()
    assert the_problem(balancer_name_problems("a" * 41)).path == "metadata.name"
    assert "lower-case letters" in the_problem(balancer_name_problems("a.b")).message


def test_null_counts_as_left_out() -> None:
    """As the API server treats it; a manifest with an empty ``type:`` is not wrong."""
    left_out = parse_route_spec(path())
    assert parse_route_spec(path(type=None, upgrade=None, rewritePrefix=None) | {"timeouts": None}) == left_out


def test_every_problem_of_an_object_is_told_at_once() -> None:
    problems = parse_route_spec(
        {
            "hosts": ["A.example.com", "b.example.com:80"],
            "paths": [{"path": "ws", "backends": [{"service": "a", "port": 0}]}],
            "pingInterval": "x",
        }
    )
    assert isinstance(problems, tuple)
    assert [problem.path for problem in problems] == [
        "spec.hosts[0]",
        "spec.hosts[1]",
        "spec.paths[0].path",
        "spec.paths[0].backends[0].port",
        "spec.pingInterval",
    ]


def test_a_flood_of_problems_is_cut_short() -> None:
    problems = parse_balancer_spec(balancer(requestHeaders=["Host"] * 64))
    assert isinstance(problems, tuple)
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].message == "Only 10 of 64 problems are listed; solve these to see the others."


def test_the_value_of_a_header_is_never_repeated() -> None:
    problem = the_problem(parse_route_spec(route(headers={"set": [{"name": "X-A", "value": "secret\n"}]})))
    assert problem.path == "spec.headers.set[0].value"
    assert "secret" not in problem.message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (0.5, "0.5"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (10**30, "a very large number"),
        ("it's", '"it\'s"'),
        ("\u202e\x1b[31m", r"'\u202e\x1b[31m'"),
        ("a" * 61, f"'{'a' * 60}'... (61 characters)"),
        ({"a": 1}, "an object"),
        ([1], "a list"),
        (object(), "something else"),
    ],
)
def test_what_a_sentence_shows_of_a_value(value: object, text: str) -> None:
    assert shown(value) == text


# Any JSON, and any JSON in any place of a good spec.
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.text(alphabet=st.characters(codec=None, categories=["Cs", "Cc", "Lu"]), max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

FULL_ROUTE = route(
    balancerRef={"name": "shared", "namespace": "wsroute-system"},
    listeners=["ws"],
    paths=[
        {
            "path": "/ws",
            "type": "Exact",
            "upgrade": "Optional",
            "rewritePrefix": "/",
            "backends": [{"service": "a", "port": "web", "weight": 2}],
        }
    ],
    timeouts={"connect": "1s", "idle": "1h"},
    pingInterval="30s",
    origins={"policy": "Report", "allow": ["https://a.example.com", "null"], "requireHeader": True},
    loadBalancing={
        "policy": "Hash",
        "hash": {"by": "Query", "name": "room"},
        "stickyCookie": {"name": "wsr", "maxAge": "1h"},
    },
    headers={"set": [{"name": "X-A", "value": "a"}], "remove": ["X-B"]},
)

FULL_BALANCER = balancer(
    serviceRef={"name": "shared"},
    domain="ws.example.com",
    listeners=[{"name": "ws", "port": 8080, "protocol": "HTTP", "public": {"scheme": "wss", "port": 443}}],
    allowedRoutes={
        "namespaces": {
            "from": "Selector",
            "selector": {
                "matchLabels": {"a": "b"},
                "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
            },
        },
        "hosts": ["*"],
        "maxPerNamespace": 5,
        "manualEndpoints": True,
        "hostNetworkEndpoints": True,
    },
    reload={"strategy": "InPlace", "minInterval": "0s", "maxDrainingGenerations": 64, "drainTimeout": "10m"},
    trustedProxies=["10.0.0.0/8"],
    requestHeaders=["X-A"],
    defaults={
        "timeouts": {"connect": "1s", "idle": "1h"},
        "pingInterval": "30s",
        "origins": {"policy": "Off", "allow": [], "requireHeader": False},
        "loadBalancing": {"policy": "Hash", "hash": {"by": "Header", "name": "X-Room"}},
    },
    maximums={"idle": "2h"},
    nginx={"workerProcesses": 2, "workerConnections": 1024, "templateRef": {"configMap": "custom-main", "key": "a.j2"}},
)


def test_an_interval_between_restarts_may_be_longer_than_anything_drains() -> None:
    found = parse_balancer_spec(balancer(reload={"strategy": "Restart", "minInterval": "2h", "drainTimeout": None}))
    assert isinstance(found, WebSocketBalancerSpec)
    assert found.reload.restarts


def test_the_full_specs_are_good() -> None:
    assert isinstance(parse_route_spec(FULL_ROUTE), WebSocketRouteSpec)
    assert isinstance(parse_balancer_spec(FULL_BALANCER), WebSocketBalancerSpec)


def places(node: Any, prefix: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The ways to all nodes of a JSON value."""
    found = [prefix]
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in steps:
        found += places(value, (*prefix, key))
    return found


def replaced(node: Any, way: tuple[str | int, ...], value: Any) -> Any:
    """A copy with another value at one place."""
    if not way:
        return value
    copy = node.copy()
    copy[way[0]] = replaced(node[way[0]], way[1:], value)
    return copy


def assert_tells(parsed: object) -> None:
    """A model that is whole (it can be hashed), or problems fit for a status and a log."""
    if not isinstance(parsed, tuple):
        hash(parsed)
        return
    assert 0 < len(parsed) <= MAX_PROBLEMS + 1
    for problem in parsed:
        assert str(problem).isascii()
        assert str(problem).isprintable()
        assert len(str(problem)) < 1000


PARSERS: list[tuple[Callable[[object], object], Json]] = [
    (parse_route_spec, FULL_ROUTE),
    (parse_balancer_spec, FULL_BALANCER),
]


@pytest.mark.parametrize(("parse", "full"), PARSERS)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
@given(data=st.data())
def test_parsing_never_raises(parse: Callable[[object], object], full: Json, data: st.DataObject) -> None:
    way = data.draw(st.sampled_from(places(full)))
    assert_tells(parse(replaced(full, way, data.draw(ANY_JSON))))


@pytest.mark.parametrize(("parse", "full"), PARSERS)
@given(data=st.data())
def test_a_field_too_many_is_told(parse: Callable[[object], object], full: Json, data: st.DataObject) -> None:
    objects = [way for way in places(full) if isinstance(at(full, way), dict) and way[-1:] != ("matchLabels",)]
    way = data.draw(st.sampled_from(objects))
    name = data.draw(st.text(max_size=8).filter(lambda key: key not in at(full, way)))
    parsed = parse(replaced(full, way, at(full, way) | {name: 1}))
    assert_tells(parsed)
    assert isinstance(parsed, tuple)


def at(node: Any, way: tuple[str | int, ...]) -> Any:
    """The node at a place."""
    for step in way:
        node = node[step]
    return node


@pytest.mark.parametrize(
    "huge",
    [
        json.loads('{"a":' * 900 + "1" + "}" * 900),
        {"paths": [{}] * 100_000},
        {"hosts": ["a" * 1_000_000]},
        {f"field{number}": 1 for number in range(10_000)},
        {"headers": {"set": [{"name": "X-A", "value": "a" * 1_400_000}]}},
        {"allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"a" * 10**6: "b"}}}}},
    ],
    ids=["deep", "many paths", "long host", "many fields", "long value", "long label"],
)
def test_huge_objects_are_told_shortly(huge: Json) -> None:
    assert_tells(parse_route_spec(huge))
    assert_tells(parse_balancer_spec(huge))
