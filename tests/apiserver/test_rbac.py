"""The rights in ``deploy/``: operator and agents run with real tokens of theirs, and use all of them and no others.

The rules are read from the rendered manifests. Whoever adds one extends the scenario by what uses it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.api import CurrentCluster
from localcluster.binaries import ensure
from localcluster.install import BALANCER, LOCAL_IMAGES, NAMESPACE, render, set_data_plane
from tests.support.api_requests import ApiRequest
from tests.support.apiserver import ApiServer
from tests.support.certificates import Authority
from tests.support.controlled import World, serve_custom_resources
from tests.support.fault_proxy import FaultProxy
from tests.support.rbac import Grant, grants_of, not_granted, not_used
from tests.support.waiting import until, until_async
from wsroute.agent.runtime import Agent, AgentConfig
from wsroute.balancer.applier import Applied, Applier
from wsroute.cluster.objects import Key
from wsroute.controller import passes
from wsroute.controller.runtime import REQUEST_SECONDS, Operator, OperatorConfig
from wsroute.dataplane.acknowledgement import Failure
from wsroute.kube.client import KubeClient
from wsroute.kube.port import (
    BALANCERS,
    CONFIG_MAPS,
    LEASES,
    NAMESPACES,
    PODS,
    ROUTES,
    SECRETS,
    ForbiddenError,
    Json,
)

OPERATOR, AGENT = "wsroute-operator", "wsroute-agent"
LABELS = {"app.kubernetes.io/name": "wsroute-balancer", "wsroute.dev/balancer": BALANCER}


@dataclass
class Installed:
    """wsroute's manifests on an API server without nodes."""

    server: ApiServer
    program: str
    manifests: list[Json]

    def kubeconfig(self, account: str, *, through: FaultProxy | None = None) -> Path:
        """For a service account, with a token that the API server has made."""
        token = self._kubectl("-n", NAMESPACE, "create", "token", account).strip()
        return self.server.kubeconfig(account, token=token, through=through)

    def _kubectl(self, *arguments: str) -> str:
        return CurrentCluster(self.server.kubeconfig(), self.program).kubectl(*arguments)


