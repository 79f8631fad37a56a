"""The state's ConfigMap: written before all else, read again, and whole again after a hand was at it."""

from typing import Any

import pytest

from tests.support.world import SHARED, SYSTEM, TEAM, SmallWorld
from wsroute.cluster.balancer_state import HostClaim, format_time, read_state
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller import remembering
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.reconciler import PassMemo, PassResult, plan_pass
from wsroute.dataplane import bundle, names
from wsroute.graph.claims import HOLD
from wsroute.graph.model import GraphSettings

NOON = 1_780_000_000.0
HOST = "chat.example.com"
OURS = {names.BALANCER_LABEL: "shared"}
STATE = Key(SYSTEM, "shared-state")


class Scene:
    """Passes over a world in which team-a is served, and an older route of team-b waits for the same host."""

    def __init__(self) -> None:
        self.world = SmallWorld()
        self.world.service("chat", "10.0.0.1")
        self.memo = PassMemo()
        self.wall = NOON
        self.world.route("chat", created="2026-03-01T00:00:00Z")
        self.settle()
        self.world.route("taker", namespace="team-b", host=HOST, created="2026-01-01T00:00:00Z")
        self.settle()

    def result(self, memo: PassMemo | None = None) -> PassResult:
        return plan_pass(
            self.world.snapshot,
            GraphSettings(),
            memo or self.memo,
            revision=self.world.revision,
            epoch=1,
            now=0.0,
            wall=self.wall,
        )

    def plan(self) -> BalancerPlan:
        return self.result().plans[SHARED]

    def settle(self) -> None:
        """Write, with agents that do as they are told, until nothing is left to write."""
        while (plan := self.plan()).writes:
            self.world.commit(plan)
            force, trial = plan.decision and plan.decision.in_force, plan.decision and plan.decision.trial
            if trial:
                self.world.say(trial.canary, version=trial.version)
            elif force:
                self.world.say("p0", "p1", version=force.version)

    def owners(self) -> dict[str, str]:
        """Whose location each host has, by a replica that knows nothing and by one that does."""
        found = [self.result(), self.result(PassMemo())]
        assert found[0].graph == found[1].graph
        assert [plan.writes for plan in found[0].plans.values()] == [plan.writes for plan in found[1].plans.values()]
        return {host: key.namespace for key, node in found[0].graph.routes.items() for host in node.hosts}

    def put_state(self, data: dict[str, str], **more: Any) -> None:
        self.world.put(Kind.CONFIG_MAP, STATE.name, SYSTEM, labels=OURS, data=data, **more)

    def delete_state(self) -> None:
        known = self.world.snapshot.config_maps[STATE]
        assert self.world.state.delete(Kind.CONFIG_MAP, STATE, known.meta.uid)

    def written(self) -> dict[str, HostClaim]:
        """The claims that the plan wants written."""
        write = self.plan().writes[0]
        assert write.wanted.key == STATE
        return dict(read_state(write.wanted.data).state.hosts)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_claim_is_written_before_its_host_is_served(scene: Scene) -> None:
    scene.world.route("new")
    assert [write.wanted.key.name for write in scene.plan().writes] == ["shared-state", "shared-nginx-next"]
    assert scene.written() == {HOST: HostClaim(TEAM), "new.example.com": HostClaim(TEAM)}
    scene.settle()
    known = scene.world.snapshot.config_maps[STATE]
    assert known.labels[names.ROLE_LABEL] == "state"
    assert scene.owners() == {HOST: TEAM, "new.example.com": TEAM}


def test_what_has_been_written_is_neither_read_nor_planned_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.world.route("new")
    before = scene.result()
    monkeypatch.setattr(remembering, "read_state", None)
    scene.world.commit(before.plans[SHARED])
    assert scene.result().graph is before.graph


def test_a_host_without_a_route_is_released_held_and_forgotten(scene: Scene) -> None:
    scene.wall = NOON + 5
    scene.world.remove(Kind.ROUTE, "taker", "team-b")
    scene.world.remove(Kind.ROUTE, "chat", TEAM)
    assert scene.written() == {HOST: HostClaim(TEAM, format_time(NOON + 5))}
    scene.settle()
    scene.wall = NOON + 65
    assert scene.plan().writes == ()
    assert scene.result().look_again == HOLD - 60
    scene.wall = NOON + 5 + HOLD
    assert scene.written() == {}
    scene.settle()
    assert scene.result().look_again == float("inf")


