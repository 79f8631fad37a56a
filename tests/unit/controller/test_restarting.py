"""Strategy Restart: the step as a function, and passes and writes over a Deployment that does as it is told."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.world import SHARED, SYSTEM, TEAM, Planner, SmallWorld
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Deployment, Key, Meta, Pod, Progress
from wsroute.controller import generated, restarting
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.reconciler import status_targets
from wsroute.controller.restarting import Inputs, Refused, read_good, read_refused, restart_body
from wsroute.controller.rollout import InForce
from wsroute.controller.statuses import StatusKey
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.ir import RouteRef
from wsroute.nginx.quoting import EmitError

RELOAD = {"strategy": "Restart", "minInterval": "0s"}
DONE = Progress(observed=3, replicas=2, updated=2, available=2)
HALF = Progress(observed=3, replicas=3, updated=1, available=2)
STALLED = replace(HALF, is_stalled=True)
NO_LINE = 'nginx: [emerg] zero size shared memory zone "a"'


def deployment(version: str, progress: Progress, *, replicas: int = 2) -> Deployment:
    meta = Meta(Key(SYSTEM, "balancer"), "uid", 7, 3, "")
    return Deployment(meta, replicas, 2, {"app": "balancer"}, version, progress)


def pod(version: str, *, ready: bool, words: str = "", name: str = "p") -> Pod:
    meta = Meta(Key(SYSTEM, name), name, 1, 1, "")
    return Pod(meta, {}, (), ready=ready, terminating=False, version=version, init_failure=words)


def at_line(version: str) -> str:
    return f'nginx: [emerg] unknown directive "x" in /etc/nginx-generated/{version}.conf:7'


def inputs(**changes: Any) -> Inputs:
    """Version v1 has been rolled out, and is all that is wanted."""
    return replace(
        Inputs(
            wanted="v1",
            released="v1",
            in_force=InForce("v1", ()),
            good=None,
            refused=None,
            deployment=deployment("v1", DONE),
            pods=(pod("v1", ready=True),),
        ),
        **changes,
    )


def stands(given: Inputs) -> tuple[str, str | None, str | None]:
    """The version in force, the last good one, and the one that is refused."""
    step = restarting.step(given)
    return step.in_force.version, step.good, step.refused.version if step.refused is not None else None


def test_the_first_version_goes_out_at_once_and_is_good_once_all_pods_have_it() -> None:
    assert stands(inputs(in_force=None, deployment=deployment("", DONE))) == ("v1", None, None)
    assert stands(inputs()) == ("v1", "v1", None)


@pytest.mark.parametrize(
    "progress",
    [
        HALF,
        replace(DONE, observed=2),
        replace(DONE, available=1),
        replace(DONE, replicas=3),
    ],
)
def test_a_rollout_is_not_overtaken_while_it_goes_on(progress: Progress) -> None:
    given = inputs(wanted="v2", released="v2", good="v0", deployment=deployment("v1", progress))
    assert stands(given) == ("v1", "v0", None)


def test_nor_before_the_template_names_it() -> None:
    assert stands(inputs(wanted="v2", released="v2", good="v0", deployment=deployment("v0", DONE)))[0] == "v1"


def test_the_next_one_follows_when_it_is_done_or_when_there_are_no_pods() -> None:
    assert stands(inputs(wanted="v2", released="v2", good="v0")) == ("v2", "v1", None)
    empty = deployment("v1", Progress(observed=3), replicas=0)
    assert stands(inputs(wanted="v2", released="v2", deployment=empty, pods=())) == ("v2", None, None)
    assert stands(inputs(wanted="v2", released="v2", deployment=None, pods=())) == ("v2", None, None)


def test_what_stalls_is_taken_back_and_not_tried_again_until_another_version_is_wanted() -> None:
    words = pod("v2", ready=False, words=NO_LINE)
    v2 = inputs(wanted="v2", released="v2", in_force=InForce("v2", ()), good="v1", pods=(words,))
    # nginx's words alone may be that node's own trouble.
    assert stands(replace(v2, deployment=deployment("v2", HALF))) == ("v2", "v1", None)
    back = restarting.step(replace(v2, deployment=deployment("v2", STALLED)))
    assert (back.in_force.version, back.good, back.refused) == ("v1", "v1", Refused("v2", NO_LINE))
    assert back.failure == Failure("v2", "test", NO_LINE)
    assert not back.is_stall

    v1 = replace(v2, in_force=back.in_force, refused=back.refused, pods=())
    for seen in (deployment("v2", STALLED), deployment("v1", HALF), deployment("v1", DONE)):
        for released in ("v1", "v2"):  # while the budget holds the next reload, it is for what stands
            again = restarting.step(replace(v1, deployment=seen, released=released))
            assert again == back
    following = replace(v1, deployment=deployment("v1", DONE), wanted="v3", released="v1")
    assert stands(following) == ("v1", "v1", None)
    assert stands(replace(following, released="v3")) == ("v3", "v1", None)


def test_a_stall_without_a_word_of_nginx_says_where_to_look() -> None:
    given = inputs(in_force=InForce("v2", ()), wanted="v2", released="v2", good="v1")
    step = restarting.step(replace(given, deployment=deployment("v2", STALLED), pods=()))
    assert step.is_stall
    assert step.failure is not None
    assert "Deployment balancer made no progress" in step.failure.message


def test_a_stall_of_the_first_version_stays_and_is_told() -> None:
    step = restarting.step(inputs(deployment=deployment("v1", STALLED), pods=(pod("v1", ready=False, words=NO_LINE),)))
    assert (step.in_force.version, step.good, step.refused) == ("v1", None, None)
    assert step.failure == Failure("v1", "test", NO_LINE)


def test_a_refusal_at_a_line_is_taken_back_before_the_deadline_unless_something_else_is_wanted() -> None:
    bad = pod("v2", ready=False, words=at_line("v2"))
    v2 = inputs(
        wanted="v2",
        released="v2",
        in_force=InForce("v2", ()),
        good="v1",
        pods=(bad,),
        deployment=deployment("v2", HALF),
    )
    assert stands(v2) == ("v1", "v1", "v2")
    assert stands(replace(v2, wanted="v3", released="v3")) == ("v3", "v1", None)
    assert stands(replace(v2, wanted="v3")) == ("v2", "v1", None)  # the budget holds it


def test_what_pods_say() -> None:
    said = restarting.acknowledgements(
        [
            pod("v1", ready=True, name="a"),
            pod("v1", ready=False, name="b"),
            pod("v2", ready=False, words=at_line("v2"), name="c"),
            pod("v2", ready=False, words=NO_LINE, name="d"),
            pod("v2", ready=False, words=at_line("v1"), name="e"),
            pod("", ready=True, name="f"),
        ]
    )
    assert {name: (each.version, each.failure is not None) for name, each in said.items()} == {
        "a": ("v1", False),
        "b": ("", False),
        "c": ("", True),
        "d": ("", False),
        "e": ("", False),
    }


# --- passes and writes ---


class RestartWorld(SmallWorld):
    """Its Deployment replaces pods as it is told. ``refuse`` gives nginx's words on the version, or nothing."""

    def __init__(self) -> None:
        super().__init__(pods=0)
        self.balancer(reload=RELOAD)
        self.deployed("", DONE)
        self.service("chat", "10.0.0.1")
        self.generation = 3

    def deployed(self, version: str, progress: Progress) -> None:
        template = {"metadata": {"annotations": {names.VERSION_ANNOTATION: version}}}
        stalled = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        self.put(
            Kind.DEPLOYMENT,
            "balancer",
            SYSTEM,
            generation=3,
            spec={"replicas": 2, "selector": {"matchLabels": {"app": "balancer"}}, "template": template},
            status={
                "observedGeneration": progress.observed,
                "replicas": progress.replicas,
                "updatedReplicas": progress.updated,
                "availableReplicas": progress.available,
                "readyReplicas": 2,
                "conditions": [stalled] if progress.is_stalled else [],
            },
        )

    def replica(self, name: str, version: str, *, words: str = "") -> None:
        ended = {"exitCode": 1 if words else 0, "message": words}
        self.put(
            Kind.POD,
            name,
            SYSTEM,
            labels={"app": "balancer"},
            annotations={names.VERSION_ANNOTATION: version},
            status={
                "conditions": [{"type": "Ready", "status": "False" if words else "True"}],
                "initContainerStatuses": [{"state": {"waiting": {}}, "lastState": {"terminated": ended}}],
            },
        )

    def roll(self, version: str) -> None:
        """All pods get ready with a version."""
        self.deployed(version, DONE)
        for name in ("p0", "p1"):
            self.replica(name, version)
        if Key(SYSTEM, "p2") in self.snapshot.pods:
            self.remove(Kind.POD, "p2", SYSTEM)

    def stall(self, version: str, words: str) -> None:
        """One new pod does not get ready, and the old ones stay."""
        self.deployed(version, STALLED)
        self.replica("p2", version, words=words)


