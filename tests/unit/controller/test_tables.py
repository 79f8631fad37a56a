"""The tables of a Dynamic balancer: which ConfigMaps are written when, and what routes are told of it."""

import pytest

from tests.support.world import SHARED, SYSTEM, TEAM, Planner, SmallWorld
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.controller import tables
from wsroute.controller.plan import BalancerPlan
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import digest
from wsroute.dataplane.shards import TABLE_KEY, parse_groups, parse_hosts

HOSTS, ENDPOINTS, FILE = "shared-table-r0", "shared-table-e0", "shared-nginx"


def dynamic(*routes: str, pods: int = 2) -> Planner:
    """A Dynamic balancer with routes to a Service ``chat``."""
    world = SmallWorld(pods=pods)
    world.balancer(dataPlane="Dynamic")
    world.service("chat", "10.0.0.1")
    for name in routes:
        world.route(name)
    return Planner(world)


def stages(plan: BalancerPlan) -> list[list[str]]:
    """The names of what is written, but the state, which is written with the first."""
    told = [
        [write.wanted.key.name for write in stage if write.wanted.role != names.ROLE_STATE] for stage in plan.stages
    ]
    return [stage for stage in told if stage]


def found(planner: Planner, name: str) -> ConfigMap:
    return planner.world.snapshot.config_maps[Key(SYSTEM, name)]


def groups(planner: Planner, name: str = ENDPOINTS) -> dict[str, list[str]]:
    """The endpoints by their group, as they are published."""
    parsed = parse_groups(found(planner, name).data[TABLE_KEY])
    return {group.name: [str(address) for address in group.addresses] for group in parsed}


def hosts(planner: Planner, name: str = HOSTS) -> list[str]:
    return [host.host for host in parse_hosts(found(planner, name).data[TABLE_KEY])]


def newest(planner: Planner) -> int:
    """The resourceVersion of the last write."""
    return planner.world.version


def have(planner: Planner, *pods: str, table: int | None = None, trouble: str = "") -> None:
    """Have pods say that their nginx has the file in force and these tables; the newest ones when not told which."""
    version = found(planner, FILE).annotations[names.VERSION_ANNOTATION]
    said = newest(planner) if table is None else table
    planner.world.say(*(pods or ("p0", "p1")), version=version, table=said, trouble=trouble)


def served(*routes: str) -> Planner:
    """A Dynamic balancer whose pods have all that is published."""
    planner = dynamic(*routes)
    planner.settle()
    have(planner)
    return planner


# --- what is written ---


def test_tables_are_written_before_the_file_and_endpoints_before_hosts() -> None:
    assert stages(dynamic("a").plan()) == [[ENDPOINTS], [HOSTS], [FILE]]


def test_the_file_holds_no_route_and_says_what_it_looks_up() -> None:
    planner = served("a")
    file = found(planner, FILE)
    assert "a.example.com" not in file.data["nginx.conf"]
    (script,) = file.data.keys() - {"nginx.conf"}
    assert script in file.data["nginx.conf"]
    assert file.annotations[names.TABLE_FORMAT_ANNOTATION] == "1"


def test_a_balancer_without_routes_has_whole_tables() -> None:
    planner = served()
    assert hosts(planner) == []
    assert groups(planner) == {}


def test_a_part_says_what_it_is() -> None:
    part = found(served("a"), HOSTS)
    assert part.annotations[names.SHARD_ANNOTATION] == "r 0/1"
    assert part.annotations[names.TABLE_FORMAT_ANNOTATION] == "1"
    assert part.labels == {
        names.BALANCER_LABEL: "shared",
        names.ROLE_LABEL: names.ROLE_TABLE,
        "app.kubernetes.io/managed-by": "wsroute",
    }


def test_nothing_to_do_is_nothing_written() -> None:
    planner = served("a", "b")
    assert planner.plan().writes == ()
    planner.memo = type(planner.memo)()
    assert planner.plan().writes == ()


