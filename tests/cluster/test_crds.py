"""The CRDs on a real API server: they compile, each rule refuses with its sentence, and what is good gets in.

Everything is applied with `--dry-run=server`: it goes through the whole validation and leaves nothing behind.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.api import CurrentCluster
from localcluster.errors import ClusterError
from wsroute.api.conditions import Condition, ConditionType, Reason, merge_conditions
from wsroute.api.reference import BALANCER_EXAMPLE, ROUTE_EXAMPLE
from wsroute.api.status import route_summary
from wsroute.api.v1alpha1 import balancer_name_problems, parse_balancer_spec, parse_route_spec

Json = dict[str, Any]

CRDS = Path(__file__).parents[2] / "crds"
ROUTE, BALANCER = "WebSocketRoute", "WebSocketBalancer"
BACKENDS = [{"service": "a", "port": 80}]


@pytest.fixture(scope="module")
def server(cluster: CurrentCluster) -> CurrentCluster:
    """The cluster with our CRDs, which it serves already."""
    for plural in ("websocketroutes", "websocketbalancers"):
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS / f"{plural}.yaml"))
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.wsroute.dev", "--timeout=30s")
    return cluster


def manifest(kind: str, spec: Json, name: str = "tried") -> str:
    """An object as JSON."""
    metadata = {"name": name, "namespace": "default"}
    return json.dumps({"apiVersion": "wsroute.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})


def try_out(server: CurrentCluster, text: str) -> str:
    """Apply without leaving anything; raises ClusterError with the API server's words."""
    return server.kubectl("apply", "--dry-run=server", "-f", "-", input=text)


def route(**fields: Any) -> Json:
    """A good spec with some fields replaced."""
    good: Json = {"hosts": ["a.example.com"], "paths": [{"path": "/ws", "backends": BACKENDS}]}
    return good | fields


def path(**fields: Any) -> Json:
    """A good spec with some fields of its only path replaced."""
    return route(paths=[{"path": "/ws", "backends": BACKENDS} | fields])


def backend(**fields: Any) -> Json:
    """A good spec with some fields of its only backend replaced."""
    return path(backends=[BACKENDS[0] | fields])


def headers(name: str, value: str) -> Json:
    """A good spec that sets one header."""
    return route(headers={"set": [{"name": name, "value": value}]})


def origins(*allow: str) -> Json:
    """A good spec that lets pages of these origins open sockets."""
    return route(origins={"allow": list(allow)})


def balancing(**fields: Any) -> Json:
    """A good spec with this load balancing."""
    return route(loadBalancing=fields)


def hashed(**key: Any) -> Json:
    """A good spec with this hash key."""
    return balancing(policy="Hash", hash=key)


def balancer(**fields: Any) -> Json:
    """A good spec with some fields replaced."""
    good: Json = {
        "dataPlane": "Static",
        "deploymentRef": {"name": "shared"},
        "listeners": [{"name": "ws", "port": 8080, "protocol": "HTTP"}],
    }
    return good | fields


TLS = {"certificates": [{"secretName": "chat"}]}


def listeners(*ports: int, **fields: Any) -> Json:
    """A good spec with listeners on these ports."""
    return balancer(
        listeners=[{"name": f"l{i}", "port": port, "protocol": "HTTP"} | fields for i, port in enumerate(ports)]
    )


def namespaces(**fields: Any) -> Json:
    """A good spec with these allowed namespaces."""
    return balancer(allowedRoutes={"namespaces": fields})


