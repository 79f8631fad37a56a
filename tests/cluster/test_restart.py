"""Strategy Restart on a real cluster: stock nginx pods without the agent, as `deploy/balancer-restart` has them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from localcluster.install import NAMESPACE, apply, render
from tests.support.handshake import echo
from tests.support.prober import probing
from tests.support.stack import BalancerPod, Stack, eventually, is_ready
from wsroute.dataplane import names
from wsroute.kube.port import BALANCERS, CONFIG_MAPS, DEPLOYMENTS, PODS, Json

NAME = "restarted"
DEPLOYMENT = f"{NAME}-balancer"
TEMPLATE = "restarted-main"
EXTENDED = '{{% extends "nginx.conf.j2" %}}{{% block http %}}{}{{% endblock %}}'


@dataclass(frozen=True)
class Restarted:
    """The sample balancer."""

    stack: Stack

    async def patch(self, kind: str, name: str, patch: Mapping[str, Any]) -> None:
        await self.stack.kubectl("-n", NAMESPACE, "patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    async def route(self, name: str) -> None:
        await self.stack.route(name, balancerRef={"name": NAME, "namespace": NAMESPACE})

    async def pods(self) -> list[BalancerPod]:
        """Those that are ready and stay."""
        listing = await self.stack.client.list(PODS, namespace=NAMESPACE, label_selector=f"wsroute.dev/balancer={NAME}")
        found = [pod for pod in listing.items if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        return sorted(
            (BalancerPod(pod["metadata"]["name"], pod["status"]["podIP"]) for pod in found), key=lambda pod: pod.name
        )

    async def served(self, name: str) -> list[BalancerPod]:
        """Wait until a route is Ready; returns the pods, all of which serve it."""

        async def both() -> list[BalancerPod]:
            pods = await self.pods()
            assert len(pods) == 2, pods
            return pods

        await self.stack.condition(name, "Ready", within=120)
        # At first one of them may be ready before the other, and serve it alone.
        await eventually(both)
        await self.stack.condition(name, "Ready", within=120)
        pods = await both()
        for pod in pods:
            assert (await self.stack.handshake(pod, host=self.stack.host(name))).status == 101
        return pods

    async def versions(self) -> tuple[str, str]:
        """What is in force, and what the Deployment's template names."""
        nginx = await self.stack.client.get(CONFIG_MAPS, namespace=NAMESPACE, name=names.nginx_name(NAME))
        deployment = await self.stack.client.get(DEPLOYMENTS, namespace=NAMESPACE, name=DEPLOYMENT)
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        return nginx["metadata"]["annotations"][names.VERSION_ANNOTATION], annotations[names.VERSION_ANNOTATION]

    async def stands(self, versions: tuple[str, str]) -> None:
        """Assert that these are in force."""
        assert await self.versions() == versions

    async def template(self, content: str | None) -> None:
        """Have the balancer use the shipped main template with more in its http block, or as it is."""
        if content is not None:
            labels = {names.BALANCER_LABEL: NAME, names.ROLE_LABEL: names.ROLE_TEMPLATE}
            metadata = {"name": TEMPLATE, "namespace": NAMESPACE, "labels": labels}
            data = {"nginx.conf.j2": EXTENDED.format(content)}
            await self.stack.apply(CONFIG_MAPS, {"metadata": metadata, "data": data})
        reference = None if content is None else {"configMap": TEMPLATE}
        await self.patch("wsb", NAME, {"spec": {"nginx": {"templateRef": reference}}})

    async def programmed(self, status: str, reason: str, *words: str) -> None:
        """Wait until the balancer says so of its present generation."""

        async def look() -> None:
            found: Json = await self.stack.client.get(BALANCERS, namespace=NAMESPACE, name=NAME)
            told = next(each for each in found["status"]["conditions"] if each["type"] == "Programmed")
            assert told["observedGeneration"] == found["metadata"]["generation"]
            assert (told["status"], told["reason"]) == (status, reason), told
            assert all(word in told["message"] for word in words), told

        await eventually(look, within=120)


@pytest.fixture
async def restarted(stack: Stack, images: Mapping[str, str]) -> AsyncIterator[Restarted]:
    """The sample as it is, but for times that are a test's, and for namespaces."""
    balancer = Restarted(stack)
    manifests = await asyncio.to_thread(render, stack.cluster, "deploy/balancer-restart", images=images)
    try:
        await asyncio.to_thread(apply, stack.cluster, manifests)
        await balancer.patch("deployment", DEPLOYMENT, {"spec": {"progressDeadlineSeconds": 20}})
        spec = {
            "reload": {"strategy": "Restart", "minInterval": "0s"},
            "allowedRoutes": {"namespaces": {"from": "All", "selector": None}},
        }
        await balancer.patch("wsb", NAME, {"spec": spec})
        yield balancer
    finally:
        await stack.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=manifests)
        made = [names.nginx_name(NAME), names.next_name(NAME), names.agents_name(NAME), names.state_name(NAME)]
        await stack.kubectl("-n", NAMESPACE, "delete", "--ignore-not-found", "configmap", TEMPLATE, *made)


async def test_each_change_is_a_rollout_and_one_that_stalls_is_taken_back(restarted: Restarted) -> None:
    stack = restarted.stack
    await stack.backend()
    await restarted.route("one")
    first = await restarted.served("one")
    assert len(set(await restarted.versions())) == 1

    async with stack.socket(first[0], host=stack.host("one")) as held:
        await restarted.route("two")
        second = await restarted.served("two")
        assert {pod.name for pod in first}.isdisjoint(pod.name for pod in second)
        await restarted.programmed("True", "Programmed")
        await echo(held, "within the grace period of its pod")

    good = await restarted.versions()
    # Whoever is asked to end takes sockets for five seconds more, however long the other pod's successor needs.
    async with probing(stack, stack.host("one"), restarted.pods) as prober:
        # nginx finds this at the end of its test, and can't name a line.
        await restarted.template("limit_req zone=absent;")
        await restarted.programmed("False", "ConfigRejected", "zero size shared memory zone", "absent")
        # The Deployment's annotation is written anew should the Deployment have changed meanwhile.
        await eventually(lambda: restarted.stands(good))
        assert await restarted.pods() == second
        await restarted.template("reset_timedout_connection on;")
        await restarted.programmed("True", "Programmed")
    assert prober.total > 100
    assert prober.wrong == []
    assert await restarted.versions() != good

    # Here it names a line, so that the template is known to be at fault at once.
    await restarted.template("no_such_thing on;")
    await restarted.programmed("False", "ConfigRejected", "no_such_thing", "shipped template")
    await restarted.route("three")
    await restarted.served("three")
    await restarted.template(None)
    await restarted.programmed("True", "Programmed")
