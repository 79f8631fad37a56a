"""The whole operator against a real API server: watches, ConfigMaps, statuses, election. Agents are simulated."""

import asyncio
import contextlib
import sys

from tests.support.controlled import HOST, World, annotation_of, operating
from tests.support.waiting import until
from wsroute.cluster.kinds import Kind
from wsroute.controller.feed import Change
from wsroute.dataplane import names
from wsroute.kube.leader import Timing
from wsroute.kube.port import BALANCERS, CONFIG_MAPS, ENDPOINT_SLICES, PODS, ROUTES


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
        in_force = annotation_of(await world.config_map("shared-nginx"), names.VERSION_ANNOTATION)
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

        async def withdrawn() -> bool:
            return f"{world.namespace}/other, refused: the route is invalid" in await world.text()

        # The third one may have come in force while the culprit was still searched for.
        await world.until(withdrawn, what="the route is withdrawn")
        assert "/third" in await world.text()
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
        watching = operator._watching
        missed: list[Change] = []
        observe, watching._observe = watching._observe, missed.append
        await world.client.delete(ENDPOINT_SLICES, namespace=world.namespace, name="chat-1")
        await until(
            lambda: any(change.kind is Kind.ENDPOINT_SLICE and change.record is None for change in missed),
            what="for the watch to tell of it",
        )
        watching._observe = observe
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
        await world.until(lambda: world.held_by("first"), what="the first replica leads")
        async with operating(world, "second") as second:
            for number in range(10):
                await world.route(f"route-{number}", path=f"/a{number}")
            await world.until_programmed("route-0")
            assert b"wsroute_config_map_writes_total{" not in second.metrics.render()
            assert b"wsroute_status_writes_total{" not in second.metrics.render()
            leader.kill()
            for number in range(10, 20):
                await world.route(f"route-{number}", path=f"/a{number}")
            # It sees the last renewal at its next look, waits for its end, and has two more requests to make.
            within = Timing().lease + Timing().retry + Timing().request
            await until(lambda: second._elector.leading, seconds=within, what="for the next leader")
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
        await world.until(lambda: world.held_by("only"), what="it leads")
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert await world.held_by("")


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


async def _record_texts(world: World, seen: dict[str, set[str]]) -> None:
    """Notes every text of every version that ever stood in a generated ConfigMap."""
    listing = await world.client.list(CONFIG_MAPS, namespace=world.namespace, label_selector=names.BALANCER_LABEL)
    position = listing.resource_version
    while True:
        async for event in world.client.watch(
            CONFIG_MAPS, resource_version=position, namespace=world.namespace, label_selector=names.BALANCER_LABEL
        ):
            position = event.object["metadata"]["resourceVersion"]
            version = annotation_of(event.object, names.VERSION_ANNOTATION)
            if version:
                seen.setdefault(version, set()).add(event.object.get("data", {}).get("nginx.conf", ""))
