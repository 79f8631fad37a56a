"""References that do not resolve: the sentence, the field, and nothing else suffers."""

import pytest

from tests.support import objects as made
from wsroute.api.conditions import Problem, Reason
from wsroute.cluster.objects import Key
from wsroute.graph.model import RouteNode


def node(*objects: made.Json, backends: list[made.Json] | None = None) -> RouteNode:
    found = made.route_node([made.balancer(), made.route(paths=[made.path(backends=backends)]), *objects])
    assert found.accepted
    assert found.references_checked
    return found


def test_resolved() -> None:
    found = node(made.service(), made.endpoint_slice())
    assert found.reference_problems == ()
    assert found.paths[0].backends[0].endpoints.addresses == (("10.0.0.1", 8080),)
    assert found.paths[0].takes_sockets


def test_missing_service() -> None:
    found = node(made.endpoint_slice(), made.service(namespace="team-b"))
    assert found.reference_problems == (
        Problem(
            Reason.SERVICE_NOT_FOUND,
            "spec.paths[0].backends[0].service",
            "There is no Service chat in the route's namespace: create it, or name another.",
        ),
    )
    assert not found.paths[0].takes_sockets


def test_missing_port_names_those_that_there_are() -> None:
    service = made.service(ports=[made.service_port(80, "web"), made.service_port(9090, "metrics")])
    found = node(service, made.endpoint_slice(), backends=[made.backend(port=80), made.backend(port="ws")])
    assert found.reference_problems == (
        Problem(
            Reason.PORT_NOT_FOUND,
            "spec.paths[0].backends[1].port",
            "The Service chat has no port ws; its ports are 80 (web), 9090 (metrics).",
        ),
    )


def test_service_without_ports() -> None:
    found = node(made.service(ports=[], spec={"clusterIP": "None"}), made.endpoint_slice())
    assert "its ports are none." in found.reference_problems[0].message


@pytest.mark.parametrize("protocol", ["UDP", "SCTP", "x\ny"])
def test_ports_of_other_protocols(protocol: str) -> None:
    found = node(made.service(ports=[made.service_port(protocol=protocol)]), made.endpoint_slice())
    problem = found.reference_problems[0]
    assert (problem.reason, problem.path) == (Reason.UNSUPPORTED_SERVICE, "spec.paths[0].backends[0].port")
    assert problem.message.isprintable()


def test_external_names_are_refused() -> None:
    service = made.service(spec={"type": "ExternalName", "externalName": "169.254.169.254"})
    found = node(service, made.endpoint_slice())
    problem = found.reference_problems[0]
    assert (problem.reason, problem.path) == (Reason.UNSUPPORTED_SERVICE, "spec.paths[0].backends[0].service")
    assert not found.paths[0].takes_sockets


def test_one_missing_backend_leaves_the_others() -> None:
    found = node(made.service(), made.endpoint_slice(), backends=[made.backend("gone"), made.backend()])
    assert [problem.path for problem in found.reference_problems] == ["spec.paths[0].backends[0].service"]
    assert [backend.endpoints.ready for backend in found.paths[0].backends] == [0, 1]
    assert found.paths[0].takes_sockets


def test_each_place_is_named() -> None:
    paths = [made.path("/a", [made.backend("gone")]), made.path("/b", [made.backend("gone"), made.backend("gone", 1)])]
    found = made.route_node([made.balancer(), made.route(paths=paths)])
    assert [problem.path for problem in found.reference_problems] == [
        "spec.paths[0].backends[0].service",
        "spec.paths[1].backends[0].service",
        "spec.paths[1].backends[1].service",
    ]


def test_services_of_other_namespaces_are_out_of_reach() -> None:
    raws = [made.balancer(), made.route(), made.service(namespace="team-b"), made.endpoint_slice(namespace="team-b")]
    found = made.graph_of(raws).routes[Key("team-a", "chat")]
    assert found.paths[0].backends[0].service == Key("team-a", "chat")
    assert not found.paths[0].takes_sockets


def test_manual_endpoints_by_permission_of_the_balancer() -> None:
    raws = [
        made.balancer(),
        made.route(),
        made.service(spec={"selector": None}),
        made.endpoint_slice(endpoints=[made.endpoint(pod=None)], managed_by="us"),
    ]
    assert not made.route_node(raws).paths[0].takes_sockets
    allowed = {"namespaces": {"from": "All"}, "hosts": ["*"], "manualEndpoints": True}
    raws[0] = made.balancer(spec={"allowedRoutes": allowed})
    assert made.route_node(raws).paths[0].takes_sockets
