"""What waits for the reload budget and what does not, over passes and writes, also for an operator that starts anew."""

import pytest

from tests.support.world import BEGIN, SYSTEM, TEAM, Planner, SmallWorld, rollout_writes
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller import generated
from wsroute.controller.budget import LATE, Cause, Hold
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.rollout import InForce, Trial
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Draining, Failure
from wsroute.dataplane.bundle import FILE_KEY
from wsroute.dataplane.ir import RouteRef

BUDGET = {"minInterval": "5s", "maxDrainingGenerations": 2, "drainTimeout": "10m"}


@pytest.fixture
def planner() -> Planner:
    """A balancer of two pods that runs its first version, from long ago."""
    world = SmallWorld()
    world.balancer(reload=BUDGET)
    world.service("chat", "10.0.0.1", "10.0.0.2")
    world.service("other", "10.0.1.1", "10.0.1.2")
    world.route("one")
    world.route("two", service="other")
    planner = Planner(world)
    planner.settle()
    planner.now += 100.0
    return planner


def anew(planner: Planner) -> Planner:
    """Another operator, which remembers nothing."""
    other = Planner(planner.world)
    other.now = planner.now
    return other


def settle_and_fill(planner: Planner, *pods: str, generations: int = 2, ago: float = 60.0) -> str:
    """All run what is wanted, and some pods have so many draining generations."""
    version = planner.settle().desired
    for pod in pods:
        oldest = round(BEGIN + planner.now - ago)
        planner.world.say(pod, version=version, draining=Draining(generations, 3, oldest))
    return version


def empty(planner: Planner, *pods: str) -> None:
    for pod in pods:
        planner.world.say(pod, version=planner.world.said[pod].version)


def held(plan: BalancerPlan) -> Hold:
    assert plan.released is not None
    assert plan.released.hold is not None
    return plan.released.hold


def text(plan: BalancerPlan) -> str:
    """The only file that a plan writes."""
    [write] = rollout_writes(plan)
    return write.wanted.data[FILE_KEY]


def tried(plan: BalancerPlan) -> bool:
    return plan.decision is not None and plan.decision.trial == Trial(plan.desired, "p0")


def test_an_isolated_change_goes_at_once_and_the_next_one_waits_for_the_interval(planner: Planner) -> None:
    planner.world.route("three")
    assert tried(planner.plan())
    planner.settle()
    assert planner.programmed("three")[0]
    planner.now += 2.0
    planner.world.route("four")
    plan = planner.plan()
    assert rollout_writes(plan) == []
    assert plan.look_again == pytest.approx(3.0)
    status, reason, message = planner.programmed("four")
    assert (status, reason) == (False, "ReloadHeld")
    assert message == held(plan).message
    assert planner.programmed("three")[0]
    planner.now += 1.0
    planner.world.route("five")
    assert rollout_writes(planner.plan()) == []
    planner.now += 2.0
    assert tried(planner.plan())
    assert planner.settle().released is not None
    assert planner.programmed("four")[0]
    assert planner.programmed("five")[0]


def test_nothing_waits_while_no_pod_is_ready(planner: Planner) -> None:
    planner.world.route("three")
    planner.settle()
    for pod in ("p0", "p1"):
        planner.world.pod(pod, ready=False)
    planner.world.route("four")
    plan = planner.plan()
    assert plan.decision is not None
    assert plan.decision.in_force == InForce(plan.desired, ("*",))


def test_what_waits_waits_for_another_operator_as_long(planner: Planner) -> None:
    planner.world.route("three")
    planner.settle()
    planner.now += 2.0
    planner.world.route("four")
    other = anew(planner)
    assert rollout_writes(other.plan()) == []
    assert other.plan().look_again == pytest.approx(3.0)
    assert other.programmed("four")[1] == "ReloadHeld"
    assert other.programmed("one")[0]
    assert other.programmed("three")[0], "what is served is read from the file"
    planner.world.route("one", path="/edited", generation=2)
    assert other.programmed("one")[1] == "ReloadHeld"
    assert other.programmed("two")[0]
    other.now += 3.0
    assert tried(other.plan())


def test_a_change_that_is_taken_back_ends_its_trial_at_once(planner: Planner) -> None:
    before = planner.settle().desired
    planner.world.route("three")
    planner.world.commit(planner.plan())
    planner.world.remove(Kind.ROUTE, "three", TEAM)
    plan = planner.plan()
    assert plan.desired == before
    assert plan.decision is not None
    assert (plan.decision.in_force, plan.decision.trial) == (InForce(before, ("*",)), None)
    assert [write.wanted.role for write in rollout_writes(plan)] == [names.ROLE_NEXT]


