"""What a balancer's pods keep while a programme runs: nginx's processes with their memory, and generations of old
workers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from localcluster.errors import ClusterError
from localcluster.install import BALANCER, NAMESPACE
from tests.support.stack import BalancerPod, Stack
from wsroute.dataplane.acknowledgement import parse_acknowledgement
from wsroute.kube.port import CONFIG_MAPS

EVERY: Final = 2.0
"""Seconds between two looks at what pods acknowledge; each fifth one also measures their memory."""

_PROCESSES: Final = (
    "for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' <$p/cmdline 2>/dev/null)\" in 'nginx: '*) "
    "echo $(sed -n 's/^Pss: *\\([0-9]*\\).*/\\1/p' $p/smaps_rollup);; esac; done"
)


@dataclass(frozen=True, slots=True)
class Look:
    """A pod's nginx: how many processes, and MiB of all of them: what each has of its own, and its share of what they
    have in common (the kernel's PSS)."""

    processes: int
    memory: float


@dataclass(slots=True)
class Watch:
    """Looks at the same pods again and again. ``looks`` are of all pods at a time; ``generations`` are those of old
    workers that hold sockets, of the pod that has the most."""

    stack: Stack
    pods: Sequence[BalancerPod]
    looks: list[list[Look]] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Look until the end of the block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def look(self) -> None:
        """Note processes and memory now."""
        self.looks.append([await self._look_at(pod) for pod in self.pods])

    async def has_seen_more_than(self, looks: int) -> None:
        """Old workers hold sockets, and it was seen after so many looks at them."""
        assert any(self.generations[looks:]), "no generation of old workers is told of"

    async def _run(self) -> None:
        turn = 0
        while True:
            started = time.monotonic()
            with suppress(ClusterError):
                self.generations.append(await self._draining())
                if turn % 5 == 0:
                    await self.look()
            turn += 1
            await asyncio.sleep(max(0.0, started + EVERY - time.monotonic()))

    async def _draining(self) -> int:
        found = await self.stack.client.get(CONFIG_MAPS, namespace=NAMESPACE, name=f"{BALANCER}-agents")
        data = found.get("data") or {}
        said = [parse_acknowledgement(data[pod.name]) for pod in self.pods if pod.name in data]
        return max((each.draining.generations for each in said if each is not None), default=0)

    async def _look_at(self, pod: BalancerPod) -> Look:
        command = ("-n", NAMESPACE, "exec", pod.name, "-c", "nginx", "--", "sh", "-c", _PROCESSES)
        found = [int(line) / 1024 for line in (await self.stack.kubectl(*command)).split()]
        return Look(len(found), sum(found))


def growth(looks: Sequence[Sequence[Look]]) -> float:
    """By which part of itself the memory of a pod has grown at most since the first look: 0.1 is a tenth."""
    first, *later = looks
    return max((now.memory / was.memory - 1 for look in later for was, now in zip(first, look, strict=True)), default=0)


def more_processes(looks: Sequence[Sequence[Look]]) -> int:
    """How many processes a pod had more at most than at the first look."""
    first, *later = looks
    return max(
        (now.processes - was.processes for look in later for was, now in zip(first, look, strict=True)), default=0
    )
