"""A host of a Dynamic balancer is put on record after it is published. A leader that ends in between leaves a part of
the table behind from which the next one knows whose the host is."""

import pytest

from tests.support.world import SHARED, SYSTEM, TEAM, Planner, SmallWorld
from wsroute.cluster.balancer_state import HostClaim, read_state
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.reconciler import PassMemo
from wsroute.dataplane import names
from wsroute.dataplane.shards import TABLE_KEY, parse_hosts
from wsroute.graph.claims import HOLD

HOST = "new.example.com"
STATE, HOSTS, GROUPS = "shared-state", "shared-table-r0", "shared-table-e0"


@pytest.fixture
def planner() -> Planner:
    """A balancer that serves one route, and that has just been given another one, on a host of its own."""
    world = SmallWorld()
    world.balancer(dataPlane="Dynamic")
    world.service("chat", "10.0.0.1")
    world.route("a")
    planner = Planner(world)
    planner.settle()
    world.route("new", created="2026-03-01T00:00:00Z")
    return planner


def stages(plan: BalancerPlan) -> list[set[str]]:
    return [{write.wanted.key.name for write in stage} for stage in plan.stages]


def write(planner: Planner, *written: str) -> None:
    """Have only some of what is planned written."""
    plan = planner.plan()
    assert {each.wanted.key.name for each in plan.writes} >= set(written)
    for each in plan.writes:
        if each.wanted.key.name in written:
            planner.world.write(each)


def rival(planner: Planner, host: str = HOST) -> None:
    """Another namespace's route with the host, which is older."""
    planner.world.route("older", namespace="team-b", host=host, created="2026-01-01T00:00:00Z")


def next_leader(planner: Planner) -> None:
    """Another replica leads from now on; it knows nothing but what stands."""
    planner.memo = PassMemo()
    planner.epoch += 1


def found(planner: Planner, name: str) -> ConfigMap:
    return planner.world.snapshot.config_maps[Key(SYSTEM, name)]


def recorded(planner: Planner) -> dict[str, HostClaim]:
    return dict(read_state(found(planner, STATE).data).state.hosts)


def published(planner: Planner) -> dict[str, str]:
    """Whose route each host has in the table."""
    hosts = parse_hosts(found(planner, HOSTS).data[TABLE_KEY])
    return {host.host: host.paths[0].route.namespace for host in hosts}


def owner(planner: Planner) -> str:
    """Whose the host is by a pass."""
    return planner.result().graph.states[SHARED].hosts[HOST].namespace


def test_the_record_comes_after_the_host(planner: Planner) -> None:
    before = found(planner, STATE).meta.version
    assert stages(planner.plan()) == [{HOSTS}]
    write(planner, HOSTS)
    assert found(planner, HOSTS).annotations[names.BESIDE_ANNOTATION] == str(before)
    assert stages(planner.plan()) == [{STATE}]
    write(planner, STATE)
    assert recorded(planner)[HOST] == HostClaim(TEAM)
    assert planner.plan().writes == ()


def test_only_one_pass_puts_the_record_off(planner: Planner) -> None:
    write(planner, HOSTS)
    planner.world.route("second")
    assert stages(planner.plan()) == [{STATE, HOSTS}]
    write(planner, HOSTS)
    next_leader(planner)
    rival(planner, "second.example.com")
    planner.settle()
    assert {recorded(planner)[host] for host in (HOST, "second.example.com")} == {HostClaim(TEAM)}


def test_a_new_leader_records_first(planner: Planner) -> None:
    """The one before might still write the state that stood when it ended."""
    next_leader(planner)
    write(planner, HOSTS)
    first, *_ = stages(planner.plan())
    assert first == {STATE, GROUPS}


def test_what_names_endpoints_that_are_not_published_comes_after_the_record(planner: Planner) -> None:
    planner.world.service("other", "10.0.0.2")
    planner.world.route("new", service="other")
    assert stages(planner.plan()) == [{STATE, GROUPS}, {HOSTS}]


