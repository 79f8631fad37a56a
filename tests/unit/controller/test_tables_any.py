"""Whatever one table becomes another: at no time does a host name a group that is not there, and nothing is lost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tables import forward, group, host, record, table, tables
from wsroute.cluster.objects import ConfigMap, Key, Meta
from wsroute.controller import tables as planning
from wsroute.controller.plan import Write
from wsroute.controller.tables import TableMemo, Tables, find_tables, plan_tables
from wsroute.dataplane import names
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.shards import TABLE_KEY, parse_groups, parse_hosts, parse_place
from wsroute.dataplane.table import EndpointGroup, Forward, HostRecord, PathRecord, Table, Target

BALANCER = Key("wsroute-system", "shared")
EMPTY = Table((), ())


@dataclass
class Store:
    """The ConfigMaps of one balancer, as an agent sees them."""

    maps: dict[Key, ConfigMap] = field(default_factory=dict)
    memo: TableMemo = field(default_factory=TableMemo)
    version: int = 0
    history: list[tuple[int, list[HostRecord], list[EndpointGroup]]] = field(default_factory=list)
    """What an agent has after each write, and the version of it that it tells."""

    def plan(self, table: Table) -> Tables:
        return plan_tables(BALANCER, table, find_tables(BALANCER, self.maps), self.memo, epoch=1)

    def put(self, write: Write) -> None:
        wanted = write.wanted
        self.version += 1
        meta = Meta(wanted.key, f"uid-{wanted.key.name}", self.version, 0, "")
        known = ConfigMap(meta, dict(wanted.labels), dict(wanted.annotations), dict(wanted.data), {})
        self.maps[wanted.key] = known
        if (hosts := self.hosts()) is not None and (groups := self.groups()) is not None:
            self.history.append((self.said(), hosts, groups))

    def whole(self, family: str) -> list[str] | None:
        """The texts of a family, None while it is not whole."""
        found: dict[int, dict[int, str]] = {}
        for known in self.maps.values():
            place = parse_place(known.annotations[names.SHARD_ANNOTATION])
            if place.family == family:
                found.setdefault(place.count, {})[place.index] = known.data[TABLE_KEY]
        complete = [parts for count, parts in found.items() if len(parts) == count]
        assert len(complete) <= 1
        return list(complete[0].values()) if complete else None

    def said(self) -> int:
        """The version up to which an agent has everything: parts of another number than the whole ones are ahead."""
        places = [(parse_place(known.annotations[names.SHARD_ANNOTATION]), known) for known in self.maps.values()]
        counts = {place.family: place.count for place, _ in places if place.index == 0}
        ahead = [
            known.meta.version
            for place, known in places
            if place.count != counts[place.family] and known.data[TABLE_KEY]
        ]
        return min(ahead) - 1 if ahead else self.version

    def newest(self) -> int:
        """The version that an agent tells once it has everything: parts that are left over don't count."""
        places = [(parse_place(known.annotations[names.SHARD_ANNOTATION]), known) for known in self.maps.values()]
        counts = {place.family: place.count for place, _ in places if place.index == 0}
        return max(known.meta.version for place, known in places if place.index < counts[place.family])

    def hosts(self) -> list[HostRecord] | None:
        texts = self.whole("r")
        return None if texts is None else [host for text in texts for host in parse_hosts(text)]

    def groups(self) -> list[EndpointGroup] | None:
        texts = self.whole("e")
        return None if texts is None else [group for text in texts for group in parse_groups(text)]


def named(hosts: list[HostRecord]) -> Iterator[str]:
    for each in hosts:
        for path in each.paths:
            if isinstance(path.action, Forward):
                for target in path.action.targets:
                    yield target.group


ROUTES = (RouteRef("team-a", "one"), RouteRef("team-a", "two"))


def served(hosts: Iterable[HostRecord], route: RouteRef) -> set[tuple[str, tuple[str, ...], tuple[PathRecord, ...]]]:
    """What hosts say of a route."""
    told = {(host.host, host.listeners, tuple(path for path in host.paths if path.route == route)) for host in hosts}
    return {each for each in told if each[2]}


def takes_sockets(groups: Iterable[EndpointGroup], hosts: Iterable[HostRecord], route: RouteRef) -> dict[str, bool]:
    """Of the groups that a route's paths on these hosts name: whether they have endpoints for new sockets."""
    own = [replace(each, paths=tuple(path for path in each.paths if path.route == route)) for each in hosts]
    wanted = set(named(own))
    return {group.name: bool(group.addresses) for group in groups if group.name in wanted}


def what_counts(table: Table, route: RouteRef) -> object:
    """What a table says of a route that a pod has to know."""
    return served(table.hosts, route), takes_sockets(table.groups, table.hosts, route)


steps = st.lists(st.tuples(tables(), st.integers(0, 12), st.booleans(), st.randoms()), min_size=1, max_size=5)


@settings(max_examples=50)
@given(steps, st.sampled_from([300, 2_000, 64 * 1024]))
def test_any_table_becomes_any_other(steps: list[tuple[Table, int, bool, Random]], size: int) -> None:
    """The writes of a stage come in any order, and a pass may be stopped after any of them, with or without a memory of
    what it was about."""
    store = Store()
    before = EMPTY
    known: dict[RouteRef, int] = {}
    with patch.object(planning, "PART_BYTES", size):
        for table, stops_after, restarts, order in steps:
            writes = [write for stage in write_stages(store.plan(table)) for write in order.sample(stage, len(stage))]
            for write in writes[:stops_after]:
                store.put(write)
                look(store, before, table)
            if restarts:
                store.memo = TableMemo()
            now = settle(store, before, table)
            for route in ROUTES:
                if not restarts and known and what_counts(before, route) == what_counts(table, route):
                    assert now[route] == known[route], "nothing new is told of the route, wherever it stands"
            before, known = table, now


