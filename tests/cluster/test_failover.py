"""The operator's leader goes away in the middle of its work."""

import asyncio
from collections import defaultdict

from localcluster.install import BALANCER, NAMESPACE
from tests.cluster.conftest import STATIC
from tests.support.stack import Stack, eventually
from wsroute.kube.port import CONFIG_MAPS, LEASES, PODS, Json


@STATIC
async def test_the_leader_is_deleted_in_the_middle_of_fifty_applies(stack: Stack) -> None:
    await stack.backend()
    written: dict[str, set[str]] = defaultdict(set)
    listing = await stack.client.list(CONFIG_MAPS, namespace=NAMESPACE)
    watching = asyncio.create_task(record(stack, listing.resource_version, written))
    lease, leader = await eventually(lambda: led(stack))
    for number in range(50):
        await stack.route(f"route-{number:02}")
        if number == 25:
            await stack.kubectl("-n", NAMESPACE, "delete", "pod", leader, "--wait=false", "--grace-period=0", "--force")

    async def all_are_served() -> None:
        for number in range(50):
            await stack.answers(host=stack.host(f"route-{number:02}"), status=101)

    await eventually(all_are_served, within=120, every=0.5)
    for number in range(50):
        await stack.condition(f"route-{number:02}", "Ready")

    async def another_leads() -> None:
        now, _ = await led(stack)
        assert now["spec"]["holderIdentity"] != lease["spec"]["holderIdentity"]

    # A process that is ended at once releases nothing: the Lease may still be its own when it has served all of them.
    await eventually(another_leads)
    assert not watching.done(), "it has not seen all that was written"
    watching.cancel()
    await asyncio.wait([watching])
    # A version names its bytes: whoever wrote it, and however often, they were the same.
    assert written
    assert {version: digests for version, digests in written.items() if len(digests) > 1} == {}


async def led(stack: Stack) -> tuple[Json, str]:
    """The Lease, and the pod that holds it, which stays."""
    lease = await stack.client.get(LEASES, namespace=NAMESPACE, name="wsroute-operator")
    leader = (lease["spec"].get("holderIdentity") or "").partition("_")[0]
    pods = await stack.client.list(PODS, namespace=NAMESPACE, label_selector="app.kubernetes.io/name=wsroute-operator")
    staying = {pod["metadata"]["name"] for pod in pods.items if "deletionTimestamp" not in pod["metadata"]}
    assert leader in staying, f"{leader!r} leads, and is none of {staying}"
    return lease, leader


async def record(stack: Stack, since: str, written: dict[str, set[str]]) -> None:
    """Note which bytes were written under which version, until cancelled."""
    names = {f"{BALANCER}-nginx", f"{BALANCER}-nginx-next"}
    while True:
        async for event in stack.client.watch(CONFIG_MAPS, namespace=NAMESPACE, resource_version=since):
            since = event.object["metadata"]["resourceVersion"]
            if event.type in ("ADDED", "MODIFIED") and event.object["metadata"]["name"] in names:
                annotations = event.object["metadata"]["annotations"]
                content = str(event.object.get("data")) + str(event.object.get("binaryData"))
                written[annotations["wsroute.dev/version"]].add(content)
