"""Processes that are killed and objects that somebody edits or deletes: on the wire, nothing happens."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from localcluster.install import BALANCER, NAMESPACE
from tests.cluster.conftest import BOTH
from tests.support.handshake import echo
from tests.support.prober import probing
from tests.support.stack import BalancerPod, Stack, eventually
from wsroute.dataplane.names import VERSION_ANNOTATION
from wsroute.kube.port import CONFIG_MAPS, LEASES, PODS, ConflictError, Json

LEASE = "wsroute-operator"


@BOTH
async def test_nginx_s_master_is_killed(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    victim, *_ = await stack.balancer_pods()
    async with AsyncExitStack() as exits:
        held = [await exits.enter_async_context(stack.socket(victim, host=host)) for _ in range(4)]
        before, restarts = await _master(stack, victim), await _restarts(stack, victim)
        await stack.kubectl(
            *("-n", NAMESPACE, "exec", victim.name, "-c", "nginx", "--"),
            *("sh", "-c", "kill -9 $(cat /run/wsroute/master)"),
        )
        killed = asyncio.get_running_loop().time()

        async def new_master() -> None:
            assert await _master(stack, victim) not in ("", before)

        async def serves() -> None:
            try:
                answer = await stack.handshake(victim, host=host)
            except (OSError, EOFError) as error:
                raise AssertionError(repr(error)) from error
            assert answer.status == 101

        await eventually(serves, within=2)
        print(f"a handshake {asyncio.get_running_loop().time() - killed:.1f} s after the kill")
        await eventually(new_master, within=10)
        # Its number is there before it listens, and what has answered until now may have been the old workers.
        await eventually(serves, within=2)
        for number, connection in enumerate(held):
            await echo(connection, f"socket {number} after the master's death")
    assert await _restarts(stack, victim) == restarts


async def _restarts(stack: Stack, pod: BalancerPod) -> int:
    """How often the kubelet has started nginx's container again."""
    found = await stack.client.get(PODS, namespace=NAMESPACE, name=pod.name)
    [count] = [s["restartCount"] for s in found["status"]["containerStatuses"] if s["name"] == "nginx"]
    return int(count)


async def _master(stack: Stack, pod: BalancerPod) -> str:
    text = await stack.kubectl(
        "-n", NAMESPACE, "exec", pod.name, "-c", "nginx", "--", "sh", "-c", "cat /run/wsroute/master || true"
    )
    return text.strip()


def _corrupt(found: Json) -> Json:
    return {**found, "data": {"nginx.conf": "nonsense;"}}


def _steal(found: Json) -> Json:
    annotations = {**found["metadata"]["annotations"], VERSION_ANNOTATION: "0" * 12}
    return {**found, "metadata": {**found["metadata"], "annotations": annotations}}


@BOTH
@pytest.mark.parametrize("edit", [_corrupt, _steal, None], ids=["its text", "its annotation", "deleted"])
async def test_the_version_in_force_is_edited_by_hand(stack: Stack, edit: Any) -> None:
    host, name = stack.host(), f"{BALANCER}-nginx"
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    pods = await stack.balancer_pods()

    async def edited() -> None:
        stood = await stack.client.get(CONFIG_MAPS, namespace=NAMESPACE, name=name)
        try:
            await stack.client.update(CONFIG_MAPS, edit(stood))
        except ConflictError as error:  # a version has come in force meanwhile, without a route that was another test's
            raise AssertionError(str(error)) from error

    async with stack.socket(pods[0], host=host) as held, probing(stack, host, pods) as prober:
        if edit is None:
            await stack.client.delete(CONFIG_MAPS, namespace=NAMESPACE, name=name)
        else:
            await eventually(edited)

        async def healed() -> None:
            listing = await stack.client.list(CONFIG_MAPS, namespace=NAMESPACE)
            found = [item for item in listing.items if item["metadata"]["name"] == name]
            assert found, f"there is no {name}"
            now = found[0]
            assert now["metadata"].get("annotations", {}).get(VERSION_ANNOTATION) not in (None, "0" * 12)
            assert now.get("data") not in ({"nginx.conf": "nonsense;"}, None)

        await eventually(healed, within=10)
        await stack.route("after")
        await eventually(lambda: stack.answers(host=stack.host("after"), status=101), within=30)
        await echo(held, "still here")
    assert prober.wrong == []


async def test_the_lease_is_taken_and_deleted_by_hand(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    pods = await stack.balancer_pods()
    async with probing(stack, host, pods) as prober:
        body = json.dumps({"spec": {"holderIdentity": "somebody"}})
        await stack.kubectl("-n", NAMESPACE, "patch", "lease", LEASE, "--type=merge", "-p", body)
        await stack.route("taken")
        # Nobody renews it, so a replica takes it when its time is over.
        await eventually(lambda: stack.answers(host=stack.host("taken"), status=101), within=45)
        await stack.client.delete(LEASES, namespace=NAMESPACE, name=LEASE)
        await stack.route("deleted")
        await eventually(lambda: stack.answers(host=stack.host("deleted"), status=101), within=45)

        async def it_is_there_again() -> None:
            listing = await stack.client.list(LEASES, namespace=NAMESPACE)
            assert LEASE in {found["metadata"]["name"] for found in listing.items}

        await eventually(it_is_there_again, within=45)
    assert prober.wrong == []
