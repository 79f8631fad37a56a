"""A pass as a pure function: what is planned, what is said of the pods, and that memos change nothing but the time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.world import SHARED, SYSTEM, TEAM, Planner, SmallWorld, rollout_writes
from wsroute.api.conditions import ConditionType, Reason
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller import generated
from wsroute.controller.definition import Definition, Trust
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.reconciler import PassMemo, status_targets
from wsroute.controller.rollout import SILENCE, InForce, Trial
from wsroute.controller.statuses import StatusKey
from wsroute.controller.versions import REMEMBERED, Versions
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import FILE_KEY, BundleError


@pytest.fixture
def planner() -> Planner:
    world = SmallWorld()
    world.service("chat", "10.0.0.1", "10.0.0.2")
    world.route("one")
    return Planner(world)


def text(plan: BalancerPlan) -> str:
    return rollout_writes(plan)[0].wanted.data[FILE_KEY]


def test_the_first_version_is_put_in_force_and_holds_the_endpoints(planner: Planner) -> None:
    plan = planner.plan()
    assert [write.wanted.key.name for write in plan.writes] == ["shared-state", "shared-nginx"]
    assert "10.0.0.1:8080" in text(plan)
    assert plan.decision is not None
    assert plan.decision.in_force == InForce(plan.desired, ("*",))
    assert planner.programmed("one")[:2] == (False, "Pending")


def test_once_all_ready_pods_have_acknowledged_it_is_programmed_and_nothing_is_left_to_write(planner: Planner) -> None:
    planner.world.commit(planner.plan())
    planner.world.say("p0", version=planner.plan().desired)
    assert planner.programmed("one") == (False, "Pending", "1/2 pods serve the route.")
    planner.world.say("p1", version=planner.plan().desired)
    assert planner.programmed("one")[0]
    assert planner.plan().writes == ()


def test_a_new_route_goes_through_a_canary_and_takes_nothing_away_from_the_others(planner: Planner) -> None:
    before = planner.settle()
    planner.world.route("two", path="/other")
    plan = planner.plan()
    assert plan.decision is not None
    assert plan.decision.trial == Trial(plan.desired, "p0")
    assert plan.decision.in_force == InForce(before.desired, ("*",))
    assert planner.programmed("one")[0]
    assert planner.programmed("two")[:2] == (False, "Pending")
    planner.settle()
    assert planner.programmed("two")[0]


def test_changed_endpoints_need_no_canary_and_leave_programmed_as_it_is(planner: Planner) -> None:
    planner.settle()
    planner.world.service("chat", "10.0.0.9")
    plan = planner.plan()
    assert [write.wanted.key.name for write in plan.writes] == ["shared-nginx"]
    assert plan.decision is not None
    assert plan.decision.in_force == InForce(plan.desired, ("*",))
    assert "10.0.0.9" in text(plan)
    planner.world.commit(plan)
    assert planner.programmed("one")[0]


def test_a_silent_pod_does_not_serve_newer_endpoints_for_ever(planner: Planner) -> None:
    planner.settle()
    planner.world.service("chat", "10.0.0.9")
    planner.world.commit(planner.plan())
    planner.plan()
    planner.now += SILENCE
    assert planner.programmed("one")[:2] == (False, "Pending")


def test_the_last_endpoint_going_away_is_structural(planner: Planner) -> None:
    planner.settle()
    planner.world.service("chat")
    plan = planner.plan()
    assert plan.decision is not None
    assert plan.decision.trial is not None


def test_a_pod_that_is_ready_without_a_word_takes_programmed_away(planner: Planner) -> None:
    planner.settle()
    planner.world.pod("p9")
    assert planner.programmed("one") == (False, "Pending", "2/3 pods serve the route.")


def test_a_version_of_another_replica_counts_as_different_until_it_is_the_desired_one(planner: Planner) -> None:
    planner.settle()
    fresh = Planner(planner.world)
    assert fresh.programmed("one")[0]
    planner.world.service("chat", "10.0.0.9")
    other = Planner(planner.world)
    plan = other.plan()
    assert plan.decision is not None
    assert plan.decision.trial is not None, "unknown versions go through a canary"
    assert not other.programmed("one")[0]


def test_what_the_machine_could_not_do_is_nobodys_fault_and_nginx_words_stand_where_it_is_missed(
    planner: Planner,
) -> None:
    planner.settle()
    planner.world.route("two", path="/other")
    plan = planner.plan()
    planner.world.commit(plan)
    words = "2026/01/31 12:00:00 [emerg] 7#7: mmap(MAP_ANON|MAP_SHARED, 8388608) failed (12: Cannot allocate memory)"
    in_force = plan.before[0]
    assert in_force is not None
    for pod in ("p0", "p1"):
        planner.world.say(pod, version=in_force.version, failure=Failure(plan.desired, "load", words))
    status, reason, message = planner.programmed("two")
    assert (status, reason) == (False, "ConfigRejected")
    assert "Cannot allocate memory" in message
    assert planner.programmed("one")[0]
    assert planner.plan().desired == plan.desired


def test_no_ready_pod_is_said_as_such(planner: Planner) -> None:
    planner.settle()
    for name in ("p0", "p1"):
        planner.world.pod(name, ready=False)
    assert planner.programmed("one")[:2] == (False, "NoBalancerPods")


def test_a_damaged_trial_is_not_promoted(planner: Planner) -> None:
    planner.settle()
    planner.world.route("two")
    trial = planner.plan()
    planner.world.commit(trial)
    wanted = rollout_writes(trial)[0].wanted
    planner.world.put(
        Kind.CONFIG_MAP,
        wanted.key.name,
        SYSTEM,
        labels=wanted.labels,
        annotations=wanted.annotations,
        data={FILE_KEY: "daemon on;\n"},
    )
    planner.world.route("three")
    planner.world.say("p0", version=trial.desired)
    plan = planner.plan()
    assert all("daemon on" not in str(write.wanted.data) for write in plan.writes)


def test_an_obstacle_leaves_what_stands_and_is_told_by_the_balancer(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner.settle()

    def too_large(*_: object, **__: object) -> None:
        raise BundleError("The configuration has too many bytes.")

    monkeypatch.setattr(generated, "make_file", too_large)
    planner.world.route("two")
    plan = planner.plan()
    assert rollout_writes(plan) == []
    targets = status_targets(planner.result(), planner.memo)
    conditions = {c.type: c for c in targets[StatusKey(Kind.BALANCER, SHARED)].conditions}
    assert not conditions[ConditionType.PROGRAMMED].status
    assert "too many bytes" in conditions[ConditionType.PROGRAMMED].message
    assert conditions[ConditionType.STALLED].status
    assert not planner.programmed("two")[0]


def test_a_new_leader_puts_its_epoch_on_everything_also_where_it_can_make_nothing(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a write that an older leader has under way would still meet the version of the object that it knows."""
    planner.settle()
    planner.world.route("two")
    planner.world.commit(planner.plan())  # a canary is under way
    stood = {key.name: config_map.data for key, config_map in planner.world.snapshot.config_maps.items()}

    def too_large(*_: object, **__: object) -> None:
        raise BundleError("The configuration has too many bytes.")

    monkeypatch.setattr(generated, "make_file", too_large)
    planner.world.route("three")
    planner.epoch = 2
    plan = planner.plan()
    assert {write.wanted.role for write in plan.writes} == {names.ROLE_STATE, names.ROLE_NGINX, names.ROLE_NEXT}
    for write in plan.writes:
        assert write.wanted.annotations[names.EPOCH_ANNOTATION] == "2"
    for write in rollout_writes(plan):
        assert write.wanted.data == stood[write.wanted.key.name]
    planner.world.commit(plan)
    assert planner.plan().writes == ()


