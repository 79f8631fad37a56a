"""Reloads of a Dynamic balancer against a real API server: why there was one outlives the leader, and a listener that
nginx refuses holds no table back."""

from tests.support.controlled import World, operating
from wsroute.dataplane import names
from wsroute.kube.port import BALANCERS, CONFIG_MAPS, EVENTS, ROUTES, Json

WS = {"name": "ws", "port": 8080, "protocol": "HTTP"}
MORE = {"name": "more", "port": 9090, "protocol": "HTTP"}
REFUSED = {"name": "refused", "port": 9999, "protocol": "HTTP"}


async def last_reload(world: World) -> Json:
    status = (await world.get(BALANCERS, "shared")).get("status") or {}
    found: Json = status.get("lastReload") or {}
    return found


async def listeners(world: World, *wanted: Json) -> None:
    """Change the balancer's, and nothing else of it."""
    # Applied: an update would meet a conflict where the operator writes the status in between.
    spec = (await world.get(BALANCERS, "shared"))["spec"]
    await world.apply(BALANCERS, "shared", spec=spec | {"listeners": list(wanted)})


async def route(world: World, name: str, path: str) -> None:
    """A route on one listener alone."""
    spec = {
        "balancerRef": {"name": "shared", "namespace": world.namespace},
        "listeners": ["ws"],
        "hosts": ["chat.example.com"],
        "paths": [{"path": path, "backends": [{"service": "chat", "port": 80}]}],
    }
    await world.apply(ROUTES, name, spec=spec)


async def tables(world: World) -> str:
    """All that they say."""
    selector = f"{names.ROLE_LABEL}={names.ROLE_TABLE}"
    found = await world.client.list(CONFIG_MAPS, namespace=world.namespace, label_selector=selector)
    return "".join((part.get("data") or {}).get("table", "") for part in found.items)


async def test_why_there_was_a_reload_and_what_one_that_is_refused_holds_back(world: World) -> None:
    await world.balancer(data_plane="Dynamic")
    await world.backend("10.1.0.1")
    added = [{"reason": "ListenerAdded", "subject": "spec.listeners[more]"}]

    async def told() -> bool:
        return (await last_reload(world)).get("changes") == added

    async def event() -> bool:
        events = (await world.client.list(EVENTS, namespace=world.namespace)).items
        words = "which reloads nginx: ListenerAdded (spec.listeners[more])."
        return any(each["reason"] == "Reload" and each["note"].endswith(words) for each in events)

    async def refused() -> bool:
        conditions = (await world.get(BALANCERS, "shared"))["status"]["conditions"]
        return any((each["type"], each["reason"]) == ("Programmed", "ConfigRejected") for each in conditions)

    async with operating(world, "one") as operator:
        await route(world, "chat", "/ws")
        await world.until_programmed()
        await world.until_at_rest()
        await listeners(world, WS, MORE)
        await world.until(told, what="the listener is told of")
        await world.until(event, what="there is an Event of it")
        assert b'wsroute_reloads_total{reason="ListenerAdded"} 1.0' in operator.metrics.render()
        await world.until_at_rest()
        before = await last_reload(world)
        for agent in world.agents.values():
            agent.refuses = "9999"
        await listeners(world, WS, MORE, REFUSED)
        await world.until(refused, what="the refusal shows")
        await route(world, "second", "/second")
        await world.until_programmed("second")
        await world.until_programmed("chat")

    # The next leader knows of nothing but objects.
    async with operating(world, "two"):
        await world.until(lambda: world.held_by("two"), what="the second one leads", seconds=30)
        await route(world, "third", "/third")
        await world.backend("10.1.0.7")
        await world.until_programmed("third", seconds=30)
        await world.until_programmed("second")

        async def new_endpoint() -> bool:
            return '"10.1.0.7:8080"' in await tables(world)

        await world.until(new_endpoint, what="the endpoint is in the tables")
        now = await last_reload(world)
        assert (now["changes"], now["time"]) == (added, before["time"])
        assert await refused()
