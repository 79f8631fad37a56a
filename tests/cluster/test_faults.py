"""The whole system while the API server is away or out of its mind: operator and agents reach it through a fault proxy.

The rest of the cluster (kubelet, Services) keeps the real one, as when the network between is out. The faults that one
process alone has to get over are tried in ``tests/apiserver``. ``WSROUTE_FAULT_SECONDS`` says how long they are held.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from localcluster import install
from localcluster.api import Cluster
from localcluster.config import NODE_ADDRESS
from localcluster.install import BALANCER, LOCAL_IMAGES, NAMESPACE
from tests.cluster.conftest import admitted
from tests.support.fault_proxy import Fault, FaultProxy, HalfOpen, Stall, Status
from tests.support.handshake import echo
from tests.support.prober import probing
from tests.support.rbac import grants_of, not_granted
from tests.support.stack import BalancerPod, Stack, eventually
from wsroute.kube.client import KubeClient
from wsroute.kube.port import PODS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.local_cluster]

OUTAGE: Final = 60.0
HOLD: Final = float(os.environ.get("WSROUTE_FAULT_SECONDS", "20"))
SOON: Final = 5.0
"""Seconds within which an edit is live that is made when a fault is over."""

PORT: Final = 16443
DEPLOYMENTS: Final = {"wsroute-operator": "operator", f"{BALANCER}-balancer": "agent"}
"""Deployments, and the container of each that talks to the API server."""


@dataclass(frozen=True, slots=True)
class System:
    """wsroute behind a proxy, with a route that is served."""

    stack: Stack
    proxy: FaultProxy
    cluster: Cluster

    async def edits_are_live(self, name: str) -> None:
        """A route that is made now is served by every pod soon."""
        begun = asyncio.get_running_loop().time()
        await self.stack.route(name)
        await eventually(lambda: self.stack.answers(host=self.stack.host(name), status=101), within=SOON)
        print(f"{name}: live after {asyncio.get_running_loop().time() - begun:.1f} s")

    async def restarts(self) -> dict[str, int]:
        """The containers of the operator's pods that stay, with how often each was started again."""
        listing = await self.stack.client.list(
            PODS, namespace=NAMESPACE, label_selector="app.kubernetes.io/name=wsroute-operator"
        )
        return {
            status["containerID"]: status["restartCount"]
            for pod in listing.items
            if "deletionTimestamp" not in pod["metadata"]
            for status in pod["status"]["containerStatuses"]
        }

    async def kill(self, pod: BalancerPod, container: str) -> None:
        """Kill a container's first process, as the kernel does when there is no memory left."""
        found = await self.stack.client.get(PODS, namespace=NAMESPACE, name=pod.name)
        [identity] = [s["containerID"] for s in found["status"]["containerStatuses"] if s["name"] == container]
        socket = str(self.cluster.paths.containerd_socket)
        process = await asyncio.create_subprocess_exec(
            *("ctr", "--address", socket, "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL"),
            identity.removeprefix("containerd://"),
        )
        assert await process.wait() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(local: Cluster, data_plane: str) -> AsyncIterator[System]:
    cluster = local
    client = await KubeClient.from_kubeconfig(cluster.kubeconfig)
    namespace = await asyncio.to_thread(admitted, cluster)
    keys = cluster.paths.pki
    server = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    proxy = FaultProxy(
        upstream=server,
        authority=keys / "ca.crt",
        certificate=keys / "apiserver.crt",
        key=keys / "apiserver.key",
        address=(NODE_ADDRESS, PORT),
        make_socket=cluster.create_socket,
        tokens={},
    )
    stack = Stack(cluster, client, namespace, LOCAL_IMAGES[install.CHAT_IMAGE])
    try:
        async with proxy:
            await asyncio.to_thread(_lead, cluster, through=f"{NODE_ADDRESS}:{PORT}")
            await stack.backend()
            await stack.route()
            await stack.condition("chat", "Ready")
            yield System(stack, proxy, cluster)
    finally:
        await asyncio.to_thread(_lead, cluster)
        await client.close()
        await stack.kubectl("delete", "namespace", namespace, "--wait=false")


def _lead(cluster: Cluster, *, through: str = "") -> None:
    """Have operator and agents reach the API server through an address, or as they are installed. The next installation
    undoes it as well, because it is applied by the same field manager."""
    rendered = install.render(cluster, "deploy/operator", "deploy/balancer", images=LOCAL_IMAGES)
    manifests = [item for item in yaml.safe_load_all(rendered) if item["kind"] == "Deployment"]
    host, _, port = through.partition(":")
    for item in manifests:
        for container in item["spec"]["template"]["spec"]["containers"] if through else ():
            if container["name"] == DEPLOYMENTS[item["metadata"]["name"]]:
                container["env"] += [
                    {"name": "KUBERNETES_SERVICE_HOST", "value": host},
                    {"name": "KUBERNETES_SERVICE_PORT", "value": port},
                ]
    install.apply(cluster, yaml.safe_dump_all(manifests))
    install.wait_until_ready(cluster)


async def test_the_api_server_is_away_for_a_minute_and_containers_die_meanwhile(system: System) -> None:
    stack, host = system.stack, system.stack.host()
    first, second = await stack.balancer_pods()
    restarts = await system.restarts()
    async with stack.socket(second, host=host) as held, probing(stack, host, [second]) as prober:
        async with system.proxy.away():
            await system.kill(first, "nginx")
            await system.kill(second, "agent")

            async def first_serves_again() -> None:
                try:
                    answer = await stack.handshake(first, host=host)
                except (OSError, EOFError) as error:
                    raise AssertionError(f"{first.name}: {error!r}") from error
                assert answer.status == 101

            begun = asyncio.get_running_loop().time()
            await eventually(first_serves_again, within=OUTAGE - 10)
            await asyncio.sleep(OUTAGE - (asyncio.get_running_loop().time() - begun))
            await first_serves_again()
            await echo(held, "still here")
        await system.edits_are_live("after-the-outage")
        await echo(held, "and here")
    assert prober.wrong == []
    assert prober.total > 100
    assert await system.restarts() == restarts


@pytest.mark.parametrize("fault", [Stall(), Status(401), HalfOpen()], ids=repr)
async def test_a_fault_is_held(system: System, fault: Fault) -> None:
    stack, host = system.stack, system.stack.host()
    pods = await stack.balancer_pods()
    assert len(pods) == 2
    restarts = await system.restarts()
    async with stack.socket(pods[0], host=host) as held, probing(stack, host, pods) as prober:
        with system.proxy.fault(fault):
            await asyncio.sleep(HOLD)
        await system.edits_are_live(f"after-{type(fault).__name__.lower()}")
        await echo(held, "still here")
    assert prober.wrong == []
    assert prober.total > 100
    assert await system.restarts() == restarts


async def test_all_that_was_asked_for_meanwhile_was_allowed(system: System) -> None:
    rendered = install.render(system.stack.cluster, "deploy/operator", "deploy/balancer", images=LOCAL_IMAGES)
    manifests: list[Any] = list(yaml.safe_load_all(rendered))
    asked = {request for request, _ in system.proxy.requests}
    assert {request.user.rpartition(":")[2] for request in asked} == {"wsroute-operator", "wsroute-agent"}
    assert not_granted(asked, grants_of(manifests)) == set()
    # A namespace that is being deleted, as earlier tests' ones are, takes no Events any more.
    refused = {request for request, status in system.proxy.requests if status == 403}
    assert {request for request in refused if request.resource != "events"} == set()
