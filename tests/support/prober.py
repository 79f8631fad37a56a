"""Handshakes one after another, each counted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.handshake import GOES_ON
from tests.support.stack import BalancerPod, Stack

PAUSE = 0.01
"""Seconds between two rounds: without it the prober alone keeps a processor busy."""


@dataclass
class Prober:
    """Opens one handshake after another on every balancer pod, and counts what it got."""

    stack: Stack
    host: str
    wrong: list[str] = field(default_factory=list)
    total: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, pods: Callable[[], Awaitable[Sequence[BalancerPod]]]) -> None:
        """Probe until ``stopped``. ``pods`` are asked for before each round."""
        while not self.stopped.is_set():
            for pod in await pods():
                answer = await self.stack.handshake(pod, host=self.host, within=GOES_ON)
                self.total += 1
                if answer.status != 101:
                    self.wrong.append(f"{pod.name}: {answer.status} {answer.reason}")
            await asyncio.sleep(PAUSE)


@asynccontextmanager
async def probing(
    stack: Stack, host: str, pods: Sequence[BalancerPod] | Callable[[], Awaitable[Sequence[BalancerPod]]]
) -> AsyncIterator[Prober]:
    """A prober beside the block. A connection that fails ends the block. Where pods come and go, ``pods`` says which of
    them are there."""

    async def these() -> Sequence[BalancerPod]:
        return pods if isinstance(pods, Sequence) else await pods()

    prober = Prober(stack, host)
    async with asyncio.TaskGroup() as group:
        group.create_task(prober.run(these))
        yield prober
        prober.stopped.set()
