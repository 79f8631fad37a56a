"""The whole pass: routes find balancers, and nothing depends on what was remembered or in which order things came."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import objects as made
from wsroute.api.conditions import Problem, Reason
from wsroute.cluster.kinds import Kind, parse_record
from wsroute.cluster.objects import EndpointSlice, Key
from wsroute.cluster.state import ClusterState
from wsroute.graph import build
from wsroute.graph.addresses import Reserved
from wsroute.graph.build import build_graph
from wsroute.graph.memo import Memo
from wsroute.graph.model import GraphSettings, RouteNode
from wsroute.graph.reserved import reserved_among

DEFAULT = GraphSettings(default_balancer=made.BALANCER)


def only(node: RouteNode) -> Problem:
    assert len(node.acceptance_problems) == 1, node.acceptance_problems
    return node.acceptance_problems[0]


def test_nothing() -> None:
    found = made.graph_of([])
    assert (found.balancers, found.routes) == ({}, {})


def test_no_default_balancer() -> None:
    node = made.route_node([made.balancer(), made.route()], settings=GraphSettings())
    assert only(node) == Problem(
        Reason.NO_BALANCER,
        "spec.balancerRef",
        "The route names no balancer, and the operator has no default one: name one.",
    )
    assert node.balancer is None


def test_missing_balancer() -> None:
    node = made.route_node([made.balancer(), made.route(spec={"balancerRef": {"name": "gone"}})])
    assert only(node).message == "There is no WebSocketBalancer team-a/gone: create it, or name another."
    assert node.balancer is None


def test_a_service_of_many_routes_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have thousands of endpoints."""
    looked_at = []
    look = reserved_among

    def count(slices: tuple[EndpointSlice, ...], reserved: Mapping[str, Reserved]) -> Any:
        looked_at.append(slices)
        return look(slices, reserved)

    monkeypatch.setattr(build, "reserved_among", count)
    routes = [made.route(f"r{number}", hosts=[f"r{number}.example.com"]) for number in range(20)]
    found = made.graph_of([made.balancer(), made.service(), made.endpoint_slice(), *routes])
    assert all(node.paths[0].takes_sockets for node in found.routes.values())
    assert len(looked_at) == 1


def test_broken_balancer_rejects_its_routes_and_says_so() -> None:
    found = made.graph_of([made.balancer(spec={"listeners": []}), made.route()])
    node = found.routes[made.ROUTE]
    assert only(node).reason is Reason.NO_BALANCER
    assert node.balancer == made.BALANCER
    balancer = found.balancers[made.BALANCER]
    assert balancer.spec is None
    assert balancer.acceptance_problems
    assert (balancer.accepted, balancer.rejected) == ((), (node,))


def test_problems_of_the_spec_come_first() -> None:
    node = made.route_node([made.route(spec={"nonsense": 1})])
    assert [problem.reason for problem in node.acceptance_problems] == [Reason.INVALID, Reason.NO_BALANCER]
    assert node.acceptance_problems[0].path == "spec.nonsense"


def test_a_spec_without_any_sense() -> None:
    raw = made.route()
    raw["spec"] = ["text"]
    node = made.route_node([made.balancer(), raw])
    assert only(node).reason is Reason.INVALID
    assert (node.balancer, node.hosts) == (None, ())


def test_the_only_balancer_is_the_default_in_standalone() -> None:
    settings = GraphSettings(standalone=True)
    assert made.route_node([made.balancer(), made.route()], settings=settings).accepted
    two = [made.balancer(), made.balancer("other"), made.route()]
    assert only(made.route_node(two, settings=settings)).reason is Reason.NO_BALANCER


def test_standalone_takes_loopback_by_hand() -> None:
    raws = [
        made.balancer(spec={"deploymentRef": None}),
        made.route(),
        made.service(spec={"selector": None}),
        made.endpoint_slice(endpoints=[made.endpoint("127.0.0.1", pod=None)], managed_by=""),
    ]
    node = made.route_node(raws, settings=GraphSettings(standalone=True))
    assert node.paths[0].backends[0].endpoints.addresses == (("127.0.0.1", 8080),)


