"""Who has to give way where a balancer's tables would be too large."""

import pytest

from tests.support.tables import forward, group, host, record, table
from tests.support.world import TEAM, Planner, SmallWorld
from wsroute.cluster.kinds import Kind
from wsroute.controller import fitting
from wsroute.controller.fitting import fits, left_out, without
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.shards import endpoints_line, host_line
from wsroute.dataplane.table import HostRecord, Table, Target

BIG, SMALL, OTHER = RouteRef("team-a", "big"), RouteRef("team-a", "small"), RouteRef("team-b", "other")


def of(route: RouteRef, name: str, count: int) -> HostRecord:
    """A host with so many paths of a route."""
    return host(*(record(f"/{route.name}{number:03}", route=route) for number in range(count)), name=name)


def size(found: Table) -> int:
    return sum(map(len, map(host_line, found.hosts))) + sum(map(len, map(endpoints_line, found.groups)))


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch) -> Table:
    """A table that takes a little more than there is."""
    found = table(of(BIG, "big.example.com", 20), of(SMALL, "small.example.com", 2), of(OTHER, "o.example.com", 12))
    monkeypatch.setattr(fitting, "TABLE_BYTES", size(found) - 1)
    return found


def test_where_there_is_room_nobody_gives_way() -> None:
    assert left_out(table()) == frozenset()
    assert fits([100], [100])


def test_the_largest_route_of_the_namespace_that_takes_most_gives_way(cramped: Table) -> None:
    assert left_out(cramped) == {BIG}


def test_a_host_that_is_too_large_takes_nothing_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = host(
        *(record(f"/big{number}", route=BIG) for number in range(20)), record("/s", route=SMALL), name="a.example.com"
    )
    found = table(shared, of(OTHER, "o.example.com", 15))
    monkeypatch.setattr(fitting, "HOST_BYTES", len(host_line(shared)) - 1)
    assert not fits([len(host_line(shared))], [])
    assert left_out(found) == {BIG}
    left = without(found, {BIG})
    assert [path.path for path in left.hosts[0].paths] == ["/s"]
    assert left.hosts[1] is found.hosts[1]


def test_groups_that_nobody_uses_any_more_go_too() -> None:
    used = host(record("/a", forward(Target("g", 1)), route=SMALL), name="a.example.com")
    big = host(record("/b", forward(Target("h", 1)), route=BIG), name="b.example.com")
    left = without(table(used, big, groups=(group(name="g"), group(name="h"))), {BIG})
    assert left.hosts == (used,)
    assert [each.name for each in left.groups] == ["g"]


def test_the_route_is_told_and_the_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    world = SmallWorld()
    world.balancer(dataPlane="Dynamic")
    world.service("chat", "10.0.0.1")
    world.route("a")
    paths = [{"path": f"/{number}", "backends": [{"service": "chat", "port": 80}]} for number in range(30)]
    spec = {"balancerRef": {"name": "shared", "namespace": "wsroute-system"}, "hosts": ["b.example.com"]}
    world.put(Kind.ROUTE, "b", TEAM, spec={**spec, "paths": paths})
    monkeypatch.setattr(fitting, "TABLE_BYTES", 5_000)
    planner = Planner(world)
    planner.settle()
    version = planner.plan().desired
    world.say("p0", "p1", version=version, table=world.version)
    assert planner.programmed("a")[0]
    served, reason, message = planner.programmed("b")
    assert (served, reason) == (False, "ConfigRejected")
    assert message == (
        f"The route is not served: open sockets stay, new handshakes get 404 (no-route). {fitting.TOO_LARGE}"
    )
    world.put(Kind.ROUTE, "b", TEAM, spec={**spec, "paths": paths[:1]}, generation=2)
    planner.settle()
    world.say("p0", "p1", version=version, table=world.version)
    assert planner.programmed("b")[0]
