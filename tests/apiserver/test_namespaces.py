"""The operator for a list of namespaces, with just the rights that the chart gives it there.

It logs in as the chart's ServiceAccount, so a right that it lacks shows as a refusal of the API server.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster import binaries
from localcluster.api import CurrentCluster
from tests.support.apiserver import ADMIN, ApiServer
from tests.support.controlled import until_unknown
from tests.support.manifests import CHART, template
from tests.support.stack import eventually
from tests.support.waiting import until
from wsroute.cluster.objects import Key
from wsroute.controller.runtime import Operator, OperatorConfig
from wsroute.kube.backoff import Backoff
from wsroute.kube.client import KubeClient
from wsroute.kube.port import BALANCERS, DEPLOYMENTS, NAMESPACES, ROUTES, SERVICES, NotFoundError, Resource

pytestmark = pytest.mark.cluster

DEADLINE = 60.0
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


class Tenancy:
    """A balancer's namespace, one that is watched, one that is not, and one of the list that is not there."""

    def __init__(self, client: KubeClient, server: ApiServer, own: str) -> None:
        self.client = client
        self.server = server
        self.own = own
        self.watched = f"{own}-watched"
        self.other = f"{own}-other"
        self.missing = f"{own}-missing"

    async def apply(self, resource: Resource, namespace: str, name: str, **content: Any) -> None:
        """Apply an object."""
        await self.client.apply(
            resource, {"metadata": {"namespace": namespace, "name": name}, **content}, manager=ADMIN
        )

    async def namespace(self, name: str, **labels: str) -> None:
        """Make a namespace, or give it these labels and no others of ours."""
        await self.client.apply(NAMESPACES, {"metadata": {"name": name, "labels": labels}}, manager=ADMIN)

    async def route(self, namespace: str, name: str) -> None:
        """A route to the Service ``chat``."""
        path = {"path": "/ws", "backends": [{"service": "chat", "port": 80}]}
        await self.apply(ROUTES, namespace, name, spec={"hosts": [f"{name}.example.com"], "paths": [path]})

    async def service(self, namespace: str) -> None:
        """The Service ``chat``."""
        await self.apply(SERVICES, namespace, "chat", spec={"selector": {"app": "chat"}, "ports": [{"port": 80}]})

    async def balancer(self) -> None:
        """A balancer for labelled namespaces, and its Deployment."""
        containers = [{"name": "nginx", "image": "nginx"}]
        pods = {"metadata": {"labels": {"app": "b"}}, "spec": {"containers": containers}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "b"}}, "template": pods}
        await self.apply(DEPLOYMENTS, self.own, "balancer", spec=spec)
        selector = {"matchLabels": {"tier": "gold"}}
        await self.apply(
            BALANCERS,
            self.own,
            "shared",
            spec={
                "dataPlane": "Static",
                "deploymentRef": {"name": "balancer"},
                "listeners": [{"name": "ws", "port": 8080, "protocol": "HTTP"}],
                "allowedRoutes": {"namespaces": {"from": "Selector", "selector": selector}, "hosts": ["*"]},
            },
        )

    async def conditions(self, namespace: str, name: str) -> dict[str, str]:
        """The reasons of a route's conditions."""
        found = await self.client.get(ROUTES, namespace=namespace, name=name)
        return {each["type"]: each["reason"] for each in (found.get("status") or {}).get("conditions", [])}

    async def until(self, namespace: str, name: str, **reasons: str) -> None:
        """Wait until a route's conditions have these reasons."""

        async def look() -> None:
            seen = await self.conditions(namespace, name)
            assert reasons.items() <= seen.items(), f"{name}: {seen}"

        await eventually(look)

    async def definitions(self) -> None:
        """Bring the custom resources in, and wait until they are served."""
        for name in ("websocketroutes", "websocketbalancers"):
            text = (CHART / "files" / "crds" / f"{name}.yaml").read_text()
            await self.client.apply(CRDS, yaml.safe_load(text), manager=ADMIN)
        for resource in (ROUTES, BALANCERS):
            await eventually(lambda resource=resource: self.served(resource))  # type: ignore[misc]

    async def served(self, resource: Resource) -> None:
        """The API server knows the resource."""
        try:
            await self.client.list(resource)
        except NotFoundError as error:
            raise AssertionError(resource.plural) from error

    def install_rights(self, folder: Path) -> Path:
        """Apply the chart's account and rights where there is a namespace; returns the account's kubeconfig."""
        rendered = template({"watchNamespaces": [self.watched, self.missing]}, namespace=self.own)
        rights = [
            each
            for each in rendered
            if each["kind"] in RIGHTS and each["metadata"].get("namespace") != self.missing
        ]  # fmt: skip
        admin = CurrentCluster(self.server.kubeconfig(), str(binaries.ensure() / "kubectl"))
        admin.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(rights))
        token = admin.kubectl("create", "token", "wsroute-operator", "-n", self.own).strip()
        config = json.loads(self.server.kubeconfig().read_text())
        config["users"][0]["user"] = {"token": token}
        file = folder / "operator.kubeconfig"
        file.write_text(json.dumps(config))
        return file

    @contextlib.asynccontextmanager
    async def operating(self, kubeconfig: Path) -> AsyncIterator[Operator]:
        """An operator in the background, once it is ready."""
        config = OperatorConfig(
            namespaces=(self.own,),
            default_balancer=Key(self.own, "shared"),
            lease_namespace=self.own,
            lease_name="wsroute-operator",
            identity="one",
            watched=(self.watched, self.missing),
            http_host="127.0.0.1",
            http_port=0,
            kubeconfig=kubeconfig,
        )
        client = await KubeClient.from_kubeconfig(kubeconfig)
        operator = Operator(config, client)
        operator._resync._backoff = Backoff(first=0.05, cap=0.2)
        stop = asyncio.Event()
        task = asyncio.create_task(operator.run(stop))
        try:
            await until(lambda: task.done() or not operator.unready(), seconds=DEADLINE, what="for the operator")
            yield operator
        finally:
            stop.set()
            await task
            await client.close()


