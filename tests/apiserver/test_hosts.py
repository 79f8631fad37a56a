"""Who owns a host, with the record of it in a ConfigMap of a real API server, and hands that are at it."""

from tests.apiserver import test_controller
from tests.apiserver.test_controller import ADMIN, World, operating
from wsroute.cluster.balancer_state import HostClaim, read_state
from wsroute.dataplane import names
from wsroute.kube.port import BALANCERS, CONFIG_MAPS, NAMESPACES, ROUTES, Json
from wsroute.nginx.served import served_hosts

world = test_controller.world

HOST = "chat.example.com"
STATE = "shared-state"


class Teams:
    """The world's balancer, open to all, the team that has the host, and another one with an older route."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner = f"{world.namespace}-owner"
        self.other = f"{world.namespace}-other"

    async def settle_in(self) -> None:
        await self.world.balancer()
        spec = (await self.world.get(BALANCERS, "shared"))["spec"]
        allowed = {"namespaces": {"from": "All"}, "hosts": ["*"]}
        await self.world.apply(BALANCERS, "shared", spec=spec | {"allowedRoutes": allowed})
        for name in (self.owner, self.other):
            await self.world.client.create(NAMESPACES, {"metadata": {"name": name}})
        await self.route(self.other, "older", "elsewhere.example.com")
        await self.route(self.owner, "chat", HOST)
        await self.until(self.owner, "chat", "Programmed", "True")

    async def route(self, team: str, name: str, *hosts: str) -> None:
        path = {"path": "/ws", "backends": [{"service": "chat", "port": 80}]}
        balancer = {"name": "shared", "namespace": self.world.namespace}
        await self.world.client.apply(
            ROUTES,
            {
                "metadata": {"namespace": team, "name": name},
                "spec": {"balancerRef": balancer, "hosts": list(hosts), "paths": [path]},
            },
            manager=ADMIN,
        )

    async def condition(self, team: str, name: str, kind: str) -> Json:
        """A condition of the newest generation, or nothing."""
        found = await self.world.client.get(ROUTES, namespace=team, name=name)
        for condition in (found.get("status") or {}).get("conditions", []):
            if condition["type"] == kind and condition["observedGeneration"] == found["metadata"]["generation"]:
                return dict(condition)
        return {}

    async def until(self, team: str, name: str, kind: str, status: str) -> Json:
        async def so() -> bool:
            return (await self.condition(team, name, kind)).get("status") == status

        await self.world.until(so, what=f"{kind} of {team}/{name} is {status}")
        return await self.condition(team, name, kind)

    async def claims(self) -> dict[str, HostClaim]:
        found = await self.world.config_map(STATE)
        return dict(read_state((found or {}).get("data") or {}).state.hosts)

    async def in_force(self) -> dict[str, str]:
        return served_hosts(await self.world.text())


async def test_the_first_namespace_keeps_its_host_and_it_is_held_for_it(world: World) -> None:
    teams = Teams(world)
    async with operating(world, "one"):
        await teams.settle_in()
        state = await world.config_map(STATE)
        assert state is not None
        assert state["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": "wsroute",
            names.BALANCER_LABEL: "shared",
            names.ROLE_LABEL: "state",
        }
        assert HOST in state["data"]["hosts"]
        for hosts in ((HOST,), ("elsewhere.example.com", HOST), ("*.example.com",)):
            await teams.route(teams.other, "older", *hosts)
            told = await teams.until(teams.other, "older", "Accepted", "False")
            assert told["reason"] == "HostConflict"
            assert (await teams.in_force())[HOST] == teams.owner
        await world.client.delete(ROUTES, namespace=teams.owner, name="chat")
        await teams.route(teams.other, "older", HOST)

        async def told_until_when() -> bool:
            message = (await teams.condition(teams.other, "older", "Accepted")).get("message", "")
            return "is held for that namespace until" in message

        await world.until(told_until_when, what="it is said until when the host is held")
        assert (await teams.condition(teams.other, "older", "Stalled"))["status"] == "False"
        assert (await teams.claims())[HOST].released

        async def withdrawn() -> bool:
            return HOST not in await teams.in_force()

        await world.until(withdrawn, what="the host is served no more")
    async with operating(world, "two"):  # what was held before a restart is held after it
        await teams.route(teams.owner, "anew", HOST)
        await teams.until(teams.owner, "anew", "Programmed", "True")
        assert (await teams.in_force())[HOST] == teams.owner
        assert (await teams.claims())[HOST] == HostClaim(teams.owner)
        await teams.until(teams.other, "older", "Accepted", "False")


async def test_hands_at_the_record(world: World) -> None:
    teams = Teams(world)
    async with operating(world, "one") as operator:
        await teams.settle_in()
        await teams.route(teams.other, "older", HOST)
        await teams.until(teams.other, "older", "Accepted", "False")
        await world.until_at_rest()
        before = await world.text()

        async def by_hand(data: Json) -> None:
            body = {"metadata": {"namespace": world.namespace, "name": STATE}, "data": data}
            await world.client.apply(CONFIG_MAPS, body, manager="a-hand")

        async def whole() -> bool:
            return (await teams.claims()).get(HOST) == HostClaim(teams.owner)

        # Spoiled, and deleted: it is written anew, and nothing changes on the wire.
        await by_hand({"hosts": f"{HOST} = {teams.other}\n"})
        await world.until(whole, what="a spoiled list is mended")
        await world.client.delete(CONFIG_MAPS, namespace=world.namespace, name=STATE)
        await world.until(whole, what="a deleted list is made anew")
        assert await world.text() == before

        # A key of somebody else's stays, and is no reason to write again and again.
        await by_hand({"mine": "hello"})
        await teams.route(teams.owner, "more", "more.example.com")
        await teams.until(teams.owner, "more", "Programmed", "True")
        found = await world.config_map(STATE)
        assert found is not None
        assert found["data"]["mine"] == "hello"
        await world.until_at_rest()
        passes = operator._loop.completed
        await teams.route(teams.owner, "last", "last.example.com")
        await teams.until(teams.owner, "last", "Programmed", "True")
        assert operator._loop.completed - passes < 200

        # What an administrator writes there counts.
        text = (await world.get(CONFIG_MAPS, STATE))["data"]["hosts"]
        await by_hand({"hosts": text.replace(f"{HOST} {teams.owner}", f"{HOST} {teams.other}")})
        await teams.until(teams.other, "older", "Programmed", "True")
        assert (await teams.in_force())[HOST] == teams.other
        assert (await teams.until(teams.owner, "chat", "Accepted", "False"))["reason"] == "HostConflict"


async def test_inside_a_namespace_the_oldest_route_has_the_path_and_counts_for_the_quota(world: World) -> None:
    teams = Teams(world)
    async with operating(world, "one"):
        await teams.settle_in()
        spec = (await world.get(BALANCERS, "shared"))["spec"]
        allowed = spec["allowedRoutes"] | {"maxPerNamespace": 2}
        await world.apply(BALANCERS, "shared", spec=spec | {"allowedRoutes": allowed})
        await teams.route(teams.owner, "younger", HOST)
        told = await teams.until(teams.owner, "younger", "Accepted", "False")
        assert told["reason"] == "PathConflict"
        assert "spec.paths[0].path: The Prefix path /ws is taken" in told["message"]
        assert f"{teams.owner}/chat" in told["message"]
        await teams.route(teams.owner, "zz-third", "third.example.com")
        told = await teams.until(teams.owner, "zz-third", "Accepted", "False")
        assert told["reason"] == "Quota"
        assert "third.example.com" not in await teams.claims()
        await world.client.delete(ROUTES, namespace=teams.owner, name="chat")
        await teams.until(teams.owner, "younger", "Programmed", "True")
        await teams.until(teams.owner, "zz-third", "Programmed", "True")


async def test_a_host_is_not_served_before_it_is_on_record_whose_it_is(world: World) -> None:
    await world.apply(CONFIG_MAPS, STATE, data={"hosts": "mine"})
    teams = Teams(world)
    async with operating(world, "one"):
        await world.balancer()
        await world.route()

        async def told() -> bool:
            status = (await world.get(BALANCERS, "shared")).get("status") or {}
            messages = [c["message"] for c in status.get("conditions", []) if c["type"] == "Programmed"]
            return any(f"ConfigMap {world.namespace}/{STATE} exists" in message for message in messages)

        await world.until(told, what="the balancer says what is in the way")
        assert await world.text() == ""
        await world.client.delete(CONFIG_MAPS, namespace=world.namespace, name=STATE)
        await world.backend("10.1.0.1")  # whatever makes it look again
        await world.until_programmed()
    assert (await teams.claims())[HOST] == HostClaim(world.namespace)
