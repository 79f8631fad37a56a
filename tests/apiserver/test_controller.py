"""The whole operator against a real API server: watches, ConfigMaps, statuses, election. Agents are simulated."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.apiserver import ApiServer
from tests.support.operator_process import config_for
from tests.support.waiting import until
from wsroute.controller.runtime import Operator
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement, Failure
from wsroute.dataplane.bundle import unpack
from wsroute.kube.client import KubeClient
from wsroute.kube.port import (
    BALANCERS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    LEASES,
    NAMESPACES,
    PODS,
    ROUTES,
    SERVICES,
    Json,
    NotFoundError,
    Resource,
    UnavailableError,
)

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
CRD_FOLDER = Path(__file__).parents[2] / "crds"
ADMIN = "test"
HOST = "chat.example.com"


class World:
    """A balancer's namespace with a balancer, and everything that a test does to it."""

    def __init__(self, client: KubeClient, server: ApiServer, namespace: str) -> None:
        self.client = client
        self.server = server
        self.namespace = namespace
        self.agents: dict[str, Agent] = {}
        self.agents_rest = False

    async def apply(self, resource: Resource, name: str, *, subresource: str = "", **content: Any) -> Json:
        metadata: Json = {"namespace": self.namespace, "name": name}
        for field in ("labels",):
            if field in content:
                metadata[field] = content.pop(field)
        return await self.client.apply(
            resource, {"metadata": metadata, **content}, manager=ADMIN, subresource=subresource
        )

    async def get(self, resource: Resource, name: str) -> Json:
        return await self.client.get(resource, namespace=self.namespace, name=name)

    async def balancer(self, *, replicas: int = 2) -> None:
        """A balancer, its Deployment and its pods, which have loaded nothing yet."""
        selector = {"app": "balancer"}
        container = {"name": "nginx", "image": "nginx"}
        template = {"metadata": {"labels": selector}, "spec": {"containers": [container]}}
        await self.apply(
            DEPLOYMENTS,
            "balancer",
            spec={"replicas": replicas, "selector": {"matchLabels": selector}, "template": template},
        )
        await self.apply(
            BALANCERS,
            "shared",
            spec={
                "dataPlane": "Static",
                "deploymentRef": {"name": "balancer"},
                "listeners": [{"name": "ws", "port": 8080, "protocol": "HTTP"}],
                "allowedRoutes": {"namespaces": {"from": "Same"}, "hosts": [HOST]},
            },
        )
        for number in range(replicas):
            await self.pod(f"balancer-{number}")

    async def pod(self, name: str) -> "Agent":
        spec = {"containers": [{"name": "nginx", "image": "nginx"}]}
        await self.apply(PODS, name, labels={"app": "balancer"}, spec=spec)
        self.agents[name] = Agent(self, name)
        return self.agents[name]

    async def backend(self, *addresses: str, service: str = "chat") -> None:
        """A Service whose pods have these addresses."""
        await self.apply(SERVICES, service, spec={"selector": {"app": service}, "ports": [{"port": 80}]})
        endpoints = [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": self.namespace, "name": f"{service}-{number}"},
            }
            for number, address in enumerate(addresses)
        ]
        labels = {
            "kubernetes.io/service-name": service,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        await self.apply(
            ENDPOINT_SLICES,
            f"{service}-1",
            labels=labels,
            addressType="IPv4",
            endpoints=endpoints,
            ports=[{"name": "", "port": 8080, "protocol": "TCP"}],
        )

    async def route(self, name: str = "chat", *, path: str = "/ws") -> None:
        await self.apply(
            ROUTES,
            name,
            spec={
                "balancerRef": {"name": "shared", "namespace": self.namespace},
                "hosts": [HOST],
                "paths": [{"path": path, "backends": [{"service": "chat", "port": 80}]}],
            },
        )

    async def conditions(self, name: str = "chat") -> dict[str, tuple[str, str]]:
        """Status and reason of a route's conditions."""
        status = (await self.get(ROUTES, name)).get("status") or {}
        return {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])}

    async def config_map(self, name: str) -> Json | None:
        try:
            return await self.get(CONFIG_MAPS, name)
        except NotFoundError:
            return None

    async def text(self) -> str:
        """The nginx.conf in force."""
        config_map = await self.config_map("shared-nginx")
        if config_map is None or not (config_map.get("data") or config_map.get("binaryData")):
            return ""
        digest = config_map["metadata"]["annotations"][names.DIGEST_ANNOTATION]
        return unpack(config_map.get("data") or {}, config_map.get("binaryData") or {}, expected_digest=digest)

    async def serve(self) -> None:
        """Let all agents do their work, for as long as the test runs."""
        while True:
            for agent in [] if self.agents_rest else list(self.agents.values()):
                with contextlib.suppress(UnavailableError):
                    await agent.look()
            await asyncio.sleep(0.01)

    async def until(self, condition: Any, *, what: str, seconds: float = 15.0) -> None:
        """Wait for an asynchronous condition."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not await condition():
            if asyncio.get_running_loop().time() > deadline:
                said = {name: agent.said for name, agent in self.agents.items()}
                raise AssertionError(f"in vain: {what}; agents {said}; {await self.conditions()}")
            await asyncio.sleep(0.02)

    async def until_at_rest(self) -> None:
        """Wait until nothing is tried, all pods run what is in force, and the operator knows it."""

        async def at_rest() -> bool:
            status = (await self.get(BALANCERS, "shared")).get("status") or {}
            told = {c["type"]: c["message"] for c in status.get("conditions", [])}
            if not told.get("Programmed", "").startswith(f"All {len(self.agents)} ready pods"):
                return False
            in_force = _annotation(await self.config_map("shared-nginx"), names.VERSION_ANNOTATION)
            trial = _annotation(await self.config_map("shared-nginx-next"), names.VERSION_ANNOTATION)
            return not trial and {agent.said.version for agent in self.agents.values()} == {in_force}

        await self.until(at_rest, what="the rollout is over")

    async def until_programmed(self, name: str = "chat") -> None:
        async def programmed() -> bool:
            return (await self.conditions(name)).get("Programmed") == ("True", "Programmed")

        await self.until(programmed, what=f"{name} is programmed")


class Agent:
    """What a balancer pod does, by the contract in ``wsroute.dataplane.names``."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.said = Acknowledgement("", 0, 0, "1.31.3", ipv6=True)
        self.loaded: list[str] = []
        self.refuses = ""
        """A text; a version whose file holds it is refused."""

    async def look(self) -> None:
        """One look at the ConfigMaps."""
        nginx = await self.world.config_map("shared-nginx")
        following = await self.world.config_map("shared-nginx-next")
        aim, source = self._aim(nginx, following)
        if aim in ("", self.said.version) or source is None:
            return
        text = unpack(source.get("data") or {}, {}, expected_digest=_annotation(source, names.DIGEST_ANNOTATION))
        if self.refuses and self.refuses in text:
            failure = Failure(aim, "test", f"nginx: [emerg] {self.refuses}")
            said = Acknowledgement(self.said.version, 1, 0, "1.31.3", ipv6=True, failure=failure)
        else:
            said = Acknowledgement(aim, 1, 0, "1.31.3", ipv6=True)
        await self._say(said)

    def _aim(self, nginx: Json | None, following: Json | None) -> tuple[str, Json | None]:
        refused = self.said.failure.version if self.said.failure is not None else ""
        if _annotation(following, names.CANARY_ANNOTATION) == self.name:
            version = _annotation(following, names.VERSION_ANNOTATION)
            if version not in ("", refused):
                return version, following
        turn = _annotation(nginx, names.PODS_ANNOTATION).split(" ")
        if "*" in turn or self.name in turn or not self.said.version:
            version = _annotation(nginx, names.VERSION_ANNOTATION)
            return ("" if version == refused else version), nginx
        return "", None

    async def _say(self, said: Acknowledgement) -> None:
        first = not self.said.version
        await self.world.client.apply(
            CONFIG_MAPS,
            {
                "metadata": {"namespace": self.world.namespace, "name": "shared-agents"},
                "data": {self.name: said.to_json()},
            },
            manager=f"wsroute-agent-{self.name}",
        )
        self.said = said
        self.loaded.append(said.version)
        if first and said.version:
            ready = {"type": "Ready", "status": "True"}
            await self.world.apply(PODS, self.name, subresource="status", status={"conditions": [ready]})


