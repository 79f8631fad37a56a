"""Statuses as they ought to be, against the schema that the API server checks them with."""

from typing import Any

from tests.support import objects as made
from wsroute.api.status import WebSocketBalancerStatus, WebSocketRouteStatus
from wsroute.graph.conditions import RolloutView, balancer_conditions, route_conditions
from wsroute.graph.status import Leaving, Reloaded, ServedView, balancer_status, route_status

DONE = RolloutView(ready_pods=2, current_pods=2, total_pods=2)


def of_route(raws: list[made.Json]) -> dict[str, Any]:
    node = made.route_node(raws)
    status = route_status(node, route_conditions(node, DONE))
    WebSocketRouteStatus.model_validate(status)
    return status


def test_served_route() -> None:
    ports = [made.service_port(8080, "ws"), made.service_port(80, "page")]
    slice_ports = [{"name": "ws", "port": 8080}, {"name": "page", "port": 80}]
    endpoints = ["10.0.0.1", "10.0.0.2", made.terminating()]
    paths = [made.path("/ws"), made.path("/", [made.backend(port="page"), made.backend("spare", weight=0)])]
    raws = [
        made.balancer(),
        made.route(paths=paths, generation=3),
        made.service(ports=ports),
        made.endpoint_slice(endpoints=endpoints, ports=slice_ports),
        made.service("spare"),
        made.endpoint_slice("spare"),
    ]
    assert of_route(raws) == {
        "observedGeneration": 3,
        "balancer": "wsroute-system/shared",
        "hosts": ["chat.example.com"],
        "urls": ["ws://chat.example.com:8080/ws", "ws://chat.example.com:8080/"],
        "endpoints": {"ready": 2, "draining": 1},
        "summary": {"hosts": "chat.example.com", "endpoints": "2 (1 draining)", "reason": ""},
    }


def test_route_without_balancer() -> None:
    assert of_route([made.route()]) == {
        "observedGeneration": 1,
        "endpoints": {"ready": 0, "draining": 0},
        "summary": {"hosts": "", "endpoints": "0", "reason": "NoBalancer"},
    }


def test_largest_route_fits_the_schema() -> None:
    hosts = [f"h{n}.example.com" for n in range(16)]
    paths = [made.path(f"/{n}") for n in range(32)]
    status = of_route([made.balancer(), made.route(hosts=hosts, paths=paths)])
    assert len(status["urls"]) == 64


def test_balancer() -> None:
    node = made.balancer_node([made.balancer(), made.deployment(), made.route(), made.route("x", spec={"nonsense": 1})])
    conditions = balancer_conditions(node, DONE)
    status = balancer_status(
        node,
        conditions,
        rollout=DONE,
        served=ServedView(
            version="0123456789ab",
            sockets=7,
            draining=(1, 3),
            last_reload=Reloaded("2026-01-31T12:00:00Z", "Endpoints", 2, [("Endpoints", "WebSocketRoute team-a/chat")]),
            leaving=Leaving(pods=1, sockets=5, until="2026-01-31T12:05:00Z"),
        ),
    )
    WebSocketBalancerStatus.model_validate(status)
    assert status == {
        "observedGeneration": 1,
        "routes": {"accepted": 1, "rejected": 1},
        "pods": {"total": 2, "current": 2},
        "sockets": 7,
        "version": "0123456789ab",
        "draining": {"generations": 1, "sockets": 3},
        "leaving": {"pods": 1, "sockets": 5, "until": "2026-01-31T12:05:00Z"},
        "lastReload": {
            "time": "2026-01-31T12:00:00Z",
            "reason": "Endpoints",
            "pods": 2,
            "changes": [{"reason": "Endpoints", "subject": "WebSocketRoute team-a/chat"}],
        },
        "summary": {"listeners": "ws:8080", "routes": "1 (1 rejected)", "pods": "2/2 (1 leaving)", "reason": ""},
    }


def test_a_balancer_with_more_sockets_than_a_status_can_hold() -> None:
    node = made.balancer_node([made.balancer()])
    view = ServedView("", 2**33, draining=(1, 2**33), leaving=Leaving(pods=2, sockets=2**33, until=""))
    status = balancer_status(node, [], rollout=DONE, served=view)
    WebSocketBalancerStatus.model_validate(status)
    assert status["leaving"] == {"pods": 2, "sockets": 2**31 - 1}


def test_invalid_balancer() -> None:
    node = made.balancer_node([made.balancer(spec={"nonsense": 1})])
    rollout = RolloutView(0, 0, 0)
    status = balancer_status(node, balancer_conditions(node, rollout), rollout=rollout, served=ServedView("", 0))
    WebSocketBalancerStatus.model_validate(status)
    assert status["summary"]["reason"] == "Invalid"
    assert "version" not in status