def test_who_waits_gets_the_host_when_the_hold_is_over_although_nothing_else_changes(scene: Scene) -> None:
    scene.world.remove(Kind.ROUTE, "chat", TEAM)
    scene.settle()
    assert scene.owners() == {}
    scene.wall += HOLD
    assert scene.owners() == {HOST: "team-b"}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"hosts": "chat.example.com: team-a\n"},
        {"hosts": "chat.example.com\n"},
        {"host": "chat.example.com team-a\n"},
        {"hosts": "\x00"},
    ],
)
def test_a_spoiled_list_takes_nothing_from_who_is_served(scene: Scene, data: dict[str, str]) -> None:
    before = scene.plan().desired
    scene.put_state(data)
    assert scene.owners() == {HOST: TEAM}
    assert scene.written() == {HOST: HostClaim(TEAM)}
    assert scene.plan().desired == before
    scene.settle()
    assert scene.owners() == {HOST: TEAM}


@pytest.mark.parametrize("readable", [True, False])
def test_a_deleted_state_is_made_anew_from_what_is_served(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    if not readable:
        monkeypatch.setattr(bundle, "READABLE_LIMIT", 0)
        scene.world.route("more")
        scene.settle()
        assert scene.world.snapshot.config_maps[Key(SYSTEM, "shared-nginx")].data == {}
    before = scene.plan().desired
    scene.delete_state()
    assert scene.owners()[HOST] == TEAM
    assert [(write.wanted.key, write.known) for write in scene.plan().writes] == [(STATE, None)]
    assert scene.written()[HOST] == HostClaim(TEAM)
    assert scene.plan().desired == before


def test_with_nothing_in_force_either_the_oldest_route_gets_it(scene: Scene) -> None:
    scene.delete_state()
    damaged = {names.VERSION_ANNOTATION: "0123456789ab", names.PODS_ANNOTATION: "*", names.DIGEST_ANNOTATION: "0"}
    text = "    # chat.example.com: team-a/chat\n    server {\n"
    scene.world.put(
        Kind.CONFIG_MAP, "shared-nginx", SYSTEM, labels=OURS, annotations=damaged, data={bundle.FILE_KEY: text}
    )
    assert scene.owners() == {HOST: "team-b"}


def test_what_is_no_host_in_force_is_not_taken_over(scene: Scene) -> None:
    scene.delete_state()
    text = "    # CHAT.example.com: team-a/chat\n    server {\n    # x.example.com: -/chat\n    server {\n"
    told = {names.VERSION_ANNOTATION: "0123456789ab", names.DIGEST_ANNOTATION: bundle.digest((text).encode())}
    scene.world.put(
        Kind.CONFIG_MAP, "shared-nginx", SYSTEM, labels=OURS, annotations=told, data={bundle.FILE_KEY: text}
    )
    assert scene.written() == {HOST: HostClaim("team-b")}


def test_a_line_that_an_administrator_changed_gives_the_host_away(scene: Scene) -> None:
    scene.put_state({"hosts": f"{HOST} team-b\n"})
    assert scene.owners() == {HOST: "team-b"}


def test_keys_of_others_stay_and_cause_no_writes(scene: Scene) -> None:
    known = scene.world.snapshot.config_maps[STATE]
    scene.put_state({**known.data, "other": "mine"}, annotations=known.annotations, binaryData={"more": "bWluZQ=="})
    scene.settle()
    scene.world.route("new")
    wanted = scene.plan().writes[0].wanted
    assert wanted.data["other"] == "mine"
    assert wanted.binary_data == {"more": "bWluZQ=="}
    scene.settle()
    assert scene.plan().writes == ()


def test_a_state_without_our_label_is_not_read(scene: Scene) -> None:
    scene.delete_state()
    scene.world.put(Kind.CONFIG_MAP, STATE.name, SYSTEM, data={"hosts": f"{HOST} team-b\n"})
    assert scene.owners() == {HOST: TEAM}
    assert scene.plan().writes[0].known is None


def test_an_invalid_balancer_keeps_its_state(scene: Scene) -> None:
    scene.world.balancer(listeners=[{"name": "ws", "port": 80, "protocol": "HTTP"}])
    scene.wall += 2 * HOLD
    assert scene.plan().writes == ()
    assert scene.result().graph.states[SHARED].hosts == {HOST: HostClaim(TEAM)}