def _annotation(config_map: Json | None, name: str) -> str:
    annotations: Mapping[str, str] = ((config_map or {}).get("metadata") or {}).get("annotations") or {}
    return annotations.get(name, "")


@contextlib.asynccontextmanager
async def operating(world: World, identity: str) -> AsyncIterator[Operator]:
    """An operator in the background; leaving the block ends it in order."""
    client = await KubeClient.from_kubeconfig(world.server.kubeconfig())
    operator = Operator(config_for(world.server.kubeconfig(), world.namespace, identity), client)
    stop = asyncio.Event()
    task = asyncio.create_task(operator.run(stop))
    try:
        await until(lambda: task.done() or not operator.unready(), seconds=30, what="for the operator to be ready")
        yield operator
    finally:
        stop.set()
        await task
        await client.close()


@pytest.fixture
async def world(apiserver: ApiServer, client: KubeClient, namespace: str) -> AsyncIterator[World]:
    for name in ("websocketroutes", "websocketbalancers"):
        await client.apply(CRDS, yaml.safe_load((CRD_FOLDER / f"{name}.yaml").read_text()), manager=ADMIN)
    for resource in (ROUTES, BALANCERS):
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(NotFoundError):
                    await client.list(resource)
                    break
                await asyncio.sleep(0.05)
    world = World(client, apiserver, namespace)
    agents = asyncio.create_task(world.serve())
    yield world
    if agents.done():
        agents.result()
    agents.cancel()
    await asyncio.wait([agents])


