"""Old workers with a real nginx and the real start script: what is told of them, and that only they can be ended."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.backend import Backend
from tests.support.balancer_pod import BalancerPod, children, load, opened, title
from tests.support.handshake import echo
from tests.support.ports import free_ports
from tests.support.waiting import Stopwatch, until
from wsroute.balancer.control import OldWorker

pytestmark = pytest.mark.nginx


async def holding(pod: BalancerPod) -> list[OldWorker]:
    """The old workers that hold sockets. Others, as the bootstrap's, may be seen for a moment before they end."""
    return [old for old in await pod.applier.survey() if old.sockets]


async def test_each_reload_leaves_a_generation_with_the_sockets_that_it_holds(
    pod: BalancerPod, backend: Backend
) -> None:
    [port] = free_ports(1)
    watch = Stopwatch()
    assert await pod.applier.survey() == ()
    await load(pod, port, backend)
    async with AsyncExitStack() as exits:
        workers = []
        for generation in (1, 2, 3):
            workers += pod.accepting()
            for _ in range(generation):
                await exits.enter_async_context(opened(port))
            await load(pod, port, backend, generation)
        found = await holding(pod)
        assert [(old.pid, old.sockets) for old in found] == [(workers[0], 1), (workers[1], 2), (workers[2], 3)]
        assert len({old.generation for old in found}) == 3
        assert all(0 <= old.age <= watch.elapsed + 1 for old in found)
        assert [old.age for old in found] == sorted((old.age for old in found), reverse=True)
    await until(lambda: not pod.draining(), what="for the old workers to end")
    assert await pod.applier.survey() == ()
    assert not (pod.run / "draining").read_text()


async def test_one_worker_is_ended_at_a_time_and_closes_its_own_sockets_only(
    pod: BalancerPod, backend: Backend
) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port) as first, opened(port) as also_first:
        await load(pod, port, backend, 1)
        async with opened(port) as second:
            await load(pod, port, backend, 2)
            async with opened(port) as newest:
                oldest, later = await holding(pod)
                assert await pod.applier.retire(oldest.pid) == 2
                for closed in (first, also_first):
                    with pytest.raises(ConnectionClosed):
                        await closed.recv()
                for client in (second, newest):
                    await echo(client, "still here")
                assert [old.pid for old in await holding(pod)] == [later.pid]
                assert f"ended the old worker {oldest.pid}, which held 2 sockets" in pod.words()
                assert await pod.applier.retire(oldest.pid) is None, "it is gone already"


async def test_only_an_old_worker_of_this_nginx_can_be_named(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    # A process that calls itself an old worker, but is no child of this nginx.
    impostor = await asyncio.create_subprocess_exec(
        "nginx: worker process is shutting down", "60", executable="/usr/bin/sleep"
    )
    try:
        async with opened(port) as first:
            await load(pod, port, backend, 1)
            [old] = await holding(pod)
            [accepting] = pod.accepting()
            untouchable = [accepting, pod.master(), pod.controller(), pod.process.pid, impostor.pid, os.getpid(), 1]
            for pid in untouchable:
                assert await pod.applier.retire(pid) is None
            for nonsense in (b"", b"0", b"-1", b"-9 1", b"x", b"1;2", f"0{old.pid}".encode(), b"9" * 40):
                pod.say(b"retire nonsense " + nonsense + b"\n")
            assert [other.pid for other in await holding(pod)] == [old.pid]
            assert not (pod.run / "results" / "nonsense").exists()
            assert all(title(pid) for pid in untouchable)
            assert pod.accepting() == [accepting]
            await echo(first, "still here")
    finally:
        impostor.kill()
        await impostor.wait()


async def test_the_workers_of_a_dead_master_are_old_workers_too(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port) as first:
        master = pod.master()
        [worker] = pod.accepting()
        os.kill(master, signal.SIGKILL)
        await until(lambda: pod.serves(after=master), what="for the next master")
        await until(lambda: "shutting down" in title(worker), what="for the old worker to drain")
        [old] = await holding(pod)
        assert (old.pid, old.sockets) == (worker, 1)
        assert await pod.applier.retire(worker) == 1
        with pytest.raises(ConnectionClosed):
            await first.recv()
        assert worker not in children(pod.process.pid)


async def test_a_worker_that_hangs_is_killed(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port) as first:
        await load(pod, port, backend, 1)
        [old] = await holding(pod)
        os.kill(old.pid, signal.SIGSTOP)
        assert await pod.applier.retire(old.pid) == 1
        await until(lambda: not title(old.pid), what="for its end")
        with pytest.raises(ConnectionClosed):
            await first.recv()


async def test_generations_survive_the_controller(pod: BalancerPod, backend: Backend) -> None:
    [port] = free_ports(1)
    await load(pod, port, backend)
    async with opened(port), AsyncExitStack() as exits:
        await load(pod, port, backend, 1)
        await exits.enter_async_context(opened(port))
        [before] = await holding(pod)
        controller, master = pod.controller(), pod.master()
        os.kill(controller, signal.SIGKILL)
        await until(lambda: pod.serves(after=master), what="for the next master")
        oldest, newer = await holding(pod)
        assert (oldest.generation, oldest.pid) == (before.generation, before.pid)
        assert newer.generation > before.generation
