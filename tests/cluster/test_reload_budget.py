"""The reload budget on a real cluster: which sockets are closed, by whom and why, and what waits meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from localcluster import api, install
from tests.cluster.conftest import STATIC
from tests.support.handshake import ask, echo
from tests.support.stack import BalancerPod, Stack, eventually
from wsroute.dataplane.names import VERSION_ANNOTATION
from wsroute.kube.port import BALANCERS, CONFIG_MAPS, NAMESPACES, Json

pytestmark = STATIC

GENERATIONS = 2


@pytest.fixture
def budgeted(installed: api.CurrentCluster) -> Iterator[None]:
    """The shared balancer with a small budget; the usual one of tests afterwards."""
    install.set_reload(installed, minInterval="0s", maxDrainingGenerations=GENERATIONS, drainTimeout="1h")
    yield
    install.set_reload(installed, drainTimeout=None, **install.UNBUDGETED)


async def balancer(stack: Stack) -> Json:
    """The shared balancer's status, its conditions by type."""
    found = await stack.client.get(BALANCERS, namespace=install.NAMESPACE, name=install.BALANCER)
    status: Json = found.get("status") or {}
    return status | {"conditions": {each["type"]: each for each in status.get("conditions", [])}}


async def in_force(stack: Stack) -> str:
    """The version in force, which a status may tell up to ten seconds later."""
    found = await stack.client.get(CONFIG_MAPS, namespace=install.NAMESPACE, name=f"{install.BALANCER}-nginx")
    return str(found["metadata"]["annotations"][VERSION_ANNOTATION])


async def closed_sockets(stack: Stack, pods: list[BalancerPod]) -> Counter[str]:
    """Sockets that the agents closed so far, by pod and reason."""
    found: Counter[str] = Counter()
    for pod in pods:
        answer = await ask(stack.connect(pod, 8082), host="agent", path="/metrics")
        for family in text_string_to_metric_families(answer.body.decode()):
            for sample in family.samples:
                if sample.name == "wsroute_agent_closed_sockets_total" and sample.value:
                    found[f"{pod.name} {sample.labels['reason']}"] += int(sample.value)
    return found


async def drained(stack: Stack) -> None:
    """Nothing drains any more that an earlier test has left."""
    assert (await balancer(stack))["draining"] == {"generations": 0, "sockets": 0}


async def no_endpoint_is_wrong(stack: Stack, host: str, name: str, count: int) -> None:
    """New sockets go to exactly the ready pods of a backend, on every balancer pod."""
    live = {pod["metadata"]["name"] for pod in await stack.pods_of(name) if "deletionTimestamp" not in pod["metadata"]}
    assert len(live) == count
    for pod in await stack.balancer_pods():
        seen = set()
        for _ in range(6 * count):
            answer = await stack.handshake(pod, host=host)
            assert answer.status == 101, f"{pod.name} answered {answer.status} {answer.reason}"
            seen.add(answer.headers["x-chat-pod"])
        assert seen == live, f"{pod.name}: {seen}, not {live}"


