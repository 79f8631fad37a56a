"""Addresses that belong to somebody else than a backend: the API server, nodes, Services, balancers' pods.

They follow from the cluster's objects, and none of them can be chosen by somebody who may only write Services and pods:
the API server gives cluster addresses out of a range of their own, and the others are written by the cluster itself.
So nobody can have another one's endpoints left out.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from wsroute.cluster.objects import Balancer, Deployment, EndpointSlice, Key, Node, Pod, Service, Snapshot
from wsroute.graph.addresses import Reserved
from wsroute.graph.balancers import deployment_pods
from wsroute.graph.left_out import LeftOut
from wsroute.graph.memo import Memo

API_SERVER_SERVICE: Final = Key("default", "kubernetes")
"""The Service of the API server, which keeps the one slice of the same name itself."""

NOTHING_RESERVED: Final[Mapping[str, Reserved]] = MappingProxyType({})


def reserved_addresses(snapshot: Snapshot, memo: Memo) -> Mapping[str, Reserved]:
    """All addresses that belong to somebody who is not a backend, by their canonical text."""
    services, nodes = snapshot.services, snapshot.nodes
    own = tuple(
        slice_ for slice_ in snapshot.slices.get(API_SERVER_SERVICE, ()) if slice_.meta.key == API_SERVER_SERVICE
    )
    cluster_ips = memo.get(("reserved", "services"), (services,), lambda: _cluster_ips(services))
    of_nodes = memo.get(("reserved", "nodes"), (nodes,), lambda: _node_addresses(nodes))
    balancers, deployments, pods = snapshot.balancers, snapshot.deployments, snapshot.pods
    of_balancers = memo.get(
        ("reserved", "balancers"),
        (balancers, deployments, pods),
        lambda: _balancer_addresses(balancers, deployments, pods),
    )
    return memo.get(
        ("reserved", "all"),
        (cluster_ips, of_nodes, of_balancers, own),
        lambda: _together(cluster_ips, of_nodes, of_balancers, own),
    )


def reserved_among(
    slices: tuple[EndpointSlice, ...], reserved: Mapping[str, Reserved]
) -> tuple[tuple[str, Reserved], ...]:
    """Which of the addresses in these slices are reserved: none, nearly always. A pass looks at every slice."""
    for source in slices:
        for endpoint in source.endpoints:
            if endpoint.address in reserved:
                found = {entry.address for each in slices for entry in each.endpoints}
                return tuple((address, reserved[address]) for address in sorted(found & reserved.keys()))
    return ()


def _cluster_ips(services: Mapping[Key, Service]) -> frozenset[str]:
    return frozenset(address for service in services.values() for address in service.cluster_ips)


def _node_addresses(nodes: Mapping[Key, Node]) -> frozenset[str]:
    return frozenset(address for node in nodes.values() for address in node.addresses)


def _balancer_addresses(
    balancers: Mapping[Key, Balancer], deployments: Mapping[Key, Deployment], pods: Mapping[Key, Pod]
) -> dict[str, frozenset[int]]:
    """The addresses of all balancers' pods, with the ports on which they listen."""
    found: dict[str, frozenset[int]] = {}
    for balancer in balancers.values():
        spec = balancer.spec
        if spec is None or spec.deployment_ref is None:
            continue
        deployment = deployments.get(Key(balancer.meta.key.namespace, spec.deployment_ref.name))
        ports = frozenset(listener.port for listener in spec.listeners)
        for pod in deployment_pods(deployment, pods):
            for address in pod.addresses:
                found[address] = found.get(address, frozenset()) | ports
    return found


def _together(
    cluster_ips: frozenset[str],
    nodes: frozenset[str],
    balancers: Mapping[str, frozenset[int]],
    api_server: tuple[EndpointSlice, ...],
) -> dict[str, Reserved]:
    """Who has which address; of several the more telling one."""
    found = dict.fromkeys(cluster_ips, Reserved(LeftOut.CLUSTER_IP))
    found.update(dict.fromkeys(nodes, Reserved(LeftOut.NODE, node=True)))
    for address, ports in balancers.items():
        found[address] = Reserved(LeftOut.BALANCER, address in nodes, ports)
    for source in api_server:
        ports = frozenset(port.port for port in source.ports if port.port is not None)
        for endpoint in source.endpoints:
            known = found.get(endpoint.address)
            taken = ports if known is None else ports | known.ports
            found[endpoint.address] = Reserved(LeftOut.API_SERVER, endpoint.address in nodes, taken)
    return found
