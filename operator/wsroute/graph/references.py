"""What a route's backends refer to: Services, their ports, and the endpoints behind these.

A reference that does not resolve takes the endpoints of one backend away and nothing else: the route stays accepted,
and is whole again when the Service appears.
"""

from collections.abc import Callable, Mapping

from wsroute.api.conditions import Problem, Reason
from wsroute.api.route import Backend, RoutePath
from wsroute.api.v1alpha1 import WebSocketRouteSpec
from wsroute.cluster.objects import EndpointSlice, Key, Service, ServicePort
from wsroute.graph.addresses import Reserved
from wsroute.graph.endpoints import NO_ENDPOINTS, EndpointSet, describe_ports, find_port
from wsroute.graph.left_out import explain_not_allowed
from wsroute.graph.model import BackendNode, PathNode

Target = tuple[Service | None, tuple[EndpointSlice, ...], tuple[tuple[str, Reserved], ...]]
"""A Service, or None where there is none of that name, its slices, and those of their addresses that are not for
endpoints."""

Resolve = Callable[[Service, Target, ServicePort], EndpointSet]
"""``resolve_endpoints`` with its settings; many routes may ask for the same port of the same Service."""


def service_keys(spec: WebSocketRouteSpec, namespace: str) -> tuple[Key, ...]:
    """The Services that a route refers to, each once, in the order of its spec."""
    return tuple(dict.fromkeys(Key(namespace, backend.service) for path in spec.paths for backend in path.backends))


def resolve_paths(
    spec: WebSocketRouteSpec, namespace: str, targets: Mapping[Key, Target], *, resolve: Resolve
) -> tuple[tuple[PathNode, ...], tuple[Problem, ...]]:
    """The route's paths with their endpoints, and what does not resolve.

    ``targets`` has what each of ``service_keys`` names.
    """
    problems: list[Problem] = []
    known: dict[tuple[Key, int | str], EndpointSet | Problem] = {}

    def backend_node(backend: Backend, field: str) -> BackendNode:
        key = Key(namespace, backend.service)
        found = known.get((key, backend.port))
        if found is None:
            found = _resolve(backend, targets[key], resolve)
            known[key, backend.port] = found
        if isinstance(found, Problem):
            problems.append(Problem(found.reason, f"{field}.{found.path}", found.message))
            found = NO_ENDPOINTS
        elif text := explain_not_allowed(backend.service, found.left_out):
            problems.append(Problem(Reason.ENDPOINT_NOT_ALLOWED, f"{field}.service", text))
        return BackendNode(service=key, port=backend.port, weight=backend.weight, endpoints=found)

    def path_node(path: RoutePath, field: str) -> PathNode:
        return PathNode(
            path=path.match_path,
            match=path.type,
            websocket_only=path.upgrade == "Required",
            rewrite_prefix=path.rewrite_prefix,
            backends=tuple(
                backend_node(backend, f"{field}.backends[{index}]") for index, backend in enumerate(path.backends)
            ),
        )

    paths = tuple(path_node(path, f"spec.paths[{index}]") for index, path in enumerate(spec.paths))
    return paths, tuple(problems)


def _resolve(backend: Backend, target: Target, resolve: Resolve) -> EndpointSet | Problem:
    """The endpoints of a backend, or what is wrong with the field ``service`` or ``port``."""
    service = target[0]
    if service is None:
        return Problem(
            Reason.SERVICE_NOT_FOUND,
            "service",
            f"There is no Service {backend.service} in the route's namespace: create it, or name another.",
        )
    if service.type == "ExternalName":
        return Problem(
            Reason.UNSUPPORTED_SERVICE,
            "service",
            f"The Service {backend.service} is an ExternalName, which is not served: name a Service with endpoints "
            "in the cluster.",
        )
    port = find_port(service, backend.port)
    if port is None:
        return Problem(
            Reason.PORT_NOT_FOUND,
            "port",
            f"The Service {backend.service} has no port {backend.port}; its ports are {describe_ports(service.ports)}.",
        )
    if port.protocol != "TCP":
        # The protocol is an enumeration to the API server, but a folder of manifests may hold anything.
        protocol = port.protocol if port.protocol in ("UDP", "SCTP") else "another protocol"
        return Problem(
            Reason.UNSUPPORTED_SERVICE,
            "port",
            f"The port {backend.port} of the Service {backend.service} is for {protocol}, and WebSockets need TCP: "
            "name another port.",
        )
    return resolve(service, target, port)
