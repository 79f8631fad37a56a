"""What the API server forgets, refuses or loses empties nothing: it is held until it is certain that it is meant."""

from typing import Final

import pytest

from tests.support.apiserver import ApiServer
from tests.support.controlled import World, operating, serve_custom_resources, until_unknown
from tests.support.fault_proxy import Emptied, FaultProxy, Where
from tests.support.waiting import until
from wsroute.cluster.kinds import Kind
from wsroute.controller.definition import ACCEPT_ANNOTATION, NAME
from wsroute.kube.port import BALANCERS, DEFINITIONS, ROUTES

LISTS_OF_ROUTES: Final = Where(verbs=frozenset({"list"}), resources=frozenset({"websocketroutes"}))
MANY: Final = 12

data_planes = pytest.mark.parametrize("data_plane", ["Static", "Dynamic"])


@data_planes
async def test_a_list_that_comes_back_empty_once_empties_nothing(
    world: World, apiserver: ApiServer, proxy: FaultProxy, data_plane: str
) -> None:
    await world.balancer(data_plane=data_plane)
    await world.backend("10.1.0.1")
    async with operating(world, "one", kubeconfig=apiserver.kubeconfig(through=proxy)) as operator:
        for number in range(MANY):
            await world.route(f"route-{number}", path=f"/a{number}")
        for number in range(MANY):
            await world.until_programmed(f"route-{number}")
        before = await world.published()
        revision = operator._feed.revision

        def listed() -> int:
            return sum(n for (asked, _), n in proxy.requests.items() if LISTS_OF_ROUTES.matches(asked))

        lists = listed()
        with proxy.fault(Emptied(times=1), LISTS_OF_ROUTES):
            operator._resync.request(Kind.ROUTE)
            await until(lambda: listed() >= lists + 2, seconds=15, what="for the second list")
        assert await world.published() == before
        assert operator._feed.revision == revision


@data_planes
async def test_a_mass_deletion_that_no_watch_told_of_goes_through_on_the_second_list(
    world: World, data_plane: str
) -> None:
    await world.balancer(data_plane=data_plane)
    await world.backend("10.1.0.1")
    async with operating(world, "one") as operator:
        for number in range(MANY):
            await world.route(f"route-{number}", path=f"/a{number}")
        for number in range(MANY):
            await world.until_programmed(f"route-{number}")
        # The watch is deaf meanwhile.
        watching = operator._watching
        observe, watching._observe = watching._observe, lambda change: None
        for number in range(MANY):
            await world.client.delete(ROUTES, namespace=world.namespace, name=f"route-{number}")
        watching._observe = observe
        operator._resync.request(Kind.ROUTE)

        async def empty() -> bool:
            return "/a0" not in await world.published()

        await world.until(empty, what="the routes are gone")


@data_planes
async def test_routes_that_went_with_their_definition_are_served_until_an_admin_agrees(
    world: World, data_plane: str
) -> None:
    await world.balancer(data_plane=data_plane)
    await world.backend("10.1.0.1")

    async def programmed() -> tuple[str, str, str]:
        status = (await world.get(BALANCERS, "shared")).get("status") or {}
        [found] = [c for c in status.get("conditions", []) if c["type"] == "Programmed"]
        return found["status"], found["reason"], found["message"]

    async def held() -> bool:
        return (await programmed())[:2] == ("False", "RoutesHeld")

    async with operating(world, "one"):
        await world.route("old", path="/old")
        await world.until_programmed("old")
        await world.until_at_rest()
        await world.client.delete(DEFINITIONS, namespace="", name=NAME)
        await world.until(held, what="the balancer says that routes are held")
        await until_unknown(world.client, ROUTES)
        assert "/old" in await world.published()
        # Its endpoints are followed all the while.
        await world.backend("10.1.0.7")

        async def followed() -> bool:
            text = await world.published()
            return "10.1.0.7" in text and "10.1.0.1:" not in text

        await world.until(followed, what="the new endpoint is in force")

        await serve_custom_resources(world.client)
        uid = (await world.client.get(DEFINITIONS, namespace="", name=NAME))["metadata"]["uid"]
        await world.route("new", path="/new")
        await world.until_programmed("new")
        assert "/old" in await world.published()

        async def says_what_to_do() -> bool:
            return f"{ACCEPT_ANNOTATION}={uid}" in (await programmed())[2]

        await world.until(says_what_to_do, what="the balancer says how to agree")

    # A fresh operator never knew the old route, and keeps what is in force as it is.
    stood = await world.published()
    async with operating(world, "two") as fresh:
        await until(lambda: fresh._elector.leading, seconds=15)
        await world.route("newer", path="/newer")

        async def frozen() -> bool:
            return "has started since" in (await programmed())[2]

        await world.until(frozen, what="the balancer says that nothing changes")
        assert await world.published() == stood

        await world.client.apply(
            DEFINITIONS,
            {"metadata": {"name": NAME, "annotations": {ACCEPT_ANNOTATION: uid}}},
            manager="an-admin",
        )

        async def begun_anew() -> bool:
            text = await world.published()
            return "/old" not in text and "/newer" in text and "/new" in text

        await world.until(begun_anew, what="only what is there is served")
        await world.until_programmed("newer")

        async def told() -> bool:
            return (await programmed())[0] == "True"

        await world.until(told, what="the balancer is programmed")
