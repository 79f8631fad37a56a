"""Parsing is total: any JSON gives a record or None, never an exception, and nulls count as absent."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import objects as made
from wsroute.cluster import parse
from wsroute.cluster.kinds import Kind, parse_record
from wsroute.cluster.objects import Claims, Key, PathClaim, Progress, ServicePort, SliceEndpoint, SlicePort

WHOLE = {
    Kind.ROUTE: made.route(spec={"headers": {"set": [{"name": "X-A", "value": "1"}]}, "timeouts": {"idle": "1h"}}),
    Kind.BALANCER: made.balancer(),
    Kind.SERVICE: made.service(status={"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}),
    Kind.ENDPOINT_SLICE: made.endpoint_slice(endpoints=[made.terminating()]),
    Kind.NAMESPACE: made.namespace(),
    Kind.POD: made.pod(),
    Kind.DEPLOYMENT: made.deployment(),
    Kind.CONFIG_MAP: made.config_map("x", data={"a": "b"}),
    Kind.NODE: made.node(),
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value with each of its keys or indexes."""
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    "junk", [None, 0, -1, 1.5, True, "", "x\n", [], [None], {}, {"a": None}, [[]], "\ud800"], ids=repr
)
def test_junk_in_every_place_never_raises(kind: Kind, junk: Any) -> None:
    parse_record(kind, junk)
    for number, _ in enumerate(places(WHOLE[kind])):
        raw = copy.deepcopy(WHOLE[kind])
        container, key = list(places(raw))[number]
        container[key] = junk
        parse_record(kind, raw)


@pytest.mark.parametrize("kind", Kind)
@given(data=st.data())
@settings(max_examples=50)
def test_any_json_in_any_place_never_raises(kind: Kind, data: st.DataObject) -> None:
    raw = copy.deepcopy(WHOLE[kind])
    spots = list(places(raw))
    container, key = spots[data.draw(st.integers(0, len(spots) - 1))]
    container[key] = data.draw(JSON)
    parse_record(kind, raw)


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("", "team-a"),
        ("chat\n", "team-a"),
        ("Chat", "team-a"),
        ("a_b", "team-a"),
        ("a/b", "team-a"),
        ("chat", ""),
        ("chat", "a.b"),
        ("chat", "team_a"),
        ("x" * 254, "team-a"),
    ],
)
def test_unusable_names_give_no_record(name: str, namespace: str) -> None:
    assert parse.parse_route(made.route(name, namespace)) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("12", 12),
        ("0", 0),
        ("", -1),
        ("12\n", -1),
        ("-3", -1),
        ("1_2", -1),
        ("٣", -1),
        (12, -1),
        (None, -1),
        ("a1", -1),
    ],
)
def test_resource_versions(text: object, version: int) -> None:
    assert parse.parse_version(text) == version


def test_slice_with_null_lists_is_empty() -> None:
    raw = made.endpoint_slice()
    raw["endpoints"] = raw["ports"] = None
    found = parse.parse_endpoint_slice(raw)
    assert found is not None
    assert found.endpoints == ()
    assert found.ports == ()


@pytest.mark.parametrize(
    ("conditions", "ready", "serving", "terminating"),
    [
        (None, True, True, False),
        ({}, True, True, False),
        ({"ready": None, "serving": None, "terminating": None}, True, True, False),
        ({"ready": False}, False, False, False),
        ({"ready": False, "serving": True, "terminating": True}, False, True, True),
        ({"ready": "no", "terminating": "yes"}, True, True, False),
    ],
)
def test_conditions_of_endpoints(conditions: Any, ready: bool, serving: bool, terminating: bool) -> None:
    raw = made.endpoint_slice(endpoints=[{"addresses": ["10.0.0.1", "10.0.0.2"], "conditions": conditions}])
    found = parse.parse_endpoint_slice(raw)
    assert found is not None
    assert found.endpoints == (SliceEndpoint("10.0.0.1", ready, serving, terminating, None),)


@pytest.mark.parametrize("entry", [None, {}, {"addresses": None}, {"addresses": []}, {"addresses": [None]}, 7, []])
def test_endpoints_without_an_address_do_not_exist(entry: Any) -> None:
    found = parse.parse_endpoint_slice(made.endpoint_slice(endpoints=[entry]))
    assert found is not None
    assert found.endpoints == ()


def test_target_references() -> None:
    references: list[Any] = [
        {"kind": "Pod", "name": "a", "namespace": "other"},
        {"kind": "Pod", "name": "a"},
        {"kind": "Node", "name": "a", "namespace": "team-a"},
        {"kind": "Pod"},
        None,
    ]
    endpoints = [{"addresses": ["10.0.0.1"], "targetRef": reference} for reference in references]
    found = parse.parse_endpoint_slice(made.endpoint_slice(endpoints=endpoints))
    assert found is not None
    assert [entry.pod for entry in found.endpoints] == [Key("other", "a"), Key("team-a", "a"), None, None, None]


