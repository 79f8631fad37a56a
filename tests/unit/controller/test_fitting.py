"""Who has to give way where a balancer's tables would be too large."""

import itertools

import pytest
from hypothesis import given

from tests.support import tables
from tests.support.tables import address, forward, group, host, record, table
from tests.support.world import TEAM, Planner, SmallWorld
from wsroute.cluster.kinds import Kind
from wsroute.controller import fitting
from wsroute.controller.fitting import Size, SizeMemo, fits, left_out, without
from wsroute.dataplane import table_json
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.room import group_room, host_room
from wsroute.dataplane.shards import MAX_SHARDS, endpoints_line, host_line, shard_index
from wsroute.dataplane.table import HostRecord, Table, Target

BIG, SMALL, OTHER = RouteRef("team-a", "big"), RouteRef("team-a", "small"), RouteRef("team-b", "other")


def of(route: RouteRef, name: str, count: int) -> HostRecord:
    """A host with so many paths of a route."""
    return host(*(record(f"/{route.name}{number:03}", route=route) for number in range(count)), name=name)


def size(found: Table) -> int:
    """Bytes of nginx's dictionary."""
    hosts = sum(host_room(each, host_line(each)) for each in found.hosts)
    return hosts + sum(group_room(each, "") for each in found.groups)


def taking(*routes: tuple[RouteRef, int], name: str = "a.example.com", groups: int = 0) -> Table:
    """A host on which each route has so many paths, to so many groups of 100 endpoints that all of them share."""
    crowd = [address(number) for number in range(100)]
    found = tuple(group(*crowd, name=f"team-a/s{number}:80") for number in range(groups)) or (group(),)
    action = forward(*(Target(each.name, 1) for each in found))
    paths = [
        record(f"/{route.name}{number:03}", action, route=route) for route, count in routes for number in range(count)
    ]
    return table(host(*paths, name=name), groups=found)


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch) -> Table:
    """A table that takes a little more than there is."""
    found = table(of(BIG, "big.example.com", 20), of(SMALL, "small.example.com", 2), of(OTHER, "o.example.com", 12))
    monkeypatch.setattr(fitting, "ROOM", size(found) - 1)
    return found


def test_where_there_is_room_nobody_gives_way() -> None:
    assert left_out(table(), SizeMemo()) == frozenset()
    assert fits([Size(100, 100), Size(100, 100)])


def test_the_largest_route_of_the_namespace_that_takes_most_gives_way(cramped: Table) -> None:
    assert left_out(cramped, SizeMemo()) == {BIG}


def test_parts_that_are_too_large_take_nothing_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds names that all belong into one part gets no more of it than one who does not."""
    where = shard_index("a.example.com", MAX_SHARDS)
    names = (f"h{number}.example.com" for number in itertools.count())
    same = [name for name in itertools.islice(names, 20_000) if shard_index(name, MAX_SHARDS) == where]
    crowd = [of(RouteRef("team-m", f"m{number}"), name, 3) for number, name in enumerate(same)]
    found = table(of(OTHER, "a.example.com", 8), *crowd, of(SMALL, "elsewhere.example.com", 20))
    monkeypatch.setattr(fitting, "PART_BYTES", 40 * len(host_line(crowd[0])))
    assert len(crowd) > 100
    gone = left_out(found, SizeMemo())
    assert {route.namespace for route in gone} == {"team-m"}
    left = without(found, gone, SizeMemo())
    assert 10 < len(left.hosts) - 2 < 40
    assert not fits([Size(sum(len(host_line(each)) for each in found.hosts[:-1]), 0)])


def test_endpoints_that_several_routes_share_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = [(RouteRef("team-a", f"r{number}"), 1) for number in range(50)], (OTHER, 10)
    found = taking(*mine, theirs, groups=2)
    monkeypatch.setattr(fitting, "ROOM", size(found) + 50 * 1024)
    assert left_out(found, SizeMemo()) == frozenset()
    monkeypatch.setattr(fitting, "ROOM", size(taking((OTHER, 9), groups=2)))
    assert OTHER in left_out(found, SizeMemo()), "the endpoints do not go with those who share them"


def test_the_room_of_a_group_goes_with_the_last_one_who_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = taking((BIG, 2), (OTHER, 1), groups=16)
    monkeypatch.setattr(fitting, "ROOM", size(found) // 2)
    assert left_out(found, SizeMemo()) == {BIG, OTHER}
    assert without(found, left_out(found, SizeMemo()), SizeMemo()) == Table((), ())


def test_groups_that_nobody_uses_any_more_go_too() -> None:
    used = host(record("/a", forward(Target("g", 1)), route=SMALL), name="a.example.com")
    big = host(record("/b", forward(Target("h", 1)), route=BIG), name="b.example.com")
    left = without(table(used, big, groups=(group(name="g"), group(name="h"))), {BIG}, SizeMemo())
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
    monkeypatch.setattr(fitting, "ROOM", 15_000)
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


@given(tables.tables(), tables.tables())
def test_what_is_weighed_is_what_is_written(one: Table, other: Table) -> None:
    """Or else a table would go to and fro between the two: what is too heavy is never written down."""
    memo = SizeMemo()
    for found in (one, other, one):
        memo.weigh(found)
        sizes = [Size(len(host_line(each)) + 1, host_room(each, host_line(each))) for each in found.hosts]
        lines = [endpoints_line(each) for each in found.groups]
        sizes += [Size(len(line) + 1, group_room(each, line)) for each, line in zip(found.groups, lines, strict=True)]
        assert memo.weight == Size(sum(size.text for size in sizes), sum(size.room for size in sizes))


@given(tables.tables(), tables.tables())
def test_who_gives_way_does_not_depend_on_what_was_weighed_before(one: Table, other: Table) -> None:
    memo = SizeMemo()
    for found in (one, other, one):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fitting, "ROOM", size(found) // 2)
            gone = left_out(found, memo)
            assert gone == left_out(found, SizeMemo())
            assert without(found, gone, memo) == without(found, gone, SizeMemo())


def test_nobody_waits_while_one_team_has_far_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass for another team's change writes down nothing of the routes that have no room, and nothing that stands."""
    world = SmallWorld()
    world.balancer(dataPlane="Dynamic")
    world.service("chat", "10.0.0.1")
    world.route("a")
    for number in range(10):
        paths = [{"path": f"/{number}/{path}", "backends": [{"service": "chat", "port": 80}]} for path in range(32)]
        spec = {"balancerRef": {"name": "shared", "namespace": "wsroute-system"}, "paths": paths}
        hosts = [f"h{host}.example.com" for host in range(16)]
        world.put(Kind.ROUTE, f"crowd-{number}", "team-b", spec={**spec, "hosts": hosts})
    world.put(Kind.NAMESPACE, "team-b", "")
    monkeypatch.setattr(fitting, "ROOM", 2_000_000)
    planner = Planner(world)
    written = 0
    write = table_json.host_to_json

    def count(host: HostRecord) -> table_json.Json:
        nonlocal written
        written += len(host.paths)
        return write(host)

    monkeypatch.setattr(table_json, "host_to_json", count)
    planner.plan()
    assert 0 < len(planner.plan().left_out) < 10
    assert written < 10 * 32 + 10 * 32 * 16, "weighed once for all hosts, and only what has room is written down"
    planner.settle()
    written = 0
    world.route("b")
    planner.settle()
    assert 0 < written < 10
