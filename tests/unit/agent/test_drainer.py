"""When the drainer looks at the old workers."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import cast

import pytest

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
        self.at.append(time.monotonic())
        return ()


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
async def drainer(looks: Looks) -> AsyncIterator[Drainer]:
    """One that runs, and has looked once: on its own it would look again only after a long while."""
    made = Drainer(cast("Applier", looks), AgentMetrics(), pod="me", changed=lambda: None)
    task = asyncio.create_task(made.run())
    await until(lambda: bool(looks.at), what="for the first look")
    yield made
    task.cancel()


async def test_after_a_reload_it_looks_once_that_has_settled(drainer: Drainer, looks: Looks) -> None:
    reloaded = time.monotonic()
    drainer.reloaded(sockets=1)
    assert drainer.draining is not None
    assert drainer.draining.generations == 1, "what is told does not wait for the look"
    await until(lambda: len(looks.at) == 2, what="for the look after the reload")
    assert UNSETTLED <= looks.at[1] - reloaded < LOOK


async def test_reloads_in_quick_succession_put_the_look_off_but_not_for_ever(drainer: Drainer, looks: Looks) -> None:
    first = time.monotonic()

    def reloads_go_on() -> bool:
        drainer.reloaded(sockets=1)
        return len(looks.at) == 2

    await until(reloads_go_on, what="for a look between two reloads")
    assert CROWDED <= looks.at[1] - first < LOOK


async def test_other_terms_are_looked_after_at_once(drainer: Drainer, looks: Looks) -> None:
    drainer.reloaded(sockets=1)
    followed = time.monotonic()
    drainer.follow(Terms(generations=1, timeout=60.0))
    await until(lambda: len(looks.at) == 2, what="for the look at the new terms")
    assert looks.at[1] - followed < UNSETTLED


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
