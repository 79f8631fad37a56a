"""Passes with their I/O, on a cluster in memory: who writes, in which order, and when another pass is asked for."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import pytest

from tests.support.fake_cluster import FakeCluster
from tests.support.world import SHARED, SYSTEM, TEAM, SmallWorld
from wsroute.api.conditions import ConditionType
from wsroute.cluster.balancer_state import format_time
from wsroute.cluster.kinds import Kind
from wsroute.controller.feed import Feed
from wsroute.controller.passes import FOREIGN_RETRY, OUTLIVED, PUT_OFF, RETRY, SETTLE, STANDBY, Passes
from wsroute.controller.secrets import Secrets
from wsroute.controller.status_writer import StatusWriter
from wsroute.controller.statuses import StatusKey, Target
from wsroute.controller.writer import Writer
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement, Failure
from wsroute.graph.claims import HOLD
from wsroute.graph.model import GraphSettings
from wsroute.kube.elector import Elector, NotLeadingError
from wsroute.kube.events import EventRecorder
from wsroute.kube.port import CONFIG_MAPS, DEPLOYMENTS, EVENTS, ForbiddenError, UnavailableError
from wsroute.observability.metrics import Metrics

NOON = 1_780_000_000.0


class StubElector:
    """Leads as a test says; ``left`` writes may begin before it is over."""

    epoch = 4
    leading = True
    left = 1000

    def assert_leading(self) -> None:
        self.left -= 1
        if not self.leading or self.left < 0:
            raise NotLeadingError("not leading")


class StubStatuses:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.aims: list[set[StatusKey]] = []
        self.targets: Mapping[StatusKey, Target] = {}

    def aim(self, targets: Mapping[StatusKey, Target]) -> None:
        self.aims.append(set(targets))
        self.targets = targets

    def said(self, kind: ConditionType) -> tuple[bool, str, str]:
        """Status, reason and message of a condition of the balancer."""
        conditions = self.targets[StatusKey(Kind.BALANCER, SHARED)].conditions
        (found,) = (condition for condition in conditions if condition.type is kind)
        return found.status, str(found.reason), found.message


class Scene:
    """Passes over a small world whose ConfigMaps live on a cluster in memory."""

    def __init__(self) -> None:
        self.world = SmallWorld()
        self.world.service("chat", "10.0.0.1")
        self.world.route("one")
        for name in ("p0", "p1"):
            self.world.pod(name, ready=False)  # else they would owe answers, and passes would ask for another look
        self.cluster = FakeCluster()
        self.cluster.version = 10_000
        self.elector = StubElector()
        self.statuses = StubStatuses()
        self.metrics = Metrics()
        self.events = EventRecorder(self.cluster, instance="test")
        self.again: list[float] = []
        self.now = 0.0
        feed = Feed(self.world.state, changed=lambda: None)
        self.feed = feed
        self.secrets = Secrets(
            self.cluster, self.metrics, changed=lambda: None, assert_leading=self.elector.assert_leading
        )
        self.passes = Passes(
            feed,
            Writer(self.cluster, feed, self.metrics, assert_leading=self.elector.assert_leading),
            self.secrets,
            cast("StatusWriter", self.statuses),
            cast("Elector", self.elector),
            self.metrics,
            self.events,
            settings=GraphSettings(),
            again=self.again.append,
            clock=lambda: self.now,
            wall=lambda: NOON + self.now,
        )

    async def make(self) -> list[float]:
        """A pass; gives what it asked for."""
        self.again.clear()
        self.feed.revision = self.world.revision
        await self.passes.make()
        return list(self.again)

    async def until_settled(self) -> None:
        while await self.make() == [SETTLE]:
            pass

    def agents_say(self, data: dict[str, str]) -> None:
        """Put answers into the agents' ConfigMap, as the agents do."""
        labels = {names.BALANCER_LABEL: "shared"}
        raw = self.cluster.put(CONFIG_MAPS, "shared-agents", namespace=SYSTEM, labels=labels, data=data)
        self.feed.wrote(Kind.CONFIG_MAP, raw)


