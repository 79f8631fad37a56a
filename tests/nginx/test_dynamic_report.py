"""What a Dynamic balancer's nginx tells of itself: its table, its open sockets, what it has counted."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.nginx.test_render_handshake import connected, get, shake
from tests.support.backend import Backend, running_backend, silent_backend
from tests.support.configurations import HOST, configuration
from tests.support.dynamic import shell_of
from tests.support.handshake import held_socket
from tests.support.nginx_runner import Nginx, local_options, running_nginx, short_folder
from tests.support.ports import free_ports
from tests.support.table_parts import BALANCER, config_maps
from tests.support.tables import forward, host, record, table
from tests.support.waiting import until, until_async
from wsroute.agent.metrics import AgentMetrics
from wsroute.agent.parts import parse_part
from wsroute.agent.tables import Content
from wsroute.agent.traffic import Traffic
from wsroute.balancer.table_reader import Counts, OpenSocket, TableReader
from wsroute.cli.dump import lines
from wsroute.cli.dump import parse as parse_dump
from wsroute.dataplane import dictionary
from wsroute.dataplane.ir import Endpoint, RouteRef
from wsroute.dataplane.table import Address, EndpointGroup, OriginRules, PathRecord, Table, Target
from wsroute.nginx.render import render
from wsroute.nginx.script import SCRIPT
from wsroute.nginx.shell import OPEN_PARTS

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

GROUP = "team-a/chat:8080"


class Running(NamedTuple):
    """A balancer with one route, /ws, and what reads it."""

    nginx: Nginx
    port: int
    backend: Backend | Endpoint

    def push(self, *paths: PathRecord) -> None:
        """Serve these paths, to the backend."""
        groups = [EndpointGroup(GROUP, (Address("127.0.0.1", self.backend.port),))]
        self.nginx.pusher.push(table(host(*paths), groups=groups))

    def reader(self) -> TableReader:
        """What reads over the admin socket."""
        return TableReader(Path(self.nginx.paths.run))

    async def counts(self) -> Counts:
        """What was counted."""
        async with self.reader() as reader:
            return await reader.counts()

    async def open(self) -> list[OpenSocket]:
        """The open sockets."""
        async with self.reader() as reader:
            return [socket async for socket in reader.open_sockets()]


@asynccontextmanager
async def balancer(*paths: PathRecord, workers: int = 1) -> AsyncIterator[Running]:
    """One that serves these paths; /ws when told nothing."""
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(configuration(port=port, worker_processes=workers, worker_connections=4_096)) as nginx:
            running = Running(nginx, port, backend)
            running.push(*paths)
            await until(lambda: len(nginx.workers()) == workers, what="for the workers")
            yield running


def test_both_sides_know_the_same_number_of_parts() -> None:
    assert f"const PARTS = {OPEN_PARTS};" in SCRIPT.text


async def test_the_whole_table_can_be_read_in_portions() -> None:
    async with balancer() as running:
        wanted = table(*(host(name=f"h{number}.example.com") for number in range(700)))
        running.nginx.pusher.push(wanted)
        async with running.reader() as reader:
            assert await reader.entries() == dictionary.entries(wanted)


NO_LISTS = ("", "no json", "{}", "null", "[1]", json.dumps(["a"] * 1_001), json.dumps(["k" * 3_000]))


@pytest.mark.parametrize("body", NO_LISTS, ids=lambda body: body[:8])
@pytest.mark.parametrize("what", ["values", "sockets"])
async def test_a_question_is_a_list_of_texts(what: str, body: str) -> None:
    async with balancer() as running:
        assert running.nginx.ask_admin(f"/table/{what}", body=body)[0] == 400


@pytest.mark.parametrize("part", ["-1", str(OPEN_PARTS), "x", "1.5"])
async def test_a_part_is_a_number_below_theirs(part: str) -> None:
    async with balancer() as running:
        assert running.nginx.ask_admin(f"/table/open?part={part}")[0] == 400


async def test_open_sockets_are_listed_with_their_age_client_endpoint_and_route() -> None:
    async with balancer(workers=2) as running:
        held = [await held_socket(connected(running.port), host=HOST, path="/ws") for _ in range(60)]
        found = await running.open()
        assert Counter((socket.client, socket.endpoint, socket.route) for socket in found) == {
            ("127.0.0.1", f"127.0.0.1:{running.backend.port}", "team-a/chat"): 60
        }
        assert {socket.worker for socket in found} <= set(running.nginx.workers())
        assert len({socket.connection for socket in found}) == 60
        times = [socket.since for socket in found]
        assert max(times) - min(times) <= 60
        assert (await running.counts()).open == {"team-a/chat": 60}
        async with running.reader() as reader:
            endpoint = f"127.0.0.1:{running.backend.port}"
            assert await reader.endpoint_sockets() == {endpoint: 60}
            assert await reader.endpoint_sockets([endpoint, "10.0.0.1:1"]) == {endpoint: 60, "10.0.0.1:1": 0}
        await asyncio.gather(*(client.close() for client in held))
        await until_open(running, lambda found: found == [])

        async def none_is_counted() -> bool:
            return (await running.counts()).open == {}

        # Another worker takes its last one from the list first.
        await until_async(none_is_counted, what="for no socket to be counted")


async def until_open(running: Running, is_so: Callable[[list[OpenSocket]], bool]) -> None:
    """Wait until the list of open sockets is as it should be."""

    async def as_it_should_be() -> bool:
        return is_so(await running.open())

    await until_async(as_it_should_be, what="for the list of open sockets")


async def test_all_of_it_is_printed_in_the_pod_and_read_where_it_arrives() -> None:
    async with balancer() as running:
        client = await held_socket(connected(running.port), host=HOST, path="/ws")
        folder = Path(running.nginx.paths.run)
        dump = parse_dump([json.dumps(line) async for line in lines(folder, sockets=True)])
        endpoint = f"127.0.0.1:{running.backend.port}"
        assert (dump.version, dump.table_format, dump.moving) == (running.nginx.version, 1, False)
        assert dump.mark == dictionary.mark(dump.entries)
        assert (dump.endpoint_sockets, dump.route_sockets) == ({endpoint: 1}, {"team-a/chat": 1})
        assert [(socket.endpoint, socket.route) for socket in dump.sockets] == [(endpoint, "team-a/chat")]
        assert abs(dump.time - dump.sockets[0].since) < 60
        assert parse_dump([json.dumps(line) async for line in lines(folder, sockets=False)]).sockets == []
        await client.close()


async def test_where_there_is_no_room_to_list_a_socket_it_is_served_all_the_same() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with short_folder() as folder:
            nginx = Nginx(folder, local_options())
            shell = render(
                shell_of(configuration(port=port, worker_connections=4_096)), nginx.paths, options=nginx.options
            )
            small = re.sub(r"(zone=wsroute_open_[0-9]+):1m", r"\1:48k", shell.text)
            try:
                nginx.start(small, shell.version)
                running = Running(nginx, port, backend)
                running.push()
                held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(900)]
                assert 0 < len(await running.open()) < 900
                async with running.reader() as reader:
                    assert sum((await reader.endpoint_sockets()).values()) == 900
                assert (await running.counts()).open == {"team-a/chat": 900}
                await asyncio.gather(*(client.close() for client in held))
                await until_open(running, lambda found: found == [])
                assert "crit" not in nginx.error_log()
            finally:
                nginx.stop()


async def test_a_killed_worker_s_sockets_go_from_the_list() -> None:
    async with balancer(workers=2) as running:
        held = [await held_socket(connected(running.port), host=HOST, path="/ws") for _ in range(40)]
        victim = Counter(socket.worker for socket in await running.open()).most_common(1)[0][0]
        os.kill(victim, signal.SIGKILL)
        await until_open(running, lambda found: all(socket.worker != victim for socket in found))
        left = await running.open()
        assert sum((await running.counts()).open.values()) == len(left)
        await asyncio.gather(*(client.close() for client in held))


async def test_requests_are_counted_by_reason_and_route() -> None:
    strict = forward(origins=OriginRules("Enforce", (HOST,)))
    paths = (
        record(),
        record("/strict", strict, route=RouteRef("team-a", "strict")),
        record("/any", forward(websocket_only=False), route=RouteRef("team-b", "any")),
    )
    async with balancer(*paths) as running:
        for _ in range(3):
            assert (await shake(running.port)).status == 101
        assert (await shake(running.port, path="/strict", headers={"Origin": "https://evil.test"})).status == 403
        assert (await shake(running.port, headers={"Sec-WebSocket-Key": "x"})).status == 400
        assert (await get(running.port, "/ws")).status == 426
        assert (await get(running.port, "/any")).status == 200
        assert (await shake(running.port, path="/nowhere")).status == 404
        assert (await shake(running.port, host="nobody.test")).status == 404
        assert (await running.counts()).requests == {
            ("forwarded", "team-a/chat"): 3,
            ("origin", "team-a/strict"): 1,
            ("bad-handshake", "team-a/chat"): 1,
            ("upgrade-required", "team-a/chat"): 1,
            ("plain", "team-b/any"): 1,
            ("no-route", ""): 2,
        }


async def test_handshakes_that_open_no_socket_are_counted_by_what_became_of_them() -> None:
    [port, nobody] = free_ports(2)
    async with silent_backend() as silent:
        with running_nginx(configuration(port=port)) as nginx:
            running = Running(nginx, port, silent)
            whole = table(
                host(
                    record("/nobody", forward(Target("team-a/nobody:80", 1)), route=RouteRef("team-a", "nobody")),
                    record("/silent", forward(Target("team-a/silent:80", 1)), route=RouteRef("team-a", "silent")),
                ),
                groups=[
                    EndpointGroup("team-a/nobody:80", (Address("127.0.0.1", nobody),)),
                    EndpointGroup("team-a/silent:80", (Address("127.0.0.1", silent.port),)),
                ],
            )
            nginx.pusher.push(whole)
            assert (await shake(port, path="/nobody")).status == 502
            sock = connected(port)
            sock.sendall(
                f"GET /silent HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            await until_open(running, lambda found: len(found) == 1)
            sock.close()
            await until_open(running, lambda found: found == [])
            counts = await running.counts()
            assert counts.requests == {
                ("forwarded", "team-a/nobody"): 1,
                ("ejected", "team-a/nobody"): 1,
                ("backend-refused", "team-a/nobody"): 1,
                ("forwarded", "team-a/silent"): 1,
                ("client-closed", "team-a/silent"): 1,
            }
            assert counts.ejected == 1


async def test_a_socket_of_the_second_endpoint_that_was_tried_is_listed_there() -> None:
    [nobody] = free_ports(1)
    async with balancer() as running:
        good, bad = (Address("127.0.0.1", port) for port in (running.backend.port, nobody))
        running.nginx.pusher.push(table(groups=[EndpointGroup(GROUP, tuple(sorted((good, bad))))]))
        held = []
        while ("retried", "team-a/chat") not in (await running.counts()).requests:
            held.append(await held_socket(connected(running.port), host=HOST, path="/ws"))
        assert {socket.endpoint for socket in await running.open()} == {str(good)}
        counts = await running.counts()
        assert counts.open == {"team-a/chat": len(held)}
        assert counts.requests["forwarded", "team-a/chat"] == len(held)
        await asyncio.gather(*(client.close() for client in held))
        await until_open(running, lambda found: found == [])
        assert (await running.counts()).open == {}
        assert {line["route"] for line in running.nginx.access_log()} == {"team-a/chat"}


async def test_an_endpoint_that_answers_with_something_else_is_counted() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with balancer() as running, await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        running.nginx.pusher.push(table(groups=[EndpointGroup(GROUP, (address,))]))
        assert (await shake(running.port)).status == 401
        await until_open(running, lambda found: found == [])
        assert (await running.counts()).requests == {
            ("forwarded", "team-a/chat"): 1,
            ("backend-answer", "team-a/chat"): 1,
        }


async def test_they_are_the_agent_s_metrics() -> None:
    async with balancer() as running:
        endpoint = f"127.0.0.1:{running.backend.port}"
        whole = Table((host(),), (EndpointGroup(GROUP, (Address("127.0.0.1", running.backend.port),)),))
        parts = {each.place: each for each in (parse_part(item, BALANCER, before=None) for item in config_maps(whole))}
        metrics = AgentMetrics()
        traffic = Traffic(Path(running.nginx.paths.run), lambda: Content(parts), names=True)
        metrics.include(traffic)
        assert "wsroute_agent_requests_total" not in metrics.render().decode(), "nothing is known before it was asked"
        client = await held_socket(connected(running.port), host=HOST, path="/ws")
        assert (await shake(running.port, path="/nowhere")).status == 404
        await traffic.refresh()
        told = metrics.render().decode().splitlines()
        for line in (
            'wsroute_agent_requests_total{reason="forwarded",route="team-a/chat"} 1.0',
            'wsroute_agent_requests_total{reason="no-route",route=""} 1.0',
            'wsroute_agent_route_sockets{route="team-a/chat"} 1.0',
            f'wsroute_agent_endpoint_sockets{{endpoint="{endpoint}",service="{GROUP}"}} 1.0',
            "wsroute_agent_ejected_endpoints 0.0",
        ):
            assert line in told
        await shake(running.port)
        await traffic.refresh()
        again = metrics.render().decode().splitlines()
        assert [line for line in again if "wsroute" in line] == [line for line in told if "wsroute" in line], "so soon"
        await client.close()


async def test_a_namespace_of_many_routes_does_not_take_the_room_of_others() -> None:
    many = [record(f"/p{number}", route=RouteRef("greedy", f"r{number}")) for number in range(450)]
    async with balancer(*many, record("/ws")) as running:
        for number in range(450):
            assert (await get(running.port, f"/p{number}")).status == 426
        assert (await shake(running.port)).status == 101
        for _ in range(2):  # reading counts the keys anew
            counts = (await running.counts()).requests
            own = [key for key in counts if key[1].startswith("greedy/")]
            assert len(own) == 400
            assert counts["upgrade-required", "other"] == 50
            assert counts["forwarded", "team-a/chat"] == 1
        assert (await get(running.port, "/p449")).status == 426
        assert (await running.counts()).requests["upgrade-required", "other"] == 51
