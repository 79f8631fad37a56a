"""Where a dictionary of nginx's is full its sockets are served all the same, and nothing is counted that is wrong."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from tests.nginx.test_dynamic_choice import at
from tests.nginx.test_dynamic_counts import altered
from tests.nginx.test_render_handshake import connected, shake
from tests.support.backend import Backend, running_backend
from tests.support.configurations import HOST
from tests.support.handshake import echo, held_socket
from tests.support.nginx_runner import Nginx
from tests.support.ports import free_ports
from tests.support.stored import Stored, with_stored
from tests.support.tables import forward, host, record, table
from tests.support.waiting import until
from wsroute.dataplane.table import Address, EndpointGroup, Forward, Policy, StickyCookie

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

GROUP = "team-a/chat:8080"


class Full(NamedTuple):
    """A balancer with a route /ws, and one of its dictionaries."""

    nginx: Nginx
    port: int
    backend: Backend
    stored: Stored

    def serve(self, action: Forward, *endpoints: Address) -> None:
        """Serve /ws with these endpoints in this order; with the backend alone when told nothing."""
        groups = [EndpointGroup(GROUP, endpoints or (at(self.backend),))]
        self.nginx.pusher.push(table(host(record(action=action)), groups=groups))


@asynccontextmanager
async def small(name: str) -> AsyncIterator[Full]:
    """A balancer whose dictionary of this name has 64 KiB."""
    [port] = free_ports(1)
    async with running_backend() as backend:
        with altered(
            lambda text, folder: with_stored(re.sub(rf"(zone={name}):\d+m", r"\1:64k", text), folder), port=port
        ) as nginx:
            yield Full(nginx, port, backend, Stored(nginx, name))


@pytest.mark.parametrize("action", [forward(), forward(sticky=StickyCookie("wsr", 60))], ids=["usual", "other"])
@pytest.mark.parametrize("left", [0, 1])
async def test_a_socket_that_found_no_room_to_be_counted_is_not_taken_back(left: int, action: Forward) -> None:
    """With room for one of its two keys, the one that was counted is taken back at once."""
    async with small("wsroute_sockets") as full:
        full.serve(action)
        full.stored.fill(left=left)
        async with await held_socket(connected(full.port), host=HOST, path="/ws") as uncounted:
            assert full.stored.items() == {}
            full.stored.make_room()
            async with await held_socket(connected(full.port), host=HOST, path="/ws") as counted:
                await echo(counted, "hello")
                await echo(uncounted, "hello")
        await until(lambda: len(full.nginx.access_log()) == 2, what="for the end of both")
        assert full.stored.items() == {}
        assert "js exception" not in full.nginx.error_log()


async def test_one_that_is_not_counted_goes_to_another_endpoint_all_the_same() -> None:
    [nobody] = free_ports(1)
    async with small("wsroute_sockets") as full:
        full.serve(forward(policy=Policy.ROUND_ROBIN), Address("127.0.0.1", nobody), at(full.backend))
        full.stored.fill(left=0)
        async with await held_socket(connected(full.port), host=HOST, path="/ws") as client:
            full.stored.make_room()
            await echo(client, "hello")
        line = await full.nginx.log_line(1)
        assert line["endpoint"] == f"127.0.0.1:{nobody} : {at(full.backend)}"
        assert full.stored.items() == {}
        assert "js exception" not in full.nginx.error_log()


async def test_the_last_room_for_the_sockets_of_routes_is_left_to_what_ends() -> None:
    async with small("wsroute_routes") as full:
        full.serve(forward())
        full.stored.fill_to(16_384)
        said = full.nginx.error_log()
        async with await held_socket(connected(full.port), host=HOST, path="/ws") as client:
            await echo(client, "hello")
            assert full.stored.items() == {}
        await full.nginx.log_line(1)
        assert full.stored.items() == {}
        assert full.nginx.error_log() == said == ""


async def test_where_requests_can_not_be_counted_their_sockets_are_those_of_other_routes() -> None:
    async with small("wsroute_counts") as full:
        full.serve(forward())
        full.stored.fill(left=0)
        async with await held_socket(connected(full.port), host=HOST, path="/ws") as client:
            await echo(client, "hello")
            [worker] = full.nginx.workers()
            assert Stored(full.nginx, "wsroute_routes").items() == {f"{worker} other": 1}
        await full.nginx.log_line(1)
        assert Stored(full.nginx, "wsroute_routes").items() == {}
        full.stored.make_room()
        assert full.stored.items() == {}


@pytest.mark.parametrize(("kept", "name"), [(3_999, "team-a/chat"), (4_000, "other")])
async def test_beyond_the_most_keys_of_all_namespaces_requests_are_counted_together(kept: int, name: str) -> None:
    async with small("wsroute_counts") as full:
        full.serve(forward())
        full.stored.put({"#": kept})
        for _ in range(2):
            assert (await shake(full.port)).status == 101
        own = {"#team-a": 1} if name != "other" else {"#team-a": 0}
        assert full.stored.items() == {"#": 4_000, f"forwarded {name}": 2} | own