async def test_the_leader_makes_the_agents_config_map_first_and_asks_for_another_look() -> None:
    scene = Scene()
    assert await scene.make() == [SETTLE]
    assert [(verb, name) for verb, _, name in scene.cluster.writes] == [
        ("create", f"{SYSTEM}/shared-agents"),
        ("create", f"{SYSTEM}/shared-state"),
        ("apply", f"{SYSTEM}/shared-state"),
        ("create", f"{SYSTEM}/shared-nginx"),
        ("apply", f"{SYSTEM}/shared-nginx"),
    ]
    assert scene.cluster.applied[0]["metadata"]["annotations"][names.EPOCH_ANNOTATION] == "4"
    assert await scene.make() == []
    assert len(scene.cluster.writes) == 5
    assert {key.kind for key in scene.statuses.aims[-1]} == {Kind.ROUTE, Kind.BALANCER}


async def test_what_a_write_changes_is_told_by_the_pass_after_it_and_not_put_off_for_ever() -> None:
    scene = Scene()
    await scene.until_settled()
    told = len(scene.statuses.aims)
    assert told == 1
    for number in range(2):
        scene.world.service("chat", f"10.0.0.{number + 2}")
        assert await scene.make() == [SETTLE]
        assert len(scene.statuses.aims) == told
        scene.now += PUT_OFF / 2
    # Each pass had something to write, and the last of them came half a second after the first.
    scene.world.service("chat", "10.0.0.9")
    assert await scene.make() == [SETTLE]
    assert len(scene.statuses.aims) == told + 1


async def test_who_does_not_lead_plans_and_writes_nothing() -> None:
    scene = Scene()
    scene.elector.leading = False
    assert await scene.make() == []
    assert scene.passes.done
    assert scene.cluster.writes == []
    assert scene.statuses.aims == []


async def test_who_does_not_lead_plans_seldom_and_at_once_when_it_wins() -> None:
    scene = Scene()
    scene.elector.leading = False
    await scene.passes.make()
    scene.now = 1.0
    await scene.passes.make()
    assert scene.again == [STANDBY - 1.0]
    assert scene.metrics.passes.labels("ok")._value.get() == 1
    scene.elector.leading = True
    await scene.passes.make()
    assert scene.metrics.passes.labels("ok")._value.get() == 2


async def test_leadership_lost_in_the_middle_of_a_pass_ends_its_writes() -> None:
    scene = Scene()
    scene.elector.left = 2
    assert await scene.make() == []
    assert [verb for verb, *_ in scene.cluster.writes] == ["create", "create"]
    assert scene.statuses.aims == []


async def test_a_new_leader_writes_its_epoch_and_the_same_bytes() -> None:
    scene = Scene()
    await scene.until_settled()
    before = scene.cluster.find(CONFIG_MAPS, "shared-nginx", namespace=SYSTEM)
    scene.elector.epoch = 5
    await scene.until_settled()
    after = scene.cluster.find(CONFIG_MAPS, "shared-nginx", namespace=SYSTEM)
    assert after["data"] == before["data"]
    assert after["metadata"]["annotations"][names.EPOCH_ANNOTATION] == "5"


async def test_a_write_that_fails_is_tried_again_and_holds_back_the_next() -> None:
    scene = Scene()
    await scene.until_settled()
    refuse: Callable[..., UnavailableError | None] = lambda verb, *_: (  # noqa: E731
        UnavailableError("no answer") if verb == "apply" else None
    )
    scene.world.route("two")
    scene.cluster.fail = refuse
    assert await scene.make() == [RETRY]
    scene.cluster.fail = lambda *_: None
    assert await scene.make() == [SETTLE]


