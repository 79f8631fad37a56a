"""Routes to several groups of endpoints of a Dynamic balancer, and what of a route a client is told."""

import asyncio
from pathlib import Path

import pytest

from tests.nginx.test_dynamic_choice import at, backends, serve
from tests.nginx.test_dynamic_counts import altered
from tests.nginx.test_render_handshake import connected, get, shake
from tests.support.configurations import HOST, configuration, location, proxy, server, upstream
from tests.support.dynamic import table_of
from tests.support.handshake import held_socket
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from tests.support.stored import Stored, with_stored
from tests.support.tables import forward, group, host, record, table
from wsroute.dataplane.table import Address, EndpointGroup, HashKey, HashSource, Policy, StickyCookie, Target

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


@pytest.mark.parametrize("count", [1, 5], ids=["few", "many"])
@pytest.mark.parametrize("policy", Policy)
async def test_whatever_the_weight_of_those_that_are_set_aside_another_one_is_asked_first(
    policy: Policy, count: int
) -> None:
    port, *nobody = free_ports(1 + count)
    dead = [Address("127.0.0.1", each) for each in nobody]
    key = HashKey(HashSource.CLIENT_IP) if policy is Policy.HASH else None
    async with backends(1) as [backend]:
        with altered(with_stored, port=port) as nginx:
            Stored(nginx, "wsroute_ejected").put({str(each): f"{10**15} 1" for each in dead})
            action = forward(Target("a/old:80", 1_000), Target("b/new:80", 1), policy=policy, hash_key=key)
            apart = [EndpointGroup("a/old:80", tuple(dead)), EndpointGroup("b/new:80", (at(backend),))]
            together = EndpointGroup("b/new:80", (*dead, at(backend)))
            for groups in (apart, [apart[0], together]):
                nginx.pusher.push(table(host(record(action=action)), groups=groups))
                for _ in range(10):
                    assert (await shake(port)).status == 101
            await nginx.log_line(20)
            assert {line["endpoint"] for line in nginx.access_log()} == {str(at(backend))}


async def test_a_group_keeps_its_share_of_the_turns_while_one_of_its_endpoints_is_set_aside() -> None:
    port, nobody = free_ports(2)
    async with backends(2) as (one, two):
        with altered(with_stored, port=port) as nginx:
            dead = Address("127.0.0.1", nobody)
            Stored(nginx, "wsroute_ejected").put({str(dead): f"{10**15} 1"})
            action = forward(Target("a/one:80", 1), Target("b/two:80", 1), policy=Policy.ROUND_ROBIN)
            groups = [EndpointGroup("a/one:80", (dead, at(one))), EndpointGroup("b/two:80", (at(two),))]
            nginx.pusher.push(table(host(record(action=action)), groups=groups))
            for _ in range(32):
                assert (await shake(port)).status == 101
            assert (len(one.requests), len(two.requests)) == (16, 16)


async def test_turns_mix_groups_by_their_weights() -> None:
    [port] = free_ports(1)
    async with backends(2) as (heavy, light):
        with running_nginx(configuration(port=port)) as nginx:
            action = forward(Target("a/heavy:80", 3), Target("b/light:80", 1), policy=Policy.ROUND_ROBIN)
            groups = [EndpointGroup("a/heavy:80", (at(heavy),)), EndpointGroup("b/light:80", (at(light),))]
            nginx.pusher.push(table(host(record(action=action)), groups=groups))
            taken = []
            for _ in range(8):
                assert (await shake(port)).status == 101
                taken.append(len(light.requests))
            assert taken == [0, 1, 1, 1, 1, 2, 2, 2]


async def test_of_many_in_several_groups_the_fuller_one_of_two_that_are_drawn_is_passed_over() -> None:
    [port] = free_ports(1)
    async with backends(10) as found:
        with running_nginx(configuration(port=port, worker_connections=4_096)) as nginx:
            full, *others = found
            serve(nginx, forward(), at(full))
            held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(60)]
            action = forward(Target("a/one:80", 1), Target("b/two:80", 1))
            groups = [
                EndpointGroup("a/one:80", tuple(sorted(map(at, found[:5])))),
                EndpointGroup("b/two:80", tuple(sorted(map(at, found[5:])))),
            ]
            nginx.pusher.push(table(host(record(action=action)), groups=groups))
            for _ in range(300):
                assert (await shake(port)).status == 101
            assert len(full.requests) == len(held)
            assert all(backend.requests for backend in others)
            await asyncio.gather(*(client.close() for client in held))


async def test_a_cookie_is_for_its_path_if_that_is_one_that_every_browser_reads_alike() -> None:
    [port] = free_ports(1)
    action = forward(sticky=StickyCookie("wsr", 0), websocket_only=False)
    async with backends(1) as [backend]:
        with running_nginx(configuration(port=port)) as nginx:
            paths = [record("/a/b-c", action), record("/a,b", action)]
            nginx.pusher.push(table(host(*paths), groups=[group(at(backend))]))
            assert "; Path=/a/b-c;" in (await get(port, "/a/b-c/d")).headers["set-cookie"]
            assert "; Path=/;" in (await get(port, "/a,b/d")).headers["set-cookie"]


def with_all_headers(text: str, _folder: Path) -> str:
    """As an administrator's own template may have it: headers whose names are odd to nginx are not left out."""
    return text.replace("http {", "http {\n    ignore_invalid_headers off;", 1)


async def test_a_header_with_a_dot_that_another_route_changes_reaches_the_endpoints_of_this_one() -> None:
    [port] = free_ports(1)
    places = [server(location("/other", proxy(remove_headers=("X.Team",))), location())]
    async with backends(1) as [backend]:
        endpoints = [upstream(backend.endpoint())]
        with altered(with_all_headers, port=port, servers=places, upstreams=endpoints) as nginx:
            nginx.pusher.push(table_of(configuration(port=port, servers=places, upstreams=endpoints)))
            assert (await shake(port, headers={"X.Team": "a"})).status == 101
            assert backend.last.headers["X.Team"] == "a"
            assert (await shake(port, "/other", headers={"X.Team": "a"})).status == 101
            assert "X.Team" not in backend.last.headers


async def test_a_header_is_set_however_long_its_value_is() -> None:
    [port] = free_ports(1)
    async with backends(1) as [backend]:
        places = [location(action=proxy(set_headers=(("X-Team", "x" * 2_000),)))]
        routed = configuration(port=port, upstreams=[upstream(backend.endpoint())], servers=[server(*places)])
        with running_nginx(routed):
            assert (await shake(port)).status == 101
            assert backend.last.headers["X-Team"] == "x" * 2_000
