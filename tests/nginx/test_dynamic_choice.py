"""Which endpoint a socket of a Dynamic balancer goes to, and how its sockets are counted."""

import asyncio
import json
import os
import random
import signal
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.nginx.test_render_handshake import connected, get, shake
from tests.support.backend import Backend, running_backend, silent_backend
from tests.support.configurations import HOST, configuration, location, proxy, server
from tests.support.handshake import held_socket
from tests.support.nginx_runner import Nginx, accepts_nothing, running_nginx
from tests.support.ports import free_ports
from tests.support.tables import forward, host, record, table
from tests.support.waiting import Stopwatch, until, until_async
from wsroute.dataplane.dictionary import endpoint_id
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    Forward,
    HashKey,
    HashSource,
    Policy,
    StickyCookie,
    Target,
)

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

GROUP = "team-a/chat:8080"


def at(backend: Backend) -> Address:
    """Where a backend listens."""
    return Address("127.0.0.1", backend.port)


def serve(nginx: Nginx, action: Forward, *ready: Address, returning: tuple[Address, ...] = ()) -> None:
    """Serve /ws with these endpoints."""
    groups = [EndpointGroup(GROUP, tuple(sorted(ready)), returning)]
    nginx.pusher.push(table(host(record(action=action)), groups=groups))


def counted(nginx: Nginx) -> dict[str, int]:
    """The sockets of each endpoint."""
    found: dict[str, int] = json.loads(nginx.ask_admin("/table/sockets")[1])
    return found


