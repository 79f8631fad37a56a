"""The operator's passes, the agent and a real nginx together: what nginx refuses is found, its neighbours are served.

The API server is in memory, and there is one pod. The values of headers are written without quotes, so that they can be
what nginx refuses.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self, cast

import aiohttp
import pytest

from tests.support.balancer_pod import BalancerPod, balancer_pod
from tests.support.fake_cluster import FakeCluster
from tests.support.nginx_runner import local_options
from tests.support.ports import free_ports
from tests.support.waiting import until, until_async
from tests.support.world import SHARED, SYSTEM, TEAM, SmallWorld
from wsroute.agent.runtime import Agent, AgentConfig
from wsroute.cluster.balancer_state import read_state
from wsroute.cluster.kinds import Kind
from wsroute.cluster.quarantine import Quarantined
from wsroute.controller.feed import Feed
from wsroute.controller.passes import Passes
from wsroute.controller.secrets import Secrets
from wsroute.controller.status_writer import StatusWriter
from wsroute.controller.writer import Writer
from wsroute.dataplane import names
from wsroute.graph.model import GraphSettings
from wsroute.kube.elector import Elector
from wsroute.kube.events import EventRecorder
from wsroute.kube.port import CONFIG_MAPS, Json, Listing, Resource, WatchEvent
from wsroute.nginx.quoting import Emitted
from wsroute.observability.metrics import Metrics

pytestmark = pytest.mark.nginx

POD = "p0"

REFUSED_WITH_ITS_LINE = "a; no_such_directive b"
REFUSED_WITHOUT = "a; limit_req zone=nobody_defines_it"


[THEIRS] = free_ports(1)


def keyed_by(key: str) -> str:
    """What breaks out of its server and defines a zone. Once that is loaded, nginx refuses another key at load only."""
    return (
        f"a; proxy_pass http://@wsroute_websocket_upstream; }} }} limit_req_zone {key} zone=theirs:32k rate=1r/s; "
        f"server {{ listen 127.0.0.1:{THEIRS}; server_name theirs.invalid; location / {{ proxy_set_header X-B b"
    )


class Raw(Emitted):
    """A value as it is; ``@`` stands for the dollar sign, which the API does not let through."""

    def __new__(cls, value: str) -> Self:
        return str.__new__(cls, value.replace("@", "$"))


class Leader:
    """It leads."""

    epoch = 1
    leading = True

    def assert_leading(self) -> None:
        """It does."""


class Nobody:
    """Writes no status."""

    def aim(self, _targets: object) -> None:
        """Nothing is written."""


class Cluster(FakeCluster):
    """As two field managers see it: what the agent applies leaves the operator's labels where they are."""

    async def list(self, resource: Resource, **scope: Any) -> Listing:
        return await super().list(resource, **_by_role(scope))

    def watch(self, resource: Resource, **scope: Any) -> AsyncIterator[WatchEvent]:
        return super().watch(resource, **_by_role(scope))

    async def apply(self, resource: Resource, body: Mapping[str, Any], **how: Any) -> Json:
        if "labels" not in body["metadata"]:
            known = self.find(resource, body["metadata"]["name"], namespace=body["metadata"]["namespace"])
            body = {**body, "metadata": {**body["metadata"], "labels": known["metadata"]["labels"]}}
        return await super().apply(resource, body, **how)


def _by_role(scope: dict[str, Any]) -> dict[str, Any]:
    return {**scope, "label_selector": names.ROLE_LABEL}


