"""The whole operator in this process against a real API server, with a balancer whose agents are simulated."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.support.apiserver import ApiServer
from tests.support.operator_process import config_for
from tests.support.waiting import until, until_async
from wsroute.controller.runtime import REQUEST_SECONDS, Operator
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement, Failure
from wsroute.dataplane.bundle import unpack
from wsroute.dataplane.shards import FORMAT, TABLE_KEY
from wsroute.kube.client import KubeClient
from wsroute.kube.port import (
    BALANCERS,
    CONFIG_MAPS,
    DEFINITIONS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    LEASES,
    PODS,
    ROUTES,
    SERVICES,
    Json,
    NotFoundError,
    Resource,
    UnavailableError,
)

ADMIN = "test"
HOST = "chat.example.com"
CRD_FOLDER = Path(__file__).parents[2] / "crds"


async def serve_custom_resources(client: KubeClient) -> None:
    """Install the custom resources, and wait until they are served."""
    for name in ("websocketroutes", "websocketbalancers"):
        await client.apply(DEFINITIONS, yaml.safe_load((CRD_FOLDER / f"{name}.yaml").read_text()), manager=ADMIN)
    for resource in (ROUTES, BALANCERS):
        await until_served(client, resource)


async def until_served(client: KubeClient, resource: Resource) -> None:
    """Wait until the API server knows a kind: that its definition is established is a promise only."""

    async def served() -> bool:
        with contextlib.suppress(NotFoundError):
            await client.list(resource)
            return True
        return False

    await until_async(served, seconds=30, what=f"for {resource.plural} to be served")


async def until_unknown(client: KubeClient, resource: Resource) -> None:
    """Wait until the API server knows a kind no more: until then its definition is only about to go, and one that is
    applied goes with it."""

    async def unknown() -> bool:
        try:
            await client.list(resource)
        except NotFoundError:
            return True
        return False

    await until_async(unknown, seconds=30, what=f"for {resource.plural} to be unknown")


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

    async def balancer(self, *, replicas: int = 2, data_plane: str = "Static", **fields: Any) -> None:
        """A balancer with some fields of its spec, its Deployment and its pods, which have loaded nothing yet."""
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
                "dataPlane": data_plane,
                "reload": {"minInterval": "0s", "maxDrainingGenerations": 64},
                "deploymentRef": {"name": "balancer"},
                "listeners": [{"name": "ws", "port": 8080, "protocol": "HTTP"}],
                "allowedRoutes": {"namespaces": {"from": "Same"}, "hosts": [HOST]},
                **fields,
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
        try:
            status = (await self.get(ROUTES, name)).get("status") or {}
        except NotFoundError:
            return {}
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

    async def published(self) -> str:
        """All that the pods get: the nginx.conf in force, and the tables."""
        selector = f"{names.ROLE_LABEL}={names.ROLE_TABLE}"
        parts = (await self.client.list(CONFIG_MAPS, namespace=self.namespace, label_selector=selector)).items
        tables = [part.get("data", {}).get(TABLE_KEY, "") for part in parts]
        return "\n".join([await self.text(), *tables])

    async def held_by(self, identity: str) -> bool:
        """Whether the Lease has this holder."""
        try:
            lease = await self.get(LEASES, "wsroute")
        except NotFoundError:
            return False
        return bool((lease["spec"].get("holderIdentity") or "") == identity)

    async def serve(self) -> None:
        """Let all agents do their work, for as long as the test runs."""
        while True:
            for agent in [] if self.agents_rest else list(self.agents.values()):
                with contextlib.suppress(UnavailableError):
                    await agent.look()
            await asyncio.sleep(0.01)

    async def until(self, condition: Any, *, what: str, seconds: float = 15.0) -> None:
        """Wait for an asynchronous condition."""
        try:
            await until_async(condition, seconds=seconds, what=f"for this: {what}")
        except AssertionError as error:
            said = {name: agent.said for name, agent in self.agents.items()}
            error.add_note(f"agents {said}; {await self.conditions()}")
            raise

    async def until_at_rest(self) -> None:
        """Wait until nothing is tried, all pods run what is in force, and the operator knows it."""

        async def at_rest() -> bool:
            status = (await self.get(BALANCERS, "shared")).get("status") or {}
            told = {c["type"]: c["message"] for c in status.get("conditions", [])}
            if not told.get("Programmed", "").startswith(f"All {len(self.agents)} ready pods"):
                return False
            in_force = annotation_of(await self.config_map("shared-nginx"), names.VERSION_ANNOTATION)
            trial = annotation_of(await self.config_map("shared-nginx-next"), names.VERSION_ANNOTATION)
            return not trial and {agent.said.version for agent in self.agents.values()} == {in_force}

        await self.until(at_rest, what="the rollout is over")

    async def until_programmed(self, name: str = "chat", *, seconds: float = 15.0) -> None:
        async def programmed() -> bool:
            return (await self.conditions(name)).get("Programmed") == ("True", "Programmed")

        await self.until(programmed, what=f"{name} is programmed", seconds=seconds)


class Agent:
    """What a balancer pod does, by the contract in ``wsroute.dataplane.names``."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.said = Acknowledgement("", 0, 0, "1.31.3", ipv6=True, formats=(FORMAT,))
        self.loaded: list[str] = []
        self.refuses = ""
        """A text; a version whose file holds it is refused."""

    async def look(self) -> None:
        """One look at the ConfigMaps."""
        nginx = await self.world.config_map("shared-nginx")
        following = await self.world.config_map("shared-nginx-next")
        aim, source = self._aim(nginx, following)
        if aim in ("", self.said.version) or source is None:
            await self._look_at_tables(nginx)
            return
        text = unpack(source.get("data") or {}, {}, expected_digest=annotation_of(source, names.DIGEST_ANNOTATION))
        if self.refuses and self.refuses in text:
            failure = Failure(aim, "test", f"nginx: [emerg] {self.refuses}")
            said = replace(self.said, epoch=1, failure=failure)
        else:
            said = replace(self.said, version=aim, epoch=1, failure=None)
        await self._say(said)
        self.loaded.append(said.version)

    async def _look_at_tables(self, nginx: Json | None) -> None:
        """Take in all that there is, where the version in force looks anything up."""
        newest = 0
        if annotation_of(nginx, names.TABLE_FORMAT_ANNOTATION):
            selector = f"{names.ROLE_LABEL}={names.ROLE_TABLE}"
            found = await self.world.client.list(CONFIG_MAPS, namespace=self.world.namespace, label_selector=selector)
            newest = max((int(part["metadata"]["resourceVersion"]) for part in found.items), default=0)
        if newest != self.said.table:
            await self._say(replace(self.said, table=newest))

    def _aim(self, nginx: Json | None, following: Json | None) -> tuple[str, Json | None]:
        refused = self.said.failure.version if self.said.failure is not None else ""
        if annotation_of(following, names.CANARY_ANNOTATION) == self.name:
            version = annotation_of(following, names.VERSION_ANNOTATION)
            if version not in ("", refused):
                return version, following
        turn = annotation_of(nginx, names.PODS_ANNOTATION).split(" ")
        if "*" in turn or self.name in turn or not self.said.version:
            version = annotation_of(nginx, names.VERSION_ANNOTATION)
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
        if first and said.version:
            ready = {"type": "Ready", "status": "True"}
            await self.world.apply(PODS, self.name, subresource="status", status={"conditions": [ready]})