def test_a_second_change_waits_while_the_first_is_under_canary(planner: Planner) -> None:
    planner.world.route("three")
    first = planner.plan()
    planner.world.commit(first)
    planner.world.route("four")
    plan = planner.plan()
    assert rollout_writes(plan) == []
    assert planner.programmed("three")[1] == "Pending", "it is on its way"
    assert planner.programmed("four")[1] == "ReloadHeld"
    planner.world.say("p0", version=first.desired)
    plan = planner.plan()
    assert plan.decision is not None
    assert plan.decision.in_force == InForce(first.desired, ("*",))
    planner.world.commit(plan)
    assert planner.programmed("four")[1] == "ReloadHeld"


def test_a_refused_version_is_no_reload_and_its_successor_goes_at_once(planner: Planner) -> None:
    before = planner.settle().desired
    planner.world.route("three")
    plan = planner.plan()
    planner.world.commit(plan)
    planner.world.say("p0", version=before, failure=Failure(plan.desired, "test", "nginx: [emerg] no such thing"))
    withdrawn = planner.plan()
    assert withdrawn.withheld.routes == {RouteRef(TEAM, "three")}
    assert tried(withdrawn)


def test_endpoints_follow_while_a_version_is_refused_and_no_route_is_at_fault(planner: Planner) -> None:
    """An address that has left may be another tenant's by now, and must not stay in force for hours."""
    before = planner.settle().desired
    planner.world.balancer(reload=BUDGET, listeners=[{"name": "ws", "port": 8090, "protocol": "HTTP"}])
    plan = planner.plan()
    planner.world.commit(plan)
    words = "nginx: [emerg] bind() to 0.0.0.0:8090 failed (98: Address in use)"
    planner.world.say("p0", "p1", version=before, failure=Failure(plan.desired, "load", words))
    planner.now += 100.0
    planner.world.service("chat", "10.0.0.1")
    planner.world.commit(planner.plan())
    stands = planner.world.snapshot.config_maps[Key(SYSTEM, "shared-nginx")]
    assert "10.0.0.2" not in stands.data[FILE_KEY]
    assert "8090" not in stands.data[FILE_KEY]
    assert stands.annotations[names.PODS_ANNOTATION] == "*"