@pytest.mark.parametrize("label", [None, "", "a/b", "x\n"])
def test_slices_of_no_service_are_not_looked_at(label: str | None) -> None:
    raw = made.endpoint_slice()
    raw["metadata"]["labels"]["kubernetes.io/service-name"] = label
    assert parse.parse_endpoint_slice(raw) is None


def test_slice_ports() -> None:
    ports = [{"name": None, "port": 80}, {"name": "web", "port": None, "protocol": "TCP"}, {"port": 70000}, None]
    found = parse.parse_endpoint_slice(made.endpoint_slice(ports=ports))
    assert found is not None
    assert found.ports == (SlicePort("", 80, "TCP"), SlicePort("web", None, "TCP"), SlicePort("", None, "TCP"))


def test_service_ports() -> None:
    ports = [
        {"port": 80},
        {"port": 81, "name": "web", "protocol": "UDP", "targetPort": "http"},
        {"port": 82, "targetPort": 8080},
        {"port": True},
        {"port": 0},
        {"port": 65536},
        {"port": "80"},
        {"port": 83, "name": "Bad\nname"},
        {"port": 84, "targetPort": {}},
        None,
    ]
    found = parse.parse_service(made.service(ports=ports))
    assert found is not None
    assert found.ports == (
        ServicePort("", 80, "TCP", None),
        ServicePort("web", 81, "UDP", "http"),
        ServicePort("", 82, "TCP", 8080),
        ServicePort("", 84, "TCP", None),
    )


def test_services() -> None:
    ingress = [{"ip": "203.0.113.1"}, {"hostname": "lb.example.com"}, {}, None]
    found = parse.parse_service(
        made.service(
            spec={"clusterIP": "None", "selector": None, "type": None}, status={"loadBalancer": {"ingress": ingress}}
        )
    )
    assert found is not None
    assert (found.type, found.has_selector) == ("ClusterIP", False)
    assert found.addresses == ("203.0.113.1", "lb.example.com")
    assert found.cluster_ips == ()


def test_cluster_addresses_of_services() -> None:
    both = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "FD00:0::1", None, "x"]}
    found = parse.parse_service(made.service(spec=both))
    assert found is not None
    assert found.cluster_ips == ("10.96.0.1", "fd00::1")
    external = parse.parse_service(made.service(spec={**both, "type": "ExternalName"}))
    assert external is not None
    assert external.cluster_ips == ()


def test_addresses_of_nodes() -> None:
    node = parse.parse_node(made.node(addresses=["172.16.0.1", "FD00::1", "node-1", "n.example.com", "172.16.0.1"]))
    assert node is not None
    assert (node.meta.key, node.addresses) == (Key("", "node-1"), ("172.16.0.1", "fd00::1"))


