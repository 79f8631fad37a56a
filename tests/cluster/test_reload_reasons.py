"""Reloads of a Dynamic balancer on a real cluster: they say why, and hold up nothing that needs none."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from localcluster import api, install
from localcluster.errors import ClusterError
from tests.cluster.test_reload_budget import in_force, nobody_leaves
from tests.support.handshake import echo
from tests.support.stack import BalancerPod, Stack, eventually
from wsroute.kube.port import BALANCERS, ROUTES, Json

PORT = 8090
EXTRA = {"name": "extra", "port": PORT, "protocol": "HTTP", "public": {"scheme": "ws", "port": PORT}}

_HOLD = (
    "import socket\n"
    "held = [socket.socket(family) for family in (socket.AF_INET, socket.AF_INET6)]\n"
    "held[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n"
    f"[each.bind(('', {PORT})) or each.listen() for each in held]\n"
    "while not held[0].accept()[0].recv(1): pass\n"
)
"""Listens until a client sends something."""


@pytest.fixture(autouse=True)
def restored(installed: api.CurrentCluster, data_plane: str) -> Iterator[None]:
    """What these tests change of the shared balancer is afterwards as it was before."""
    found = json.loads(installed.kubectl("-n", install.NAMESPACE, "get", "wsb", install.BALANCER, "-o", "json"))
    yield
    patch = {"listeners": found["spec"]["listeners"], "reload": found["spec"]["reload"], "dataPlane": data_plane}
    arguments = ("patch", "wsb", install.BALANCER, "--type=merge", "-p", json.dumps({"spec": patch}))
    installed.kubectl("-n", install.NAMESPACE, *arguments)


async def balancer(stack: Stack) -> Json:
    return await stack.client.get(BALANCERS, namespace=install.NAMESPACE, name=install.BALANCER)


async def patch(stack: Stack, **spec: Any) -> None:
    text = json.dumps({"spec": spec})
    await stack.kubectl("-n", install.NAMESPACE, "patch", "wsb", install.BALANCER, "--type=merge", "-p", text)


async def reason(stack: Stack) -> str:
    """That of the balancer's Programmed."""
    conditions = (await balancer(stack))["status"]["conditions"]
    return str(next(each["reason"] for each in conditions if each["type"] == "Programmed"))


async def changes(stack: Stack) -> list[tuple[str, str]]:
    """What the status says of the last reload, once all pods have it."""
    status = (await balancer(stack))["status"]
    assert status["pods"]["current"] == status["pods"]["total"] == status["lastReload"]["pods"] == 2
    return [(each["reason"], each["subject"]) for each in status["lastReload"].get("changes", [])]


async def told(stack: Stack, change: tuple[str, str]) -> None:
    """It is what the last reload was for."""
    assert await changes(stack) == [change]


async def on_ws(stack: Stack, name: str, prefix: str = "/echo") -> None:
    """A route on the listener that is there in any case."""
    await stack.route(
        name, listeners=["ws"], paths=[{"path": prefix, "backends": [{"service": "chat", "port": "http"}]}]
    )