def annotation_of(config_map: Json | None, name: str) -> str:
    """An annotation, empty where there is none."""
    annotations: Mapping[str, str] = ((config_map or {}).get("metadata") or {}).get("annotations") or {}
    return annotations.get(name, "")


@contextlib.asynccontextmanager
async def operating(world: World, identity: str, *, kubeconfig: Path | None = None) -> AsyncIterator[Operator]:
    """An operator in the background; leaving the block ends it in order. ``kubeconfig`` leads it through a proxy."""
    kubeconfig = kubeconfig or world.server.kubeconfig()
    client = await KubeClient.from_kubeconfig(kubeconfig, timeout=REQUEST_SECONDS)
    operator = Operator(config_for(kubeconfig, world.namespace, identity), client)
    stop = asyncio.Event()
    task = asyncio.create_task(operator.run(stop))
    try:
        await until(lambda: task.done() or not operator.unready(), seconds=30, what="for the operator to be ready")
        yield operator
    finally:
        stop.set()
        await task
        await client.close()


@contextlib.asynccontextmanager
async def replica(
    world: World, identity: str, kubeconfig: Path, *, log: Path = Path("/dev/null")
) -> AsyncIterator[asyncio.subprocess.Process]:
    """An operator in a process of its own, which is killed in the end. What it says goes to ``log``."""
    with log.open("wb") as words:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.operator_process", kubeconfig, world.namespace, identity),
            stdout=words,
            stderr=words,
        )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()
