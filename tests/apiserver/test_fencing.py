"""A leader that is frozen for longer than its Lease lasts: what it had under way meets 409, and no epoch ever falls."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.apiserver import ApiServer
from tests.support.controlled import World, annotation_of, operating, replica
from tests.support.fault_proxy import FaultProxy, Held, Stall, Where
from tests.support.waiting import until
from wsroute.controller.runtime import REQUEST_SECONDS, TIMING
from wsroute.dataplane import names
from wsroute.kube.port import CONFIG_MAPS, ROUTES, SERVICES

LEASES = Where(resources=frozenset({"leases"}))
LONG = 60.0
"""Seconds within which another replica leads: a Lease and some."""


def writes(resource: str, name: str | None = None) -> Where:
    """Writes of a resource."""
    return Where(verbs=frozenset({"create", "update", "patch"}), resources=frozenset({resource}), name=name)


def test_what_a_leader_has_begun_has_ended_before_the_next_one_begins() -> None:
    assert TIMING.slack > REQUEST_SECONDS


@dataclass
class History:
    """The epochs of the generated ConfigMaps, in the order in which they were written."""

    epochs: dict[str, list[int]] = field(default_factory=dict)

    async def follow(self, world: World) -> None:
        listing = await world.client.list(CONFIG_MAPS, namespace=world.namespace)
        events = world.client.watch(CONFIG_MAPS, resource_version=listing.resource_version, namespace=world.namespace)
        async for event in events:
            epoch = annotation_of(event.object, names.EPOCH_ANNOTATION)
            if epoch:
                self.epochs.setdefault(event.object["metadata"]["name"], []).append(int(epoch))

    def assert_never_falling(self) -> None:
        assert self.epochs
        for name, epochs in self.epochs.items():
            assert epochs == sorted(epochs), f"{name}: {epochs}"


@pytest.fixture
async def history(world: World) -> AsyncIterator[History]:
    history = History()
    following = asyncio.create_task(history.follow(world))
    yield history
    following.cancel()
    await asyncio.wait([following])


@contextmanager
def frozen(proxy: FaultProxy, where: Where) -> Iterator[Held]:
    """From the next such request on, what comes through the proxy can neither write it nor renew a Lease."""
    with proxy.hold(where) as held, ExitStack() as faults:

        async def cut_off() -> None:
            await held.arrived.wait()
            faults.enter_context(proxy.fault(Stall(), LEASES))

        cutting = asyncio.ensure_future(cut_off())
        try:
            yield held
        finally:
            cutting.cancel()


@pytest.mark.parametrize(
    ("name", "data_plane"),
    [("shared-nginx", "Static"), ("shared-nginx-next", "Static"), ("shared-table-r0", "Dynamic")],
)
async def test_a_write_of_a_config_map_that_comes_too_late_gets_409(
    world: World, apiserver: ApiServer, proxy: FaultProxy, history: History, name: str, data_plane: str
) -> None:
    await world.balancer(data_plane=data_plane)
    await world.backend("10.1.0.1")
    async with operating(world, "first", kubeconfig=apiserver.kubeconfig(through=proxy)) as first:
        await world.until(lambda: world.held_by("first"), what="the first replica leads")
        await world.route()
        await world.until_programmed()
        await world.until_at_rest()
        async with operating(world, "second") as second:
            with frozen(proxy, writes("configmaps", name)) as held:
                await world.route("late", path="/late")
                await asyncio.wait_for(held.arrived.wait(), LONG)
                await until(lambda: second._elector.leading, seconds=LONG)
                assert not first._elector.leading
                assert second._elector.epoch > 0

                async def rewritten() -> bool:
                    stands = await world.config_map(name)
                    return annotation_of(stands, names.EPOCH_ANNOTATION) == str(second._elector.epoch)

                await world.until(rewritten, what="the next leader has put its epoch on it")
                assert await held.let_go() == 409
            await world.until_programmed("late")
            await world.until_at_rest()
    history.assert_never_falling()


async def test_a_status_that_comes_too_late_gets_409(world: World, apiserver: ApiServer, proxy: FaultProxy) -> None:
    await world.balancer()
    await world.backend("10.1.0.1")
    async with operating(world, "first", kubeconfig=apiserver.kubeconfig(through=proxy)):
        await world.until(lambda: world.held_by("first"), what="the first replica leads")
        await world.route()
        await world.until_programmed()
        await world.until_at_rest()
        async with operating(world, "second") as second:
            with frozen(proxy, writes("websocketroutes/status")) as held:
                # What the first leader would say of the route is that its Service is gone.
                await world.client.delete(SERVICES, namespace=world.namespace, name="chat")
                await asyncio.wait_for(held.arrived.wait(), LONG)
                await world.backend("10.1.0.1", "10.1.0.2")
                await until(lambda: second._elector.leading, seconds=LONG)

                async def told() -> bool:
                    status = (await world.get(ROUTES, "chat"))["status"]
                    return bool(status["endpoints"]["ready"] == 2)

                await world.until(told, what="the next leader has written the status")
                assert await held.let_go() == 409
                assert await told()


async def test_a_process_that_was_stopped_writes_nothing_when_it_goes_on(
    world: World, apiserver: ApiServer, proxy: FaultProxy, history: History
) -> None:
    await world.balancer()
    await world.backend("10.1.0.1")
    async with replica(world, "first", apiserver.kubeconfig(through=proxy)) as first:
        await world.until(lambda: world.held_by("first"), what="the first replica leads")
        await world.route()
        await world.until_programmed()
        async with operating(world, "second") as second:
            for number in range(5):
                await world.route(f"route-{number}", path=f"/a{number}")
            first.send_signal(signal.SIGSTOP)
            await until(lambda: second._elector.leading, seconds=LONG)
            await world.route("late", path="/late")
            await world.until_programmed("late")
            await world.until_at_rest()
            stopped = dict(proxy.requests)
            first.send_signal(signal.SIGCONT)

            def goes_on() -> bool:
                return any(
                    proxy.requests[asked, status] > stopped.get((asked, status), 0)
                    for asked, status in proxy.requests
                    if asked.resource == "leases" and asked.verb == "get"
                )

            await until(goes_on, seconds=LONG, what="for the first replica to look at the Lease")
            for number in range(3):
                await world.route(f"more-{number}", path=f"/b{number}")
                await world.until_programmed(f"more-{number}")
            written = {
                (asked, status)
                for (asked, status), count in proxy.requests.items()
                if asked.writes
                and asked.resource != "events"
                and status < 300
                and count > stopped.get((asked, status), 0)
            }
            assert written == set()
    history.assert_never_falling()
