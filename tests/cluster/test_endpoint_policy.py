"""Endpoints that are not allowed, on a real cluster: told on the route; the others serve, and nobody else notices."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from localcluster import install
from localcluster.errors import ClusterError
from localcluster.install import BALANCER, NAMESPACE
from localcluster.paths import REPOSITORY
from tests.cluster.conftest import STATIC
from tests.cluster.test_wrong_routes import blocks_of
from tests.support.stack import Stack, eventually
from wsroute.kube.port import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NODES,
    SERVICES,
    Json,
    NotFoundError,
    RejectedError,
)

SIGNED = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
EXTRA_NODE_ADDRESS = "172.31.255.9"


async def by_hand(stack: Stack, *addresses: str, labels: dict[str, str] | None = None, pod: str = "") -> None:
    """A Service ``byhand`` without selector, and a slice of it with these addresses."""
    await stack.apply(SERVICES, {"metadata": {"name": "byhand"}, "spec": {"ports": [{"name": "http", "port": 80}]}})
    target = {"targetRef": {"kind": "Pod", "name": pod, "namespace": stack.namespace}} if pod else {}
    await stack.apply(
        ENDPOINT_SLICES,
        {
            "metadata": {"name": "byhand", "labels": {"kubernetes.io/service-name": "byhand", **(labels or {})}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [entry], "conditions": {"ready": True}, **target} for entry in addresses],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
    )


async def route_by_hand(stack: Stack) -> None:
    backends = [{"service": "byhand", "port": "http"}]
    await stack.route("byhand", paths=[{"path": "/echo", "backends": backends}])


@asynccontextmanager
async def permitted(stack: Stack, **terms: bool) -> AsyncIterator[None]:
    """The balancer's administrator allows something, for as long as the block."""

    async def patch(fields: dict[str, Any]) -> None:
        body = json.dumps({"spec": {"allowedRoutes": fields}})
        await stack.kubectl("-n", NAMESPACE, "patch", "wsb", BALANCER, "--type=merge", "-p", body)

    await patch(dict(terms))
    try:
        yield
    finally:
        await patch(dict.fromkeys(terms))


async def not_allowed(stack: Stack, name: str, *words: str) -> Json:
    """Wait until the route says so."""

    async def look() -> Json:
        told = await stack.condition(name, "ResolvedRefs", "False")
        assert told["reason"] == "EndpointNotAllowed", told
        assert "spec.paths[0].backends[0].service" in told["message"]
        for text in words:
            assert text in told["message"], told
        return told

    return await eventually(look)


async def pod_address(stack: Stack, name: str = "chat") -> str:
    async def look() -> str:
        pods = await stack.pods_of(name)
        assert len(pods) == 1
        assert pods[0]["status"].get("podIP"), "it has no address yet"
        return str(pods[0]["status"]["podIP"])

    return await eventually(look)


async def api_server(stack: Stack) -> str:
    found = await stack.client.get(ENDPOINT_SLICES, namespace="default", name="kubernetes")
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"
    return str(found["endpoints"][0]["addresses"][0])


@pytest.fixture
def extra_node(stack: Stack) -> Iterator[str]:
    """A node that is nothing but an object with an address."""
    name = f"{stack.namespace}-node"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": True}}
    stack.cluster.kubectl("create", "-f", "-", input=json.dumps(node))
    try:
        status = {"status": {"addresses": [{"type": "InternalIP", "address": EXTRA_NODE_ADDRESS}]}}
        stack.cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        yield EXTRA_NODE_ADDRESS
    finally:
        stack.cluster.kubectl("delete", "node", name)


@STATIC
async def test_hand_written_endpoints_need_the_permission_and_the_rest_holds_with_it(
    stack: Stack, extra_node: str
) -> None:
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    own = f"{stack.namespace}/chat"
    before = blocks_of(await stack.configuration(), own)
    assert before
    good = await pod_address(stack)

    await by_hand(stack, good)
    await route_by_hand(stack)
    await not_allowed(stack, "byhand", f"1 endpoint ({good}) was written by hand", "allowedRoutes.manualEndpoints")
    await stack.condition("byhand", "Programmed")
    for pod in await stack.balancer_pods():
        answer = await stack.handshake(pod, host=stack.host("byhand"))
        assert (answer.status, answer.reason) == (503, "no-endpoints")
    # To sign it as the controller does not help: that one writes for Services with a selector only.
    await by_hand(stack, good, labels=SIGNED, pod="ghost")
    await not_allowed(stack, "byhand", "was written by hand")
    assert f"{good}:8080" not in "".join(blocks_of(await stack.configuration(), f"{stack.namespace}/byhand"))

    service = await stack.client.get(SERVICES, namespace=stack.namespace, name="chat")
    hostile = {
        "100.100.100.200": "has an address that no pod can have",
        "239.1.1.1": "has an address that no pod can have",
        await api_server(stack): "has an address of the API server",
        extra_node: "has the address of a node",
        service["spec"]["clusterIP"]: "has the cluster address of a Service",
        (await stack.balancer_pods())[0].ip: "has the address of a balancer's pod",
    }
    async with permitted(stack, manualEndpoints=True):
        await by_hand(stack, good)
        await stack.condition("byhand", "Ready")
        await stack.answers(host=stack.host("byhand"), status=101)
        for address, words in hostile.items():
            await by_hand(stack, good, address)
            await not_allowed(stack, "byhand", f"1 endpoint ({address}) {words}")
            text = "".join(blocks_of(await stack.configuration(), f"{stack.namespace}/byhand"))
            assert f"{good}:8080" in text
            assert f"{address}:" not in text
            await stack.answers(host=stack.host("byhand"), status=101)
        for address in ("127.0.0.1", "169.254.169.254"):
            # The API server has the same rule for these two, so that only an object from elsewhere could hold them.
            with pytest.raises(RejectedError):
                await by_hand(stack, address)
        await by_hand(stack, *hostile)
        await not_allowed(stack, "byhand", *(words.removeprefix("has ") for words in hostile.values()))
        await stack.condition("byhand", "Programmed")
        await eventually(lambda: stack.answers(host=stack.host("byhand"), status=503))
    assert blocks_of(await stack.configuration(), own) == before
    await stack.answers(host=stack.host(), status=101)