@pytest.fixture
def planner() -> Planner:
    """A balancer whose two pods have been rolled out."""
    world = RestartWorld()
    world.route("one")
    planner = Planner(world)
    rolled(planner)
    return planner


def world_of(planner: Planner) -> RestartWorld:
    assert isinstance(planner.world, RestartWorld)
    return planner.world


def written(planner: Planner) -> BalancerPlan:
    """Pass and write until only the Deployment is left to change."""
    for _ in range(5):
        plan = planner.plan()
        if not plan.writes:
            return plan
        planner.world.commit(plan)
        planner.now += 1.0
    raise AssertionError("no end")


def rolled(planner: Planner) -> str:
    """Until the Deployment has done all that it is told; returns the version."""
    for _ in range(5):
        plan = written(planner)
        if plan.restart is None:
            return plan.desired
        world_of(planner).roll(plan.restart.version)
    raise AssertionError("no end")


def standing(planner: Planner) -> tuple[str, str | None, Refused | None]:
    maps = planner.world.snapshot.config_maps
    nginx = maps[Key(SYSTEM, names.nginx_name(SHARED.name))]
    following = maps.get(Key(SYSTEM, names.next_name(SHARED.name)))
    return nginx.annotations[names.VERSION_ANNOTATION], read_good(following), read_refused(nginx)