@pytest.fixture
async def tenancy(apiserver: ApiServer, client: KubeClient, namespace: str) -> Tenancy:
    """Custom resources, namespaces and a balancer."""
    tenancy = Tenancy(client, apiserver, namespace)
    await tenancy.definitions()
    await tenancy.namespace(tenancy.watched, tier="gold")
    await tenancy.namespace(tenancy.other, tier="gold")
    await tenancy.balancer()
    return tenancy


async def test_only_the_namespaces_of_the_list_are_served(
    tenancy: Tenancy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched, other = tenancy.watched, tenancy.other
    for namespace in (watched, other):
        await tenancy.service(namespace)
        await tenancy.route(namespace, "before")
    kubeconfig = tenancy.install_rights(tmp_path)
    async with tenancy.operating(kubeconfig):
        await tenancy.until(watched, "before", Accepted="Accepted", ResolvedRefs="ResolvedRefs")
        # What is made while it runs is seen by kopf's watches.
        await tenancy.route(other, "after")
        await tenancy.route(watched, "after")
        await tenancy.until(watched, "after", Accepted="Accepted", ResolvedRefs="ResolvedRefs")
        await tenancy.client.delete(SERVICES, namespace=watched, name="chat")
        await tenancy.until(watched, "after", ResolvedRefs="ServiceNotFound")
        # And so are the labels of the namespace.
        await tenancy.namespace(watched)
        await tenancy.until(watched, "after", Accepted="NotAllowed")
        await tenancy.namespace(watched, tier="gold")
        await tenancy.until(watched, "after", Accepted="Accepted")
    assert await tenancy.conditions(other, "before") == await tenancy.conditions(other, "after") == {}
    refusals = [text for text in caplog.messages if "forbidden" in text.lower()]
    assert [text for text in refusals if tenancy.missing not in text] == [], "a right is missing"
    assert f"There is no right to list WebSocketRoute in {tenancy.missing}" in caplog.text


async def test_custom_resources_that_come_later_are_found(tenancy: Tenancy, tmp_path: Path) -> None:
    """It may not watch their definitions: kopf ends when they go, and is started again once they are there."""
    kubeconfig = tenancy.install_rights(tmp_path)
    async with tenancy.operating(kubeconfig) as operator:
        before = restarts(operator)
        await tenancy.client.delete(CRDS, namespace="", name="websocketroutes.wsroute.dev")
        await until(lambda: restarts(operator) > before, seconds=DEADLINE, what="for kopf's end")
        await until_unknown(tenancy.client, ROUTES)
        await tenancy.definitions()
        await tenancy.route(tenancy.watched, "chat")
        await tenancy.until(tenancy.watched, "chat", Accepted="Accepted", ResolvedRefs="ServiceNotFound")
        await tenancy.service(tenancy.watched)
        await tenancy.until(tenancy.watched, "chat", ResolvedRefs="ResolvedRefs")


def restarts(operator: Operator) -> float:
    """How often the watching half was started again."""
    return float(operator.metrics.watch_restarts._value.get())