@pytest.fixture
async def installed(apiserver: ApiServer, client: KubeClient) -> Installed:
    program = str(ensure() / "kubectl")
    await serve_custom_resources(client)
    cluster = CurrentCluster(apiserver.kubeconfig(), program)
    text = await asyncio.to_thread(render, cluster, "deploy/operator", "deploy/balancer", images=LOCAL_IMAGES)
    await asyncio.to_thread(cluster.kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-", input=text)
    # The nginx beside the agents below is none, and so looks nothing up. Tables need no other rights.
    await asyncio.to_thread(set_data_plane, cluster, "Static")
    # It stays: without nodes nobody empties a namespace that is deleted.
    return Installed(apiserver, program, [item for item in yaml.safe_load_all(text) if item])


class WillingNginx(Applier):
    """An applier whose nginx takes everything."""

    version = ""

    async def running(self) -> str | None:
        return self.version

    async def test(self, version: str) -> Failure | None:
        return None

    async def apply(self, version: str, *, test: bool = True) -> Applied | Failure:
        self.version = version
        return Applied(version, 0.0)


@contextlib.asynccontextmanager
async def agent_of(pod: str, kubeconfig: Path, folder: Path) -> AsyncIterator[None]:
    """The real agent, beside an nginx that is none."""
    client = await KubeClient.from_kubeconfig(kubeconfig)
    await asyncio.to_thread(folder.mkdir)
    agent = Agent(AgentConfig(pod, NAMESPACE, BALANCER, conf=folder, run=folder, tls=folder, port=0), client)
    agent._applier = WillingNginx(conf=folder, run=folder)
    task = asyncio.create_task(agent.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await client.close()


@contextlib.asynccontextmanager
async def operator_of(kubeconfig: Path) -> AsyncIterator[Operator]:
    """The real operator, as its Deployment configures it."""
    client = await KubeClient.from_kubeconfig(kubeconfig, timeout=REQUEST_SECONDS)
    operator = Operator(
        OperatorConfig(
            namespaces=(NAMESPACE,),
            default_balancer=Key(NAMESPACE, BALANCER),
            lease_namespace=NAMESPACE,
            lease_name=OPERATOR,
            identity="test",
            http_host="127.0.0.1",
            http_port=0,
            kubeconfig=kubeconfig,
        ),
        client,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(operator.run(stop))
    try:
        yield operator
    finally:
        stop.set()
        await task
        await client.close()


def granted(answered: Iterable[tuple[ApiRequest, int]]) -> Iterator[ApiRequest]:
    """What was asked for and given. An apply that makes an object (201) takes the right to create it as well."""
    for asked, status in answered:
        if status < 300:
            yield asked
            if (asked.verb, status) == ("patch", 201):
                yield replace(asked, verb="create")


async def test_every_right_is_used_and_nothing_else_is_asked_for(
    installed: Installed,
    apiserver: ApiServer,
    proxy: FaultProxy,
    client: KubeClient,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passes, "OUTLIVED", 0.5)
    grants = grants_of(installed.manifests)
    users = {f"system:serviceaccount:{NAMESPACE}:{account}" for account in (OPERATOR, AGENT)}
    assert set(grants) == users
    assert not any("*" in (grant.verb, grant.group, grant.resource) for those in grants.values() for grant in those)

    world = World(client, apiserver, namespace)
    await client.apply(
        NAMESPACES, {"metadata": {"name": namespace, "labels": {"wsroute.dev/balancer": BALANCER}}}, manager="a-user"
    )
    agents_kubeconfig = installed.kubeconfig(AGENT, through=proxy)
    await client.apply(SECRETS, Authority().issue("*.example.com").secret("shared-certificate"), manager="a-user")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(_listening_for_tls(client))
        operator = await stack.enter_async_context(operator_of(installed.kubeconfig(OPERATOR, through=proxy)))
        await _until_made(client, f"{BALANCER}-agents")
        for name in ("p0", "p1"):
            await _make_pod(client, name)
            await stack.enter_async_context(agent_of(name, agents_kubeconfig, tmp_path / name))
        await _route(world)
        await world.backend("10.1.0.1")
        await _until_ready(world)
        # A pod goes, and what its agent has said is taken out.
        await _make_pod(client, "p2")
        async with agent_of("p2", agents_kubeconfig, tmp_path / "p2"):
            await _until_said(client, "p2", True)
        await client.delete(PODS, namespace=NAMESPACE, name="p2")
        await _until_said(client, "p2", False)
        # Somebody deletes a generated object and the Lease.
        await client.delete(CONFIG_MAPS, namespace=NAMESPACE, name=f"{BALANCER}-nginx")
        await client.delete(LEASES, namespace=NAMESPACE, name=OPERATOR)
        await until(lambda: operator._elector.epoch > 0 and operator._elector.leading, seconds=30)
        await world.backend("10.1.0.2")
        await _until_ready(world)

        def all_is_used() -> bool:
            return not not_used(granted(proxy.requests), grants)

        with contextlib.suppress(AssertionError):
            await until(all_is_used, seconds=15)

    asked = {asked for asked, _ in proxy.requests}
    assert not_used(granted(proxy.requests), grants) == set(), "nobody needs these"
    assert not_granted(asked, grants) == set(), "these are missing"
    assert {(asked, status) for asked, status in proxy.requests if status == 403} == set()
    for request in asked:
        if request.writes and request.namespace == NAMESPACE and request.resource == "configmaps" and request.name:
            assert request.name.startswith(f"{BALANCER}-"), request
        if request.writes and request.resource == "secrets":
            assert request.name.startswith(f"{BALANCER}-tls-"), request
        if request.resource == "leases" and request.name:
            assert request.name == OPERATOR


def attempts(account: str, allowed: set[Grant]) -> Iterator[tuple[str, Any]]:
    """What a stolen token would be good for, as calls of a client."""
    everywhere = (NAMESPACE, "default")
    named = {name for grant in allowed if grant.resource == "secrets" for name in grant.names}
    for place in everywhere:
        yield f"list Secrets in {place}", lambda c, p=place: c.list(SECRETS, namespace=p)
        yield f"read a Secret in {place}", lambda c, p=place: c.get(SECRETS, namespace=p, name="other")
        assert "other" not in named
        yield f"make one's own Secret in {place}", lambda c, p=place: c.create(SECRETS, _named(f"{BALANCER}-tls-0", p))
        yield f"write a Secret in {place}", lambda c, p=place: c.create(SECRETS, _named("other", p))
        yield f"make a pod in {place}", lambda c, p=place: c.create(PODS, _named("other", p))
        yield f"change a route in {place}", lambda c, p=place: c.apply(ROUTES, _named("other", p), manager="thief")
    yield "list all Secrets", lambda c: c.list(SECRETS)
    yield "list all ConfigMaps", lambda c: c.list(CONFIG_MAPS)
    yield "make a ConfigMap elsewhere", lambda c: c.create(CONFIG_MAPS, _named("other", "default"))
    yield "change a namespace", lambda c: c.apply(NAMESPACES, {"metadata": {"name": "default"}}, manager="thief")
    if account == AGENT:
        for name in (f"{BALANCER}-nginx", f"{BALANCER}-nginx-next", f"{BALANCER}-state", "other-agents"):
            yield f"change {name}", lambda c, n=name: c.apply(CONFIG_MAPS, _named(n, NAMESPACE), manager="thief")
        own = f"{BALANCER}-agents"
        yield "make a ConfigMap", lambda c: c.create(CONFIG_MAPS, _named("other", NAMESPACE))
        yield f"replace {own}", lambda c: c.update(CONFIG_MAPS, _named(own, NAMESPACE))
        yield f"delete {own}", lambda c: c.delete(CONFIG_MAPS, namespace=NAMESPACE, name=own)
        yield f"change {own} elsewhere", lambda c: c.apply(CONFIG_MAPS, _named(own, "default"), manager="thief")
        yield "write the Lease", lambda c: c.apply(LEASES, _named(OPERATOR, NAMESPACE), manager="thief")
        yield "list routes", lambda c: c.list(ROUTES)


def _named(name: str, namespace: str) -> Json:
    return {"metadata": {"name": name, "namespace": namespace}}


@pytest.mark.parametrize("account", [OPERATOR, AGENT])
async def test_a_stolen_token_is_good_for_nothing_else(installed: Installed, account: str) -> None:
    client = await KubeClient.from_kubeconfig(installed.kubeconfig(account))
    grants = grants_of(installed.manifests)[f"system:serviceaccount:{NAMESPACE}:{account}"]
    allowed = []
    try:
        for what, attempt in attempts(account, grants):
            try:
                await attempt(client)
                allowed.append(what)
            except ForbiddenError:
                continue
    finally:
        await client.close()
    assert allowed == []


async def _make_pod(client: KubeClient, name: str) -> None:
    metadata = {"namespace": NAMESPACE, "name": name, "labels": LABELS}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "nginx", "image": "nginx", "securityContext": security}],
    }
    await client.apply(PODS, {"metadata": metadata, "spec": spec}, manager="a-controller")
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    await client.apply(
        PODS,
        {"metadata": {"namespace": NAMESPACE, "name": name}, "status": status},
        manager="a-kubelet",
        subresource="status",
    )