def test_the_first_host_of_all_comes_after_the_record() -> None:
    world = SmallWorld()
    world.balancer(dataPlane="Dynamic")
    world.route("new")
    first, second, *_ = stages(Planner(world).plan())
    assert STATE in first
    assert HOSTS in second


def test_a_leader_that_ends_before_the_record_leaves_the_host_to_its_owner(planner: Planner) -> None:
    write(planner, HOSTS)
    assert HOST not in recorded(planner)
    rival(planner)
    next_leader(planner)
    assert owner(planner) == TEAM
    assert stages(planner.plan()) == [{HOSTS}]  # the other one's parts, as they stand
    write(planner, HOSTS)
    assert STATE in stages(planner.plan())[0]
    planner.settle()
    assert recorded(planner)[HOST] == HostClaim(TEAM)
    assert published(planner)[HOST] == TEAM


def test_a_leader_that_ends_before_the_table_leaves_the_host_to_its_owner(planner: Planner) -> None:
    write(planner, HOSTS)
    planner.world.route("second")
    write(planner, STATE)
    rival(planner)
    next_leader(planner)
    assert owner(planner) == TEAM
    planner.settle()
    assert published(planner)[HOST] == TEAM


def test_a_leader_that_ends_before_both_leaves_nothing(planner: Planner) -> None:
    rival(planner)
    next_leader(planner)
    planner.settle()
    assert published(planner)[HOST] == "team-b"


def test_the_same_leader_knows_it_too(planner: Planner) -> None:
    write(planner, HOSTS)
    rival(planner)
    assert owner(planner) == TEAM
    assert stages(planner.plan()) == [{STATE}]


def test_a_part_that_comes_too_late_is_seen_before_anything_is_recorded(planner: Planner) -> None:
    late = next(each for each in planner.plan().writes if each.wanted.key.name == HOSTS)
    rival(planner)
    next_leader(planner)
    seen = planner.plan()
    assert stages(seen) == [{HOSTS}]
    planner.world.write(late)
    # What the new leader wanted to write is refused: it was planned on another version of the part.
    assert seen.writes[0].known is not None
    assert seen.writes[0].known.meta.version < found(planner, HOSTS).meta.version
    assert HOST not in recorded(planner)
    assert owner(planner) == TEAM
    planner.settle()
    assert recorded(planner)[HOST] == HostClaim(TEAM)


def test_a_host_that_goes_over_stays_with_the_new_owner(planner: Planner) -> None:
    planner.settle()
    planner.world.remove(Kind.ROUTE, "new", TEAM)
    planner.settle()
    planner.world.route("b", namespace="team-b")  # its endpoints are published
    rival(planner)
    planner.settle()
    planner.now += HOLD
    assert stages(planner.plan()) == [{HOSTS}]
    write(planner, HOSTS)
    assert recorded(planner)[HOST].namespace == TEAM
    planner.world.route("oldest", namespace="team-c", host=HOST, created="2025-01-01T00:00:00Z")
    next_leader(planner)
    assert owner(planner) == "team-b"
    planner.settle()
    assert published(planner)[HOST] == "team-b"


def test_what_a_hand_took_off_the_record_is_anybodys(planner: Planner) -> None:
    planner.settle()
    rival(planner)
    kept = "".join(f"{host} {claim.namespace}\n" for host, claim in recorded(planner).items() if host != HOST)
    labels = {names.BALANCER_LABEL: "shared"}
    planner.world.put(Kind.CONFIG_MAP, STATE, SYSTEM, labels=labels, data={"hosts": kept})
    assert owner(planner) == "team-b"


def test_damage_in_such_a_part_is_nobodys_claim(planner: Planner) -> None:
    write(planner, HOSTS)
    known = found(planner, HOSTS)
    planner.world.put(
        Kind.CONFIG_MAP,
        HOSTS,
        SYSTEM,
        labels=known.labels,
        annotations=known.annotations,
        data={TABLE_KEY: known.data[TABLE_KEY] + "host {\n"},
    )
    rival(planner)
    next_leader(planner)
    assert owner(planner) == "team-b"
