"""Sockets and handshakes while things change: what people hold is not cut, what they open is answered right."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from tests.cluster.conftest import BOTH, STATIC
from tests.support.handshake import echo
from tests.support.prober import probing
from tests.support.stack import BalancerPod, Stack, eventually, is_ready
from wsroute.kube.port import ROUTES


@STATIC
async def test_a_held_socket_survives_five_reloads(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    pods = await stack.balancer_pods()
    async with AsyncExitStack() as exits:
        held = []
        for generation in range(5):
            # One socket on every pod from before each reload; all of them go on through all later ones.
            held += [await exits.enter_async_context(stack.socket(pod, host=host)) for pod in pods]
            await stack.route("other", paths=[path(f"/other-{generation}/echo")])
            await stack.condition("other", "Programmed")
            await stack.answers(host=stack.host("other"), path=f"/other-{generation}/echo", status=101)
            for number, connection in enumerate(held):
                await echo(connection, f"socket {number}, after reload {generation + 1}")
        assert len(held) == 5 * len(pods)


def path(prefix: str) -> dict[str, object]:
    return {"path": prefix, "backends": [{"service": "chat", "port": "http"}]}


@BOTH
async def test_a_prober_sees_no_error_while_the_backend_scales(stack: Stack) -> None:
    host = stack.host()
    await stack.backend(replicas=1, pre_stop=5)
    await stack.route()
    await stack.condition("chat", "Ready")
    balancers = await stack.balancer_pods()
    async with probing(stack, host, balancers) as prober:
        for replicas in (5, 2):
            await stack.scale("chat", replicas)
            await eventually(lambda count=replicas: handshakes_are_even(stack, balancers, host, count))  # type: ignore[misc]
    assert prober.wrong == []
    assert prober.total > 100


async def handshakes_are_even(stack: Stack, balancers: list[BalancerPod], host: str, count: int) -> None:
    """On each balancer pod, new sockets go to exactly the ready endpoints, each getting its share."""
    live = [pod for pod in await stack.pods_of("chat") if "deletionTimestamp" not in pod["metadata"]]
    assert len(live) == count
    assert all(is_ready(pod) for pod in live)
    names = {pod["metadata"]["name"] for pod in live}
    for balancer in balancers:
        async with AsyncExitStack() as exits:
            counts: Counter[str] = Counter()
            for _ in range(4 * count):
                connection = await exits.enter_async_context(stack.socket(balancer, host=host))
                assert connection.response is not None
                counts[connection.response.headers["X-Chat-Pod"]] += 1
            assert set(counts) == names, f"{balancer.name}: {counts} of {names}"
            # Held sockets: least connections must have spread them, whichever worker took them.
            assert max(counts.values()) - min(counts.values()) <= 3, f"{balancer.name}: {counts}"


@BOTH
async def test_an_only_endpoint_that_terminates_still_takes_sockets(stack: Stack) -> None:
    host = stack.host()
    await stack.backend(replicas=1, pre_stop=20, grace=40)
    await stack.route()
    await stack.condition("chat", "Ready")
    [pod] = await stack.pods_of("chat")
    await stack.scale("chat", 0)

    async def it_terminates() -> None:
        [ending] = await stack.pods_of("chat")
        assert "deletionTimestamp" in ending["metadata"]
        status = await stack.status()
        assert status["endpoints"]["ready"] == 0

    await eventually(it_terminates)
    for _ in range(10):
        for balancer in await stack.balancer_pods():
            answer = await stack.handshake(balancer, host=host)
            assert answer.status == 101
            assert answer.headers["x-chat-pod"] == pod["metadata"]["name"]


@BOTH
async def test_programmed_is_never_true_too_early(stack: Stack) -> None:
    """Each time that Programmed turns true, every ready pod answers as the route says at that very instant."""
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    seen: list[str] = []
    listing = await stack.client.list(ROUTES, namespace=stack.namespace)
    watch = stack.client.watch(ROUTES, namespace=stack.namespace, resource_version=listing.resource_version)
    edits = [f"/v{number}/echo" for number in range(6)]
    await stack.route(paths=[path(edits[0])])
    async with asyncio.timeout(120):
        async for event in watch:
            route = event.object
            if event.type not in ("ADDED", "MODIFIED") or not is_programmed(route):
                continue
            wanted = route["spec"]["paths"][0]["path"]
            if wanted in seen:
                continue
            await stack.answers(host=host, path=wanted, status=101)
            if seen:
                await stack.answers(host=host, path=seen[-1], status=404)
            seen.append(wanted)
            if seen == edits:
                break
            await stack.route(paths=[path(edits[len(seen)])])
    assert seen == edits


def is_programmed(route: dict[str, object]) -> bool:
    status = route.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    generation = route["metadata"]["generation"]  # type: ignore[index]
    return any(
        condition["type"] == "Programmed"
        and condition["status"] == "True"
        and condition["observedGeneration"] == generation
        for condition in conditions
    )