def test_added_endpoints_wait_for_the_interval_too(planner: Planner) -> None:
    planner.world.service("chat", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert "10.0.0.3" in text(planner.plan())
    planner.settle()
    planner.now += 1.0
    planner.world.service("chat", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    assert rollout_writes(planner.plan()) == []
    planner.now += 4.0
    assert "10.0.0.4" in text(planner.plan())


def test_a_removal_goes_at_once_and_leaves_behind_what_waits(planner: Planner) -> None:
    planner.world.route("three")
    planner.settle()
    planner.now += 1.0
    planner.world.route("four")
    planner.world.service("other", "10.0.1.2", "10.0.1.3")
    plan = planner.plan()
    assert "10.0.1.1:" not in text(plan)
    assert "10.0.1.3:" in text(plan)
    assert "four.example.com" not in text(plan)
    assert plan.decision is not None
    assert plan.decision.trial is None
    assert plan.decision.in_force is not None
    assert plan.decision.in_force.turn == ("*",)
    assert planner.programmed("four")[1] == "ReloadHeld"
    planner.world.commit(plan)
    assert rollout_writes(planner.plan()) == []
    assert planner.balancer_status()["lastReload"]["reason"] == Cause.REMOVAL
    for pod in ("p0", "p1"):
        planner.world.say(pod, version=plan.decision.in_force.version)
    assert planner.balancer_status()["lastReload"] == {
        "time": "2027-01-15T08:01:41Z",
        "reason": "EndpointRemoval",
        "pods": 2,
        "changes": [{"reason": "EndpointRemoval", "subject": "WebSocketRoute team-a/two"}],
    }
    assert planner.programmed("one")[0]
    # The interval still counts from the reload before: what waits is not put off by removals.
    planner.now += 4.0
    assert tried(planner.plan())


def test_a_removal_takes_along_what_waits_where_it_can_t_go_alone(planner: Planner) -> None:
    planner.world.route("three")
    planner.settle()
    planner.now += 1.0
    planner.world.route("four")
    assert rollout_writes(planner.plan()) == []
    planner.world.service("other")
    assert tried(planner.plan())
    planner.settle()
    assert planner.programmed("four")[0]


def test_a_removal_is_not_held_for_an_operator_that_starts_anew(planner: Planner) -> None:
    planner.world.route("three")
    planner.settle()
    planner.now += 1.0
    planner.world.service("chat", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert rollout_writes(anew(planner).plan()) == [], "an addition can wait"
    planner.world.service("chat", "10.0.0.1")
    assert tried(anew(planner).plan())


def test_a_removal_on_top_of_a_trial_comes_in_force_with_it(planner: Planner) -> None:
    planner.world.route("three")
    first = planner.plan()
    planner.world.commit(first)
    planner.world.route("four")
    planner.world.service("other", "10.0.1.2")
    assert rollout_writes(planner.plan()) == [], "the canary's verdict comes first"
    planner.world.say("p0", version=first.desired)
    plan = planner.plan()
    in_force = next(write for write in plan.writes if write.wanted.role == names.ROLE_NGINX)
    assert "three.example.com" in in_force.wanted.data[FILE_KEY]
    assert "four.example.com" not in in_force.wanted.data[FILE_KEY]
    assert "10.0.1.1:" not in in_force.wanted.data[FILE_KEY]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_full_pod_holds_changes_until_a_generation_has_ended(planner: Planner, restarted: bool) -> None:
    settle_and_fill(planner, "p1")
    now = "2027-01-15 08:10:40 UTC"
    status, reason, message = planner.backlog()
    assert (status, reason) == (True, "MaxDrainingGenerations")
    full = "Pod p1 has 2 draining generations that hold sockets, and spec.reload.maxDrainingGenerations of the balancer"
    until = f"until one of them has ended, at the latest until shortly after {now}"
    removal = "only the removal of an endpoint goes at once, and ends the oldest generation early."
    assert message == f"{full} is 2. Changes will wait {until}; {removal}"
    assert planner.balancer_status()["draining"] == {"generations": 2, "sockets": 3}
    planner.world.route("three")
    if restarted:
        planner = anew(planner)
    assert rollout_writes(planner.plan()) == []
    status, reason, message = planner.programmed("three")
    assert (status, reason) == (False, "ReloadHeld")
    assert now in message
    assert "Changes wait now until" in planner.backlog()[2]
    planner.now += 500.0
    assert rollout_writes(planner.plan()) == []
    empty(planner, "p1")
    assert tried(planner.plan())
    assert planner.backlog()[:2] == (False, "NoBacklog")


def test_a_full_pod_does_not_hold_a_removal_which_takes_along_what_waits(planner: Planner) -> None:
    settle_and_fill(planner, "p0")
    planner.world.route("three")
    planner.world.service("chat", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert rollout_writes(planner.plan()) == []
    planner.world.service("other", "10.0.1.1")
    assert tried(planner.plan())


def test_a_deleted_route_is_a_removal(planner: Planner) -> None:
    settle_and_fill(planner, "p0", "p1")
    planner.world.route("two", service="nowhere", generation=2)
    assert tried(planner.plan())


def test_an_agent_that_died_full_holds_nothing_for_ever(planner: Planner) -> None:
    settle_and_fill(planner, "p1", ago=60.0)
    planner.world.route("three")
    plan = planner.plan()
    assert rollout_writes(plan) == []
    planner.now += plan.look_again
    assert plan.look_again == pytest.approx(540.0 + LATE)
    assert tried(planner.plan())


def test_a_file_in_force_that_a_hand_has_changed_is_put_right_while_changes_wait(planner: Planner) -> None:
    planner.world.route("three")
    version = planner.settle().desired
    planner.now += 1.0
    planner.world.route("four")
    spoil(planner.world)
    plan = planner.plan()
    assert "three.example.com" in text(plan)
    assert "four.example.com" not in text(plan)
    assert plan.decision is not None
    assert plan.decision.in_force == InForce(version, ("*",))
    # Who did not make it can only replace it.
    assert tried(anew(planner).plan())


def spoil(world: SmallWorld) -> None:
    known = next(each for key, each in world.snapshot.config_maps.items() if key.name == "shared-nginx")
    world.put(
        Kind.CONFIG_MAP,
        "shared-nginx",
        known.meta.key.namespace,
        labels=dict(known.labels),
        annotations=dict(known.annotations),
        data={FILE_KEY: "daemon on;\n"},
    )


def test_other_terms_are_written_without_another_version(planner: Planner) -> None:
    before = planner.settle()
    planner.world.balancer(reload={"minInterval": "0s", "maxDrainingGenerations": 7, "drainTimeout": "90s"})
    plan = planner.plan()
    [write] = rollout_writes(plan)
    assert plan.desired == before.desired
    assert write.known is not None
    changed = {
        key: value for key, value in write.wanted.annotations.items() if write.known.annotations.get(key) != value
    }
    del changed[names.MADE_FOR_ANNOTATION]  # the balancer's generation
    assert changed == {names.MAX_DRAINING_ANNOTATION: "7", names.DRAIN_TIMEOUT_ANNOTATION: "90000"}
    assert generated.read_since(write.known) == plan.in_force_since
