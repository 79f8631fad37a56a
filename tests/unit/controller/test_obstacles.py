"""When no file can be made: what is under way goes on to its end, and everybody is told what is so."""

from dataclasses import replace

import pytest

from tests.support.world import SHARED, SYSTEM, Planner, SmallWorld, rollout_writes
from wsroute.api.conditions import Condition, ConditionType
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller import generated
from wsroute.controller.certifying import Unseen
from wsroute.controller.reconciler import PassMemo, status_targets
from wsroute.controller.statuses import StatusKey
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import FILE_KEY
from wsroute.nginx.quoting import EmitError

FILE, NEXT = "shared-nginx", "shared-nginx-next"
MADE = generated.make_file


def served(pods: int = 3, **balancer: object) -> Planner:
    """A balancer whose pods serve the route ``one``."""
    world = SmallWorld(pods=pods)
    if balancer:
        world.balancer(**balancer)
    world.service("chat", "10.0.0.1", "10.0.0.2")
    world.route("one")
    planner = Planner(world)
    planner.settle()
    return planner


@pytest.fixture
def obstruct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file that holds the route ``three`` can be made, and it is nobody's fault."""

    def fail(rendered: object, configuration: object, **more: object) -> object:
        if "three.example.com" in repr(configuration):
            raise EmitError("The balancer's own words are wrong.")
        return MADE(rendered, configuration, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(generated, "make_file", fail)


def of_balancer(planner: Planner, kind: ConditionType = ConditionType.PROGRAMMED) -> Condition:
    targets = status_targets(planner.result(), planner.memo)
    return next(each for each in targets[StatusKey(Kind.BALANCER, SHARED)].conditions if each.type is kind)


def standing(planner: Planner, name: str = FILE) -> str:
    known = planner.world.snapshot.config_maps[Key(SYSTEM, name)]
    return known.annotations[names.VERSION_ANNOTATION]


def write(planner: Planner) -> None:
    """Write until nothing is left to write."""
    for _ in range(9):
        plan = planner.plan()
        if not plan.writes:
            return
        planner.world.commit(plan)
    raise AssertionError("no end")


def half_way(planner: Planner, *, promoted: bool) -> str:
    """A version with the route ``two`` is tried by the canary, or was loaded by it and comes in force."""
    planner.world.route("two")
    write(planner)
    version = standing(planner, NEXT)
    if promoted:
        planner.world.say("p0", version=version)
        write(planner)
        assert standing(planner) == version
    planner.world.route("three", path="/three")
    return version


@pytest.mark.usefixtures("obstruct")
@pytest.mark.parametrize("promoted", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_rollout_goes_on_to_its_end(promoted: bool, fresh: bool) -> None:
    planner = served()
    version = half_way(planner, promoted=promoted)
    assert not planner.plan().desired
    if fresh:  # the next leader knows no more than what is written
        planner.memo = PassMemo()
    plan = planner.settle()
    assert standing(planner) == version
    assert [pod.said.version for pod in plan.pods if pod.said is not None] == [version] * 3
    assert standing(planner, NEXT) == ""
    assert planner.balancer_status()["version"] == version
    assert planner.balancer_status()["pods"] == {"total": 3, "current": 3}


@pytest.mark.usefixtures("obstruct")
def test_routes_and_balancer_tell_what_each_pod_serves_and_what_is_in_the_way() -> None:
    planner = served()
    half_way(planner, promoted=True)
    assert planner.programmed("one") == (True, "Programmed", "All 3 ready pods serve the route.")
    why = "The nginx.conf can't be made: The balancer's own words are wrong."
    rest = f"and for the others no newer version can be made. {why}"
    assert planner.programmed("two") == (False, "ConfigRejected", f"1/3 pods serve the route, {rest}")
    assert planner.programmed("three") == (False, "ConfigRejected", f"0/3 pods serve the route, {rest}")
    said = of_balancer(planner)
    assert (said.status, str(said.reason)) == (False, "ConfigRejected")
    assert said.message == (
        f"{why} What stands is not changed, and its rollout goes on: 1/3 pods serve the version in force."
    )
    assert of_balancer(planner, ConditionType.STALLED).status
    planner.settle()
    assert planner.programmed("two") == (True, "Programmed", "All 3 ready pods serve the route.")
    assert planner.programmed("three")[2].startswith("0/3 pods")
    assert "All 3 ready pods serve the version in force." in of_balancer(planner).message
    # An edit counts from when it is served.
    planner.world.route("one", path="/other", generation=2)
    assert planner.programmed("one")[2].startswith("0/3 pods")
    planner.world.remove(Kind.ROUTE, "three", "team-a")
    planner.settle()
    assert planner.programmed("one")[0]
    assert of_balancer(planner).status


@pytest.mark.usefixtures("obstruct")
def test_who_starts_anew_says_what_is_not_known() -> None:
    planner = served()
    half_way(planner, promoted=True)
    planner.memo = PassMemo()
    status, _, message = planner.programmed("one")
    assert not status
    assert message.endswith("3 pods run what was made before the operator started, and may serve it already.")


@pytest.mark.usefixtures("obstruct")
def test_what_stands_follows_the_endpoints() -> None:
    """An address that has left may be another tenant's by now."""
    planner = served()
    planner.world.route("three", path="/three")
    planner.world.service("chat", "10.0.0.2", "10.0.0.7")
    plan = planner.plan()
    assert not plan.desired
    planner.world.commit(plan)
    text = planner.world.snapshot.config_maps[Key(SYSTEM, FILE)].data[FILE_KEY]
    assert "10.0.0.7:8080" in text
    assert "10.0.0.1:8080" not in text
    assert "three" not in text
    assert planner.plan().writes == ()
    # Where a route loses its last endpoint the others' leave all the same.
    planner.settle()
    planner.world.service("chat")
    assert planner.plan().writes == ()


@pytest.mark.usefixtures("obstruct")
def test_endpoints_keep_to_the_reload_budget_meanwhile() -> None:
    planner = served(reload={"minInterval": "60s", "maxDrainingGenerations": 64})
    planner.world.route("three", path="/three")
    planner.world.service("chat", "10.0.0.1", "10.0.0.2", "10.0.0.7")
    plan = planner.plan()
    assert rollout_writes(plan) == []
    assert 0 < plan.look_again <= 60
    planner.world.service("chat", "10.0.0.2")
    assert rollout_writes(planner.plan()), "a removal never waits"
    planner.world.service("chat", "10.0.0.1", "10.0.0.2", "10.0.0.7")
    planner.now += 61
    assert rollout_writes(planner.plan())


@pytest.mark.usefixtures("obstruct")
def test_a_version_that_its_canary_refuses_comes_not_in_force() -> None:
    planner = served()
    before = standing(planner)
    version = half_way(planner, promoted=False)
    planner.world.say("p0", version=before, failure=Failure(version, "test", "nginx: [emerg] no"))
    write(planner)
    assert (standing(planner), standing(planner, NEXT)) == (before, version)
    for pod in ("p1", "p2"):
        planner.world.say(pod, version=before, failure=Failure(version, "test", "nginx: [emerg] no"))
    assert planner.plan().writes == ()
    assert planner.programmed("one")[0]


@pytest.mark.usefixtures("obstruct")
def test_a_damaged_trial_is_put_back() -> None:
    planner = served()
    before = standing(planner)
    version = half_way(planner, promoted=False)
    known = planner.world.snapshot.config_maps[Key(SYSTEM, NEXT)]
    planner.world.version += 1
    meta = replace(known.meta, version=planner.world.version)
    planner.world.state.upsert(replace(known, meta=meta, data={FILE_KEY: "daemon on;\n"}))
    planner.memo = PassMemo()
    planner.world.say("p0", version=version)
    planner.settle()
    assert (standing(planner), standing(planner, NEXT)) == (before, "")


def test_a_rollout_goes_on_where_secrets_may_not_be_read() -> None:
    """Nor is a route told for that reason that nobody serves it."""
    planner = served()
    version = half_way(planner, promoted=True)
    planner.sights = {Key(SYSTEM, f"shared-tls-{number}"): Unseen.FORBIDDEN for number in range(4)}
    tls = {"certificates": [{"secretName": "chat"}]}
    planner.world.balancer(listeners=[{"name": "ws", "port": 8080, "protocol": "HTTPS", "tls": tls}])
    plan = planner.plan()
    assert not plan.desired
    planner.settle()
    assert standing(planner) == version
    assert planner.balancer_status()["pods"] == {"total": 3, "current": 3}


def test_a_dynamic_balancers_routes_are_served_from_the_tables_all_the_same() -> None:
    planner = served(2, dataPlane="Dynamic")
    planner.world.say("p0", "p1", version=standing(planner), table=planner.world.version)
    assert planner.programmed("one")[0]
    planner.world.pod("p2")
    planner.world.say("p2", version="", formats=())
    planner.world.say("p2", version=standing(planner), formats=(), table=planner.world.version)
    planner.world.balancer(dataPlane="Dynamic", requestHeaders=["X-Team"])
    plan = planner.plan()
    assert not plan.desired
    assert "can't read tables" in plan.obstacle
    status, reason, message = planner.programmed("one")
    assert (status, reason) == (False, "ConfigRejected"), "the headers that routes may set are others"
    assert "can't read tables" in message
    planner.world.balancer(dataPlane="Dynamic")
    assert planner.programmed("one")[0]
    assert "All 3 ready pods serve the version in force." in of_balancer(planner).message