async def _route(world: World) -> None:
    await world.apply(
        ROUTES,
        "chat",
        spec={
            "hosts": [f"chat.{world.namespace}.example.com"],
            "paths": [{"path": "/ws", "backends": [{"service": "chat", "port": 80}]}],
        },
    )


@contextlib.asynccontextmanager
async def _listening_for_tls(client: KubeClient) -> AsyncIterator[None]:
    """The balancer has a listener that ends TLS; afterwards it is as it is shipped, for whoever applies it next."""
    listeners = [
        {"name": "ws", "port": 8080, "protocol": "HTTP", "public": {"scheme": "ws", "port": 80}},
        {
            "name": "wss",
            "port": 8443,
            "protocol": "HTTPS",
            "public": {"scheme": "wss", "port": 443},
            "tls": {"certificates": [{"secretName": "shared-certificate"}]},
        },
    ]
    metadata = {"namespace": NAMESPACE, "name": BALANCER}
    await client.apply(BALANCERS, {"metadata": metadata, "spec": {"listeners": listeners}}, manager="a-user")
    try:
        yield
    finally:
        await client.apply(BALANCERS, {"metadata": metadata}, manager="a-user")


async def _until_ready(world: World) -> None:
    async def ready() -> bool:
        return (await world.conditions()).get("Ready") == ("True", "Ready")

    await world.until(ready, what="the route is ready", seconds=30)


async def _until_made(client: KubeClient, name: str) -> None:
    """An agent may change its ConfigMap and not make it."""

    async def made() -> bool:
        listing = await client.list(CONFIG_MAPS, namespace=NAMESPACE)
        return name in {item["metadata"]["name"] for item in listing.items}

    await until_async(made, seconds=30, what=f"for {name}")


async def _until_said(client: KubeClient, pod: str, present: bool) -> None:
    async def said() -> bool:
        found = await client.get(CONFIG_MAPS, namespace=NAMESPACE, name=f"{BALANCER}-agents")
        return (pod in (found.get("data") or {})) is present

    await until_async(said, seconds=30, what=f"for what {pod} says: {present}")