def anew(planner: Planner) -> Planner:
    """Another operator leads, which remembers nothing."""
    other = Planner(planner.world)
    other.now, other.epoch = planner.now, planner.epoch + 1
    return other


def test_a_change_is_written_before_the_template_names_it_and_programmed_when_pods_have_it(planner: Planner) -> None:
    first = planner.plan().desired
    assert planner.programmed("one")[:2] == (True, "Programmed")
    planner.world.route("two")
    plan = planner.plan()
    assert [write.wanted.role for write in plan.writes][-1] == names.ROLE_NGINX
    plan = written(planner)
    assert plan.restart is not None
    body = restart_body(plan.restart)
    assert body["spec"] == {"template": {"metadata": {"annotations": {names.VERSION_ANNOTATION: plan.desired}}}}
    assert {"uid", "resourceVersion"} <= body["metadata"].keys()
    assert standing(planner) == (plan.desired, first, None)
    assert planner.programmed("two")[:2] == (False, "Pending")
    world_of(planner).deployed(plan.desired, HALF)
    assert planner.plan().restart is None
    world_of(planner).roll(plan.desired)
    written(planner)
    assert planner.programmed("two")[:2] == (True, "Programmed")
    assert standing(planner) == (plan.desired, plan.desired, None)


@pytest.mark.parametrize("changes_leader", [False, True])
def test_a_stall_is_put_back_from_the_objects_alone_and_the_next_edit_is_tried(
    planner: Planner, changes_leader: bool
) -> None:
    def leader(now: Planner) -> Planner:
        return anew(now) if changes_leader else now

    good = planner.plan().desired
    planner.world.route("two")
    planner = leader(planner)
    stalling = written(planner)
    assert stalling.restart is not None
    world_of(planner).stall(stalling.desired, NO_LINE)
    planner = leader(planner)
    back = written(planner)
    assert back.restart is not None
    assert back.restart.version == good
    assert standing(planner) == (good, good, Refused(stalling.desired, NO_LINE))
    planner = leader(planner)
    assert rolled(planner) == stalling.desired  # it is wanted, and not tried
    assert standing(planner) == (good, good, Refused(stalling.desired, NO_LINE))
    status, reason, message = planner.programmed("two")
    assert (status, reason) == (False, "ConfigRejected")
    assert "zero size shared memory zone" in message
    assert planner.programmed("one")[:2] == (True, "Programmed")

    planner.world.route("three")
    planner = leader(planner)
    wanted = rolled(planner)
    assert standing(planner) == (wanted, wanted, None)
    assert planner.programmed("three")[0]


def test_a_line_that_nginx_names_is_a_route_which_is_quarantined(planner: Planner) -> None:
    planner.world.route("two")
    plan = written(planner)
    [line] = [
        number for number in range(1, 2000) if planner.newest().lines.routes_at(number) == (RouteRef(TEAM, "two"),)
    ][:1]
    words = f'nginx: [emerg] unknown directive "x" in /etc/nginx-generated/{plan.desired}.conf:{line}'
    world_of(planner).stall(plan.desired, words)
    after = written(planner)
    assert set(after.refusals.quarantined) == {Key(TEAM, "two")}
    assert after.restart is not None
    assert after.restart.version == after.desired != plan.desired
    rolled(planner)
    assert planner.programmed("one")[0]
    assert planner.programmed("two")[:2] == (False, "ConfigRejected")


