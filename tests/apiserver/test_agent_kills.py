"""kill -9 of everything in a balancer's pod, in any order: each time nginx comes to serve what is published, and no
socket is lost but those of the worker that was killed."""

import os
import random
import signal
from contextlib import AsyncExitStack
from typing import Final

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.apiserver.test_agent_faults import BEGIN, served
from tests.support.apiserver import ApiServer
from tests.support.backend import Backend
from tests.support.balancer_pod import BalancerPod, clients_of, opened, port_of
from tests.support.handshake import echo
from tests.support.served_pod import AgentProcess, ServedPod, to
from tests.support.waiting import until, until_async
from wsroute.kube.client import KubeClient

pytestmark = pytest.mark.nginx

SOON: Final = 5.0
"""Seconds after a kill within which what is published then is served, but for the start of a Python process."""

VICTIMS: Final = ("master", "worker", "agent", "script's shell")
HELD: Final = 12


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_killed_in_whatever_order(
    apiserver: ApiServer, client: KubeClient, namespace: str, backend: Backend, other: Backend, seed: int
) -> None:
    order = [*VICTIMS, *VICTIMS]
    random.Random(seed).shuffle(order)  # noqa: S311 (an order, no secret)
    print(f"in this order: {', '.join(order)}")
    async with served(client, f"{namespace}-pod", workers=2) as own, AsyncExitStack() as exits:
        await own.shell()
        await own.table(to(backend))
        agent = await exits.enter_async_context(own.agent(apiserver.kubeconfig()))
        await own.until_live(to(backend), within=BEGIN)
        held: set[ClientConnection] = set()
        for number, victim in enumerate(order):
            held |= {await exits.enter_async_context(opened(own.port)) for _ in range(HELD - len(held))}
            lost = await kill(victim, own, agent)
            wanted = to((other, backend)[number % 2], hosts=("chat.example.com", f"h{number}.example.com"))
            await own.table(wanted)
            seconds = await own.until_live(wanted, within=BEGIN if victim == "agent" else SOON)
            await until_served(own)
            print(
                f"{victim}: {len(lost)} of {len(held)} sockets lost, what was published then live after {seconds:.1f} s"
            )
            gone = {each for each in held if port_of(each) in lost}
            for each in gone:
                with pytest.raises(ConnectionClosed):
                    await echo(each, "nobody hears this")
            held -= gone
            for each in held:
                await echo(each, f"after {victim}")


async def kill(victim: str, own: ServedPod, agent: AgentProcess) -> set[int]:
    """Kill it; gives the ports of the clients whose sockets go with it."""
    pod = own.pod
    match victim:
        case "master":
            master = pod.master()
            os.kill(master, signal.SIGKILL)
            await until_another(pod, master)
        case "worker":
            worker = max(pod.accepting(), key=lambda each: len(clients_of(each, own.port)))
            lost = clients_of(worker, own.port)
            os.kill(worker, signal.SIGKILL)
            await until(lambda: len(pod.accepting()) == own.workers, seconds=SOON, what="for the next worker")
            return lost
        case "agent":
            await agent.kill()
            await agent.start()
        case _:
            # The next one has a master of its own.
            master = pod.master()
            os.kill(pod.controller(), signal.SIGKILL)
            await until_another(pod, master)
    return set()


async def until_another(pod: BalancerPod, master: int) -> None:
    """Wait for another master than this one, and for all that it begins with."""
    await until(lambda: pod.serves(after=master), seconds=SOON, what=f"for the next master: {pod.words()[-999:]}")


async def until_served(own: ServedPod) -> None:
    """Wait until a handshake succeeds."""

    async def served() -> bool:
        return await own.status() == 101

    await until_async(served, seconds=SOON, what="for a handshake that succeeds")