async def test_the_pods_are_replaced_only_when_their_file_stands() -> None:
    scene = Scene()
    scene.world.balancer(reload={"strategy": "Restart", "minInterval": "0s"})
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "balancer"}}}
    scene.feed.wrote(Kind.DEPLOYMENT, scene.cluster.put(DEPLOYMENTS, "balancer", namespace=SYSTEM, spec=spec))
    scene.cluster.fail = lambda _, __, name: UnavailableError("no answer") if name == "shared-nginx" else None
    assert await scene.make() == [RETRY]
    assert DEPLOYMENTS.plural not in [plural for _, plural, _ in scene.cluster.writes]
    scene.cluster.fail = lambda _, __, name: UnavailableError("no answer") if name == "balancer" else None
    assert await scene.make() == [RETRY]
    scene.cluster.fail = lambda *_: None
    await scene.until_settled()
    assert [name for _, _, name in scene.cluster.writes[-2:]] == [f"{SYSTEM}/shared-nginx", f"{SYSTEM}/balancer"]
    version = scene.cluster.find(CONFIG_MAPS, "shared-nginx", namespace=SYSTEM)["metadata"]["annotations"][
        names.VERSION_ANNOTATION
    ]
    template = scene.cluster.find(DEPLOYMENTS, "balancer", namespace=SYSTEM)["spec"]["template"]
    assert template == {"metadata": {"annotations": {names.VERSION_ANNOTATION: version}}}
    scene.elector.epoch = 5  # the next leader finds that there is nothing left to do
    writes = len(scene.cluster.writes)
    await scene.until_settled()
    assert DEPLOYMENTS.plural not in [plural for _, plural, _ in scene.cluster.writes[writes:]]


async def test_a_missing_right_is_told_by_the_balancer_until_it_is_given() -> None:
    scene = Scene()
    scene.world.balancer(reload={"strategy": "Restart", "minInterval": "0s"})
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "balancer"}}}
    scene.feed.wrote(Kind.DEPLOYMENT, scene.cluster.put(DEPLOYMENTS, "balancer", namespace=SYSTEM, spec=spec))
    scene.world.pod("p0")  # it serves something else
    scene.cluster.fail = lambda verb, _, name: ForbiddenError("no") if (verb, name) == ("apply", "balancer") else None
    assert await scene.make() == [RETRY]
    status, reason, message = scene.statuses.said(ConditionType.PROGRAMMED)
    assert (status, reason) == (False, "Pending")
    assert f"can't patch the Deployment {SYSTEM}/balancer" in message
    scene.cluster.fail = lambda *_: None
    await scene.until_settled()
    assert "can't patch" not in scene.statuses.said(ConditionType.PROGRAMMED)[2]


async def test_a_deployment_that_somebody_else_has_changed_is_left_for_the_next_pass() -> None:
    scene = Scene()
    scene.world.balancer(reload={"strategy": "Restart", "minInterval": "0s"})
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "balancer"}}}
    scene.feed.wrote(Kind.DEPLOYMENT, scene.cluster.put(DEPLOYMENTS, "balancer", namespace=SYSTEM, spec=spec))
    newer = scene.cluster.put(DEPLOYMENTS, "balancer", namespace=SYSTEM, spec={**spec, "replicas": 3})
    assert await scene.make() == [RETRY]
    scene.feed.wrote(Kind.DEPLOYMENT, newer)
    await scene.until_settled()
    assert scene.cluster.find(DEPLOYMENTS, "balancer", namespace=SYSTEM)["spec"]["replicas"] == 3


async def test_nothing_is_written_before_it_is_on_record_whose_the_hosts_are() -> None:
    scene = Scene()
    await scene.until_settled()
    writes = len(scene.cluster.writes)
    scene.world.route("two")
    scene.cluster.fail = lambda _, __, name: UnavailableError("no answer") if name == "shared-state" else None
    assert await scene.make() == [RETRY]
    assert len(scene.cluster.writes) == writes
    scene.cluster.fail = lambda *_: None
    await scene.until_settled()
    assert [name for _, _, name in scene.cluster.writes[writes:]] == [
        f"{SYSTEM}/shared-state",
        f"{SYSTEM}/shared-nginx",
    ]