# The spec, the field that the API server names, words of the sentence.
SAME_SENTENCE: list[tuple[str, Json, str, str]] = [
    (ROUTE, route(hosts=["A.example.com"]), "spec.hosts[0]", "in lower case"),
    (ROUTE, route(hosts=["a.example.com."]), "spec.hosts[0]", "without the dot at its end"),
    (ROUTE, route(hosts=["ok.example.com", "bücher.example.com"]), "spec.hosts[1]", "in punycode"),
    (ROUTE, route(hosts=["a.example.com:80"]), "spec.hosts[0]", "without a port"),
    (ROUTE, route(hosts=["wss://a.example.com"]), "spec.hosts[0]", "without scheme"),
    (ROUTE, route(hosts=["192.0.2.1"]), "spec.hosts[0]", "not an IP address"),
    (ROUTE, route(hosts=["*"]), "spec.hosts[0]", "at least two labels"),
    (ROUTE, route(hosts=["a.*.example.com"]), "spec.hosts[0]", "whole first label"),
    (ROUTE, route(hosts=["localhost"]), "spec.hosts[0]", "reserved"),
    (ROUTE, route(hosts=["a.b.svc.cluster.local"]), "spec.hosts[0]", "cluster's own names"),
    (ROUTE, route(hosts=["a.example.com\n"]), "spec.hosts[0]", "blanks or control characters"),
    (ROUTE, route(hosts=["a.example.com;{}"]), "spec.hosts[0]", "must consist of lower-case letters"),
    (ROUTE, route(listeners=["A"]), "spec.listeners[0]", "DNS label"),
    (ROUTE, route(balancerRef={"name": "A"}), "spec.balancerRef.name", "at most 40 lower-case letters"),
    (ROUTE, path(path="ws"), "spec.paths[0].path", "start with a slash"),
    (ROUTE, path(path="/$uri"), "spec.paths[0].path", "must consist of"),
    (ROUTE, path(path="/a\nb"), "spec.paths[0].path", "printable ASCII"),
    (ROUTE, path(path="/a%2fb"), "spec.paths[0].path", "percent-encoded"),
    (ROUTE, path(path="/a?b"), "spec.paths[0].path", "without query"),
    (ROUTE, path(path="/a/../b"), "spec.paths[0].path", "elements . and .."),
    (ROUTE, path(path="/a//b"), "spec.paths[0].path", "empty elements"),
    (ROUTE, path(path="/.wsroute/readyz"), "spec.paths[0].path", "reserved for the balancer"),
    (ROUTE, path(rewritePrefix="//evil"), "spec.paths[0].rewritePrefix", "empty elements"),
    (ROUTE, backend(service="a.b"), "spec.paths[0].backends[0].service", "DNS label"),
    (ROUTE, backend(port="80"), "spec.paths[0].backends[0].port", "without quotes"),
    (ROUTE, backend(port=0), "spec.paths[0].backends[0].port", "from 1 to 65535"),
    (ROUTE, backend(port=65_536), "spec.paths[0].backends[0].port", "from 1 to 65535"),
    (ROUTE, backend(port="Web"), "spec.paths[0].backends[0].port", "in lower case"),
    (ROUTE, backend(weight=0), "spec.paths[0].backends", "weight above 0"),
    (ROUTE, route(timeouts={"idle": "1d"}), "spec.timeouts.idle", "units h, m, s or ms"),
    (ROUTE, route(timeouts={"idle": "30s\n"}), "spec.timeouts.idle", "units h, m, s or ms"),
    (ROUTE, route(timeouts={"connect": "0s"}), "spec.timeouts.connect", "at least 1ms"),
    (ROUTE, route(timeouts={"idle": "597h"}), "spec.timeouts.idle", "at most 2147483647ms"),
    (ROUTE, route(timeouts={"idle": "59s"}, pingInterval="30s"), "spec.timeouts.idle", "twice pingInterval"),
    (ROUTE, headers("Host", "a"), "spec.headers.set[0].name", "must not be changed"),
    (ROUTE, headers("sec_websocket_key", "a"), "spec.headers.set[0].name", "must not be changed"),
    (ROUTE, headers("X-Forwarded-For", "a"), "spec.headers.set[0].name", "set by the balancer"),
    (ROUTE, headers("X A", "a"), "spec.headers.set[0].name", "must consist of"),
    (ROUTE, headers("X-A", "$host"), "spec.headers.set[0].value", "dollar sign"),
    (ROUTE, headers("X-A", "a\\r\\nX-B: c"), "spec.headers.set[0].value", "line break"),
    (ROUTE, headers("X-A", "a\nb"), "spec.headers.set[0].value", "printable ASCII"),
    (ROUTE, headers("X-A", " a"), "spec.headers.set[0].value", "blank"),
    (ROUTE, headers("X-A", ""), "spec.headers.set[0].value", "under remove"),
    (ROUTE, origins("*"), "spec.origins.allow[0]", "policy: Off lets every page open sockets"),
    (ROUTE, origins("a.example.com"), "spec.origins.allow[0]", "must begin with its scheme"),
    (ROUTE, origins("wss://a.example.com"), "spec.origins.allow[0]", "the scheme of the page"),
    (ROUTE, origins("https://a.example.com/"), "spec.origins.allow[0]", "without a slash or a path"),
    (ROUTE, origins("https://A.example.com"), "spec.origins.allow[0]", "in lower case"),
    (ROUTE, origins("https://*.com"), "spec.origins.allow[0]", "two labels"),
    (ROUTE, origins("https://a.*.com"), "spec.origins.allow[0]", "whole first label"),
    (ROUTE, origins("https://a.example.com:65536"), "spec.origins.allow[0]", "from 1 to 65535"),
    (ROUTE, origins("https://a.example.com\n"), "spec.origins.allow[0]", "blanks or control characters"),
    (ROUTE, balancing(policy="Hash"), "spec.loadBalancing.hash", "needs hash"),
    (ROUTE, balancing(hash={"by": "ClientIP"}), "spec.loadBalancing.hash", "means nothing without policy: Hash"),
    (
        ROUTE,
        balancing(policy="RoundRobin", hash={"by": "ClientIP"}),
        "spec.loadBalancing.hash",
        "means nothing without policy: Hash",
    ),
    (ROUTE, hashed(by="Query"), "spec.loadBalancing.hash.name", "name is required"),
    (ROUTE, hashed(by="ClientIP", name="a"), "spec.loadBalancing.hash.name", "means nothing with ClientIP"),
    (ROUTE, hashed(by="Header", name="X_Room"), "spec.loadBalancing.hash.name", "write the name with hyphens"),
    (ROUTE, hashed(by="Cookie", name="a b"), "spec.loadBalancing.hash.name", "must consist of"),
    (ROUTE, balancing(stickyCookie={"name": "__Host-a"}), "spec.loadBalancing.stickyCookie.name", "another name"),
    (
        BALANCER,
        balancer(defaults={"loadBalancing": {"stickyCookie": {"name": "wsr"}}}),
        "spec.defaults.loadBalancing.stickyCookie",
        "Static has no sticky cookies",
    ),
    (
        BALANCER,
        balancer(defaults={"loadBalancing": {"policy": "Hash", "hash": {"by": "Cookie", "name": "connect.sid"}}}),
        "spec.defaults.loadBalancing.hash.name",
        "choose such a name",
    ),
    (BALANCER, listeners(8081), "spec.listeners[0].port", "8081 and 8082 are reserved"),
    (BALANCER, balancer(domain="*.example.com"), "spec.domain", "without a wildcard"),
    (BALANCER, balancer(reload={"minInterval": "5"}), "spec.reload.minInterval", "with the units h, m, s or ms"),
    (BALANCER, balancer(reload={"minInterval": "99999h"}), "spec.reload.minInterval", "at most 2147483647ms"),
    (BALANCER, balancer(reload={"drainTimeout": "0s"}), "spec.reload.drainTimeout", "at least 1ms"),
    (BALANCER, balancer(reload={"drainTimeout": "4s"}), "spec.reload.drainTimeout", "not be shorter than minInterval"),
    (
        BALANCER,
        balancer(reload={"strategy": "Restart", "maxDrainingGenerations": 3}),
        "spec.reload.maxDrainingGenerations",
        "means nothing with strategy Restart",
    ),
    (
        BALANCER,
        balancer(dataPlane="Dynamic", reload={"strategy": "Restart"}),
        "spec.dataPlane",
        "Dynamic needs the agent",
    ),
    (
        BALANCER,
        balancer(reload={"strategy": "Restart", "drainTimeout": "1h"}),
        "spec.reload.drainTimeout",
        "means nothing with strategy Restart",
    ),
    (BALANCER, balancer(reload={"minInterval": "2h"}), "spec.reload.drainTimeout", "not be shorter than minInterval"),
    (BALANCER, balancer(deploymentRef={"name": "A"}), "spec.deploymentRef.name", "lower-case letters"),
    (BALANCER, namespaces(**{"from": "Selector"}), "spec.allowedRoutes.namespaces.selector", "and only then"),
    (
        BALANCER,
        namespaces(**{"from": "Selector", "selector": {}}),
        "spec.allowedRoutes.namespaces.selector",
        "select every namespace",
    ),
    (
        BALANCER,
        namespaces(**{"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        "spec.allowedRoutes.namespaces.selector.matchExpressions[0].values",
        "at least one value",
    ),
    (BALANCER, balancer(allowedRoutes={"hosts": ["*.com"]}), "spec.allowedRoutes.hosts[0]", "two labels"),
    (BALANCER, balancer(trustedProxies=["10.0.0.5"]), "spec.trustedProxies[0]", "with /32"),
    (BALANCER, balancer(trustedProxies=["::ffff:10.0.0.0/104"]), "spec.trustedProxies[0]", "IPv4 form"),
    (BALANCER, balancer(trustedProxies=["all"]), "spec.trustedProxies[0]", "address and a prefix length"),
    (BALANCER, balancer(requestHeaders=["Upgrade"]), "spec.requestHeaders[0]", "must not be changed"),
    (BALANCER, balancer(nginx={"workerProcesses": 65}), "spec.nginx.workerProcesses", "1 to 64, or auto"),
    (BALANCER, balancer(nginx={"workerProcesses": "4"}), "spec.nginx.workerProcesses", "1 to 64, or auto"),
    (
        BALANCER,
        balancer(defaults={"timeouts": {"idle": "30s"}, "pingInterval": "20s"}),
        "spec.defaults.timeouts.idle",
        "twice pingInterval",
    ),
]

# Where the API server has its own words, or names the list and not the item.
OWN_SENTENCE: list[tuple[str, Json, str, str]] = [
    (ROUTE, route(paths=[]), "spec.paths", "at least 1"),
    (ROUTE, route(paths=None), "spec.paths", "Required value"),
    (ROUTE, route(paths=[route()["paths"][0]] * 33), "spec.paths", "at most 32"),
    (
        ROUTE,
        route(paths=[{"path": "/ws", "backends": BACKENDS}, {"path": "/ws/", "backends": BACKENDS}]),
        "spec.paths",
        "once",
    ),
    (ROUTE, route(hosts=["a.example.com"] * 2), "spec.hosts[1]", "Duplicate value"),
    (ROUTE, route(hosts=[f"{'a.' * 130}com"]), "spec.hosts[0]", "may not be more than 253"),
    (ROUTE, route(hosts=[1]), "spec.hosts[0]", "must be of type string"),
    (ROUTE, path(type="Regex"), "spec.paths[0].type", 'supported values: "Prefix", "Exact"'),
    (ROUTE, path(upgrade="Never"), "spec.paths[0].upgrade", 'supported values: "Required", "Optional"'),
    (ROUTE, route(origins={"policy": "enforce"}), "spec.origins.policy", 'values: "Enforce", "Report", "Off"'),
    (ROUTE, origins("null", "null"), "spec.origins.allow[1]", "Duplicate value"),
    (ROUTE, origins(*(f"https://a{number}.example.com" for number in range(33))), "spec.origins.allow", "at most 32"),
    (ROUTE, hashed(name="a"), "spec.loadBalancing.hash.by", "Required value"),
    (ROUTE, hashed(by="Path", name="a"), "spec.loadBalancing.hash.by", 'values: "ClientIP", "Header"'),
    (BALANCER, balancer(reload={"maxDrainingGenerations": 65}), "spec.reload.maxDrainingGenerations", "equal to 64"),
    (BALANCER, balancer(reload={"maxDrainingGenerations": 0}), "spec.reload.maxDrainingGenerations", "equal to 1"),
    (ROUTE, backend(weight=1001), "spec.paths[0].backends[0].weight", "less than or equal to 1000"),
    (ROUTE, backend(weight=True), "spec.paths[0].backends[0].weight", "must be of type integer"),
    (ROUTE, route(headers={"remove": ["X-A", "x_a"]}), "spec.headers", "named only once"),
    (BALANCER, balancer(deploymentRef=None), "spec.deploymentRef", "Required value"),
    (BALANCER, balancer(dataPlane="Magic"), "spec.dataPlane", 'supported values: "Static", "Dynamic"'),
    (BALANCER, listeners(80), "spec.listeners[0].port", "greater than or equal to 1024"),
    (BALANCER, listeners(8080, 8080), "spec.listeners", "a port of its own"),
    (BALANCER, listeners(8080, 8443, name="ws"), "spec.listeners[1]", "Duplicate value"),
    (BALANCER, listeners(8080, protocol="TLS"), "spec.listeners[0].protocol", 'supported values: "HTTP", "HTTPS"'),
    (BALANCER, listeners(8080, protocol="HTTPS"), "spec.listeners[0].tls", "with protocol HTTPS, and only then"),
    (BALANCER, listeners(8080, tls=TLS), "spec.listeners[0].tls", "with protocol HTTPS, and only then"),
    (
        BALANCER,
        listeners(8443, protocol="HTTPS", tls=TLS, public={"scheme": "ws"}),
        "spec.listeners[0].public",
        "What clients see of a listener with protocol HTTPS is wss",
    ),
    (
        BALANCER,
        {**listeners(8443, protocol="HTTPS", tls=TLS), "reload": {"strategy": "Restart"}},
        "spec.listeners",
        "needs reload.strategy InPlace",
    ),
    (BALANCER, balancer(trustedProxies=["10.0.0.1/8"]), "spec.trustedProxies[0]", "without bits set beyond its prefix"),
    (
        BALANCER,
        balancer(trustedProxies=["10.0.0.0/33"]),
        "spec.trustedProxies[0]",
        "without bits set beyond its prefix",
    ),
    (
        BALANCER,
        balancer(defaults={"timeouts": {"idle": "2h"}}, maximums={"idle": "1h"}),
        "spec.defaults",
        "must not exceed maximums.idle",
    ),
    (
        BALANCER,
        namespaces(**{"from": "Selector", "selector": {"matchLabels": {"a b": "c"}}}),
        "spec.allowedRoutes.namespaces.selector.matchLabels",
        "Kubernetes label key",
    ),
    (
        BALANCER,
        namespaces(**{"from": "Selector", "selector": {"matchLabels": {"a": "-"}}}),
        "spec.allowedRoutes.namespaces.selector.matchLabels[a]",
        "letter or digit at both ends",
    ),
]


def refusal(server: CurrentCluster, kind: str, spec: Json, field: str) -> str:
    """What the API server says of a field of a wrong object."""
    with pytest.raises(ClusterError) as refused:
        try_out(server, manifest(kind, spec))
    told = str(refused.value)
    assert f"{field}: " in told
    return told.partition(f"{field}: ")[2]


def names(cases: list[tuple[str, Json, str, str]]) -> list[str]:
    """Names for the parametrised cases."""
    return [re.sub(r"\W+", "-", f"{field} {words}") for _, _, field, words in cases]


@pytest.mark.parametrize(("kind", "spec", "field", "words"), SAME_SENTENCE, ids=names(SAME_SENTENCE))
def test_the_api_server_says_what_the_operator_says(
    server: CurrentCluster, kind: str, spec: Json, field: str, words: str
) -> None:
    problems = parse_route_spec(spec) if kind == ROUTE else parse_balancer_spec(spec)
    assert isinstance(problems, tuple)
    (problem,) = problems
    assert problem.path == field
    sentence = problem.message.partition("; found")[0]
    assert words in sentence
    assert sentence.rstrip(".") in refusal(server, kind, spec, field)


@pytest.mark.parametrize(("kind", "spec", "field", "words"), OWN_SENTENCE, ids=names(OWN_SENTENCE))
def test_the_api_server_refuses_in_its_own_words(
    server: CurrentCluster, kind: str, spec: Json, field: str, words: str
) -> None:
    assert words in refusal(server, kind, spec, field)
    assert isinstance(parse_route_spec(spec) if kind == ROUTE else parse_balancer_spec(spec), tuple)


@pytest.mark.parametrize("name", ["a" * 41, "a.b"])
def test_names_of_balancers(server: CurrentCluster, name: str) -> None:
    with pytest.raises(ClusterError, match="A balancer's name must be at most 40 lower-case letters"):
        try_out(server, manifest(BALANCER, balancer(), name))
    assert balancer_name_problems(name)


def test_an_unknown_field_is_told(server: CurrentCluster) -> None:
    with pytest.raises(ClusterError, match=r'unknown field "spec\.host"'):
        try_out(server, manifest(ROUTE, route(host="a.example.com")))


FULL_SIZE = route(
    listeners=[f"listener-{number}" for number in range(16)],
    hosts=[f"{'a' * 60}.{'b' * 60}.{'c' * 60}.host-{number}.example.com" for number in range(16)],
    paths=[
        {
            "path": f"/{number:04}{'a' * 1019}",
            "type": "Prefix",
            "rewritePrefix": f"/{'a/' * 511}",
            "backends": [{"service": "s" * 63, "port": "p" * 63, "weight": 1000}] * 16,
        }
        for number in range(32)
    ],
    headers={
        "set": [{"name": f"X-{number}{'a' * 250}", "value": "a" * 2000} for number in range(16)],
        "remove": [f"Y-{number}{'a' * 250}" for number in range(16)],
    },
    origins={
        "allow": [f"https://{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 40}.o{n}.example.com:65535" for n in range(32)],
        "requireHeader": True,
    },
    loadBalancing={
        "policy": "Hash",
        "hash": {"by": "Query", "name": "a" * 64},
        "stickyCookie": {"name": "a" * 64, "maxAge": "596h"},
    },
)

GOOD: dict[str, str] = {
    "the reference's route": ROUTE_EXAMPLE.replace("namespace: team-a\n", "namespace: default\n"),
    "the reference's balancer": BALANCER_EXAMPLE.replace("namespace: wsroute-system\n", "namespace: default\n"),
    "the least route": manifest(ROUTE, {"paths": [{"path": "/", "backends": BACKENDS}]}),
    "the least balancer": manifest(BALANCER, balancer()),
    "the largest route": manifest(ROUTE, FULL_SIZE),
    "null counts as left out": manifest(ROUTE, path(type=None, rewritePrefix=None) | {"timeouts": None}),
    "both types of one path": manifest(
        ROUTE, route(paths=[{"path": "/ws", "type": kind, "backends": BACKENDS} for kind in ("Prefix", "Exact")])
    ),
    "exact with and without slash": manifest(
        ROUTE, route(paths=[{"path": path, "type": "Exact", "backends": BACKENDS} for path in ("/ws", "/ws/")])
    ),
    "longest durations": manifest(ROUTE, route(timeouts={"idle": "596h31m23s647ms"}, pingInterval="298h15m41s")),
    "a value that needs escaping": manifest(ROUTE, headers("X-A", "a \"quoted\" 'value' \\ ; {}")),
    "networks of both families": manifest(
        BALANCER, balancer(trustedProxies=["10.0.0.0/8", "2001:db8::/32", "::/0", "192.0.2.1/32"])
    ),
    "any host": manifest(BALANCER, balancer(allowedRoutes={"hosts": ["*"], "namespaces": {"from": "All"}})),
    "the longest name of a balancer": manifest(BALANCER, balancer(), "a" * 40),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_good_gets_in(server: CurrentCluster, case: str) -> None:
    assert "created (server dry run)" in try_out(server, GOOD[case])
    body = yaml.safe_load(GOOD[case])
    parsed = (parse_route_spec if body["kind"] == ROUTE else parse_balancer_spec)(body["spec"])
    assert not isinstance(parsed, tuple), parsed


def test_the_stored_object_is_as_its_author_wrote_it(server: CurrentCluster) -> None:
    """No default is filled in: GitOps tools would see drift for ever."""
    spec = route(timeouts={"idle": "1h"})
    stored = server.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", input=manifest(ROUTE, spec))
    assert json.loads(stored)["spec"] == spec


def test_what_kubectl_get_prints(server: CurrentCluster) -> None:
    name = "printed"
    server.kubectl("apply", "-f", "-", input=manifest(ROUTE, route(), name))
    try:
        conditions = [
            Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "All is well."),
            Condition(ConditionType.PROGRAMMED, False, Reason.PENDING, "1/2 pods."),
            Condition(ConditionType.READY, False, Reason.PENDING, "1/2 pods."),
        ]
        status = {
            "observedGeneration": 1,
            "balancer": "wsroute-system/shared",
            "hosts": ["a.example.com"],
            "urls": ["ws://a.example.com/ws"],
            "endpoints": {"ready": 3, "draining": 1},
            "summary": route_summary(hosts=["a.example.com"], ready=3, draining=1, conditions=conditions),
            "conditions": merge_conditions(conditions, [], generation=1, now="2026-01-01T00:00:00Z"),
        }
        server.kubectl(
            "patch",
            "wsr",
            name,
            "-n",
            "default",
            "--subresource=status",
            "--type=merge",
            "-p",
            json.dumps({"status": status}),
        )
        # An operator may be at work on this cluster, and it has a word on the same status: only the columns are sure.
        head, line = server.kubectl("get", "wsr", name, "-n", "default", "-o", "wide").splitlines()
        assert head.split() == ["NAME", "HOSTS", "URL", "ENDPOINTS", "READY", "REASON", "BALANCER", "PROGRAMMED", "AGE"]
        assert line.split()[0] == name
        written = json.loads(server.kubectl("get", "wsr", name, "-n", "default", "-o", "json"))["status"]
        assert written.keys() >= {"conditions", "summary"}, "nothing of it was pruned"
    finally:
        server.kubectl("delete", "wsr", name, "-n", "default")


def test_kubectl_explains_every_level(server: CurrentCluster) -> None:
    assert "Share of new sockets" in server.kubectl("explain", "wsr.spec.paths.backends.weight")
    assert "Labels that a namespace must have" in server.kubectl(
        "explain", "wsb.spec.allowedRoutes.namespaces.selector.matchLabels"
    )
