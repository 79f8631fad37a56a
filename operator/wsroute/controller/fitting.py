"""Which routes have to give way where a balancer's tables would be too large for it. Pure.

Not everybody's change shall wait for the one who takes most of the room: it is the largest route of the namespace that
takes most of it that is left out. Whoever takes no more than an equal share never gives way.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.room import ROOM, certificate_room, group_room, host_room
from wsroute.dataplane.shards import MAX_SHARDS, certificate_line, endpoints_line, host_line, shard_index
from wsroute.dataplane.table import EndpointGroup, Forward, HostRecord, PathRecord, Table

PART_BYTES: Final = 480 * 1024
"""Bytes of a part where there are as many parts as there can be. Names that all belong into one part can be found by
anybody. A ConfigMap holds twice as much: groups that came and those that are going stand in it for a while."""

TOO_LARGE: Final = (
    "The balancer's tables have no room for this route, the largest one of the namespace that takes most of it: give "
    "it fewer or shorter paths, fewer hosts or Services with fewer pods, or use another balancer."
)


class Size(NamedTuple):
    """Of a part of the tables: bytes of its text, and of nginx's dictionary."""

    text: int
    room: int


def fits(parts: Iterable[Size]) -> bool:
    """Whether parts of these sizes fit."""
    found = list(parts)
    return all(part.text <= PART_BYTES for part in found) and sum(part.room for part in found) <= ROOM


class _Use(NamedTuple):
    """What a path of a host takes, and the groups that it names."""

    route: RouteRef
    place: Hashable
    size: Size
    groups: tuple[str, ...]


class SizeMemo:
    """What is kept of hosts and groups that were weighed: while there is no room all of them are weighed at each
    change, and everybody's changes wait meanwhile."""

    def __init__(self) -> None:
        self._hosts: dict[int, tuple[HostRecord, tuple[_Use, ...]]] = {}
        self._groups: dict[int, tuple[EndpointGroup, Size]] = {}

    def hosts(self, table: Table) -> Iterator[tuple[HostRecord, tuple[_Use, ...]]]:
        """All hosts with what they take."""
        self._hosts = {
            id(host): self._hosts.get(id(host)) or (host, tuple(_use(host, path) for path in host.paths))
            for host in table.hosts
        }
        yield from self._hosts.values()

    def groups(self, table: Table) -> dict[str, Size]:
        """The sizes of all groups, by their names."""
        self._groups = {id(group): self._groups.get(id(group)) or (group, _group_size(group)) for group in table.groups}
        return {group.name: size for group, size in self._groups.values()}


def _use(host: HostRecord, path: PathRecord) -> _Use:
    alone = replace(host, paths=(path,))
    line = host_line(alone)
    targets = path.action.targets if isinstance(path.action, Forward) else ()
    size = Size(len(line) + 1, host_room(alone, line))
    return _Use(
        path.route, (host.host, host.listeners, path.path, path.match), size, tuple(each.group for each in targets)
    )


def _group_size(group: EndpointGroup) -> Size:
    line = endpoints_line(group)
    return Size(len(line) + 1, group_room(group, line))


def left_out(table: Table, memo: SizeMemo) -> frozenset[RouteRef]:
    """The routes that have to give way, none where there is room."""
    parts: defaultdict[tuple[str, int], _Room] = defaultdict(lambda: _Room(PART_BYTES))
    # Certificates are the administrator's, and bounded (``certifying``).
    whole = _Room(ROOM - sum(certificate_room(each, certificate_line(each)) for each in table.certificates))
    groups = memo.groups(table)
    for host, uses in memo.hosts(table):
        part = parts["r", shard_index(host.host, MAX_SHARDS)]
        for use in uses:
            part.put(use.route, use.place, use.size.text)
            whole.put(use.route, use.place, use.size.room)
            for group in use.groups:
                parts["e", shard_index(group, MAX_SHARDS)].put(use.route, group, groups[group].text)
                whole.put(use.route, group, groups[group].room)
    gone: set[RouteRef] = set()
    for room in (*parts.values(), whole):
        for route in gone:
            room.take(route)
        gone.update(room.make_room())
    return frozenset(gone)


class _Room:
    """How much of ``limit`` bytes each route takes, by its namespace. What several routes use takes its bytes once."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._things: defaultdict[RouteRef, dict[Hashable, int]] = defaultdict(dict)
        self._users: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
        """How many routes of each namespace use a thing."""
        self._totals: Counter[str] = Counter()

    def put(self, route: RouteRef, thing: Hashable, size: int) -> None:
        """Let a route use a thing of so many bytes."""
        if thing in self._things[route]:
            return
        self._things[route][thing] = size
        users = self._users[thing]
        if not users:
            self._left -= size
        if not users[route.namespace]:
            self._totals[route.namespace] += size
        users[route.namespace] += 1

    def take(self, route: RouteRef) -> None:
        """Take all that a route has."""
        for thing, size in self._things.pop(route, {}).items():
            users = self._users[thing]
            users[route.namespace] -= 1
            if not users[route.namespace]:
                del users[route.namespace]
                self._totals[route.namespace] -= size
            if not users:
                self._left += size

    def make_room(self) -> Iterator[RouteRef]:
        """Take all from one route after another until the others have room: each time the largest of the namespace
        that has most."""
        largest: dict[str, list[RouteRef]] = defaultdict(list)
        if self._left < 0:
            for route in sorted(self._things, key=lambda each: (sum(self._things[each].values()), each)):
                largest[route.namespace].append(route)
        while self._left < 0:
            route = largest[max(self._totals, key=lambda name: (self._totals[name], name))].pop()
            self.take(route)
            yield route


def without(table: Table, routes: Collection[RouteRef]) -> Table:
    """A table without what is some routes'."""
    hosts = tuple(_hosts_without(table.hosts, routes))
    used = {
        target.group
        for host in hosts
        for path in host.paths
        if isinstance(path.action, Forward)
        for target in path.action.targets
    }
    return replace(table, hosts=hosts, groups=tuple(group for group in table.groups if group.name in used))


def _hosts_without(hosts: tuple[HostRecord, ...], routes: Collection[RouteRef]) -> Iterator[HostRecord]:
    for host in hosts:
        paths = tuple(path for path in host.paths if path.route not in routes)
        if len(paths) == len(host.paths):
            yield host
        elif paths:
            yield replace(host, paths=paths)