async def test_the_end_of_a_hold_is_looked_at_when_it_comes() -> None:
    scene = Scene()
    await scene.until_settled()
    scene.world.remove(Kind.ROUTE, "one", TEAM)
    await scene.until_settled()
    assert scene.again == [HOLD]
    assert format_time(NOON) in scene.cluster.find(CONFIG_MAPS, "shared-state", namespace=SYSTEM)["data"]["hosts"]
    scene.now = float(HOLD)
    await scene.until_settled()
    assert scene.again == []
    assert TEAM not in scene.cluster.find(CONFIG_MAPS, "shared-state", namespace=SYSTEM)["data"]["hosts"]


@pytest.mark.parametrize("name", ["shared-nginx", "shared-agents", "shared-state"])
@pytest.mark.parametrize("labels", [{}, {names.BALANCER_LABEL: "another"}], ids=["unlabelled", "of-another"])
async def test_somebody_elses_config_map_is_told_by_the_balancer_until_it_goes(
    name: str, labels: dict[str, str]
) -> None:
    scene = Scene()
    theirs = scene.cluster.put(CONFIG_MAPS, name, namespace=SYSTEM, labels=labels, data={"a": "b"})
    await scene.until_settled()
    assert scene.again == [FOREIGN_RETRY]
    text = f"ConfigMap {SYSTEM}/{name} exists and does not bear our labels, so it is left alone: rename or delete it."
    assert scene.statuses.said(ConditionType.PROGRAMMED) == (False, "Pending", text)
    assert scene.statuses.said(ConditionType.STALLED)[0] is False
    assert scene.cluster.find(CONFIG_MAPS, name, namespace=SYSTEM) == theirs
    scene.cluster.remove(CONFIG_MAPS, name, namespace=SYSTEM)
    await scene.until_settled()
    assert scene.again == []
    assert scene.statuses.said(ConditionType.PROGRAMMED)[1:] == (
        "NoBalancerPods",
        "No pod of the balancer is ready (2 in all).",
    )


async def test_that_config_map_stays_told_while_the_api_server_does_not_answer() -> None:
    scene = Scene()
    scene.cluster.put(CONFIG_MAPS, "shared-nginx", namespace=SYSTEM)
    await scene.until_settled()
    scene.cluster.fail = lambda verb, *_: UnavailableError("no answer") if verb == "create" else None
    assert await scene.make() == [RETRY]
    assert "rename or delete it" in scene.statuses.said(ConditionType.PROGRAMMED)[2]


async def test_a_route_that_nginx_refuses_is_logged_and_counted_once_and_stands_in_the_state_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    await scene.until_settled()
    config_map = scene.cluster.find(CONFIG_MAPS, "shared-nginx", namespace=SYSTEM)
    version = config_map["metadata"]["annotations"][names.VERSION_ANNOTATION]
    line = config_map["data"]["nginx.conf"].split("\n").index(r"        location ~ ^/ws(/|\z) {") + 1
    words = f'nginx: [emerg] invalid "/ws" in /etc/wsroute/{version}.conf:{line}'
    failure = Failure(version, "test", words)
    said = Acknowledgement("", 4, 0, "1.31.3", ipv6=True, failure=failure)
    scene.agents_say({"p0": said.to_json()})
    scene.cluster.writes.clear()
    await scene.until_settled()
    await scene.make()
    written = [name.partition("/")[2] for verb, _, name in scene.cluster.writes if verb == "apply"]
    assert written == ["shared-state", "shared-nginx"]
    assert scene.metrics.refusals._value.get() == 1
    [record] = [record for record in caplog.records if "quarantined" in record.message]
    assert words in record.message
    assert (
        "refused: the route is invalid"
        in scene.cluster.find(CONFIG_MAPS, "shared-nginx", namespace=SYSTEM)["data"]["nginx.conf"]
    )


async def test_answers_of_gone_pods_are_taken_out_after_a_while() -> None:
    scene = Scene()
    await scene.until_settled()
    scene.agents_say({"p0": "{}", "gone": "{}"})
    assert await scene.make() == [OUTLIVED]
    scene.now = OUTLIVED / 2
    assert await scene.make() == [OUTLIVED / 2]
    assert "gone" in scene.cluster.find(CONFIG_MAPS, "shared-agents", namespace=SYSTEM)["data"]
    scene.now = OUTLIVED
    await scene.make()
    assert scene.cluster.find(CONFIG_MAPS, "shared-agents", namespace=SYSTEM)["data"] == {"p0": "{}"}
    assert await scene.make() == []