def test_addresses_in_slices_are_canonical_where_they_are_any() -> None:
    raw = made.endpoint_slice(endpoints=["FD00:0::0001", "10.0.0.01", "fd00::1%eth0", "10.0.0.1"])
    found = parse.parse_endpoint_slice(raw)
    assert found is not None
    assert [entry.address for entry in found.endpoints] == ["fd00::1", "10.0.0.01", "fd00::1%eth0", "10.0.0.1"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_has_no_address(phase: str) -> None:
    """Its object keeps showing the one that it had, while another pod may have it by now."""
    raw = made.pod()
    raw["status"]["phase"] = phase
    pod = parse.parse_pod(raw)
    assert pod is not None
    assert pod.addresses == ()


def test_pods_and_deployments() -> None:
    pod = parse.parse_pod(made.pod(deleted="2026-01-01T00:00:00Z", ready=False))
    assert pod is not None
    assert (pod.ready, pod.terminating, pod.addresses) == (False, True, ("10.0.1.1",))
    assert pod.until == "2026-01-01T00:00:00Z"
    forged = parse.parse_pod(made.pod(deleted="tomorrow"))
    assert forged is not None
    assert (forged.terminating, forged.until) == (True, "")
    raw = made.pod()
    raw["status"]["podIPs"] = [{"ip": "10.0.1.1"}, {"ip": "FD00::1"}, {}]
    both = parse.parse_pod(raw)
    assert both is not None
    assert both.addresses == ("10.0.1.1", "fd00::1")
    raw = made.deployment()
    raw["spec"]["replicas"] = None
    raw["status"] = None
    found = parse.parse_deployment(raw)
    assert found is not None
    assert (found.replicas, found.ready_replicas, found.selector) == (1, 0, {"app": "shared-balancer"})


def ended(code: int, message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": "Error", "message": message}}


@pytest.mark.parametrize(
    ("containers", "words"),
    [
        ([{"state": ended(1, "no")}], "no"),
        ([{"state": {"waiting": {}}, "lastState": ended(1, "no")}], "no"),
        ([{"state": {"running": {}}, "lastState": ended(1, "no")}], "no"),
        ([{"state": ended(0), "lastState": ended(1, "no")}], ""),
        ([{"state": ended(0)}, {"state": ended(2)}], "Error"),
        ([{"state": {"running": {}}}], ""),
        ([{"state": ended(1, "x" * 10_000)}], "x" * parse.MAX_WORDS),
        ([None, {"state": "no"}, {"lastState": [1]}], ""),
        ("no", ""),
    ],
    ids=str,
)
def test_the_last_words_of_an_init_container(containers: object, words: str) -> None:
    raw = made.pod()
    raw["status"]["initContainerStatuses"] = containers
    pod = parse.parse_pod(raw)
    assert pod is not None
    assert pod.init_failure == words


def test_the_progress_of_a_rollout() -> None:
    raw = made.deployment()
    raw["spec"]["template"] = {"metadata": {"annotations": {"wsroute.dev/version": "v1", "other": "x"}}}
    raw["status"] = {
        "observedGeneration": 4,
        "replicas": 3,
        "updatedReplicas": 1,
        "availableReplicas": 2,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
    }
    found = parse.parse_deployment(raw)
    assert found is not None
    assert found.version == "v1"
    assert found.progress == Progress(observed=4, replicas=3, updated=1, available=2, is_stalled=True)
    raw["status"] = {"conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}], "replicas": "3"}
    raw["spec"]["template"] = {"metadata": {"annotations": ["no"]}}
    found = parse.parse_deployment(raw)
    assert found is not None
    assert (found.version, found.progress) == ("", Progress())


def claims_of(**spec: Any) -> Claims | None:
    found = parse.parse_route(made.route(spec=spec))
    assert found is not None
    return found.claims


def test_claims_of_a_good_route() -> None:
    claims = claims_of(
        hosts=["a.example.com"],
        listeners=["ws"],
        balancerRef={"name": "mine"},
        paths=[made.path("/ws/"), made.path("/ws/", type="Exact"), made.path("/")],
    )
    assert claims == Claims(
        balancer=Key("team-a", "mine"),
        listeners=("ws",),
        hosts=("a.example.com",),
        paths=(PathClaim("/ws", "Prefix"), PathClaim("/ws/", "Exact"), PathClaim("/", "Prefix")),
    )


def test_claims_of_a_broken_route_are_what_is_good_by_itself() -> None:
    claims = claims_of(
        nonsense=True,
        hosts=["a.example.com", "bad host", None, "a.example.com"],
        listeners=["ws", "{"],
        paths=[
            {"path": "/ws/"},
            {"path": "/x;", "type": "Prefix"},
            {"path": "/e/", "type": "Exact"},
            {"path": "/r", "type": "Regex"},
            None,
        ],
    )
    assert claims == Claims(
        balancer=None,
        listeners=("ws",),
        hosts=("a.example.com",),
        paths=(PathClaim("/ws", "Prefix"), PathClaim("/e/", "Exact")),
    )


@pytest.mark.parametrize(
    ("written", "claimed"),
    [
        ("A.Example.COM", ("a.example.com",)),
        ("a.example.com.", ("a.example.com",)),
        ("*.Example.com.", ("*.example.com",)),
        ("XN--BCHER-KVA.example", ("xn--bcher-kva.example",)),
        ("a.example.com..", ()),
        ("xn--zzzzzzzz99.example", ()),
        ("bücher.example", ()),
        ("\u212aelvin.example.com", ()),  # a Kelvin sign, which is a k in lower case
        ("a.example.com ", ()),
    ],
)
def test_a_host_in_other_letters_is_refused_and_stays_claimed(written: str, claimed: tuple[str, ...]) -> None:
    raw = made.route(hosts=[written])
    found = parse.parse_route(raw)
    assert found is not None
    assert [problem.path for problem in found.problems] == ["spec.hosts[0]"]
    assert found.claims is not None
    assert found.claims.hosts == claimed


def test_claims_without_hosts_keep_the_derived_one() -> None:
    claims = claims_of(nonsense=True, hosts=None)
    assert claims is not None
    assert claims.hosts is None


def test_no_claims_where_the_balancer_is_not_known() -> None:
    assert claims_of(balancerRef={"name": "no name"}) is None
    assert claims_of(balancerRef="shared") is None
    raw = made.route()
    raw["spec"] = "text"
    found = parse.parse_route(raw)
    assert found is not None
    assert found.claims is None
    assert found.problems


def test_balancer_names_are_short() -> None:
    found = parse.parse_balancer(made.balancer("x" * 41))
    assert found is not None
    assert found.spec is None
    assert [problem.path for problem in found.problems] == ["metadata.name"]