@asynccontextmanager
async def port_in_use(stack: Stack, pods: list[BalancerPod]) -> AsyncIterator[None]:
    """Something else in the pods listens where the new listener is to."""

    async def hold(pod: BalancerPod) -> None:
        command = ("-n", install.NAMESPACE, "exec", pod.name, "-c", "agent", "--", "python3", "-c", _HOLD)
        await asyncio.to_thread(stack.cluster.kubectl, *command, timeout=600)

    async def is_held() -> None:
        for pod in pods:
            try:
                stack.connect(pod, PORT).close()
            except (OSError, ClusterError) as error:
                raise AssertionError(f"{pod.name}: {error}") from error

    tasks = [asyncio.create_task(hold(pod)) for pod in pods]
    try:
        await eventually(is_held)
        yield
    finally:
        for pod in pods:
            with suppress(OSError), stack.connect(pod, PORT) as connection:
                connection.sendall(b"x")
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_reload_says_why_and_no_route_waits_for_one(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await on_ws(stack, "chat")
    await stack.condition("chat", "Ready")
    pods = await stack.balancer_pods()
    listeners = (await balancer(stack))["spec"]["listeners"]
    async with AsyncExitStack() as exits:
        held = [await exits.enter_async_context(stack.socket(pod, host=host)) for pod in pods]

        async def all_live(when: str) -> None:
            for number, connection in enumerate(held):
                await echo(connection, f"socket {number}, {when}")

        # What was asked for is told. (There are so many reloads in these tests that not each gets its Event.)
        await patch(stack, listeners=[*listeners, EXTRA])
        await eventually(lambda: told(stack, ("ListenerAdded", "spec.listeners[extra]")))
        await all_live("after a listener more")

        # The next one has to wait; what routes change does not.
        await asyncio.to_thread(install.set_reload, stack.cluster, minInterval="1h")
        await patch(stack, listeners=listeners)
        await eventually(lambda: is_for(stack, "ReloadHeld"))
        await on_ws(stack, "new")
        await stack.condition("new", "Programmed")
        await stack.answers(host=stack.host("new"), status=101)
        await stack.client.delete(ROUTES, namespace=stack.namespace, name="new")
        await eventually(lambda: stack.answers(host=stack.host("new"), status=404))
        assert await reason(stack) == "ReloadHeld"
        await asyncio.to_thread(install.set_reload, stack.cluster, minInterval="0s")
        await eventually(lambda: told(stack, ("ListenerRemoved", "spec.listeners[extra]")))
        await all_live("after it is gone again")


async def is_for(stack: Stack, wanted: str) -> None:
    assert await reason(stack) == wanted


async def test_a_listener_that_nginx_refuses_holds_no_route_back(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await on_ws(stack, "chat")
    await stack.condition("chat", "Ready")
    await eventually(lambda: changes(stack))
    before = (await balancer(stack))["status"]["lastReload"]
    pods = await stack.balancer_pods()
    listeners = (await balancer(stack))["spec"]["listeners"]
    async with AsyncExitStack() as exits, port_in_use(stack, pods):
        held = [await exits.enter_async_context(stack.socket(pod, host=host)) for pod in pods]
        await patch(stack, listeners=[*listeners, EXTRA])
        await eventually(lambda: is_for(stack, "ConfigRejected"))
        # Routes come, change and go; their endpoints as well.
        await on_ws(stack, "new")
        await stack.condition("new", "Programmed", within=10)
        await stack.answers(host=stack.host("new"), status=101)
        await on_ws(stack, "new", "/elsewhere/echo")
        await stack.condition("new", "Programmed", within=10)
        await stack.answers(host=stack.host("new"), path="/elsewhere/echo", status=101)
        await stack.answers(host=stack.host("new"), status=404)
        await stack.condition("chat", "Programmed", within=10)
        assert await reason(stack) == "ConfigRejected"
        assert (await balancer(stack))["status"]["lastReload"]["time"] == before["time"]
        for number, connection in enumerate(held):
            await echo(connection, f"socket {number}")
        await patch(stack, listeners=listeners)
        await eventually(lambda: is_for(stack, "Programmed"))


async def test_static_and_back_is_a_reload_each_and_no_socket_is_lost(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    # On Static each route of the tests before that goes is a reload.
    await eventually(lambda: nobody_leaves(stack), within=120)
    pods = await stack.balancer_pods()
    async with AsyncExitStack() as exits:
        held = []
        for plane in ("Static", "Dynamic"):
            held += [await exits.enter_async_context(stack.socket(pod, host=host)) for pod in pods]
            before = await in_force(stack)
            await patch(stack, dataPlane=plane)
            await eventually(lambda before=before: changed_since(stack, before))  # type: ignore[misc]
            await stack.condition("chat", "Programmed")
            await stack.answers(host=host, status=101)
            for number, connection in enumerate(held):
                await echo(connection, f"socket {number}, after {plane}")
        assert len(held) == 2 * len(pods)


async def changed_since(stack: Stack, version: str) -> None:
    """Another version came in force since, for another data plane. (Times are told in whole seconds.)"""
    now = await in_force(stack)
    assert now != version
    assert (await balancer(stack))["status"]["version"] == now
    assert ("DataPlane", "spec.dataPlane") in await changes(stack)
