"""The agent, a real nginx of the Dynamic data plane and a real API server: whatever comes between them, sockets and
handshakes do not notice, and afterwards what was published meanwhile is served.

``WSROUTE_FAULT_SECONDS`` says how long the faults are held.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Final

import pytest

from tests.apiserver.test_faults import FAULTS, HOLD, SOON, Away, injected
from tests.support.apiserver import ApiServer
from tests.support.backend import Backend
from tests.support.balancer_pod import balancer_pod, opened
from tests.support.configurations import HOST
from tests.support.fault_proxy import Emptied, Fault, FaultProxy, InStream, Where
from tests.support.handshake import echo
from tests.support.ports import free_ports
from tests.support.served_pod import ServedPod, to
from tests.support.waiting import until
from wsroute.kube.client import KubeClient
from wsroute.kube.port import CONFIG_MAPS, NAMESPACES

pytestmark = pytest.mark.nginx

BEGIN: Final = 60.0
"""Seconds for several agents that start at once."""


@asynccontextmanager
async def served(client: KubeClient, namespace: str, *, workers: int = 1) -> AsyncIterator[ServedPod]:
    """A pod in a namespace of its own; nothing is published yet."""
    await client.create(NAMESPACES, {"metadata": {"name": namespace}})
    with ExitStack() as exits:
        pod = await asyncio.to_thread(exits.enter_context, balancer_pod())
        [port] = free_ports(1)
        yield ServedPod(client, namespace, pod, port, workers)


@pytest.mark.parametrize("groups", [("refusals", "errors"), ("connections", "watches")], ids=" and ".join)
async def test_every_fault_is_survived(
    apiserver: ApiServer, client: KubeClient, namespace: str, backend: Backend, other: Backend, groups: tuple[str, ...]
) -> None:
    # Each has an agent, a nginx, a proxy and a namespace of its own; they wait beside one another.
    turn = asyncio.Lock()
    async with asyncio.TaskGroup() as tasks:
        for group in groups:
            for number, fault in enumerate(FAULTS[group]):
                name = f"{namespace}-{group}-{number}"
                one = _survive(apiserver, client, fault, name, backend, other, turn)
                tasks.create_task(one, name=repr(fault))


async def _survive(
    apiserver: ApiServer,
    client: KubeClient,
    fault: Fault | Away,
    namespace: str,
    backend: Backend,
    other: Backend,
    turn: asyncio.Lock,
) -> None:
    """The fault ends when it is its ``turn``: how soon edits are live is for one agent that comes back at a time."""
    async with AsyncExitStack() as exits:
        own = await exits.enter_async_context(served(client, namespace))
        proxy = await exits.enter_async_context(apiserver.proxy())
        await own.shell()
        await own.table(to(backend))
        agent = await exits.enter_async_context(own.agent(apiserver.kubeconfig(through=proxy)))
        await own.until_live(to(backend), within=BEGIN)
        held = await exits.enter_async_context(opened(own.port))
        workers = own.pod.accepting()
        async with own.probing() as answers:
            async with injected(proxy, fault):
                await own.table(to(other))
                await asyncio.sleep(HOLD)
                await turn.acquire()
                await echo(held, f"during {fault}")
            await own.table(to(backend, hosts=(HOST, "after.example.com")))
            seconds = await own.until_live(to(backend, hosts=(HOST, "after.example.com")), within=SOON)
            print(f"{fault}: live after {seconds:.1f} s")
            turn.release()
            await own.until_told(within=2 * SOON)
            await echo(held, f"after {fault}")
        assert set(answers) == {101}, fault
        assert own.pod.accepting() == workers
        assert agent.running, agent.log.read_text()


async def test_lists_that_come_back_empty_take_nothing_away(
    apiserver: ApiServer, client: KubeClient, namespace: str, backend: Backend, other: Backend, proxy: FaultProxy
) -> None:
    maps = frozenset({"configmaps"})
    lists = Where(verbs=frozenset({"list"}), resources=maps)
    async with served(client, f"{namespace}-pod") as own, AsyncExitStack() as exits:
        await own.shell()
        await own.table(to(backend))
        await exits.enter_async_context(own.agent(apiserver.kubeconfig(through=proxy)))
        await own.until_live(to(backend), within=BEGIN)

        def emptied() -> int:
            return sum(count for (asked, _), count in proxy.requests.items() if lists.matches(asked))

        held = await exits.enter_async_context(opened(own.port))
        async with own.probing() as answers:
            before = emptied()
            with proxy.fault(Emptied(times=100), lists):
                # Its watches end with 410, so that it lists anew.
                with proxy.fault(InStream(410), Where(verbs=frozenset({"watch"}), resources=maps)):
                    await until(lambda: emptied() >= before + 8, seconds=30, what="for eight lists")
                assert await own.status() == 101
            await own.table(to(other))
            print(f"live after {await own.until_live(to(other), within=SOON):.1f} s")
            await echo(held, "still here")
        assert set(answers) == {101}


async def test_parts_that_somebody_deletes_edits_or_puts_in_their_place_take_nothing_away(
    apiserver: ApiServer, client: KubeClient, namespace: str, backend: Backend, other: Backend
) -> None:
    """What the operator then does about it is tests/apiserver/test_dynamic.py."""
    async with served(client, f"{namespace}-pod") as own, AsyncExitStack() as exits:
        await own.shell()
        await own.table(to(backend))
        agent = await exits.enter_async_context(own.agent(apiserver.kubeconfig()))
        await own.until_live(to(backend), within=BEGIN)
        held = await exits.enter_async_context(opened(own.port))
        async with own.probing() as answers:
            for name in ("shared-table-r0", "shared-table-e0"):
                stood = await client.get(CONFIG_MAPS, namespace=own.namespace, name=name)
                meta = {key: stood["metadata"][key] for key in ("namespace", "name")}
                ours = {key: stood["metadata"][key] for key in ("labels", "annotations")}
                later = {**ours, "annotations": {**ours["annotations"], "wsroute.dev/table-format": "2"}}
                for content in (
                    {"metadata": {**meta, **ours}, "data": {"table": ""}},
                    {"metadata": {**meta, **ours}, "data": {"table": stood["data"]["table"][:-20]}},
                    {"metadata": {**meta, **ours}},
                    {"metadata": {**meta, **later}, "data": stood["data"]},
                    {"metadata": meta, "data": {"table": "somebody else's"}},
                ):
                    await client.delete(CONFIG_MAPS, namespace=own.namespace, name=name)
                    await client.create(CONFIG_MAPS, content)
                    await asyncio.sleep(0.3)
                    assert await own.status() == 101
                await client.delete(CONFIG_MAPS, namespace=own.namespace, name=name)
                again = await client.create(CONFIG_MAPS, {"metadata": {**meta, **ours}, "data": stood["data"]})
                own.newest = int(again["metadata"]["resourceVersion"])
                await own.until_told(within=SOON)
            await own.table(to(other))
            print(f"live after {await own.until_live(to(other), within=SOON):.1f} s")
            await echo(held, "still here")
        assert set(answers) == {101}
        assert agent.running, agent.log.read_text()
