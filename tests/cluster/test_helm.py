"""Helm's whole way with the chart, with sockets open: install, upgrade, rollback, uninstall, and install again.

It needs a cluster of its own: the custom resources belong to one installation, and that of the other tests has them. It
is one test, because each step needs what the one before has left.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from localcluster import api, install
from tests.cluster.conftest import admitted
from tests.support.handshake import echo
from tests.support.manifests import CHART, HelmError, Json, helm
from tests.support.stack import BalancerPod, Stack, eventually, to_json
from wsroute.kube.client import KubeClient
from wsroute.kube.port import BALANCERS, DEPLOYMENTS, PODS, ROUTES

RELEASE = "wsroute"
GRACE = 5
"""Seconds that open sockets get when the release is uninstalled."""


def image(name: str) -> dict[str, str]:
    """An image of the local cluster as the chart's values name one."""
    repository, _, tag = install.LOCAL_IMAGES[name].rpartition(":")
    return {"repository": repository, "tag": tag}


VALUES: Json = {
    "image": image(install.PROJECT_IMAGE),
    "balancer": {
        "image": image(install.NGINX_IMAGE),
        # Nobody here gives a LoadBalancer its address, and `helm --wait` waits for it.
        "service": {"type": "ClusterIP"},
        "terminationGracePeriodSeconds": GRACE,
    },
}


def with_balancer(**balancer: Any) -> Json:
    """The values with a balancer that differs in some of its own."""
    return {**VALUES, "balancer": {**VALUES["balancer"], "enabled": True, **balancer}}


@pytest.fixture(scope="module")
def empty() -> Iterator[api.Cluster]:
    """A cluster without wsroute, with a namespace for it under Pod Security `restricted`."""
    name = f"{os.environ.get('WSROUTE_TEST_CLUSTER', 'test')[:15]}-helm"
    api.down(name)
    cluster = api.up(name)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"metadata": {"name": install.NAMESPACE, "labels": labels}}
    cluster.kubectl("create", "-f", "-", input=to_json({"apiVersion": "v1", "kind": "Namespace", **namespace}))
    yield cluster
    cluster.down()


@pytest.fixture
async def stack(empty: api.Cluster) -> AsyncIterator[Stack]:
    """The cluster with a namespace for a team."""
    client = await KubeClient.from_kubeconfig(empty.kubeconfig)
    chat = install.LOCAL_IMAGES[install.CHAT_IMAGE]
    yield Stack(cluster=empty, client=client, namespace=admitted(empty), chat_image=chat)
    await client.close()


async def run(stack: Stack, *arguments: str, values: Json | None = None) -> str:
    """helm, in a thread, with the release's namespace."""
    options = ["--namespace", install.NAMESPACE]
    return await asyncio.to_thread(
        helm, *arguments, *options, values=values, kubeconfig=stack.cluster.kubeconfig, timeout=240
    )


async def test_a_release_from_its_first_install_to_the_next(stack: Stack) -> None:
    wait = ("--wait", "--timeout", "180s")
    with pytest.raises(HelmError, match='no matches for kind "WebSocketBalancer"'):
        await run(stack, "install", RELEASE, str(CHART), values=with_balancer())

    notes = await run(stack, "install", RELEASE, str(CHART), *wait, values=VALUES)
    assert "--set balancer.enabled=true" in notes, "what is said to be the next step"
    await run(stack, "upgrade", RELEASE, str(CHART), *wait, "--reuse-values", "--set", "balancer.enabled=true")
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    host = stack.host()
    pods = await stack.balancer_pods()
    assert len(pods) == 2

    async with AsyncExitStack() as exits:
        held = [await exits.enter_async_context(stack.socket(pod, host=host)) for pod in pods]

        narrower = {"allowedRoutes": {"maxPerNamespace": 1}}
        operator = {"resources": {"limits": {"memory": "600Mi"}}}
        await run(
            stack, "upgrade", RELEASE, str(CHART), *wait, values={**with_balancer(spec=narrower), "operator": operator}
        )
        assert await memory_limit(stack) == "600Mi"
        await stack.route("second")
        await stack.condition("second", "Accepted", "False")
        await still_there(stack, pods, held, "after an upgrade")

        await run(stack, "rollback", RELEASE, "2", *wait)
        assert await memory_limit(stack) == "512Mi"
        await stack.condition("second", "Ready")
        await still_there(stack, pods, held, "after a rollback")
        await stack.answers(host=stack.host("second"), status=101)

        await run(stack, "uninstall", RELEASE, "--wait", "--timeout", "120s")
        for connection in held:
            with pytest.raises(ConnectionClosed):
                await connection.recv()
    await eventually(lambda: gone(stack))
    routes = await stack.client.list(ROUTES, namespace=stack.namespace)
    assert {route["metadata"]["name"] for route in routes.items} == {"chat", "second"}
    assert (await stack.client.list(BALANCERS, namespace=install.NAMESPACE)).items == []

    await run(stack, "install", RELEASE, str(CHART), *wait, values=with_balancer())
    await eventually(lambda: stack.answers(host=host, status=101))
    await stack.condition("chat", "Ready")


async def memory_limit(stack: Stack) -> str:
    """What the operator's pods may take."""
    found = await stack.client.get(DEPLOYMENTS, namespace=install.NAMESPACE, name="wsroute-operator")
    [container] = found["spec"]["template"]["spec"]["containers"]
    return str(container["resources"]["limits"]["memory"])


async def still_there(stack: Stack, pods: list[BalancerPod], held: list[ClientConnection], when: str) -> None:
    """The same pods of the balancer serve, and the sockets through them are open."""
    assert await stack.balancer_pods() == pods, when
    for number, connection in enumerate(held):
        await echo(connection, f"socket {number}, {when}")


async def gone(stack: Stack) -> None:
    """No pod is left."""
    assert (await stack.client.list(PODS, namespace=install.NAMESPACE)).items == []
