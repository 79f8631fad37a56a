"""The end of a pod, with a real nginx: no new sockets, then one worker after the other, spread over what is left."""

import asyncio
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.support.backend import Backend
from tests.support.balancer_pod import (
    SHELLS,
    BalancerPod,
    balancer_pod,
    clients_of,
    connected,
    echo_route,
    opened,
    port_of,
)
from tests.support.configurations import HOST
from tests.support.dynamic import shell_of, table_of
from tests.support.handshake import echo, handshake, held_socket
from tests.support.ports import free_ports
from tests.support.waiting import Stopwatch, starved, until
from wsroute.balancer.applier import Applied, Toll
from wsroute.balancer.control import OldWorker
from wsroute.balancer.table_client import TableClient
from wsroute.dataplane.dictionary import entries, mark

pytestmark = pytest.mark.nginx

WORKERS = 4
BATCH = 16
"""Connections that a worker of nginx accepts before it lets the next one have them (``ngx_event_accept.c``)."""

GRACE = 11
SPAN = GRACE - 5
"""Seconds for which sockets live on, as five are left for telling what was closed."""


@pytest.fixture(params=SHELLS, ids=lambda shell: Path(shell[0]).name)
def pod(request: pytest.FixtureRequest) -> Iterator[BalancerPod]:
    """A pod that serves no longer than it must once it is told to end, under each shell."""
    with balancer_pod(shell=request.param, grace=str(GRACE)) as started:
        yield started


async def load(pod: BalancerPod, port: int, backend: Backend, number: int = 0) -> None:
    """Bring in the route, with several workers. Of those before only they are left that hold sockets."""
    route = echo_route(port, backend.endpoint(), idle_timeout=3_600_000 + number * 1000, worker_processes=WORKERS)
    assert isinstance(await pod.applier.apply(pod.stage(route).version), Applied), pod.words()
    # A load is over once one of the new workers works.
    await until(lambda: len(pod.accepting()) == WORKERS, what="for all workers")
    await until_others_have_ended(pod, port)


async def until_others_have_ended(pod: BalancerPod, port: int) -> None:
    """Wait until of the workers that accept nothing any more only those are left that hold sockets."""
    await until(
        lambda: all(clients_of(worker, port) for worker in pod.draining()), what="for workers without sockets to end"
    )


async def hold(exits: AsyncExitStack, port: int, count: int) -> list[ClientConnection]:
    """So many open sockets."""
    return [await exits.enter_async_context(opened(port)) for _ in range(count)]


async def tell_to_end(pod: BalancerPod) -> Stopwatch:
    """SIGTERM as from the kubelet; returns a watch that runs since, once nobody accepts any more."""
    told = Stopwatch()
    pod.process.send_signal(signal.SIGTERM)
    await until(lambda: not pod.accepting(), what="for the listeners to be closed")
    return told


class End(NamedTuple):
    """When a socket was closed."""

    at: float
    """By the monotonic clock."""
    starved: float
    """The seconds until then in which somebody waited for a processor, since the machine's start."""


async def end_of(connection: ClientConnection) -> float:
    """When a socket was closed, which its client sees without a Close frame, by the monotonic clock."""
    with pytest.raises(ConnectionClosed) as closed:
        await connection.recv()
    assert closed.value.rcvd is None
    return time.monotonic()


async def ends_of(connections: list[ClientConnection]) -> dict[int, End]:
    """The same for several, by the port of each."""
    ports = [port_of(connection) for connection in connections]

    async def end(connection: ClientConnection) -> End:
        return End(await end_of(connection), starved())

    async with asyncio.timeout(120):
        moments = await asyncio.gather(*map(end, connections))
    return dict(zip(ports, moments, strict=True))


def ended_workers(pod: BalancerPod) -> list[tuple[int, int]]:
    """The workers that were ended, in their order, with the number of sockets that each held."""
    told = re.findall(r"the end of worker ([0-9]+) closed ([0-9]+) sockets", pod.words())
    return [(int(pid), int(sockets)) for pid, sockets in told]


def judge_turns(pod: BalancerPod, told: Stopwatch, held: dict[int, set[int]], ends: dict[int, End]) -> None:
    """Each worker had its turn, none before its time, and none later than the machine made it: where one is ended late,
    those after it share what is left.

    ``held`` are the clients of each worker, ``ends`` is when they were cut. Who is left at the end of the time is ended
    at once, in any order.
    """
    order = [pid for pid, _ in ended_workers(pod)]
    assert len(order) == WORKERS
    assert set(order) == set(held)
    cuts = [min(ends[client] for client in held[pid]) for pid in order]
    starts = [cut.at - told.began for cut in cuts]
    before = End(told.began, told.starved_before)
    for turn, (cut, start) in enumerate(zip(cuts, starts, strict=True), start=1):
        assert start > SPAN * turn / WORKERS - 0.5, f"turn {turn} of {starts}"
        left = told.began + SPAN - before.at
        late = cut.at - before.at - left / (WORKERS - turn + 1)
        assert late < 1 + cut.starved - before.starved, f"turn {turn} of {starts}"
        before = cut
    assert max(starts) < GRACE, "the kubelet kills what is left then"
    in_time = [len(held[pid]) for pid, start in zip(order, starts, strict=True) if start < SPAN]
    assert in_time == sorted(map(len, held.values()))[: len(in_time)], "the fewest first"