def test_a_withdrawn_route() -> None:
    """What is good in it stays its own; what others would see of it is gone."""
    paths = [made.path("/good"), {"path": "bad", "backends": []}, made.path("/exact", type="Exact")]
    node = made.route_node([made.balancer(), made.route(hosts=["chat.example.com", "BAD"], paths=paths)])
    assert not node.accepted
    assert node.hosts == ("chat.example.com",)
    assert node.withdrawn_paths == (("/good", "Prefix"), ("/exact", "Exact"))
    assert (node.paths, node.settings, node.urls) == ((), None, ())
    assert not node.references_checked


def test_urls_prefer_wss_and_the_usual_port() -> None:
    listeners: list[dict[str, Any]] = [
        {"name": "a", "port": 8080, "protocol": "HTTP"},
        {"name": "b", "port": 8081 + 2, "protocol": "HTTP", "public": {"scheme": "wss", "port": 8443}},
        {"name": "c", "port": 8085, "protocol": "HTTP", "public": {"scheme": "wss"}},
    ]
    paths = [made.path("/ws"), made.path("/", type="Exact")]
    raws = [
        made.balancer(spec={"listeners": listeners}),
        made.route(hosts=["b.example.com", "*.example.com"], paths=paths),
    ]
    assert made.route_node(raws).urls == (
        "wss://*.example.com/ws",
        "wss://*.example.com/",
        "wss://b.example.com/ws",
        "wss://b.example.com/",
    )
    raws[1] = made.route(spec={"listeners": ["a", "b"]})
    assert made.route_node(raws).urls == ("wss://chat.example.com:8443/ws",)


def test_balancer_nodes() -> None:
    service = made.service(
        "front",
        "wsroute-system",
        ports=[made.service_port(80, target=8080)],
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
    )
    raws = [
        made.balancer(spec={"serviceRef": {"name": "front"}}),
        made.deployment(),
        service,
        made.pod("b"),
        made.pod("a", ip="10.0.1.2"),
        made.pod("other", labels={"app": "other"}),
        made.pod("c", "elsewhere"),
        made.route(),
        made.route("bad", hosts=["bad.example.com"], spec={"nonsense": 1}),
    ]
    node = made.balancer_node(raws)
    assert [pod.meta.key.name for pod in node.pods] == ["a", "b"]
    assert node.addresses == ("203.0.113.1",)
    assert node.deployment_problems == ()
    assert [route.key.name for route in node.accepted] == ["chat"]
    assert [route.key.name for route in node.rejected] == ["bad"]


def deployment_problems(*objects: made.Json, **spec: Any) -> list[tuple[Reason, str]]:
    node = made.balancer_node([made.balancer(spec=spec), *objects])
    return [(problem.reason, problem.path) for problem in node.deployment_problems]


def test_balancer_references() -> None:
    assert deployment_problems() == [(Reason.DEPLOYMENT_NOT_FOUND, "spec.deploymentRef")]
    assert deployment_problems(made.deployment()) == []
    front: dict[str, Any] = {"serviceRef": {"name": "front"}}
    assert deployment_problems(made.deployment(), **front) == [(Reason.SERVICE_NOT_FOUND, "spec.serviceRef")]
    for ports, missing in (
        ([made.service_port(80, target=8080)], False),
        ([made.service_port(8080)], False),
        ([{"port": 8080}], False),
        ([made.service_port(80, target="http")], False),
        ([made.service_port(8080, target=80)], True),
        ([made.service_port(8080, protocol="UDP")], True),
        ([], True),
    ):
        service = made.service("front", "wsroute-system", ports=ports)
        wanted = [(Reason.SERVICE_PORT_MISSING, "spec.listeners[0].port")] if missing else []
        assert deployment_problems(made.deployment(), service, **front) == wanted


HOSTS = ("a.example.com", "b.example.com", "*.example.com")