def named_by(name: str, *groups: EndpointGroup) -> HostRecord:
    """A host with a path to each of these groups."""
    return host(*(record(f"/{number}", forward(Target(each.name, 1))) for number, each in enumerate(groups)), name=name)


def test_a_group_that_stands_in_parts_of_two_numbers_is_written_once() -> None:
    """A pass was stopped while it made more parts: those that it wrote hold groups which the first one, as it still
    stands, holds as well. Nobody wants them any more, but a host still names them."""
    leaving = [group(name=f"team-a/old-{number}:80") for number in range(8)]
    come = [group(name=f"team-a/new-{number}:80") for number in range(40)]
    before = table(named_by("old.example.com", *leaving), groups=leaving)
    after = table(named_by("new.example.com", *come), groups=come)
    store = Store()
    settle(store, EMPTY, before)
    with patch.object(planning, "PART_BYTES", 2_000):
        stopped, first = store.plan(after).endpoints
        for write in stopped:
            store.put(write)
        assert [write.wanted.key.name for write in first] == ["shared-table-e0"]
        settle(store, before, after)


@pytest.mark.parametrize("restarts", [False, True])
def test_parts_that_are_written_again_before_they_count_are_not_taken_for_served(restarts: bool) -> None:
    """As by the next leader, where the one before came to its end while it made more parts."""
    routes = [RouteRef("team-a", f"route-{number}") for number in range(20)]
    before = table(*(host(record(route=route), name=f"{route.name}.example.com") for route in routes))
    after = table(*(host(record("/new", route=route), name=f"{route.name}.example.com") for route in routes))
    store = Store()
    with patch.object(planning, "PART_BYTES", 64 * 1024):
        settle(store, EMPTY, before)
    with patch.object(planning, "PART_BYTES", 2_000):
        stopped, _ = store.plan(after).hosts
        for write in stopped:
            store.put(write)
        if restarts:
            store.memo = TableMemo()
        for write in stopped:
            store.plan(after)
            store.put(write)
        view = store.plan(after).view
        assert view is not None
        found = [view.since(route) for route in routes]
        assert None in found
        assert any(found)
        assert all(since is None or since > store.said() for since in found)
        settle(store, before, after)


@pytest.mark.parametrize("restarts", ["never", "before fewer parts", "before the last is emptied", "after fewer parts"])
@pytest.mark.parametrize("then", [300, 2_000])
def test_parts_that_are_left_over_tell_nothing_new_of_a_route(restarts: str, then: int) -> None:
    """They are emptied last, which no pod tells of; nothing that is written later may ask pods for that."""
    route = RouteRef("team-a", "one")
    many = table(*(host(record(route=route), name=f"{number}.example.com") for number in range(20)))
    few = table(host(record(route=route), name="one.example.com"))
    other = table(*few.hosts, host(record("/other", route=RouteRef("team-b", "new")), name="new.example.com"))
    store = Store()

    def settle_at(size: int, before: Table, after: Table) -> int:
        with patch.object(planning, "PART_BYTES", size):
            return settle(store, before, after)[route]

    settle_at(300, EMPTY, many)
    if restarts == "before fewer parts":
        store.memo = TableMemo()
    with patch.object(planning, "PART_BYTES", 64 * 1024):
        *writes, last = [write for stage in write_stages(store.plan(few)) for write in stage]
        for write in writes:
            store.put(write)
            if restarts != "before the last is emptied":
                store.plan(few)
    store.memo = TableMemo() if restarts == "before the last is emptied" else store.memo
    settled = settle_at(64 * 1024, many, few)
    assert store.maps[last.wanted.key].data[TABLE_KEY] == ""
    if restarts == "after fewer parts":
        store.memo = TableMemo()
        settled = settle_at(64 * 1024, few, few)
    assert settle_at(then, few, other) == settled
    assert settle_at(then, other, few) == settled


def write_stages(planned: Tables) -> list[tuple[Write, ...]]:
    return [*planned.endpoints, *planned.hosts, planned.emptied]


def look(store: Store, before: Table, after: Table) -> None:
    """What an agent that has seen all writes so far can say."""
    hosts, groups = store.hosts(), store.groups()
    if hosts is None or groups is None:
        return
    assert set(named(hosts)) <= {group.name for group in groups}
    assert set(hosts) <= {*before.hosts, *after.hosts}
    assert set(before.hosts) & set(after.hosts) <= set(hosts)


def settle(store: Store, before: Table, table: Table) -> dict[RouteRef, int]:
    """Plan and write until nothing is left to do; gives since when the routes are served as they are wanted."""
    for _ in range(4):
        planned = store.plan(table)
        if not any(write_stages(planned)):
            break
        for stage in write_stages(planned):
            for write in stage:
                store.put(write)
                look(store, before, table)
    else:
        raise AssertionError("no end")
    assert set(store.hosts() or ()) == set(table.hosts)
    assert set(store.groups() or ()) == set(table.groups)
    assert planned.view is not None
    found = {}
    for route in ROUTES:
        since = planned.view.since(route)
        assert since is not None
        assert since <= store.newest(), "or the route would be Pending until something else is written"
        for version, hosts, groups in store.history:
            if version >= since:
                assert what_counts(Table(tuple(hosts), tuple(groups)), route) == what_counts(table, route)
        found[route] = since
    return found
