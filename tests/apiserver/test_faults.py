"""Each fault of the proxy, held for longer than a Lease lasts: nothing that is served goes, and afterwards all goes on.

``WSROUTE_FAULT_SECONDS`` says how long the faults are held.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from tests.support.apiserver import ApiServer
from tests.support.controlled import World, replica
from tests.support.fault_proxy import Fault, FaultProxy, HalfOpen, InStream, Reset, Stall, Status, Truncated
from wsroute.kube.port import NAMESPACES

HOLD: Final = float(os.environ.get("WSROUTE_FAULT_SECONDS", "20"))
SOON: Final = 5.0
"""Seconds within which an edit is live that is made when a fault is over."""


class Away:
    """Nobody listens at the API server's address."""

    def __repr__(self) -> str:
        return "Away()"


FAULTS: Final[dict[str, Sequence[Fault | Away]]] = {
    "refusals": [Status(401), Status(403), Status(404), Status(409)],
    "errors": [Status(410), Status(429, retry_after=1), Status(500), Status(503)],
    "connections": [Away(), Reset(), Stall(), Truncated()],
    "watches": [InStream(410), InStream(500), HalfOpen(), HalfOpen(old_only=True)],
}

ENDS_KOPF: Final = {Status(404), Status(409), Status(410), InStream(500)}
"""What kopf never gets over by itself, so that it is started again."""


@pytest.mark.parametrize("group", FAULTS)
async def test_every_fault_is_survived(apiserver: ApiServer, world: World, group: str, tmp_path: Path) -> None:
    # Each has an operator, a proxy and a namespace of its own; they wait beside one another.
    turn = asyncio.Lock()
    async with asyncio.TaskGroup() as tasks:
        for (number, fault), data_plane in product(enumerate(FAULTS[group]), ("Static", "Dynamic")):
            name = f"{group}-{number}-{data_plane.lower()}"
            one = _survive(apiserver, world, fault, data_plane, name, tmp_path / name, turn)
            tasks.create_task(one, name=f"{fault}, {data_plane}")


async def _survive(
    apiserver: ApiServer, world: World, fault: Fault | Away, data_plane: str, name: str, log: Path, turn: asyncio.Lock
) -> None:
    """The fault ends when it is its ``turn``: how soon edits are live is for one operator that comes back at a time."""
    async with _own_world(world, name) as own, apiserver.proxy() as proxy:
        await own.balancer(data_plane=data_plane)
        await own.backend("10.1.0.1")
        async with replica(own, "one", apiserver.kubeconfig(through=proxy), log=log) as operator:
            await own.route()
            await own.until_programmed(seconds=60)  # several processes start at once
            await own.until_at_rest()
            async with injected(proxy, fault):
                await own.backend("10.1.0.2")
                await asyncio.sleep(HOLD)
                await turn.acquire()
                assert "/ws" in await own.published()
                assert "10.1.0." in await own.published()
            await own.backend("10.1.0.3")
            await own.route("after", path="/after")

            async def live() -> bool:
                text = await own.published()
                return "/after" in text and "10.1.0.3" in text and "10.1.0.2" not in text

            begun = asyncio.get_running_loop().time()
            await own.until(live, what=f"what was edited after {fault} is live", seconds=SOON)
            print(f"{fault}, {data_plane}: live after {asyncio.get_running_loop().time() - begun:.1f} s")
            turn.release()
            await own.until_programmed("after")
            await own.until_at_rest()
            assert operator.returncode is None
        if fault in ENDS_KOPF:
            assert "it is started again" in await asyncio.to_thread(log.read_text)


@contextlib.asynccontextmanager
async def injected(proxy: FaultProxy, fault: Fault | Away) -> AsyncIterator[None]:
    """Have a fault for the length of a block."""
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(fault, Away):
            await stack.enter_async_context(proxy.away())
        else:
            stack.enter_context(proxy.fault(fault))
        yield


@contextlib.asynccontextmanager
async def _own_world(world: World, name: str) -> AsyncIterator[World]:
    """Another world beside one."""
    namespace = f"{world.namespace}-{name}"
    await world.client.create(NAMESPACES, {"metadata": {"name": namespace}})
    own = World(world.client, world.server, namespace)
    agents = asyncio.create_task(own.serve())
    yield own
    agents.cancel()
    await asyncio.wait([agents])
