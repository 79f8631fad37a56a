"""A rolling restart of the balancer: who is cut, when, and where clients find themselves again."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from localcluster import api, install
from tests.cluster.conftest import settle
from tests.support.rejoining import Crowd, Rejoiner, crowd, most_at_once
from tests.support.stack import BalancerPod, Stack, eventually
from tests.support.waiting import Stopwatch, is_too_long
from wsroute.kube.port import BALANCERS, EVENTS, Json

pytestmark = pytest.mark.local_cluster

GRACE = 30
SPAN = GRACE - 10
"""Seconds over which workers are ended: five are the delay before, five the farewell."""

WORKERS = 4
BATCH = 16
"""Connections that a worker of nginx accepts before it lets the next one have them."""

HELD = 64
"""Sockets on each pod."""

SOON = 5
"""Seconds within which who was cut has another socket, and nobody is sent any more to a pod that leaves."""


@pytest.fixture
def short_grace(local: api.Cluster, images: Mapping[str, str]) -> Iterator[None]:
    """Balancer pods as they are shipped, but with a short grace period, and fresh replicas of the operator; the usual
    pods afterwards."""
    # An object gets so many Events at once, and tests before this one may have used those of the balancer.
    local.kubectl("-n", install.NAMESPACE, "rollout", "restart", "deployment/wsroute-operator")
    try:
        install.set_grace_period(local, GRACE)
        yield
    finally:
        install.install_balancer(local, images)
        settle(local)


async def status_of(stack: Stack) -> Json:
    """The balancer's status."""
    found = await stack.client.get(BALANCERS, namespace=install.NAMESPACE, name=install.BALANCER)
    return dict(found["status"])


async def front_door(stack: Stack) -> Any:
    """What opens a connection as clients do, by the balancer's Service."""
    address = ("-n", install.NAMESPACE, "get", "service", f"{install.BALANCER}-balancer", "-o")
    ip = await stack.kubectl(*address, "jsonpath={.spec.clusterIP}")
    return lambda: stack.cluster.open_connection(ip.strip(), 80)


async def test_a_rolling_restart_closes_one_worker_s_sockets_at_a_time_and_refuses_nobody(
    stack: Stack, short_grace: None
) -> None:
    host = stack.host()
    await stack.backend(replicas=2)
    await stack.route()
    await stack.condition("chat", "Ready")
    old = await eventually(lambda: only_pods(stack))
    async with crowd(host, await front_door(stack)) as people:
        for pod in old:
            for _ in range(HELD):
                await people.join(lambda pod=pod: stack.connect(pod), pod.name)  # type: ignore[misc]
        first = list(people.clients)
        newcomers = asyncio.create_task(people.keep_joining(every=0.1))
        deployment = f"deployment/{install.BALANCER}-balancer"
        await stack.kubectl("-n", install.NAMESPACE, "rollout", "restart", deployment)
        await eventually(lambda: both_leave(stack, old))
        left = Stopwatch()
        await eventually(lambda: everybody_knows(left))
        settled = time.monotonic()
        await eventually(lambda: all_were_cut(people, len(first)), within=2 * GRACE)
        await eventually(lambda: nobody_leaves(stack), within=GRACE)
        newcomers.cancel()
        await asyncio.gather(newcomers, return_exceptions=True)
        await eventually(lambda: closes_are_told(stack, old))
    for pod in old:
        cuts = [client.cuts[0][0] for client in first if client.pod == pod.name]
        assert most_at_once(cuts, within=SPAN / WORKERS - 1) <= HELD / WORKERS + BATCH, pod.name
        assert max(cuts) - min(cuts) > SPAN * (WORKERS - 1) / WORKERS - 1, pod.name
    # A handshake is answered at once, wherever it lands, and no later one lands where it is cut.
    assert [client.failures for client in people.clients if client.failures] == []
    # Until the last pod has to leave, and nobody is sent to it any more, whoever comes back may land there.
    back = [client for client in first if client.cuts[0][0] + client.absences[0] > settled]
    assert all(len(client.cuts) == 1 for client in back), "who came back stays"
    assert {code for client in first for _, code in client.cuts} == {1006}
    assert [client.absences[0] for client in first if came_back_late(client)] == []
    late = [client.opened - left.began for client in people.clients if client.cuts and client.opened > settled]
    assert late == [], "opened so many seconds after the last pod had to leave, and cut"
    assert len(people.clients) > len(first) + 50


async def only_pods(stack: Stack) -> list[BalancerPod]:
    """The balancer's pods, none of which leaves."""
    assert (await status_of(stack))["leaving"] == {"pods": 0, "sockets": 0}
    return await stack.balancer_pods()


def came_back_late(client: Rejoiner) -> bool:
    """Whether a client was without a socket for too long."""
    return is_too_long(client.absences[0], SOON, lambda: client.starved[0])


async def both_leave(stack: Stack, old: list[BalancerPod]) -> None:
    """The status tells which pods leave, with how many sockets, and until when."""
    leaving = (await status_of(stack))["leaving"]
    assert leaving["pods"] == len(old)
    assert leaving["sockets"] >= len(old) * HELD / 2
    assert leaving["until"].endswith("Z")


async def everybody_knows(left: Stopwatch) -> None:
    """Nobody may be sent to a pod any more that has left then."""
    assert left.is_over(SOON)


async def all_were_cut(people: Crowd, count: int) -> None:
    """All who were there before are on other pods."""
    gone = Counter(bool(client.absences) for client in people.clients[:count])
    assert gone == {True: count}, gone


async def nobody_leaves(stack: Stack) -> None:
    assert (await status_of(stack))["leaving"] == {"pods": 0, "sockets": 0}


async def closes_are_told(stack: Stack, pods: list[BalancerPod]) -> None:
    """An Event of the balancer says of each pod what its end has closed."""
    events = (await stack.client.list(EVENTS, namespace=install.NAMESPACE)).items
    notes = " ".join(event["note"] for event in events if event["reason"] == "SocketsClosed")
    for pod in pods:
        told = re.search(rf"The end of pod {pod.name} closed ([0-9]+) sockets \(pod-termination\)", notes)
        assert told is not None, f"{pod.name}: {notes}"
        assert int(told[1]) >= HELD