class Scene:
    """A balancer of one pod with an operator that makes passes whenever something happens."""

    def __init__(self, port: int) -> None:
        self.cluster = Cluster()
        self.cluster.version = 10_000
        self.port = port
        self.world = SmallWorld(pods=1)
        self.world.balancer(listeners=[{"name": "ws", "port": port, "protocol": "HTTP"}], requestHeaders=["X-Team"])
        self.world.service("chat", "10.0.0.1")
        self._lead()

    def _lead(self) -> None:
        self.feed = Feed(self.world.state, changed=lambda: None)
        metrics, leader = Metrics(), Leader()
        self.passes = Passes(
            self.feed,
            Writer(self.cluster, self.feed, metrics, assert_leading=leader.assert_leading),
            Secrets(self.cluster, metrics, changed=lambda: None, assert_leading=leader.assert_leading),
            cast("StatusWriter", Nobody()),
            cast("Elector", leader),
            metrics,
            EventRecorder(self.cluster, instance="test"),
            settings=GraphSettings(),
            again=lambda _seconds: None,
        )

    def another_leader(self) -> None:
        """One that remembers nothing."""
        self._lead()

    async def operate(self) -> None:
        """Passes, for ever."""
        while True:
            agents = self.cluster.objects.get((CONFIG_MAPS, SYSTEM, names.agents_name(SHARED.name)))
            if agents is not None:
                self.feed.wrote(Kind.CONFIG_MAP, agents)
            self.feed.revision = self.world.revision
            await self.passes.make()
            await asyncio.sleep(0.02)

    def route(self, name: str, team: str, *, generation: int = 1) -> None:
        """Apply a route on one exact path, with a header."""
        spec = {
            "balancerRef": {"name": "shared", "namespace": SYSTEM},
            "hosts": [f"{name}.example.com"],
            "paths": [{"path": "/ws", "type": "Exact", "backends": [{"service": "chat", "port": 80}]}],
            "headers": {"set": [{"name": "X-Team", "value": team}]},
        }
        self.world.put(Kind.ROUTE, name, TEAM, spec=spec, generation=generation)

    def quarantined(self) -> dict[str, Quarantined]:
        """What stands in the state."""
        state = self.cluster.objects.get((CONFIG_MAPS, SYSTEM, names.state_name(SHARED.name)))
        found = {} if state is None else read_state(state["data"]).state.refusals.quarantined
        return {key.name: entry for key, entry in found.items()}

    async def reason(self, name: str) -> str:
        """Why a plain request is refused on a route's host: ``upgrade-required`` where it is served."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/ws", headers={"Host": f"{name}.example.com"}) as answer,
        ):
            return answer.headers.get("X-WSRoute-Reason", "")

    async def until_reasons(self, **expected: str) -> None:
        """Wait until each route is served or refused like this."""
        found: dict[str, Any] = {}

        async def look() -> bool:
            with suppress(aiohttp.ClientError):
                found.update({name: await self.reason(name) for name in expected})
            return found == expected

        try:
            await until_async(look, seconds=20, pause=0.05)
        except AssertionError as error:
            error.add_note(f"{found}, not {expected}; {self.quarantined()}")
            raise


@pytest.fixture
def pod() -> Iterator[BalancerPod]:
    with balancer_pod() as started:
        yield started


@pytest.fixture
async def scene(pod: BalancerPod, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr("wsroute.nginx.views.Quoted", Raw)
    monkeypatch.setattr("wsroute.controller.making.POD_PATHS", pod.paths)
    monkeypatch.setattr("wsroute.controller.making.POD_OPTIONS", local_options())
    [port] = free_ports(1)
    found = Scene(port)
    config = AgentConfig(pod=POD, namespace=SYSTEM, balancer=SHARED.name, conf=pod.conf, run=pod.run, port=0)
    found.route("old", "fine")
    found.route("keyed", keyed_by("one"))
    tasks = [asyncio.create_task(Agent(config, found.cluster).run()), asyncio.create_task(found.operate())]
    try:
        await found.until_reasons(old=SERVED, keyed=SERVED)
        await until(lambda: not any(task.done() for task in tasks))
        yield found
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


SERVED = "upgrade-required"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("line", REFUSED_WITH_ITS_LINE, 'unknown directive "no_such_directive"'),
        ("dark", REFUSED_WITHOUT, 'zero size shared memory zone "nobody_defines_it"'),
        ("keyed", keyed_by("other"), 'uses the "other" key while previously it used the "one" key'),
    ],
)
async def test_a_refused_route_is_found_and_withdrawn_until_its_edit(
    scene: Scene, name: str, value: str, words: str
) -> None:
    scene.route(name, value, generation=2)
    for number in range(6):
        scene.route(f"new-{number}", "fine")
    neighbours = {f"new-{number}": SERVED for number in range(6)}
    await scene.until_reasons(old=SERVED, **neighbours, **{name: "route-invalid"})
    await until(lambda: set(scene.quarantined()) == {name})
    entry = scene.quarantined()[name]
    assert words in entry.message
    assert (entry.uid, entry.generation, entry.left_out) == (f"{Kind.ROUTE}-{name}", 2, False)

    scene.another_leader()
    scene.route("later", "fine")
    await scene.until_reasons(later=SERVED, old=SERVED, **neighbours, **{name: "route-invalid"})
    assert scene.quarantined() == {name: entry}

    scene.route(name, "fine", generation=3)
    await scene.until_reasons(old=SERVED, later=SERVED, **neighbours, **{name: SERVED})
    await until(lambda: not scene.quarantined())
