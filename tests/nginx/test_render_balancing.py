"""Handshakes go where weights and open sockets say."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.nginx.test_render_handshake import connected, shake
from tests.support.backend import running_backend
from tests.support.configurations import HOST, configuration, upstream
from tests.support.handshake import held_socket
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from tests.support.waiting import until, until_async
from wsroute.api.policies import HashKey, HashSource, Policy
from wsroute.dataplane.ir import Endpoint

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]

HANDSHAKES = 2_000
SOCKETS = 400


@pytest.mark.parametrize(("policy", "clients"), [(Policy.ROUND_ROBIN, 8), (Policy.LEAST_CONNECTIONS, 1)])
async def test_weights_are_shares_of_handshakes(policy: Policy, clients: int) -> None:
    """Also where no socket is held, so that none has more of them than another: hence one client after the other, each
    once nginx has done with the one before."""
    [port] = free_ports(1)
    async with running_backend() as heavy, running_backend() as light:
        weighted = configuration(
            port=port,
            worker_processes=2,
            upstreams=[
                upstream(heavy.endpoint(weight=9), light.endpoint(weight=1), balancing=policy),
            ],
        )
        with running_nginx(weighted) as nginx, nginx.stdout.open(encoding="utf-8") as log:

            async def logged() -> bool:
                return log.readline() != ""

            async def several(count: int) -> None:
                for _ in range(count):
                    assert (await shake(port)).status == 101
                    if clients == 1:
                        await until_async(logged, what="for the end of the request", pause=0)

            await asyncio.gather(*(several(HANDSHAKES // clients) for _ in range(clients)))
        assert len(heavy.requests) + len(light.requests) == HANDSHAKES
        assert len(heavy.requests) / HANDSHAKES == pytest.approx(0.9, abs=0.03)


async def test_weights_are_shares_of_open_sockets() -> None:
    [port] = free_ports(1)
    async with running_backend() as heavy, running_backend() as light:
        weighted = configuration(
            port=port,
            worker_processes=2,
            worker_connections=2_048,
            upstreams=[upstream(heavy.endpoint(weight=9), light.endpoint(weight=1))],
        )
        with running_nginx(weighted):
            held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(SOCKETS)]
            await until(lambda: len(heavy.sockets) + len(light.sockets) == SOCKETS, what="for all sockets")
            assert len(heavy.sockets) / SOCKETS == pytest.approx(0.9, abs=0.03)
            await asyncio.gather(*(client.close() for client in held))


async def test_open_sockets_are_counted_across_workers() -> None:
    [port] = free_ports(1)
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(running_backend()) for _ in range(3)]
        balanced = configuration(
            port=port, worker_processes=2, upstreams=[upstream(*(backend.endpoint() for backend in backends))]
        )
        with running_nginx(balanced) as nginx:
            await until(lambda: len(nginx.workers()) == 2, what="for two workers")
            held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(30)]
            await until(lambda: [len(backend.sockets) for backend in backends] == [10, 10, 10], what="for ten each")
            # All sockets of one endpoint end; it then takes the next ones, whichever workers they come to.
            for connection in list(backends[0].sockets):
                await connection.close()
            await until(lambda: len(nginx.access_log()) == 10, what="for ten lines of closed sockets")
            held += [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(10)]
            await until(lambda: [len(backend.sockets) for backend in backends] == [10, 10, 10], what="for ten each")
            await asyncio.gather(*(client.close() for client in held))


KEYS = 300


@pytest.mark.parametrize(
    ("key", "request_of"),
    [
        (HashKey(HashSource.QUERY, "room"), lambda value: (f"/ws?x=1&room={value}", {})),
        (HashKey(HashSource.HEADER, "X-Room"), lambda value: ("/ws", {"x-room": value})),
        (HashKey(HashSource.COOKIE, "room_1"), lambda value: ("/ws", {"Cookie": f"a=b; room_1={value}"})),
    ],
    ids=lambda value: str(value.on) if isinstance(value, HashKey) else "",
)
async def test_one_key_goes_to_one_endpoint_and_a_new_endpoint_moves_few(key: HashKey, request_of: Any) -> None:
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(running_backend()) for _ in range(4)]

        async def places(count: int) -> list[int]:
            """Where each key goes with so many endpoints; it goes there twice."""
            [port] = free_ports(1)
            endpoints = sorted(backend.endpoint() for backend in backends[:count])
            chosen = upstream(*endpoints, balancing=Policy.HASH, hash_key=key)
            found = []
            with running_nginx(configuration(port=port, worker_processes=2, upstreams=[chosen])):
                for number in range(KEYS):
                    path, headers = request_of(f"room-{number}")
                    for _ in range(2):
                        before = [len(backend.requests) for backend in backends]
                        assert (await shake(port, path, headers)).status == 101
                        after = [len(backend.requests) for backend in backends]
                        found.append(next(index for index in range(4) if after[index] != before[index]))
            assert found[::2] == found[1::2]
            return found[::2]

        three, four = await places(3), await places(4)
        assert min(three.count(index) for index in range(3)) > KEYS // 6
        moved = [new for old, new in zip(three, four, strict=True) if old != new]
        assert set(moved) == {3}, "only the new endpoint takes keys of others"
        assert len(moved) < KEYS // 2


async def test_clients_are_told_apart_by_their_address_and_a_missing_key_goes_anywhere() -> None:
    ports = free_ports(2)
    async with running_backend() as one, running_backend() as two:
        endpoints = sorted([one.endpoint(), two.endpoint()])
        by_address = upstream(*endpoints, balancing=Policy.HASH, hash_key=HashKey(HashSource.CLIENT_IP))
        with running_nginx(configuration(port=ports[0], upstreams=[by_address])):
            for _ in range(20):
                assert (await shake(ports[0])).status == 101
        assert sorted([len(one.requests), len(two.requests)]) == [0, 20]
        by_query = upstream(*endpoints, balancing=Policy.HASH, hash_key=HashKey(HashSource.QUERY, "room"))
        with running_nginx(configuration(port=ports[1], upstreams=[by_query])):
            for _ in range(20):
                assert (await shake(ports[1])).status == 101
        assert len(one.requests) + len(two.requests) == 40
        assert min(len(one.requests), len(two.requests)) > 0


async def test_a_dead_endpoint_s_keys_go_to_another() -> None:
    [port, dead] = free_ports(2)
    async with running_backend() as backend:
        endpoints = sorted([backend.endpoint(), Endpoint("127.0.0.1", dead, 1)])
        chosen = upstream(*endpoints, balancing=Policy.HASH, hash_key=HashKey(HashSource.QUERY, "room"))
        with running_nginx(configuration(port=port, upstreams=[chosen])):
            for number in range(20):
                assert (await shake(port, f"/ws?room={number}")).status == 101
