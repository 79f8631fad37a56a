"""Addresses that belong to somebody else: who, what is told, what an administrator may allow, and what it costs."""

from typing import Any

import pytest

from tests.support import objects as made
from wsroute.api.conditions import Reason
from wsroute.cluster.objects import Key
from wsroute.graph.addresses import Reserved
from wsroute.graph.left_out import LeftOut
from wsroute.graph.memo import Memo
from wsroute.graph.model import GraphSettings, RouteNode
from wsroute.graph.reserved import reserved_addresses

API_SERVER = "172.16.0.9"
CONTROL = "172.16.0.1"
"""Of a node on which the API server runs."""
NODE = "172.16.0.2"
CLUSTER_IP = "10.96.0.77"
BALANCER_POD = "10.0.1.1"
GOOD = "10.0.0.5"


def api_server(*addresses: str, name: str = "kubernetes", port: int = 6443) -> made.Json:
    """The slice that the API server keeps of itself, which no controller signs."""
    raw = made.endpoint_slice(
        "kubernetes",
        "default",
        [made.endpoint(address, pod=None) for address in addresses or (API_SERVER, CONTROL)],
        name=name,
        ports=[{"name": "https", "port": port, "protocol": "TCP"}],
    )
    del raw["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
    return raw


def world(*endpoints: Any, balancer: dict[str, Any] | None = None, **slice_fields: Any) -> list[made.Json]:
    """A cluster with one route, whose Service has these endpoints."""
    allowed = {"namespaces": {"from": "All"}, "hosts": ["*"], **(balancer or {})}
    return [
        made.balancer(spec={"allowedRoutes": allowed}),
        made.deployment(),
        made.pod(ip=BALANCER_POD),
        made.service("kubernetes", "default", spec={"selector": None, "clusterIP": "10.96.0.1"}),
        api_server(),
        made.node("control", addresses=[CONTROL, "fd00:1::1"]),
        made.node("worker", addresses=[NODE, "worker"]),
        made.service("secrets", "team-b", spec={"clusterIP": CLUSTER_IP}),
        made.route(),
        made.service(),
        made.endpoint_slice(endpoints=list(endpoints), **slice_fields),
    ]


def served(node: RouteNode) -> list[str]:
    return [address for address, _ in node.paths[0].backends[0].endpoints.addresses]


def told(node: RouteNode) -> str:
    """The one problem of a route that is accepted all the same."""
    assert node.accepted
    (problem,) = node.reference_problems
    assert (problem.reason, problem.path) == (Reason.ENDPOINT_NOT_ALLOWED, "spec.paths[0].backends[0].service")
    assert problem.message.isprintable()
    return problem.message


OWNED = {
    API_SERVER: "has an address of the API server",
    NODE: "has the address of a node",
    CLUSTER_IP: "has the cluster address of a Service",
    BALANCER_POD: "has the address of a balancer's pod",
}


@pytest.mark.parametrize("address", OWNED)
@pytest.mark.parametrize("manual", [False, True])
def test_addresses_of_others_get_nothing_and_the_good_one_is_served(address: str, manual: bool) -> None:
    node = made.route_node(world(address, GOOD, balancer={"manualEndpoints": manual}))
    assert served(node) == [GOOD]
    text = told(node)
    assert text.startswith(
        f"Not all endpoints of the Service chat may be used, and these get no socket: 1 endpoint ({address}) "
        f"{OWNED[address]}. "
    )


@pytest.mark.parametrize("address", OWNED)
def test_by_hand_as_little(address: str) -> None:
    by_hand = world(
        made.endpoint(address, pod=None),
        made.endpoint(GOOD, pod=None),
        balancer={"manualEndpoints": True},
        managed_by="me",
    )
    node = made.route_node(by_hand)
    assert served(node) == [GOOD]
    assert OWNED[address] in told(node)


def test_in_ipv6_by_any_text() -> None:
    node = made.route_node(world("FD00:1:0::1", "fd00::5", address_type="IPv6"))
    assert served(node) == ["fd00::5"]
    assert "1 endpoint (fd00:1::1) has the address of a node" in told(node)


def test_nothing_good_is_no_endpoint() -> None:
    node = made.route_node(world(*OWNED))
    assert not node.paths[0].takes_sockets
    assert all(words in told(node) for words in OWNED.values())


def test_the_balancers_own_service_is_a_loop() -> None:
    raws = world("10.0.0.5")
    raws[-3] = made.route(namespace="wsroute-system", paths=[made.path(backends=[made.backend("shared-balancer")])])
    raws += [
        made.namespace("wsroute-system"),
        made.service("shared-balancer", "wsroute-system"),
        made.endpoint_slice("shared-balancer", "wsroute-system", [BALANCER_POD]),
    ]
    node = made.route_node(raws, key=Key("wsroute-system", "chat"))
    assert not node.paths[0].takes_sockets
    assert told(node).endswith("That would be a loop: name the Service of the app itself.")


def test_other_pods_beside_the_balancers_are_served() -> None:
    raws = [*world(GOOD), made.pod("app-1", ip=GOOD, labels={"app": "chat"})]
    assert made.route_node(raws).reference_problems == ()


def test_pods_of_other_balancers_count_as_well() -> None:
    raws = [
        *world("10.0.1.9", GOOD),
        made.balancer("second"),
        made.deployment("second-balancer", selector={"app": "second"}),
        made.pod("second-1", ip="10.0.1.9", labels={"app": "second"}),
    ]
    assert served(made.route_node(raws)) == [GOOD]


HOST_NETWORK = {"hostNetworkEndpoints": True}


@pytest.mark.parametrize("address", [NODE, CONTROL])
def test_pods_with_host_network_by_permission(address: str) -> None:
    """A node of the control plane has an address of the API server as well; its port stays the API server's."""
    text = told(made.route_node(world(address)))
    assert f"({address}) has the address of a node" in text
    assert "allowedRoutes.hostNetworkEndpoints" in text
    node = made.route_node(world(address, GOOD, balancer=HOST_NETWORK))
    assert served(node) == sorted([GOOD, address])
    assert node.reference_problems == ()
    ports = [{"name": "", "port": 6443, "protocol": "TCP"}]
    taken = made.route_node(world(CONTROL, GOOD, balancer=HOST_NETWORK, ports=ports))
    assert served(taken) == [GOOD]
    assert "has an address of the API server" in told(taken)


def test_the_permission_is_for_pods_and_nodes_only() -> None:
    both = {**HOST_NETWORK, "manualEndpoints": True}
    by_hand = world(made.endpoint(NODE, pod=None), made.endpoint(GOOD, pod=None), balancer=both, managed_by="me")
    assert served(made.route_node(by_hand)) == [GOOD]
    assert served(made.route_node(world(CLUSTER_IP, BALANCER_POD, GOOD, balancer=both))) == [GOOD]
    assert served(made.route_node(world(API_SERVER, GOOD, balancer=both))) == [GOOD]
    unknown = [raw for raw in world(CONTROL, GOOD, balancer=both) if raw["kind"] != "Node"]
    assert served(made.route_node(unknown)) == [GOOD]


def test_a_balancer_with_host_network_shares_its_nodes_but_for_its_ports() -> None:
    raws = world(NODE, balancer=HOST_NETWORK, ports=[{"name": "", "port": 9000, "protocol": "TCP"}])
    raws[2] = made.pod(ip=NODE)
    assert served(made.route_node(raws)) == [NODE]
    raws[-1] = made.endpoint_slice(endpoints=[NODE], ports=[{"name": "", "port": 8080, "protocol": "TCP"}])
    assert "balancer's pod" in told(made.route_node(raws))


def test_without_nodes_the_rest_holds() -> None:
    raws = [raw for raw in world(*OWNED, GOOD) if raw["kind"] != "Node"]
    assert served(made.route_node(raws)) == sorted([GOOD, NODE])


def test_nobody_makes_an_address_the_api_servers() -> None:
    """Only the slice that the API server keeps itself counts: who may write others in that namespace can't have
    endpoints of other namespaces left out."""
    raws = [*world(GOOD), api_server(GOOD, name="kubernetes-2")]
    assert made.route_node(raws).reference_problems == ()


def test_external_addresses_of_services_forbid_nothing() -> None:
    """Anybody may claim any address as an externalIP (CVE-2020-8554), or as that of an ExternalName."""
    raws = [
        *world(GOOD),
        made.service("greedy", "team-b", spec={"externalIPs": [GOOD], "clusterIP": "10.96.0.78"}),
        made.service("lying", "team-b", spec={"type": "ExternalName", "clusterIP": GOOD, "externalName": "x.example"}),
        made.service(
            "balanced", "team-b", spec={"clusterIP": "10.96.0.79"}, status={"loadBalancer": {"ingress": [{"ip": GOOD}]}}
        ),
    ]
    assert made.route_node(raws).reference_problems == ()


def test_a_signed_slice_of_a_service_without_selector_is_written_by_hand() -> None:
    raws = world(GOOD)
    raws[-2] = made.service(spec={"selector": None})
    node = made.route_node(raws)
    assert not node.paths[0].takes_sockets
    assert told(node) == (
        "Not all endpoints of the Service chat may be used, and these get no socket: 1 endpoint (10.0.0.5) was written "
        "by hand, which needs allowedRoutes.manualEndpoints of the balancer. Give the Service a selector, or ask the "
        "balancer's administrator for the permission."
    )
    raws[0] = made.balancer(
        spec={"allowedRoutes": {"namespaces": {"from": "All"}, "hosts": ["*"], "manualEndpoints": True}}
    )
    assert served(made.route_node(raws)) == [GOOD]


def test_standalone_knows_nothing_of_a_cluster() -> None:
    raws = [
        made.balancer(),
        made.route(),
        made.service(spec={"clusterIP": GOOD}),
        made.endpoint_slice(endpoints=[made.endpoint(GOOD, pod=None), made.endpoint("127.0.0.1", pod=None)]),
    ]
    node = made.route_node(raws, settings=GraphSettings(standalone=True))
    assert served(node) == [GOOD, "127.0.0.1"]
    assert node.reference_problems == ()


def test_one_routes_endpoints_change_nothing_for_its_neighbours() -> None:
    neighbour = [
        made.route("other", hosts=["other.example.com"], paths=[made.path(backends=[made.backend("other")])]),
        made.service("other"),
        made.endpoint_slice("other", endpoints=["10.0.0.6"]),
    ]
    memo = Memo()
    before = made.graph_of([*world(GOOD), *neighbour], memo=memo)
    memo.end_pass()
    after = made.graph_of([*world(API_SERVER), *neighbour], memo=memo)
    assert after.routes[Key("team-a", "other")] == before.routes[Key("team-a", "other")]
    assert made.configuration_of([*world(API_SERVER), *neighbour]) != made.configuration_of([*world(GOOD), *neighbour])


def test_an_address_that_becomes_anothers_is_taken_back_though_the_slice_stays() -> None:
    memo = Memo()
    raws = world(GOOD)
    assert served(made.route_node(raws, memo=memo)) == [GOOD]
    memo.end_pass()
    assert served(made.route_node([*raws, made.node("new", addresses=[GOOD])], memo=memo)) == []
    memo.end_pass()
    assert served(made.route_node(raws, memo=memo)) == [GOOD]


def test_what_is_reserved_is_worked_out_once_for_the_same_objects() -> None:
    snapshot, memo = made.snapshot_of(world(GOOD)), Memo()
    first = reserved_addresses(snapshot, memo)
    memo.end_pass()
    assert reserved_addresses(snapshot, memo) is first
    assert first[API_SERVER] == Reserved(LeftOut.API_SERVER, node=False, ports=frozenset({6443}))
    assert first[CONTROL] == Reserved(LeftOut.API_SERVER, node=True, ports=frozenset({6443}))
    assert first["10.96.0.1"] == Reserved(LeftOut.CLUSTER_IP)
    assert first[BALANCER_POD] == Reserved(LeftOut.BALANCER, node=False, ports=frozenset({8080}))