def held(planner: Planner) -> str:
    """What the balancer says of routes that are held, empty when it says nothing."""
    targets = status_targets(planner.result(), planner.memo)
    conditions = {c.type: c for c in targets[StatusKey(Kind.BALANCER, SHARED)].conditions}
    programmed, stalled = conditions[ConditionType.PROGRAMMED], conditions[ConditionType.STALLED]
    if programmed.reason is not Reason.ROUTES_HELD:
        return ""
    assert not programmed.status
    assert stalled.status
    return programmed.message


def test_the_version_in_force_says_whose_routes_it_serves(planner: Planner) -> None:
    planner.trust = Trust().look(Definition(1, "a"))
    planner.settle()
    stands = planner.world.snapshot.config_maps[Key(SYSTEM, "shared-nginx")]
    assert stands.annotations[names.DEFINITION_ANNOTATION] == "a"
    assert held(planner) == ""


def test_held_routes_are_served_on_with_their_endpoints_and_the_balancer_says_so(planner: Planner) -> None:
    planner.trust = Trust().look(Definition(1, "a"))
    planner.settle()
    planner.trust = planner.trust.look(Definition(2))
    assert "go on being served" in held(planner)
    planner.world.service("chat", "10.0.0.9")
    plan = planner.plan()
    assert "10.0.0.9" in text(plan)
    assert plan.writes[0].wanted.annotations[names.DEFINITION_ANNOTATION] == "a"