def test_the_interval_holds_restarts_also_the_removal_of_an_endpoint(planner: Planner) -> None:
    planner.world.balancer(reload={"strategy": "Restart", "minInterval": "1m"})
    planner.now += 100.0
    planner.world.service("chat", "10.0.0.1", "10.0.0.2")
    assert rolled(planner) == standing(planner)[0]
    before = standing(planner)
    planner.world.service("chat", "10.0.0.2")
    plan = written(planner)
    assert plan.restart is None
    assert standing(planner) == before
    assert plan.look_again == pytest.approx(60.0, abs=10.0)
    planner.now += 60.0
    assert rolled(planner) == standing(planner)[0] != before[0]


def test_from_agents_to_restarts_and_back(planner: Planner) -> None:
    """What agents have under canary is not good, and a good version is not under canary."""
    world = world_of(planner)
    good = planner.plan().desired
    world.balancer()
    for _ in range(3):
        planner.world.commit(planner.plan())
    world.say("p0", "p1", version=good)
    world.route("two")
    for _ in range(3):
        planner.world.commit(planner.plan())
    tried = planner.plan().before[1]
    assert tried is not None
    world.balancer(reload=RELOAD)
    written(planner)
    assert standing(planner)[1] == good != tried.version
    assert planner.plan().before[1] is None
    wanted = rolled(planner)
    assert standing(planner) == (wanted, wanted, None)


@pytest.mark.parametrize("changes_leader", [False, True])
def test_where_no_file_can_be_made_a_rollout_goes_on_and_what_stalls_is_put_back_for_good(
    planner: Planner, changes_leader: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def next_leader() -> Planner:
        return anew(planner) if changes_leader else planner

    def obstruct(*_: object, **__: object) -> None:
        raise EmitError("The balancer's own words are wrong.")

    good = planner.plan().desired
    planner.world.route("two")
    bad = written(planner).desired
    with monkeypatch.context() as patched:
        patched.setattr(generated, "make_file", obstruct)
        planner.world.route("three")
        planner = next_leader()
        plan = written(planner)
        assert (plan.desired, plan.restart is not None and plan.restart.version) == ("", bad)
        world_of(planner).stall(bad, NO_LINE)
        planner = next_leader()
        plan = written(planner)
        assert plan.restart is not None
        world_of(planner).roll(plan.restart.version)
        planner = next_leader()
        assert written(planner).restart is None
        assert standing(planner) == (good, good, Refused(bad, NO_LINE))
    planner.world.remove(Kind.ROUTE, "three", TEAM)
    plan = written(planner)
    assert (plan.desired, plan.restart) == (bad, None), "what stalled is not tried again"


def test_two_balancers_that_name_one_deployment_do_not_fight(planner: Planner) -> None:
    """Else each would replace all pods again and again."""
    older = SHARED
    younger = Key(SYSTEM, "a-second")
    planner.world.put(
        Kind.BALANCER,
        younger.name,
        SYSTEM,
        created="2026-02-01T00:00:00Z",
        spec={
            "dataPlane": "Static",
            "deploymentRef": {"name": "balancer"},
            "listeners": [{"name": "ws", "port": 8090, "protocol": "HTTP"}],
            "allowedRoutes": {"namespaces": {"from": "All"}, "hosts": ["*.example.org"]},
            "reload": RELOAD,
        },
    )
    planner.world.route("two")
    for _ in range(5):
        plans = planner.result().plans
        assert plans[younger].restart is None
        for plan in plans.values():
            planner.world.commit(plan)
        restart = plans[older].restart
        if restart is not None:
            world_of(planner).roll(restart.version)
    assert planner.programmed("two")[0]
    targets = status_targets(planner.result(), planner.memo)
    deployed = {
        key: next(each for each in targets[StatusKey(Kind.BALANCER, key)].conditions if each.type == "DeploymentReady")
        for key in (older, younger)
    }
    assert deployed[older].status
    assert not deployed[younger].status
    assert str(deployed[younger].reason) == "DeploymentTaken"
    assert "is that of the WebSocketBalancer shared, which is older" in deployed[younger].message
    # A slip in the older one changes nothing.
    planner.world.balancer(listeners=[], deploymentRef={"name": "balancer"}, reload=RELOAD)
    plans = planner.result().plans
    assert plans[older].node.spec is None
    assert plans[younger].restart is None
    # It gets the Deployment when the older one lets go of it.
    planner.world.remove(Kind.BALANCER, older.name, SYSTEM)
    assert planner.result().plans[younger].restart is not None