async def test_what_closes_is_exactly_what_the_budget_says(stack: Stack, budgeted: None) -> None:
    await eventually(lambda: nobody_leaves(stack), within=120)
    host, changing = stack.host(), stack.host("changing")
    await stack.backend()
    await stack.backend("changing", replicas=3)
    await stack.route()
    await stack.route("changing", paths=[{"path": "/echo", "backends": [{"service": "changing", "port": "http"}]}])
    await stack.condition("chat", "Ready")
    await stack.condition("changing", "Ready")
    pods = await stack.balancer_pods()
    await eventually(lambda: no_endpoint_is_wrong(stack, changing, "changing", 3))
    await eventually(lambda: drained(stack))
    before = await closed_sockets(stack, pods)
    async with AsyncExitStack() as exits:
        held: list[list[ClientConnection]] = []

        async def hold() -> None:
            """One socket more on every pod, in the generation that is now."""
            held.append([await exits.enter_async_context(stack.socket(pod, host=host)) for pod in pods])

        async def live(*generations: int) -> None:
            for generation in generations:
                for connection in held[generation]:
                    await echo(connection, f"of generation {generation}")

        # As many reloads as there may be generations.
        for number in range(GENERATIONS):
            await hold()
            await stack.route("more", paths=[path(f"/{number}/echo")])
            await stack.condition("more", "Programmed")
        await hold()
        await live(0, 1, 2)

        # The next change has to wait, and says so; the balancer says it as well.
        async def it_is_full() -> None:
            status = await balancer(stack)
            assert status["draining"] == {"generations": GENERATIONS, "sockets": GENERATIONS * len(pods)}
            backlog = status["conditions"]["DrainBacklog"]
            assert (backlog["status"], backlog["reason"]) == ("True", "MaxDrainingGenerations")
            assert "2 draining generations that hold sockets" in backlog["message"]

        await eventually(it_is_full)
        await stack.route("more", paths=[path("/held/echo")])
        condition = await stack.condition("more", "Programmed", "False")
        assert condition["reason"] == "ReloadHeld"
        assert "spec.reload.maxDrainingGenerations of the balancer is 2. The change waits until" in condition["message"]
        assert "the drainTimeout (1h) of the oldest is over" in condition["message"]
        await stack.answers(host=stack.host("more"), path="/held/echo", status=404)
        await live(0, 1, 2)

        # An endpoint that leaves does not wait: the oldest generation is ended, and what waited comes along.
        await stack.scale("changing", 2)
        await eventually(lambda: no_endpoint_is_wrong(stack, changing, "changing", 2))
        await stack.condition("more", "Programmed")
        await stack.answers(host=stack.host("more"), path="/held/echo", status=101)
        await closed(held[0])
        await hold()
        await live(1, 2, 3)
        await eventually(it_is_full)
        await stack.scale("changing", 1)
        await eventually(lambda: no_endpoint_is_wrong(stack, changing, "changing", 1))
        await closed(held[1])
        await live(2, 3)

        async def counted() -> None:
            found = await closed_sockets(stack, pods) - before
            assert found == {f"{pod.name} early-retirement": 2 for pod in pods}

        await eventually(counted)
        # What has ended by itself makes room: its client leaves the oldest generation.
        await eventually(it_is_full)
        await stack.route("more", paths=[path("/later/echo")])
        assert (await stack.condition("more", "Programmed", "False"))["reason"] == "ReloadHeld"
        for connection in held[2]:
            await connection.close()
        await stack.condition("more", "Programmed")
        await stack.answers(host=stack.host("more"), path="/later/echo", status=101)
        await live(3)

        # A shorter time needs no reload, and ends what is older.
        version = await in_force(stack)
        await asyncio.to_thread(install.set_reload, stack.cluster, drainTimeout="1s", minInterval="0s")
        await closed(held[3])

        async def all_counted() -> None:
            found = await closed_sockets(stack, pods) - before
            assert found == {
                **{f"{pod.name} early-retirement": 2 for pod in pods},
                **{f"{pod.name} drain-timeout": 1 for pod in pods},
            }
            status = await balancer(stack)
            assert status["conditions"]["DrainBacklog"]["status"] == "False"
            assert await in_force(stack) == version

        await eventually(all_counted)


def path(prefix: str) -> Json:
    return {"path": prefix, "backends": [{"service": "chat", "port": "http"}]}


async def closed(connections: list[ClientConnection]) -> None:
    """Wait until all of them have been closed by the balancer."""
    for connection in connections:
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(60):
                await connection.recv()


async def nobody_leaves(stack: Stack) -> None:
    """No namespace of an earlier test is being deleted: its endpoints would go meanwhile, and removals can't wait."""
    for namespace in (await stack.client.list(NAMESPACES)).items:
        assert namespace["status"]["phase"] == "Active", namespace["metadata"]["name"]


async def test_changes_in_quick_succession_are_brought_in_together(stack: Stack, budgeted: None) -> None:
    await eventually(lambda: nobody_leaves(stack), within=120)
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    await asyncio.to_thread(install.set_reload, stack.cluster, minInterval="10s")
    await stack.route("first")
    await stack.condition("first", "Programmed")
    versions: set[str] = set()
    for number in range(5):
        await stack.route(f"next-{number}")
    condition = await stack.condition("next-4", "Programmed", "False")
    assert condition["reason"] == "ReloadHeld"
    assert condition["message"].startswith("Reloads keep 10s apart (spec.reload.minInterval of the balancer)")
    for number in range(5):
        await stack.condition(f"next-{number}", "Programmed")
        versions.add(await in_force(stack))
    assert len(versions) == 1

    async def why_is_told() -> None:
        status = await balancer(stack)
        assert [status["version"]] == [*versions]
        assert status["lastReload"]["reason"] == "Configuration"

    await eventually(why_is_told)
