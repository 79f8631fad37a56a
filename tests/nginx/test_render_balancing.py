"""Handshakes go where weights and open sockets say."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.nginx.test_render_handshake import connected, shake
from tests.support.backend import running_backend
from tests.support.configurations import HOST, configuration, upstream
from tests.support.handshake import held_socket
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from tests.support.waiting import until
from wsroute.dataplane.ir import Balancing

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]

HANDSHAKES = 2_000
SOCKETS = 400


async def test_weights_are_shares_of_handshakes_in_turn() -> None:
    [port] = free_ports(1)
    async with running_backend() as heavy, running_backend() as light:
        weighted = configuration(
            port=port,
            worker_processes=2,
            upstreams=[
                upstream(heavy.endpoint(weight=9), light.endpoint(weight=1), balancing=Balancing.ROUND_ROBIN),
            ],
        )
        with running_nginx(weighted):

            async def several(count: int) -> None:
                for _ in range(count):
                    assert (await shake(port)).status == 101

            await asyncio.gather(*(several(HANDSHAKES // 8) for _ in range(8)))
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