def test_a_change_of_endpoints_is_one_write() -> None:
    planner = served("a")
    planner.world.service("chat", "10.0.0.1", "10.0.0.2")
    plan = planner.plan()
    assert stages(plan) == [[ENDPOINTS]]
    planner.world.commit(plan)
    assert groups(planner) == {"team-a/chat:80": ["10.0.0.1:8080", "10.0.0.2:8080"]}
    assert planner.plan().writes == ()


def test_a_group_stays_until_no_published_host_names_it() -> None:
    planner = served("a")
    planner.world.service("other", "10.0.0.9")
    planner.world.route("a", service="other", generation=2)
    plan = planner.plan()
    assert stages(plan) == [[ENDPOINTS], [HOSTS]]
    planner.world.commit(plan)
    assert set(groups(planner)) == {"team-a/chat:80", "team-a/other:80"}
    plan = planner.plan()
    assert stages(plan) == [[ENDPOINTS]]
    planner.world.commit(plan)
    assert set(groups(planner)) == {"team-a/other:80"}
    assert planner.plan().writes == ()


def test_of_a_group_that_stands_in_two_parts_the_one_that_was_written_last_counts() -> None:
    """As when a leader that made more parts was cut off halfway."""
    planner = served("a")
    first = found(planner, ENDPOINTS)
    text = first.data[TABLE_KEY].replace("10.0.0.1", "10.0.0.7")
    annotations = {**first.annotations, names.SHARD_ANNOTATION: "e 1/2", names.DIGEST_ANNOTATION: digest(text.encode())}
    planner.world.put(
        Kind.CONFIG_MAP,
        "shared-table-e1",
        SYSTEM,
        labels=dict(first.labels),
        annotations=annotations,
        data={TABLE_KEY: text},
    )
    planner.world.service("other", "10.0.0.9")
    planner.world.route("a", service="other", generation=2)
    planner.world.commit(planner.plan())
    assert groups(planner)["team-a/chat:80"] == ["10.0.0.7:8080"]


def test_while_hosts_can_not_be_read_every_group_stays() -> None:
    planner = served("a")
    damage(planner, HOSTS, "host {")
    planner.world.remove(Kind.ROUTE, "a", TEAM)
    plan = planner.plan()
    assert stages(plan) == [[HOSTS]]
    planner.world.commit(plan)
    planner.settle()
    assert groups(planner) == {}


def damage(planner: Planner, name: str, text: str) -> None:
    """What a hand does to a part."""
    known = found(planner, name)
    labels, annotations = dict(known.labels), dict(known.annotations)
    planner.world.put(Kind.CONFIG_MAP, name, SYSTEM, labels=labels, annotations=annotations, data={TABLE_KEY: text})


@pytest.mark.parametrize("text", ["", "host {", "\x00"])
def test_what_a_hand_does_to_a_part_is_undone(text: str) -> None:
    planner = served("a")
    before = found(planner, HOSTS).data
    damage(planner, HOSTS, text)
    planner.world.commit(planner.plan())
    assert found(planner, HOSTS).data == before


def test_a_part_that_was_deleted_is_made_anew() -> None:
    planner = served("a")
    planner.world.state.delete(Kind.CONFIG_MAP, Key(SYSTEM, HOSTS), found(planner, HOSTS).meta.uid)
    assert stages(planner.plan()) == [[HOSTS]]


def test_a_part_of_somebody_else_is_no_part() -> None:
    planner = served("a")
    planner.world.put(Kind.CONFIG_MAP, "shared-table-r1", SYSTEM, labels={}, data={TABLE_KEY: "x"})
    assert planner.plan().writes == ()