def test_who_never_knew_the_routes_of_the_version_in_force_leaves_it_as_it_is(planner: Planner) -> None:
    planner.trust = Trust().look(Definition(1, "a"))
    planner.settle()
    planner.memo, planner.trust = PassMemo(), Trust().look(Definition(2, "b"))
    planner.world.remove(Kind.ROUTE, "one", TEAM)
    assert planner.plan().writes == ()
    assert "nothing changes" in held(planner)
    planner.trust = planner.trust.look(Definition(3, "b", accepted="b"))
    assert held(planner) == ""
    plan = planner.plan()
    assert plan.writes
    planner.settle()
    stands = planner.world.snapshot.config_maps[Key(SYSTEM, "shared-nginx")]
    assert stands.annotations[names.DEFINITION_ANNOTATION] == "b"


def test_an_invalid_balancer_keeps_what_it_has(planner: Planner) -> None:
    planner.settle()
    planner.world.balancer(listeners=[{"name": "ws", "port": 80, "protocol": "HTTP"}])
    plan = planner.plan()
    assert plan.writes == ()
    assert plan.desired == ""


def test_a_config_map_without_our_label_is_not_read(planner: Planner) -> None:
    planner.world.put(
        Kind.CONFIG_MAP,
        "shared-nginx",
        SYSTEM,
        labels={"wsroute.dev/balancer": "other"},
        annotations={"wsroute.dev/version": "0123456789ab", "wsroute.dev/pods": "*"},
    )
    plan = planner.plan()
    assert plan.before == (None, None)
    assert all(write.known is None for write in plan.writes)


def test_answers_of_pods_that_are_not_there_are_named(planner: Planner) -> None:
    planner.world.say("p0", "gone", version="0123456789ab")
    assert planner.plan().gone == {"gone"}


def test_unchanged_statuses_are_the_same_objects(planner: Planner) -> None:
    planner.settle()
    first = status_targets(planner.result(), planner.memo)
    second = status_targets(planner.result(), planner.memo)
    assert all(first[key] is second[key] for key in first)


def test_an_answer_alone_builds_no_new_graph(planner: Planner) -> None:
    planner.world.commit(planner.plan())
    before = planner.result()
    planner.world.say("p0", version=before.plans[SHARED].desired)
    after = planner.result()
    assert after.graph is before.graph
    assert after.plans[SHARED].pods != before.plans[SHARED].pods
    planner.world.route("two")
    assert planner.result().graph is not before.graph


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("route"), st.integers(0, 4)),
        st.tuples(st.just("path"), st.integers(0, 4)),
        st.tuples(st.just("delete"), st.integers(0, 4)),
        st.tuples(st.just("endpoints"), st.integers(0, 5)),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(STEPS)
def test_whatever_happened_before_the_same_objects_give_the_same_bytes(steps: list[tuple[str, int]]) -> None:
    world = SmallWorld()
    world.service("chat", "10.0.0.1")
    planner = Planner(world)
    for generation, (step, n) in enumerate(steps, 2):
        match step:
            case "route":
                world.route(f"r{n}", generation=generation)
            case "path":
                world.route(f"r{n}", path=f"/p{generation}", generation=generation)
            case "delete":
                known = world.snapshot.routes.get(Key(TEAM, f"r{n}"))
                if known is not None:
                    # A deleted uid never comes back, so the world forgets the object by a list.
                    rest = [route for key, route in world.snapshot.routes.items() if key != known.meta.key]
                    world.state.replace(Kind.ROUTE, rest, -1)
                    world.revision += 1
                    world.state._stores[Kind.ROUTE].deleted.clear()
            case "endpoints":
                world.service("chat", *(f"10.0.0.{number}" for number in range(1, n + 1)))
            case _:
                planner.settle()
        fresh = Planner(world)
        assert planner.plan().desired == fresh.plan().desired
        assert planner.newest().file == fresh.newest().file


def test_only_so_many_versions_are_remembered(planner: Planner) -> None:
    planner.plan()
    made = planner.newest()
    versions = Versions()
    for number in range(REMEMBERED * 3):
        versions.add(str(number), made.configuration)
    assert len(versions) == REMEMBERED
    assert versions.akin(str(REMEMBERED * 3 - 1)) == {str(n) for n in range(REMEMBERED * 2, REMEMBERED * 3)}
    assert versions.akin("unknown") == {"unknown"}
