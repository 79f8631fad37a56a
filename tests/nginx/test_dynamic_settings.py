"""What a Dynamic balancer says of itself, in the real nginx: as its spec has it, by way of the operator's own pass."""

from typing import Any

import pytest

from tests.nginx.test_dynamic_choice import at
from tests.nginx.test_render_handshake import shake
from tests.support.backend import running_backend
from tests.support.dynamic import Pusher
from tests.support.nginx_runner import running_file
from tests.support.ports import free_ports
from tests.support.tables import GROUP, forward, group, host, record, table
from tests.support.world import Planner, SmallWorld

pytestmark = pytest.mark.nginx


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"maximums": {"idle": "7m"}}, 7 * 60_000),
        ({"maximums": {"idle": "30s"}}, 30_000),
        ({"maximums": {"idle": "90m"}, "defaults": {"timeouts": {"idle": "2s"}}}, 2_000),
        ({"requestHeaders": ["X-Team", "x-team-2"], "trustedProxies": ["127.0.0.0/8"]}, 3_600_000),
        ({"nginx": {"workerProcesses": 3, "workerConnections": 64}}, 3_600_000),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_routes_are_served_under_the_balancer_s_settings(settings: dict[str, Any], idle: int) -> None:
    [port] = free_ports(1)
    world = SmallWorld()
    world.balancer(dataPlane="Dynamic", listeners=[{"name": "ws", "port": port, "protocol": "HTTP"}], **settings)
    planner = Planner(world)
    planner.settle()
    with running_file(planner.newest().configuration) as nginx:
        async with running_backend() as backend:
            routes = host(record(action=forward(idle_timeout=idle)))
            Pusher(nginx.ask_admin).push(table(routes, groups=[group(at(backend), name=GROUP)]))
            assert (await shake(port)).status == 101