def test_a_new_leader_writes_every_part_anew() -> None:
    planner = served("a")
    planner.epoch = 2
    assert {name for stage in stages(planner.plan()) for name in stage} >= {ENDPOINTS, HOSTS, FILE}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that a few routes fill."""
    monkeypatch.setattr(tables, "PART_BYTES", 2_000)


@pytest.mark.usefixtures("small_parts")
def test_where_a_part_would_be_too_large_there_are_more_and_the_first_is_written_last() -> None:
    planner = served("a")
    for number in range(20):
        planner.world.route(f"r{number}")
    plan = planner.plan()
    written = stages(plan)
    (others,) = [stage for stage in written if "shared-table-r1" in stage]
    assert written[written.index(others) + 1] == [HOSTS]
    planner.settle()
    count = int(found(planner, HOSTS).annotations[names.SHARD_ANNOTATION].partition("/")[2])
    parts = [f"shared-table-r{index}" for index in range(count)]
    assert sorted(host for part in parts for host in hosts(planner, part)) == sorted(
        f"{name}.example.com" for name in ("a", *(f"r{number}" for number in range(20)))
    )
    assert all(len(found(planner, part).data[TABLE_KEY]) <= 2_000 for part in parts)


@pytest.mark.usefixtures("small_parts")
def test_parts_that_are_not_needed_any_more_are_emptied_at_last() -> None:
    planner = served("a", *(f"r{number}" for number in range(20)))
    grown = [key.name for key in planner.world.snapshot.config_maps if key.name.startswith("shared-table-r")]
    for number in range(20):
        planner.world.remove(Kind.ROUTE, f"r{number}", TEAM)
    written = stages(planner.plan())
    left = [name for name in grown if name not in written[-1]]
    assert HOSTS in left
    assert len(left) < len(grown)
    planner.settle()
    assert [host for name in left for host in hosts(planner, name)] == ["a.example.com"]
    assert all(not found(planner, name).data[TABLE_KEY] for name in written[-1])
    assert planner.plan().writes == ()


# --- from one data plane to the other ---


def test_a_balancer_that_becomes_dynamic_gets_its_tables_first() -> None:
    planner = dynamic("a")
    planner.world.balancer()
    planner.settle()
    planner.world.balancer(dataPlane="Dynamic")
    assert stages(planner.plan()) == [[ENDPOINTS], [HOSTS], ["shared-nginx-next"]]


def test_tables_are_kept_up_for_as_long_as_a_pod_has_them() -> None:
    planner = served("a")
    planner.world.balancer()
    planner.world.service("chat", "10.0.0.2")
    plan = planner.plan()
    assert stages(plan)[0] == [ENDPOINTS]
    planner.world.commit(plan)
    have(planner)
    planner.world.commit(planner.plan())
    assert groups(planner) == {"team-a/chat:80": ["10.0.0.2:8080"]}
    planner.settle()  # the pods run the other file by the end of this, and say so
    assert (groups(planner), hosts(planner)) == ({}, [])
    assert planner.programmed("a")[0]


def test_tables_stay_while_the_balancer_is_not_valid() -> None:
    planner = served("a")
    planner.world.balancer(dataPlane="Dynamic", listeners=[])
    planner.world.service("chat", "10.0.0.2")
    assert planner.plan().writes == ()
    planner.epoch = 2
    assert {ENDPOINTS, HOSTS} <= {name for stage in stages(planner.plan()) for name in stage}


def test_agents_that_can_not_read_tables_get_none() -> None:
    planner = dynamic("a")
    planner.world.balancer()
    planner.settle()
    version = found(planner, FILE).annotations[names.VERSION_ANNOTATION]
    planner.world.say("p0", version=version)
    planner.world.say("p1", version=version, formats=())
    planner.world.balancer(dataPlane="Dynamic")
    plan = planner.plan()
    assert plan.obstacle.startswith("The agent of pod p1 can't read tables of format 1")
    assert stages(plan) == [[ENDPOINTS], [HOSTS]]
    planner.world.say("p1", version=version)
    planner.settle()
    have(planner)
    assert planner.programmed("a")[0]


# --- what routes are told ---


def test_a_route_is_programmed_once_every_ready_pod_has_its_records() -> None:
    planner = served("a")
    assert planner.programmed("a") == (True, "Programmed", "All 2 ready pods serve the route.")
    before = newest(planner)
    planner.world.route("b")
    assert planner.programmed("b") == (False, "Pending", "0/2 pods serve the route.")
    planner.settle()
    have(planner, "p0", table=before)
    have(planner, "p1")
    assert planner.programmed("b") == (False, "Pending", "1/2 pods serve the route.")
    have(planner)
    assert planner.programmed("b")[0]


def test_a_neighbours_change_says_nothing_of_a_route() -> None:
    planner = served("a")
    planner.world.route("b")
    planner.world.service("chat", "10.0.0.3")
    assert planner.programmed("a")[0]
    planner.settle()
    assert planner.programmed("a")[0]
    assert not planner.programmed("b")[0]


def test_which_endpoints_there_are_says_nothing_of_a_route_but_whether_there_are_any_does() -> None:
    """Ready would be told else while pods answer with 503."""
    planner = dynamic("a", "b")
    planner.world.service("chat")
    planner.settle()
    have(planner)
    assert planner.programmed("a")[0]
    planner.world.service("chat", "10.0.0.1")
    assert planner.programmed("a") == (False, "Pending", "0/2 pods serve the route."), "it is not even written"
    planner.settle()
    have(planner, "p0")
    assert planner.programmed("a") == (False, "Pending", "1/2 pods serve the route.")
    have(planner)
    assert planner.programmed("a")[0]
    assert planner.programmed("b")[0]
    for addresses in (("10.0.0.2",), ("10.0.0.2", "10.0.0.3")):
        planner.world.service("chat", *addresses)
        assert planner.programmed("a")[0]
        planner.settle()
        assert planner.programmed("a")[0]
    planner.world.service("chat")
    planner.settle()
    assert not planner.programmed("a")[0]
    have(planner)
    assert planner.programmed("a")[0]


@pytest.mark.usefixtures("small_parts")
def test_neither_does_a_change_that_moves_it_into_another_part() -> None:
    names = [f"chat-{number}" for number in range(12)]
    planner = served(*names[:2])
    parts = len(planner.world.snapshot.config_maps)
    for name in names[2:]:
        planner.world.route(name)
    planner.world.service("chat", "10.0.0.2")
    planner.settle()
    assert len(planner.world.snapshot.config_maps) > parts
    assert all(planner.programmed(name)[0] for name in names[:2])
    assert not any(planner.programmed(name)[0] for name in names[2:])


def test_an_edit_is_pending_until_it_is_there() -> None:
    planner = served("a")
    planner.world.route("a", path="/other", generation=2)
    assert not planner.programmed("a")[0]
    planner.settle()
    assert not planner.programmed("a")[0]
    have(planner)
    assert planner.programmed("a")[0]


def test_what_a_route_gives_up_counts_too() -> None:
    planner = served()
    spec = {
        "balancerRef": {"name": "shared", "namespace": SYSTEM},
        "hosts": ["a.example.com", "b.example.com"],
        "paths": [{"path": "/ws", "backends": [{"service": "chat", "port": 80}]}],
    }
    planner.world.put(Kind.ROUTE, "a", TEAM, spec=spec)
    planner.settle()
    have(planner)
    assert planner.programmed("a")[0]
    planner.world.put(Kind.ROUTE, "a", TEAM, spec={**spec, "hosts": ["a.example.com"]}, generation=2)
    assert not planner.programmed("a")[0]
    planner.settle()
    assert not planner.programmed("a")[0]
    have(planner)
    assert planner.programmed("a")[0]


def test_after_a_restart_of_the_operator_what_stands_is_known_at_once() -> None:
    planner = served("a")
    planner.memo = type(planner.memo)()
    assert planner.programmed("a")[0]


def test_a_pod_that_has_the_tables_but_not_the_file_serves_nothing() -> None:
    planner = served("a")
    planner.world.say("p1", version="other", table=newest(planner))
    assert planner.programmed("a") == (False, "Pending", "1/2 pods serve the route.")


def test_another_file_is_no_obstacle_while_it_gives_the_route_what_it_needs() -> None:
    planner = served("a")
    planner.world.balancer(dataPlane="Dynamic", nginx={"workerConnections": 4096})
    planner.plan()
    assert planner.programmed("a")[0]
    listeners = [{"name": name, "port": port, "protocol": "HTTP"} for name, port in (("ws", 8080), ("more", 8090))]
    planner.world.balancer(dataPlane="Dynamic", listeners=listeners)
    planner.plan()
    assert not planner.programmed("a")[0]


def test_an_agents_trouble_is_told() -> None:
    planner = served("a")
    planner.world.route("b")
    planner.settle()
    have(planner, "p0")
    have(planner, "p1", table=1, trouble="The table is full.")
    assert planner.programmed("b") == (
        False,
        "Pending",
        "1/2 pods serve the route. Pod p1: The table is full.",
    )


def test_the_balancer_tells_of_its_file_alone() -> None:
    planner = served("a")
    assert planner.balancer_status()["pods"] == {"total": 2, "current": 2}
    planner.world.route("b")
    planner.settle()
    assert planner.balancer_status()["pods"] == {"total": 2, "current": 2}
    have(planner, "p0", table=0)
    assert planner.balancer_status()["pods"] == {"total": 2, "current": 1}


def test_the_plan_of_a_balancer_names_its_tables_only_while_it_is_dynamic() -> None:
    planner = served("a")
    assert planner.result().plans[SHARED].tables is not None
    planner.world.balancer()
    assert planner.result().plans[SHARED].tables is None


# --- what is remembered ---


def test_a_host_stays_its_owners_when_the_state_is_deleted() -> None:
    planner = served("a")
    planner.world.state.delete(Kind.CONFIG_MAP, Key(SYSTEM, "shared-state"), found(planner, "shared-state").meta.uid)
    planner.world.put(Kind.NAMESPACE, "team-b", "")
    planner.world.remove(Kind.ROUTE, "a", TEAM)
    planner.world.route("b", namespace="team-b", host="a.example.com", created="2020-01-01T00:00:00Z")
    planner.memo = type(planner.memo)()
    graph = planner.result().graph
    (problem,) = graph.routes[Key("team-b", "b")].acceptance_problems
    assert problem.reason == "HostConflict"


def test_another_data_plane_is_no_removal_of_endpoints() -> None:
    """Removals never wait for the reload budget; a change of the balancer does."""
    planner = dynamic("a")
    planner.world.balancer(reload={"minInterval": "1h", "drainTimeout": "2h"})
    planner.settle()
    planner.now = 10.0
    planner.world.balancer(dataPlane="Dynamic", reload={"minInterval": "1h", "drainTimeout": "2h"})
    plan = planner.plan()
    assert plan.released is not None
    assert plan.released.hold is not None
    assert stages(plan) == [[ENDPOINTS], [HOSTS]]


def test_what_nginx_refused_in_a_file_is_tried_in_the_tables() -> None:
    planner = dynamic("a")
    planner.world.balancer()
    planner.settle()
    planner.world.route("b")
    plan = planner.plan()
    planner.world.commit(plan)
    line = next(
        number
        for number, text in enumerate(planner.newest().file.bundle.data["nginx.conf"].splitlines(), 1)
        if "b.example.com" in text and "server_name" in text
    )
    words = f"nginx: [emerg] no in /etc/wsroute/{plan.desired}.conf:{line}"
    before = plan.before[0]
    assert before is not None
    planner.world.say("p0", version=before.version, failure=Failure(plan.desired, "test", words))
    planner.settle()
    assert planner.programmed("b")[1] == "ConfigRejected"
    planner.world.balancer(dataPlane="Dynamic")
    planner.settle()
    have(planner)
    assert planner.programmed("b")[0]
