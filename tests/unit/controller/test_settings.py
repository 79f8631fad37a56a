"""Whatever a balancer says of itself, its pods get a file, on either data plane."""

from typing import Any

import pytest

from tests.support.world import Planner, SmallWorld
from wsroute.api.balancer import Defaults, Nginx, WebSocketBalancerSpec

LISTENER = {"name": "ws", "port": 8080, "protocol": "HTTP"}
DEFAULTS: dict[str, Any] = {
    "timeouts": {"idle": "2h", "connect": "1500ms"},
    "pingInterval": "30s",
    "origins": {"policy": "Report", "allow": ["https://*.example.org"]},
    "loadBalancing": {"policy": "RoundRobin"},
}
NGINX: dict[str, Any] = {"workerProcesses": 3, "workerConnections": 1024, "templateRef": {"configMap": "none"}}
SETTINGS: dict[str, Any] = {
    "serviceRef": {"name": "balancer"},
    "domain": "apps.example.com",
    "listeners": [{**LISTENER, "public": {"scheme": "wss", "port": 443}}, {**LISTENER, "name": "two", "port": 8090}],
    "allowedRoutes": {"namespaces": {"from": "All"}, "hosts": ["*.example.com"], "maxPerNamespace": 5},
    "reload": {"minInterval": "1m", "drainTimeout": "90m", "maxDrainingGenerations": 2},
    "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
    "requestHeaders": ["X-Team", "Authorization"],
    "maximums": {"idle": "2h"},
    "defaults": DEFAULTS,
    "nginx": NGINX,
}
BELOW = [("defaults", DEFAULTS), ("nginx", NGINX)]
CASES = [
    *({name: value} for name, value in SETTINGS.items()),
    *({name: {field: value}} for name, fields in BELOW for field, value in fields.items()),
    SETTINGS,
]


def _fields(model: Any) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_nothing_that_can_be_said_is_missing_here() -> None:
    assert set(SETTINGS) | {"dataPlane", "deploymentRef"} == _fields(WebSocketBalancerSpec)
    assert set(DEFAULTS) == _fields(Defaults)
    assert set(NGINX) == _fields(Nginx)


@pytest.mark.parametrize("data_plane", ["Static", "Dynamic"])
@pytest.mark.parametrize("settings", CASES, ids="-".join)
def test_a_file_is_made(data_plane: str, settings: dict[str, Any]) -> None:
    world = SmallWorld()
    world.balancer(dataPlane=data_plane, **settings)
    world.service("chat", "10.0.1.1")
    world.route("chat")
    plan = Planner(world).settle()
    assert plan.node.acceptance_problems == ()
    assert (bool(plan.desired), plan.obstacle) == (True, "")