@STATIC
async def test_a_forged_slice_of_a_service_with_a_selector_is_taken_back_by_its_controller(stack: Stack) -> None:
    """What the endpoint policy relies on: the controller corrects slices that bear its label."""
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    await stack.apply(
        ENDPOINT_SLICES,
        {
            "metadata": {"name": "forged", "labels": {"kubernetes.io/service-name": "chat", **SIGNED}},
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": ["10.255.255.1"],
                    "conditions": {"ready": True},
                    "targetRef": {"kind": "Pod", "name": "ghost", "namespace": stack.namespace},
                }
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
    )

    async def corrected() -> None:
        try:
            found = await stack.client.get(ENDPOINT_SLICES, namespace=stack.namespace, name="forged")
        except NotFoundError:
            found = {}
        assert "10.255.255.1" not in json.dumps(found.get("endpoints"))
        assert "10.255.255.1" not in await stack.configuration()
        assert (await stack.status())["endpoints"] == {"ready": 1, "draining": 0}

    await eventually(corrected)
    await stack.condition("chat", "Ready")
    await stack.answers(host=stack.host(), status=101)


async def test_pods_with_host_network_need_the_permission(stack: Stack) -> None:
    container = {
        "name": "chat",
        "image": stack.chat_image,
        "args": ["--host", "*", "--port", "18080", "--drain", "0"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 18080}, "periodSeconds": 1},
    }
    labels = {"app": "chat"}
    template = {"metadata": {"labels": labels}, "spec": {"hostNetwork": True, "containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    await stack.apply(DEPLOYMENTS, {"metadata": {"name": "chat"}, "spec": spec})
    ports = [{"name": "http", "port": 80, "targetPort": 18080}]
    await stack.apply(SERVICES, {"metadata": {"name": "chat"}, "spec": {"selector": labels, "ports": ports}})
    await stack.route()
    await not_allowed(stack, "chat", "has the address of a node", "allowedRoutes.hostNetworkEndpoints")
    nodes = await stack.client.list(NODES)
    addresses = {entry["address"] for node in nodes.items for entry in node["status"]["addresses"]}
    assert await pod_address(stack) in addresses
    async with permitted(stack, hostNetworkEndpoints=True):
        await stack.condition("chat", "Ready")
        await stack.answers(host=stack.host(), status=101)
    await not_allowed(stack, "chat", "has the address of a node", "allowedRoutes.hostNetworkEndpoints")


async def test_the_policy_for_the_api_server_lets_only_the_controller_sign(stack: Stack) -> None:
    try:
        await stack.kubectl("apply", "-k", str(REPOSITORY / "deploy/policies"))
        await stack.backend()
        await stack.route()
        await stack.condition("chat", "Ready")
        good = await pod_address(stack)

        async def is_refused() -> None:
            refusal = ""
            try:
                await by_hand(stack, good, labels=SIGNED, pod="ghost")
            except RejectedError as error:
                refusal = str(error)
            assert "Only the EndpointSlice controller may write slices with its label" in refusal

        await eventually(is_refused)
        await stack.scale("chat", 2)

        async def both_are_known() -> None:
            assert (await stack.status())["endpoints"]["ready"] == 2

        await eventually(both_are_known)
        await stack.client.delete(ENDPOINT_SLICES, namespace=stack.namespace, name="byhand")
        await by_hand(stack, good)  # without the label, for which there is the balancer's own permission
    finally:
        await stack.kubectl("delete", "--ignore-not-found", "-k", str(REPOSITORY / "deploy/policies"))


async def test_without_the_right_to_list_nodes_the_operator_works_and_gets_them_once_it_may(stack: Stack) -> None:
    role = json.loads(await stack.kubectl("get", "clusterrole", "wsroute-operator", "-o", "json"))
    without = [rule for rule in role["rules"] if rule["resources"] != ["nodes"]]
    assert len(without) == len(role["rules"]) - 1

    async def grant(rules: list[Json]) -> None:
        await stack.kubectl(
            "patch", "clusterrole", "wsroute-operator", "--type=merge", "-p", json.dumps({"rules": rules})
        )

    async def said(words: str) -> None:
        selector = "-lapp.kubernetes.io/name=wsroute-operator"
        try:
            logs = await stack.kubectl("-n", NAMESPACE, "logs", selector, "--tail=-1")
        except ClusterError as error:  # one of the pods is starting or ending
            raise AssertionError(str(error)) from error
        assert words in logs, f"nobody said {words}"

    try:
        await grant(without)
        await stack.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/wsroute-operator")
        await asyncio.to_thread(install.wait_until_ready, stack.cluster)
        await eventually(lambda: said("There is no right to list and watch nodes"), every=1)
        await stack.backend()
        await stack.route()
        await stack.condition("chat", "Ready")
        await stack.answers(host=stack.host(), status=101)
    finally:
        await grant(role["rules"])
    await eventually(lambda: said("Following nodes works again"), within=120, every=1)