async def test_from_apply_to_programmed(world: World) -> None:
    await world.balancer()
    await world.backend("10.1.0.1", "10.1.0.2")
    async with operating(world, "one") as operator:
        await world.until_at_rest()  # without routes: the pods take what they find
        await world.route()
        await world.until_programmed()
        await world.until_at_rest()
        text = await world.text()
        assert "10.1.0.1:8080" in text
        assert "/ws" in text
        in_force = _annotation(await world.config_map("shared-nginx"), names.VERSION_ANNOTATION)
        assert {agent.said.version for agent in world.agents.values()} == {in_force}
        route = await world.get(ROUTES, "chat")
        assert route["status"]["endpoints"] == {"ready": 2, "draining": 0}
        assert route["status"]["urls"] == [f"ws://{HOST}:8080/ws"]

        async def counted() -> bool:
            status = (await world.get(BALANCERS, "shared"))["status"]
            return bool(status["pods"] == {"total": 2, "current": 2} and status["version"] == in_force)

        await world.until(counted, what="the balancer's status has counted its pods")
        assert operator.metrics.render().count(b'wsroute_rollouts_total{step="canary"}') == 1


async def test_a_changed_endpoint_goes_to_all_pods_without_a_canary(world: World) -> None:
    await world.balancer()
    await world.backend("10.1.0.1")
    async with operating(world, "one"):
        await world.until_at_rest()  # without routes: the pods take what they find
        await world.route()
        await world.until_programmed()
        await world.until_at_rest()
        seen = await world.config_map("shared-nginx-next")
        await world.backend("10.1.0.9")

        async def live() -> bool:
            return "10.1.0.9" in await world.text()

        await world.until(live, what="the new endpoint is in force")
        await world.until_at_rest()
        now = await world.config_map("shared-nginx-next")
        assert seen is not None
        assert now is not None
        assert now["metadata"]["resourceVersion"] == seen["metadata"]["resourceVersion"]


async def test_a_route_that_nginx_refuses_is_quarantined_whoever_leads_until_its_edit(world: World) -> None:
    await world.balancer()
    await world.backend("10.1.0.1")

    async def refused() -> bool:
        told = await world.conditions("other")
        return (told.get("Programmed"), told.get("Stalled")) == (
            ("False", "ConfigRejected"),
            ("True", "ConfigRejected"),
        )

    async with operating(world, "one"):
        await world.route()
        await world.until_programmed()
        await world.until_at_rest()
        for agent in world.agents.values():
            agent.refuses = f"{world.namespace}_other_0"  # the upstream of the next route
        await world.route("other", path="/poison")
        await world.route("third", path="/third")
        await world.until(refused, what="the refusal shows")
        await world.until_programmed("third")
        assert (await world.conditions())["Programmed"] == ("True", "Programmed")
        assert (await world.conditions("other"))["Accepted"] == ("True", "Accepted")
        text = await world.text()
        assert "/third" in text
        assert f"{world.namespace}/other, refused: the route is invalid" in text
        await world.until_at_rest()

    async with operating(world, "two"):
        await world.route("fourth", path="/fourth")
        await world.until_programmed("fourth")
        assert await refused()
        for agent in world.agents.values():
            agent.refuses = ""
        await world.route("other", path="/cure")
        await world.until_programmed("other")
        assert "/cure" in await world.text()


async def test_a_pod_that_is_ready_and_has_not_acknowledged_takes_programmed_away(world: World) -> None:
    await world.balancer()
    await world.backend("10.1.0.1")
    async with operating(world, "one"):
        await world.route()
        await world.until_programmed()
        await world.apply(
            PODS, "balancer-9", labels={"app": "balancer"}, spec={"containers": [{"name": "n", "image": "n"}]}
        )
        await world.apply(
            PODS, "balancer-9", subresource="status", status={"conditions": [{"type": "Ready", "status": "True"}]}
        )

        async def pending() -> bool:
            return (await world.conditions()).get("Programmed") == ("False", "Pending")

        await world.until(pending, what="one pod of three is not current")
        await world.client.delete(PODS, namespace=world.namespace, name="balancer-9")
        await world.until_programmed()


