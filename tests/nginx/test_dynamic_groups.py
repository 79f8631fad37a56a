"""Routes to several groups of endpoints of a Dynamic balancer, and what of a route a client is told."""

import pytest

from tests.nginx.test_dynamic_choice import at, backends
from tests.nginx.test_render_handshake import get, shake
from tests.support.configurations import configuration
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from tests.support.tables import forward, group, host, record, table
from wsroute.dataplane.table import EndpointGroup, Policy, StickyCookie, Target

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]


@pytest.mark.parametrize("count", [1, 5], ids=["few", "many"])
@pytest.mark.parametrize("policy", [Policy.LEAST_CONNECTIONS, Policy.ROUND_ROBIN])
async def test_a_group_whose_endpoints_all_leave_gets_no_more_sockets_whatever_its_weight(
    policy: Policy, count: int
) -> None:
    [port] = free_ports(1)
    async with backends(count + 1) as (leaves, *others):
        with running_nginx(configuration(port=port)) as nginx:
            action = forward(Target("a/old:80", 1_000), Target("b/new:80", 1), policy=policy)
            groups = [
                EndpointGroup("a/old:80", (), (at(leaves),)),
                EndpointGroup("b/new:80", tuple(sorted(map(at, others)))),
            ]
            nginx.pusher.push(table(host(record(action=action)), groups=groups))
            for _ in range(30):
                assert (await shake(port)).status == 101
            assert leaves.requests == []
            assert sum(len(backend.requests) for backend in others) == 30


async def test_a_cookie_is_for_its_path_if_that_is_one_that_every_browser_reads_alike() -> None:
    [port] = free_ports(1)
    action = forward(sticky=StickyCookie("wsr", 0), websocket_only=False)
    async with backends(1) as [backend]:
        with running_nginx(configuration(port=port)) as nginx:
            paths = [record("/a/b-c", action), record("/a,b", action)]
            nginx.pusher.push(table(host(*paths), groups=[group(at(backend))]))
            assert "; Path=/a/b-c;" in (await get(port, "/a/b-c/d")).headers["set-cookie"]
            assert "; Path=/;" in (await get(port, "/a,b/d")).headers["set-cookie"]