@asynccontextmanager
async def backends(count: int) -> AsyncIterator[list[Backend]]:
    """So many backends."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_backend()) for _ in range(count)]


@asynccontextmanager
async def balanced(count: int, action: Forward, *, workers: int = 1) -> AsyncIterator[tuple[Nginx, int, list[Backend]]]:
    """A balancer with so many endpoints: nginx, its port and the backends."""
    [port] = free_ports(1)
    async with backends(count) as found:
        with running_nginx(configuration(port=port, worker_processes=workers, worker_connections=4_096)) as nginx:
            serve(nginx, action, *map(at, found))
            await until(lambda: len(nginx.workers()) == workers, what="for the workers")
            yield nginx, port, found


async def test_the_power_of_two_choices_keeps_many_endpoints_level() -> None:
    async with balanced(10, forward(), workers=2) as (nginx, port, found):
        held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(200)]
        await until(lambda: sum(len(backend.sockets) for backend in found) == 200, what="for the backends to have them")
        counts = [len(backend.sockets) for backend in found]
        assert max(counts) - min(counts) <= 6, counts
        assert counted(nginx) == {str(at(backend)): len(backend.sockets) for backend in found}
        await asyncio.gather(*(client.close() for client in held))


async def test_turns_are_exact_shares_whichever_worker_has_them() -> None:
    async with balanced(3, forward(policy=Policy.ROUND_ROBIN), workers=2) as (_, port, found):
        await asyncio.gather(*(shake(port) for _ in range(60)))
        assert [len(backend.requests) for backend in found] == [20, 20, 20]


async def test_turns_give_each_group_its_weight() -> None:
    [port] = free_ports(1)
    async with backends(3) as found:
        with running_nginx(configuration(port=port)) as nginx:
            action = forward(Target("a/one:80", 3), Target("b/two:80", 1), policy=Policy.ROUND_ROBIN)
            groups = [
                EndpointGroup("a/one:80", tuple(sorted(map(at, found[:2])))),
                EndpointGroup("b/two:80", (at(found[2]),)),
            ]
            nginx.pusher.push(table(host(record(action=action)), groups=groups))
            for _ in range(40):
                assert (await shake(port)).status == 101
            assert [len(backend.requests) for backend in found] == [15, 15, 10]


async def test_a_hash_is_faithful_and_a_new_endpoint_takes_its_share_only() -> None:
    action = forward(policy=Policy.HASH, hash_key=HashKey(HashSource.QUERY, "room"))
    async with balanced(5, action) as (nginx, port, found):

        async def places() -> dict[int, int]:
            where = {}
            for room in range(200):
                for backend in found:
                    backend.requests.clear()
                assert (await shake(port, f"/ws?room=r{room}")).status == 101
                [where[room]] = [number for number, backend in enumerate(found) if backend.requests]
            return where

        before = await places()
        assert await places() == before
        assert len(set(before.values())) == 5
        serve(nginx, action, *map(at, found[:4]))
        after = await places()
        moved = {room for room in before if before[room] != after[room]}
        assert moved == {room for room, number in before.items() if number == 4}, "only those of the one that left"


async def test_a_cookie_brings_a_client_back_even_to_an_endpoint_that_takes_nobody_else() -> None:
    action = forward(sticky=StickyCookie("wsr", 60), websocket_only=False)
    async with balanced(3, action) as (nginx, port, found):
        answer = await get(port)
        pair, *attributes = answer.headers["set-cookie"].split("; ")
        assert attributes == ["Path=/ws", "Max-Age=60", "HttpOnly"]
        [home] = [backend for backend in found if backend.requests]
        assert pair == f"wsr={endpoint_id(at(home))}"
        others = [at(backend) for backend in found if backend is not home]
        serve(nginx, action, *others, returning=(at(home),))
        for _ in range(20):
            answer = await shake(port, headers={"Cookie": f"a=b; {pair}"})
            assert (answer.status, answer.headers["set-cookie"].partition(";")[0]) == (101, pair), "its age begins anew"
        assert len(home.requests) == 21
        for headers in ({}, {"Cookie": "wsr=00000000"}, {"Cookie": "wsr=../../x"}):
            for _ in range(5):
                assert (await shake(port, headers=headers)).status == 101
        assert len(home.requests) == 21, "nobody else reaches it"
        serve(nginx, action, returning=(at(home),))
        answer = await shake(port, headers={"Cookie": pair})
        assert (answer.status, answer.reason) == (503, "no-endpoints")


async def test_between_equals_every_one_has_its_chance() -> None:
    async with balanced(3, forward()) as (nginx, port, found):
        for _ in range(40):
            assert (await shake(port)).status == 101
            await until(lambda: counted(nginx) == {}, what="for no socket to be counted")
        assert all(backend.requests for backend in found)


async def test_of_many_the_fuller_one_of_two_that_are_drawn_is_passed_over() -> None:
    async with balanced(5, forward()) as (nginx, port, found):
        full, *others = found
        serve(nginx, forward(), at(full))
        held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(60)]
        serve(nginx, forward(), *map(at, found))
        for _ in range(200):
            assert (await shake(port)).status == 101
        assert len(full.requests) == len(held)
        assert all(backend.requests for backend in others)
        await asyncio.gather(*(client.close() for client in held))


@pytest.mark.parametrize("policy", [Policy.ROUND_ROBIN, Policy.LEAST_CONNECTIONS])
async def test_another_endpoint_is_tried_once_and_the_one_that_refuses_is_set_aside(policy: Policy) -> None:
    [dead] = free_ports(1)
    async with balanced(1, forward(policy=policy)) as (nginx, port, found):
        # So that the other one has fewer.
        held = await held_socket(connected(port), host=HOST, path="/ws")
        serve(nginx, forward(policy=policy), Address("127.0.0.1", dead), at(found[0]))
        watch = Stopwatch()
        for _ in range(10):
            assert (await shake(port)).status == 101
        tried = Counter(line["endpoint"].count(str(dead)) for line in nginx.access_log())
        assert 1 <= tried[1] <= 2 + watch.elapsed, "it was left out for a second after its refusal"
        await held.close()
        await until(lambda: counted(nginx) == {}, what="for no socket to be counted")
        serve(nginx, forward(), Address("127.0.0.1", dead))
        answer = await shake(port)
        assert (answer.status, answer.reason) == (502, "backend-refused"), "ejected, but the only one: it is asked"
        assert (await nginx.log_line(12))["endpoint"] == f"127.0.0.1:{dead}", "and asked once"


async def test_the_one_that_did_not_answer_is_not_tried_again_although_it_has_the_fewest_sockets() -> None:
    [port] = free_ports(1)
    async with silent_backend() as silent, running_backend() as busy:
        # The busy one has as long for its answer.
        timeouts = [location("/long", proxy()), location(action=proxy(idle_timeout=1_000))]
        with running_nginx(configuration(port=port, servers=[server(*timeouts)])) as nginx:
            serve(nginx, forward(), at(busy))
            held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(5)]
            action = forward(websocket_only=False, idle_timeout=1_000)
            serve(nginx, action, Address(silent.address, silent.port), at(busy))
            answer = await get(port)
            assert answer.status == 200
            assert (await nginx.log_line(1))["endpoint"] == f"{silent.address}:{silent.port} : {at(busy)}"
            await asyncio.gather(*(client.close() for client in held))


async def test_a_client_that_its_cookie_brings_to_one_that_does_not_answer_goes_to_another() -> None:
    [port] = free_ports(1)
    async with silent_backend() as silent, running_backend() as other:
        short = configuration(port=port, servers=[server(location(action=proxy(idle_timeout=200)))])
        with running_nginx(short) as nginx:
            home = Address(silent.address, silent.port)
            action = forward(websocket_only=False, idle_timeout=200, sticky=StickyCookie("wsr", 0))
            serve(nginx, action, at(other), returning=(home,))
            answer = await get(port, headers={"Cookie": f"wsr={endpoint_id(home)}"})
            assert answer.headers["set-cookie"] == f"wsr={endpoint_id(at(other))}; Path=/ws; HttpOnly"
            assert (await nginx.log_line(1))["endpoint"] == f"{home} : {at(other)}"


async def test_many_refusals_at_once_set_an_endpoint_aside_no_longer_than_one() -> None:
    [dead] = free_ports(1)
    async with balanced(1, forward()) as (nginx, port, [other]):
        # It is the only one, and asked all the same.
        serve(nginx, forward(), Address("127.0.0.1", dead))
        for _ in range(6):
            assert (await shake(port)).reason == "backend-refused"
        async with running_backend(port=dead) as back:
            serve(nginx, forward(), at(back), at(other))

            async def is_back() -> bool:
                assert (await shake(port)).status == 101
                return bool(back.requests)

            # After six failures in a row it would be half a minute.
            await until_async(is_back, seconds=5, what="for the end of the second or two")


async def test_a_request_that_may_have_been_acted_upon_is_not_sent_twice() -> None:
    [port] = free_ports(1)
    async with silent_backend() as one, silent_backend() as two:
        short = configuration(port=port, servers=[server(location(action=proxy(idle_timeout=200)))])
        with running_nginx(short) as nginx:
            action = forward(websocket_only=False, idle_timeout=200)
            serve(nginx, action, *(Address(endpoint.address, endpoint.port) for endpoint in (one, two)))
            for number, (method, tries) in enumerate((("GET", 2), ("HEAD", 2), ("POST", 1)), start=1):
                reader, writer = await asyncio.open_connection(sock=connected(port))
                lines = (f"{method} /ws HTTP/1.1", f"Host: {HOST}", "Content-Length: 2", "Connection: close", "", "ok")
                writer.write("\r\n".join(lines).encode())
                assert b" 504 " in (await reader.read()).partition(b"\n")[0]
                writer.close()
                assert len((await nginx.log_line(number))["endpoint"].split(" : ")) == tries


async def test_counts_are_exact_after_sockets_that_end_in_any_way() -> None:
    async with balanced(3, forward(), workers=2) as (nginx, port, found):
        chance = random.Random(1)  # noqa: S311 (no secret)
        handshake = (
            f"GET /ws HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()

        def abuse() -> None:
            with connected(port) as client:
                client.sendall(handshake[: chance.choice([40, len(handshake), len(handshake)])])
                if chance.random() < 0.5:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif chance.random() < 0.5:
                    client.settimeout(0.2)
                    with suppress(TimeoutError):
                        client.recv(4_096)

        for _ in range(10):
            await asyncio.gather(*(asyncio.to_thread(abuse) for _ in range(50)))
        await until(lambda: counted(nginx) == {}, what="for no socket to be counted")
        held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(12)]
        assert counted(nginx) == {str(at(backend)): 4 for backend in found}
        await asyncio.gather(*(client.close() for client in held))
        await until(lambda: counted(nginx) == {}, what="for no socket to be counted")
        assert nginx.error_log() == ""


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_a_killed_worker_takes_its_share_of_the_counts_with_it() -> None:
    async with balanced(2, forward(), workers=2) as (nginx, port, found):
        held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(40)]
        assert sum(counted(nginx).values()) == 40
        os.kill(max(nginx.workers(), key=descriptors), signal.SIGKILL)
        await until(lambda: sum(len(backend.sockets) for backend in found) <= 20, what="for its sockets to end")

        def exact() -> bool:
            expected = {str(at(backend)): len(backend.sockets) for backend in found if backend.sockets}
            return counted(nginx) == expected

        await until(exact, what="for the counts of the worker that is left")
        await asyncio.gather(*(client.close() for client in held))
        await until(lambda: counted(nginx) == {}, what="for no socket to be counted")


async def test_an_old_worker_keeps_its_share_until_its_sockets_end() -> None:
    async with balanced(1, forward()) as (nginx, port, found):
        endpoint = str(at(found[0]))
        async with await held_socket(connected(port), host=HOST, path="/ws"):
            [old] = nginx.workers()
            os.kill(nginx.pid, signal.SIGHUP)
            await until(lambda: len(nginx.workers()) == 2, what="for a new worker")
            await until(lambda: accepts_nothing(old), what="for the old one to listen no longer")
            [new] = set(nginx.workers()) - {old}
            await held_socket(connected(port), host=HOST, path="/ws")
            assert counted(nginx) == {endpoint: 2}
            os.kill(new, signal.SIGKILL)
            await until(lambda: new not in nginx.workers(), what="for the end of the new worker")
            await until(lambda: answers(nginx, {endpoint: 1}), what="for the share of the one that was killed to go")
        await until(lambda: answers(nginx, {}), what="for no socket to be counted")


def answers(nginx: Nginx, expected: dict[str, int]) -> bool:
    """Are these the counts? Not while there is nobody to say."""
    try:
        return counted(nginx) == expected
    except OSError:
        return False