async def test_workers_end_one_after_the_other_spread_over_what_is_left(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with AsyncExitStack() as exits:
        held = await hold(exits, port, WORKERS * BATCH)
        clients = {worker: clients_of(worker, port) for worker in pod.accepting()}
        assert max(map(len, clients.values())) <= BATCH + 2, "nginx spreads sockets over its workers"
        told = await tell_to_end(pod)
        found = await pod.applier.survey()
        assert {old.pid: old.sockets for old in found} == {pid: len(ports) for pid, ports in clients.items()}
        assert len({old.generation for old in found}) == 1
        ends = await ends_of(held)
    await until(pod.applier.finished, what="for nginx to end")
    judge_turns(pod, told, clients, ends)
    assert sorted(ended_workers(pod)) == sorted((pid, len(ports)) for pid, ports in clients.items())
    assert pod.applier.closed() == Toll(sockets=len(held), workers=WORKERS)
    assert f"{len(held)} were closed so far" in pod.words()
    assert await pod.ended() == 0


async def test_a_worker_that_needs_no_turn_leaves_its_time_to_the_others(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with AsyncExitStack() as exits:
        held = await hold(exits, port, WORKERS * BATCH)
        told = await tell_to_end(pod)
        found = await pod.applier.survey()
        # All at once: the first turn must not come before.
        await asyncio.gather(*(each.close() for each in held[1:]))
        await until(lambda: len(pod.draining()) == 1, what="for those that hold nothing to end")
        await echo(held[0], "still here")
        # It was due after a quarter of the time, with three others to come.
        assert len(found) == WORKERS
        assert await end_of(held[0]) - told.began > SPAN - 0.5
    await until(pod.applier.finished, what="for nginx to end")
    assert pod.applier.closed() == Toll(sockets=1, workers=1)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)
async def test_a_pod_without_sockets_ends_at_once(shell: tuple[str, ...], backend: Backend) -> None:
    [port] = free_ports(1)
    with balancer_pod(shell=shell, grace="125") as pod:
        await load(pod, port, backend)
        async with opened(port) as client:
            await echo(client, "here")
        told = await tell_to_end(pod)
        assert await pod.ended() == 0
        assert told.elapsed < 30, "the first turn would come after half a minute"
        assert pod.applier.closed() == Toll(sockets=0, workers=0)


async def test_the_oldest_generation_goes_first(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with AsyncExitStack() as exits:
        old = await hold(exits, port, 3)
        await load(pod, port, backend, 1)
        new = await hold(exits, port, 2)
        await tell_to_end(pod)
        await until_others_have_ended(pod, port)
        found = await pod.applier.survey()
        assert sockets_by_generation(found) == [3, 2]
        generations = {worker.pid: worker.generation for worker in found}
        await ends_of([*old, *new])
    await until(pod.applier.finished, what="for nginx to end")
    assert pod.applier.closed() == Toll(sockets=5, workers=len(found))
    order = [generations[pid] for pid, _ in ended_workers(pod)]
    assert order == sorted(order)


def sockets_by_generation(found: Iterable[OldWorker]) -> list[int]:
    """How many sockets each generation holds, the oldest first."""
    held: Counter[int] = Counter()
    for old in found:
        held[old.generation] += old.sockets
    return [held[generation] for generation in sorted(held)]


async def test_nothing_new_comes_in_once_the_delay_is_over(backend: Backend) -> None:
    [port] = free_ports(1)
    with balancer_pod(delay="1", grace=str(GRACE)) as pod:
        await load(pod, port, backend)
        async with opened(port) as client:
            kept, writer = await asyncio.open_connection("127.0.0.1", port)
            refused = b"GET /ws HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST.encode()
            for _ in range(2):
                writer.write(refused)
                assert (await kept.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 426 "), "it is kept open"
                await kept.readuntil(b"only.\n")
            pod.process.send_signal(signal.SIGTERM)
            await until(pod.applier.leaving, what="for the script to hear it")
            await until(lambda: not pod.accepting(), what="for the listeners to be closed")
            assert await kept.read() == b"", "a connection that was kept open brings no further request"
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                connected(port)
            await echo(client, "still here")


@asynccontextmanager
async def dynamic_pod(port: int, backend: Backend) -> AsyncIterator[BalancerPod]:
    """A pod of a Dynamic balancer that serves the route."""
    route = echo_route(port, backend.endpoint(), worker_processes=WORKERS)
    with balancer_pod(delay="1", grace=str(GRACE)) as pod:
        assert isinstance(await pod.applier.apply(pod.stage(shell_of(route)).version), Applied), pod.words()
        table = entries(table_of(route))
        client = TableClient(pod.run)
        await client.add("a", [("s", key, value) for key, value in table.items()])
        await client.flip("a", mark(table))
        await client.close()
        yield pod


async def unused(port: int, count: int) -> list[socket.socket]:
    """Connections that workers have accepted, and over which nothing was sent yet."""
    found = [connected(port) for _ in range(count)]
    # Accepted one after the other: what comes last is through only when they are.
    for _ in range(WORKERS * BATCH):
        assert (await handshake(connected(port), host=HOST, path="/ws")).status == 101
    return found


async def test_no_connection_that_was_opened_before_brings_a_new_socket(backend: Backend) -> None:
    """Dynamic: who is told to end decides nothing any more. Browsers open connections ahead of need."""
    [port] = free_ports(1)
    async with dynamic_pod(port, backend) as pod, opened(port) as client:
        early = await unused(port, 8)
        asked = len(backend.requests)
        await tell_to_end(pod)
        for answer in await asyncio.gather(*(handshake(each, host=HOST, path="/ws") for each in early)):
            assert (answer.status, answer.reason, answer.headers["connection"]) == (503, "no-decision", "close")
            assert answer.headers["retry-after"] in {"1", "2", "3", "4", "5"}
        assert len(backend.requests) == asked
        await echo(client, "still here")


async def test_with_static_such_a_socket_closes_with_its_worker(backend: Backend) -> None:
    [port] = free_ports(1)
    with balancer_pod(delay="1", grace=str(GRACE)) as pod:
        await load(pod, port, backend)
        [early] = await unused(port, 1)
        told = await tell_to_end(pod)
        late = await held_socket(early, host=HOST, path="/ws")
        assert await end_of(late) - told.began < GRACE
        await until(lambda: pod.applier.closed() == Toll(sockets=1, workers=1), what="for it to be told")


async def test_the_end_goes_on_where_a_controller_that_was_killed_has_left_it(
    pod: BalancerPod, backend: Backend
) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with AsyncExitStack() as exits:
        held = await hold(exits, port, WORKERS * BATCH)
        clients = {worker: clients_of(worker, port) for worker in pod.accepting()}
        told = await tell_to_end(pod)
        ends = asyncio.create_task(ends_of(held))
        await until(lambda: ended_workers(pod), seconds=SPAN, what="for the first worker's end")
        controller = pod.controller()
        os.kill(controller, signal.SIGKILL)
        await until(lambda: "told to end before" in pod.words(), what="for the next one to know")
        moments = await ends
    await until(pod.applier.finished, what="for nginx to end")
    judge_turns(pod, told, clients, moments)
    assert pod.applier.closed() == Toll(sockets=len(held), workers=WORKERS)
    assert await pod.ended() == 0


async def test_workers_of_a_master_that_is_killed_meanwhile_have_their_turns_too(
    pod: BalancerPod, backend: Backend
) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with AsyncExitStack() as exits:
        held = await hold(exits, port, WORKERS * BATCH)
        clients = {worker: clients_of(worker, port) for worker in pod.accepting()}
        master = pod.master()
        told = Stopwatch()
        pod.process.send_signal(signal.SIGTERM)
        # Just when the ends of its workers are planned.
        await until(pod.applier.leaving, what="for the script to hear it")
        os.kill(master, signal.SIGKILL)
        ends = await ends_of(held)
    assert await pod.ended() == 0
    judge_turns(pod, told, clients, ends)
    assert pod.applier.closed() == Toll(sockets=len(held), workers=WORKERS)


async def test_words_in_the_fifo_end_nothing_before_its_time(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port) as first:
        pod.say(b"turn\n")
        await pod.applier.survey()
        await echo(first, "while it serves")
        told = await tell_to_end(pod)
        pod.say(b"turn\n" * 20)
        await pod.applier.survey()
        await echo(first, "and while it ends")
        assert await end_of(first) - told.began > SPAN - 0.5


async def test_what_is_left_is_known_and_until_when(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    assert pod.applier.leaving_until() is None
    async with opened(port):
        before = time.time()
        await tell_to_end(pod)
        until_when = pod.applier.leaving_until()
        assert until_when is not None
        # Files have the time of the kernel's last tick.
        assert before - 0.1 < until_when - SPAN < time.time()
        (pod.run / "leaving").write_text("nonsense\n")
        assert pod.applier.leaving_until() is None
        pod.process.send_signal(signal.SIGTERM)
        assert await pod.ended() == 0
