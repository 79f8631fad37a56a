"""When the drainer looks at the old workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from tests.support.clock import jumping
from tests.support.waiting import until
from wsroute.agent.drain import Terms
from wsroute.agent.drainer import CROWDED, LOOK, UNSETTLED, Drainer
from wsroute.agent.metrics import AgentMetrics
from wsroute.balancer.applier import Applier
from wsroute.balancer.control import OldWorker


class Looks:
    """In place of an applier: when it was asked for the old workers, of which there are none."""

    def __init__(self) -> None:
        self.at: list[float] = []

    async def survey(self) -> tuple[OldWorker, ...]:
        self.at.append(now())
        return ()


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def draining(looks: Looks) -> AsyncIterator[Drainer]:
    """One that runs, and has looked once: on its own it looks again only after a long while."""
    drainer = Drainer(cast("Applier", looks), AgentMetrics(), pod="me", changed=lambda: None)
    task = asyncio.create_task(drainer.run())
    await until(lambda: bool(looks.at), what="for the first look")
    try:
        yield drainer
    finally:
        task.cancel()
        await asyncio.wait([task])


@jumping
async def test_while_nothing_happens_it_looks_from_time_to_time() -> None:
    looks = Looks()
    async with draining(looks):
        await asyncio.sleep(3.5 * LOOK)
        assert looks.at == pytest.approx([0, LOOK, 2 * LOOK, 3 * LOOK])


@jumping
async def test_after_a_reload_it_looks_once_that_has_settled() -> None:
    looks = Looks()
    async with draining(looks) as drainer:
        reloaded = now()
        drainer.reloaded(sockets=1)
        assert drainer.draining is not None
        assert drainer.draining.generations == 1, "what is told does not wait for the look"
        await asyncio.sleep(LOOK / 2)
        assert looks.at[1:] == pytest.approx([reloaded + UNSETTLED])


@jumping
async def test_reloads_in_quick_succession_put_the_look_off_but_not_for_ever() -> None:
    looks = Looks()
    async with draining(looks) as drainer:
        first = now()
        while len(looks.at) < 2:
            drainer.reloaded(sockets=1)
            await asyncio.sleep(UNSETTLED / 10)
        assert looks.at[1:] == pytest.approx([first + CROWDED])


@jumping
async def test_other_terms_are_looked_after_at_once() -> None:
    looks = Looks()
    async with draining(looks) as drainer:
        drainer.reloaded(sockets=1)
        followed = now()
        drainer.follow(Terms(generations=1, timeout=60.0))
        await asyncio.sleep(UNSETTLED / 2)
        assert looks.at[1:] == pytest.approx([followed])


class Crowd(Looks):
    """One old worker, much older than anybody allows."""

    def __init__(self) -> None:
        super().__init__()
        self.retired: list[int] = []

    async def survey(self) -> tuple[OldWorker, ...]:
        await super().survey()
        return (OldWorker(generation=1, age=10_000, pid=7, sockets=3),)

    async def retire(self, pid: int) -> int | None:
        self.retired.append(pid)
        return 3


@jumping
async def test_in_a_pod_that_is_ending_it_only_looks() -> None:
    crowd, told = Crowd(), asyncio.Event()
    drainer = Drainer(cast("Applier", crowd), AgentMetrics(), pod="me", changed=told.set)
    drainer.only_look()
    drainer.follow(Terms(generations=1, timeout=1.0))
    task = asyncio.create_task(drainer.run())
    await told.wait()
    assert drainer.draining is not None
    assert (drainer.draining.generations, drainer.draining.sockets) == (1, 3)
    drainer.follow(Terms(generations=2, timeout=1.0))
    drainer.reloaded(sockets=3)
    await until(lambda: len(crowd.at) == 2, what="for the next look")
    assert crowd.retired == []
    task.cancel()
    await asyncio.wait([task])