@st.composite
def worlds(draw: st.DrawFn) -> list[made.Json]:
    """Some routes of two namespaces, good and bad, with Services and slices that may be there."""
    raws = (
        [made.balancer()]
        if draw(st.booleans())
        else [
            made.balancer(spec={"allowedRoutes": {"namespaces": {"from": "All"}, "hosts": ["*"], "maxPerNamespace": 2}})
        ]
    )
    for namespace in ("team-a", "team-b"):
        for name in ("one", "two", "three"):
            if draw(st.booleans()):
                hosts = draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True))
                paths = [
                    made.path(text, [made.backend(draw(st.sampled_from(("x", "y"))))])
                    for text in draw(st.lists(st.sampled_from(("/", "/ws")), min_size=1, max_size=2, unique=True))
                ]
                spec: dict[str, Any] = draw(st.sampled_from(({}, {}, {"nonsense": 1}, {"listeners": ["gone"]})))
                created = f"2026-01-0{draw(st.integers(1, 5))}T00:00:00Z"
                version, generation = draw(st.integers(1, 9)), draw(st.integers(1, 2))
                raws.append(
                    made.route(
                        name,
                        namespace,
                        hosts=hosts,
                        paths=paths,
                        spec=spec,
                        created=created,
                        version=version,
                        generation=generation,
                    )
                )
        for name in ("x", "y"):
            if draw(st.booleans()):
                raws.append(made.service(name, namespace))
            if draw(st.booleans()):
                raws.append(
                    made.endpoint_slice(
                        name, namespace, [f"10.0.0.{draw(st.integers(1, 3))}"], version=draw(st.integers(1, 9))
                    )
                )
    return raws


def state_of(raws: list[made.Json]) -> ClusterState:
    state = ClusterState()
    for raw in raws:
        record = parse_record(Kind(raw["kind"]), raw)
        assert record is not None
        state.upsert(record)
    return state


@given(steps=st.lists(worlds(), min_size=1, max_size=4))
@settings(max_examples=60)
def test_a_memo_changes_nothing_but_the_cost(steps: list[list[made.Json]]) -> None:
    memo = Memo()
    for raws in steps:
        snapshot = state_of(raws).snapshot()
        assert build_graph(snapshot, DEFAULT, memo) == build_graph(snapshot, DEFAULT, Memo())
        memo.end_pass()


@given(raws=worlds(), data=st.data())
@settings(max_examples=60)
def test_the_order_of_events_changes_nothing(raws: list[made.Json], data: st.DataObject) -> None:
    there = build_graph(state_of(raws).snapshot(), DEFAULT, Memo())
    here = build_graph(state_of(data.draw(st.permutations(raws))).snapshot(), DEFAULT, Memo())
    assert here == there
    assert list(here.routes) == list(there.routes)


def test_nodes_stay_the_same_objects_until_their_meaning_changes() -> None:
    raws = [
        made.balancer(),
        made.route(),
        made.service(),
        made.endpoint_slice(),
        made.route("b", hosts=["b.example.com"]),
    ]
    state, memo = state_of(raws), Memo()

    def graph() -> Any:
        found = build_graph(state.snapshot(), DEFAULT, memo)
        memo.end_pass()
        return found

    first = graph()
    for raw in (made.route(version=9, status={"hosts": []}), made.balancer(version=9, status={"x": 1})):
        record = parse_record(Kind(raw["kind"]), raw)
        assert record is not None
        assert not state.upsert(record)
    second = graph()
    assert all(second.routes[key] is first.routes[key] for key in first.routes)
    changed = parse_record(Kind.ENDPOINT_SLICE, made.endpoint_slice(endpoints=["10.0.0.7"], version=9))
    assert changed is not None
    state.upsert(changed)
    third = graph()
    assert third.routes[made.ROUTE] is not first.routes[made.ROUTE]
    other = Key("team-a", "b")
    assert third.routes[other] is not first.routes[other], "it refers to the same Service"


def test_a_memo_is_bounded_by_what_there_is() -> None:
    memo = Memo()
    for number in range(50):
        raws = [made.balancer(), made.route(f"r{number}"), made.service(), made.endpoint_slice()]
        build_graph(made.snapshot_of(raws), DEFAULT, memo)
        memo.end_pass()
    assert len(memo) < 20