async def test_a_lost_deletion_is_healed_by_a_list(world: World) -> None:
    await world.balancer()
    await world.backend("10.1.0.1")
    async with operating(world, "one") as operator:
        await world.route()
        await world.until_programmed()
        # The watch is deaf while the slice is deleted, as in the gap before a relist.
        feed = operator._feed
        observe, feed.observe = feed.observe, lambda change: None  # type: ignore[method-assign]
        await world.client.delete(ENDPOINT_SLICES, namespace=world.namespace, name="chat-1")
        marker = {"metadata": {"name": f"{world.namespace}-marker"}}
        await world.client.create(NAMESPACES, marker)
        await asyncio.sleep(0.5)
        feed.observe = observe  # type: ignore[method-assign]
        assert "10.1.0.1" in await world.text()
        operator._resync.request_all()

        async def withdrawn() -> bool:
            return "10.1.0.1" not in await world.text()

        await world.until(withdrawn, what="the endpoint is gone")


async def test_a_config_map_of_somebody_else_is_left_alone(world: World) -> None:
    await world.apply(CONFIG_MAPS, "shared-nginx", data={"nginx.conf": "mine"})
    await world.balancer()
    await world.backend("10.1.0.1")
    async with operating(world, "one") as operator:
        await world.route()

        async def tried() -> bool:
            return b'outcome="foreign",role="nginx"' in operator.metrics.render()

        await world.until(tried, what="the operator has seen it")
    config_map = await world.config_map("shared-nginx")
    assert config_map is not None
    assert config_map["data"] == {"nginx.conf": "mine"}


async def test_only_the_leader_writes_and_when_it_is_killed_the_next_one_goes_on(world: World) -> None:
    await world.balancer()
    await world.backend("10.1.0.1")
    seen: dict[str, set[str]] = {}
    history = asyncio.create_task(_record_texts(world, seen))
    leader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.operator_process", world.server.kubeconfig(), world.namespace, "first"
    )
    try:
        await world.until(lambda: _holds(world, "first"), what="the first replica leads")
        async with operating(world, "second") as second:
            for number in range(10):
                await world.route(f"route-{number}", path=f"/a{number}")
            await world.until_programmed("route-0")
            assert b"wsroute_config_map_writes_total{" not in second.metrics.render()
            assert b"wsroute_status_writes_total{" not in second.metrics.render()
            leader.kill()
            for number in range(10, 20):
                await world.route(f"route-{number}", path=f"/a{number}")
            await until(lambda: second._elector.leading, seconds=40)
            for number in range(20):
                await world.until_programmed(f"route-{number}")
            text = await world.text()
            assert all(f"/a{number}" in text for number in range(20))
    finally:
        with contextlib.suppress(ProcessLookupError):
            leader.kill()
        await leader.wait()
        history.cancel()
        await asyncio.wait([history])
    assert seen
    assert all(len(texts) == 1 for texts in seen.values()), "one version, two texts"


async def test_told_to_end_it_gives_the_lease_back_and_ends_in_order(world: World) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.operator_process", world.server.kubeconfig(), world.namespace, "only"
    )
    try:
        await world.until(lambda: _holds(world, "only"), what="it leads")
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 15) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert await _holds(world, "")


async def test_an_outage_of_the_api_server_is_survived_without_a_restart(world: World) -> None:
    await world.balancer()
    await world.backend("10.1.0.1")
    async with operating(world, "one") as operator:
        await world.route()
        await world.until_programmed()
        world.agents_rest = True
        world.server.stop_server()
        await until(lambda: not operator._elector.leading, seconds=20)
        assert not operator.unready()
        assert not operator.unhealthy()
        world.server.start_server()
        world.agents_rest = False
        await world.backend("10.1.0.7")

        async def live() -> bool:
            return "10.1.0.7" in await world.text()

        await world.until(live, what="the change made after the outage is in force", seconds=60)


async def _holds(world: World, identity: str) -> bool:
    try:
        lease = await world.get(LEASES, "wsroute")
    except NotFoundError:
        return False
    return bool((lease["spec"].get("holderIdentity") or "") == identity)


async def _record_texts(world: World, seen: dict[str, set[str]]) -> None:
    """Notes every text of every version that ever stood in a generated ConfigMap."""
    listing = await world.client.list(CONFIG_MAPS, namespace=world.namespace, label_selector=names.BALANCER_LABEL)
    position = listing.resource_version
    while True:
        async for event in world.client.watch(
            CONFIG_MAPS, resource_version=position, namespace=world.namespace, label_selector=names.BALANCER_LABEL
        ):
            position = event.object["metadata"]["resourceVersion"]
            version = _annotation(event.object, names.VERSION_ANNOTATION)
            if version:
                seen.setdefault(version, set()).add(event.object.get("data", {}).get("nginx.conf", ""))