async def test_a_deleted_balancer_leaves_its_config_maps_and_is_spoken_of_no_more() -> None:
    scene = Scene()
    await scene.until_settled()
    writes = len(scene.cluster.writes)
    scene.world.remove(Kind.BALANCER, SHARED.name, SHARED.namespace)
    assert await scene.make() == []
    assert len(scene.cluster.writes) == writes
    assert {key.kind for key in scene.statuses.aims[-1]} == {Kind.ROUTE}


async def test_what_the_end_of_a_pod_closed_is_told_once() -> None:
    scene = Scene()
    await scene.until_settled()
    said = Acknowledgement("0123456789ab", 1, 0, "1.31.3", ipv6=True, closed=7)
    scene.agents_say({"p0": said.to_json(), "gone": said.to_json(), "p1": replace(said, closed=0).to_json()})
    await scene.make()
    await scene.make()
    posting = asyncio.create_task(scene.events.run())
    await scene.events.flush()
    posting.cancel()
    notes = [event["note"] for event in (await scene.cluster.list(EVENTS, namespace=SYSTEM)).items]
    assert len(notes) == 2
    assert any(note.startswith("The end of pod gone closed 7 sockets") for note in notes)


async def test_pods_that_leave_are_counted_until_they_are_gone() -> None:
    scene = Scene()
    await scene.until_settled()
    assert b"wsroute_leaving_pods 0.0" in scene.metrics.render()
    said = Acknowledgement("0123456789ab", 1, 12, "1.31.3", ipv6=True)
    scene.agents_say({"p0": said.to_json(), "p1": said.to_json()})
    scene.world.pod("p0", ready=False, until="2027-01-15T08:05:00Z")
    await scene.make()
    status = scene.statuses.targets[StatusKey(Kind.BALANCER, SHARED)].body
    assert status["leaving"] == {"pods": 1, "sockets": 12, "until": "2027-01-15T08:05:00Z"}
    assert b"wsroute_leaving_pods 1.0" in scene.metrics.render()
    assert b"wsroute_leaving_sockets 12.0" in scene.metrics.render()
    scene.world.remove(Kind.POD, "p0", SYSTEM)
    await scene.make()
    assert scene.statuses.targets[StatusKey(Kind.BALANCER, SHARED)].body["leaving"] == {"pods": 0, "sockets": 0}
    assert b"wsroute_leaving_sockets 0.0" in scene.metrics.render()


async def test_a_reload_is_told_and_counted_by_its_reasons() -> None:
    scene = Scene()
    posting = asyncio.create_task(scene.events.run())
    await scene.until_settled()
    await scene.events.flush()
    assert (await scene.cluster.list(EVENTS)).items == [], "the first version takes no other one's place"
    for path in ("/edited", "/again"):
        scene.now += 60.0
        scene.world.route("one", path=path, generation=2)
        listeners = [{"name": name, "port": port, "protocol": "HTTP"} for name, port in (("ws", 8080), ("more", 9090))]
        scene.world.balancer(listeners=listeners)
        await scene.until_settled()
    await scene.events.flush()
    posting.cancel()
    counted = {reason: scene.metrics.reloads.labels(reason)._value.get() for reason in ("ListenerAdded", "Routes")}
    assert counted == {"ListenerAdded": 1, "Routes": 2}
    events = (await scene.cluster.list(EVENTS)).items
    notes = [event["note"] for event in events]
    assert [note.partition(" comes in force, which reloads nginx: ")[2] for note in notes if "Listener" in note] == [
        "ListenerAdded (spec.listeners[more]), Routes (WebSocketRoute team-a/one)."
    ]
    assert {(event["reason"], event["type"]) for event in events} == {("Reload", "Normal")}
    assert len(notes) == 2
