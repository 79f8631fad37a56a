"""Which routes have to give way where a balancer's tables would be too large for it. Pure.

Not everybody's change shall wait for the one who takes most of the room: it is the largest route of the namespace that
takes most of it that is left out. Whoever takes no more than an equal share never gives way.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from wsroute.dataplane.dictionary import server_name
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.room import ROOM, certificate_room, group_room, room_of_key, room_of_line
from wsroute.dataplane.shards import MAX_SHARDS, certificate_line, endpoints_line, host_line, shard_index
from wsroute.dataplane.table import EndpointGroup, Forward, HostRecord, PathRecord, Table
from wsroute.graph.changes import span

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


HOSTS: Final = "r"
GROUPS: Final = "e"
"""The families of parts that routes have a say in."""


def fits(parts: Iterable[Size]) -> bool:
    """Whether parts of these sizes fit."""
    found = list(parts)
    return all(part.text <= PART_BYTES for part in found) and sum(part.room for part in found) <= ROOM


class _Use(NamedTuple):
    """What the paths of one route on a host take, and the groups that they name."""

    size: Size
    groups: frozenset[str]


@dataclass(slots=True)
class _Host:
    """A host that was weighed: what it takes as a whole, and the routes on it (None while nobody asked). ``cut`` is
    what is left of it without some of them."""

    record: HostRecord
    size: Size
    uses: Mapping[RouteRef, _Use] | None = None
    cut: tuple[frozenset[RouteRef], HostRecord | None] | None = None


class SizeMemo:
    """What is kept of hosts and groups that were weighed, since everybody's changes wait meanwhile: a pass weighs those
    that have changed, and writes down no line for that. A path that a route has on many hosts is weighed once."""

    def __init__(self) -> None:
        self._records: tuple[HostRecord, ...] = ()
        self._hosts: dict[int, _Host] = {}
        self._paths: dict[int, tuple[PathRecord, int]] = {}
        self._groups: dict[int, tuple[EndpointGroup, Size]] = {}
        self._group_records: tuple[EndpointGroup, ...] = ()
        self._texts: Counter[tuple[str, int]] = Counter()
        """Bytes of each part's text, where there are as many parts as there can be."""
        self._room = 0

    @property
    def weight(self) -> Size:
        """What all that was weighed last takes, its certificates aside."""
        return Size(self._texts.total(), self._room)

    def weigh(self, table: Table) -> None:
        """Look at all of a table."""
        start, before, after = span(self._records, table.hosts)
        gone = {id(record): self._hosts.pop(id(record)) for record in self._records[start:before]}
        for host in gone.values():
            self._count(HOSTS, host.record.host, host.size, -1)
        fresh = table.hosts[start:after]
        for record in fresh:
            host = gone.get(id(record)) or _Host(record, self._host_size(record))
            self._hosts[id(record)] = host
            self._count(HOSTS, record.host, host.size, 1)
        kept = set(map(id, fresh))
        for identity, host in gone.items():
            for path in () if identity in kept else host.record.paths:
                self._paths.pop(id(path), None)
        self._records = table.hosts
        self._weigh_groups(table.groups)

    def _weigh_groups(self, groups: tuple[EndpointGroup, ...]) -> None:
        start, before, after = span(self._group_records, groups)
        gone = {id(group): self._groups.pop(id(group)) for group in self._group_records[start:before]}
        for group, size in gone.values():
            self._count(GROUPS, group.name, size, -1)
        for group in groups[start:after]:
            known = gone.get(id(group)) or (group, _group_size(group))
            self._groups[id(group)] = known
            self._count(GROUPS, group.name, known[1], 1)
        self._group_records = groups

    def _count(self, family: str, name: str, size: Size, sign: int) -> None:
        self._texts[family, shard_index(name, MAX_SHARDS)] += sign * size.text
        self._room += sign * size.room

    @property
    def fits(self) -> bool:
        """Whether there is room for what was weighed last, its certificates aside."""
        return max(self._texts.values(), default=0) <= PART_BYTES and self._room <= ROOM

    def uses(self, record: HostRecord) -> Mapping[RouteRef, _Use]:
        """What the routes on a host take, each as if it were alone there."""
        host = self._hosts[id(record)]
        if host.uses is None:
            host.uses = self._uses(record)
        return host.uses

    def groups(self) -> dict[str, Size]:
        """The sizes of all groups, by their names."""
        return {group.name: size for group, size in self._groups.values()}

    def without(self, record: HostRecord, routes: Collection[RouteRef]) -> HostRecord | None:
        """A host without what is some routes', the same object as before where nothing changed; None for nothing."""
        host = self._hosts[id(record)]
        gone = frozenset(self.uses(record).keys() & routes)
        if host.cut is None or host.cut[0] != gone:
            paths = tuple(path for path in record.paths if path.route not in gone)
            host.cut = (gone, (replace(record, paths=paths) if gone else record) if paths else None)
        return host.cut[1]

    def _host_size(self, record: HostRecord) -> Size:
        length = len(host_line(replace(record, paths=()))) + max(0, len(record.paths) - 1)
        length += sum(map(self._path_length, record.paths))
        return Size(length + 1, room_of_line(record, length))

    def _path_length(self, path: PathRecord) -> int:
        """What a path adds to the line of a host."""
        known = self._paths.get(id(path))
        if known is None:
            known = self._paths[id(path)] = (path, len(host_line(replace(_NOWHERE, paths=(path,)))) - _NOWHERE_LENGTH)
        return known[1]

    def _uses(self, record: HostRecord) -> Mapping[RouteRef, _Use]:
        head = replace(record, paths=())
        bare, room, server = len(host_line(head)), room_of_line(head, 0), len(server_name(record))
        texts: Counter[RouteRef] = Counter()
        rooms: Counter[RouteRef] = Counter()
        groups: defaultdict[RouteRef, set[str]] = defaultdict(set)
        for path in record.paths:
            length = bare + self._path_length(path)
            texts[path.route] += length + 1
            rooms[path.route] += room + 2 * length + room_of_key(server, path)
            if isinstance(path.action, Forward):
                groups[path.route].update(target.group for target in path.action.targets)
        return {route: _Use(Size(text, rooms[route]), frozenset(groups[route])) for route, text in texts.items()}


_NOWHERE: Final = HostRecord("", (), ())
_NOWHERE_LENGTH: Final = len(host_line(_NOWHERE))


def _group_size(group: EndpointGroup) -> Size:
    line = endpoints_line(group)
    return Size(len(line) + 1, group_room(group, line))


def left_out(table: Table, memo: SizeMemo) -> frozenset[RouteRef]:
    """The routes that have to give way, none where there is room."""
    memo.weigh(table)
    parts: defaultdict[tuple[str, int], Room] = defaultdict(lambda: Room(PART_BYTES))
    # Certificates are the administrator's, and bounded (``certifying``).
    whole = Room(ROOM - sum(certificate_room(each, certificate_line(each)) for each in table.certificates))
    groups = memo.groups()
    for host in table.hosts:
        part = parts[HOSTS, shard_index(host.host, MAX_SHARDS)]
        for route, use in memo.uses(host).items():
            place = (route, host.host, host.listeners)
            part.put(route, place, use.size.text)
            whole.put(route, place, use.size.room)
            for group in use.groups:
                parts[GROUPS, shard_index(group, MAX_SHARDS)].put(route, group, groups[group].text)
                whole.put(route, group, groups[group].room)
    gone: set[RouteRef] = set()
    for room in (*parts.values(), whole):
        for route in gone:
            room.take(route)
        gone.update(room.make_room())
    return frozenset(gone)


class Room:
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


def without(table: Table, routes: Collection[RouteRef], memo: SizeMemo) -> Table:
    """A table without what is some routes'."""
    memo.weigh(table)
    hosts = tuple(left for host in table.hosts if (left := memo.without(host, routes)) is not None)
    used = {
        group
        for host in table.hosts
        for route, use in memo.uses(host).items()
        if route not in routes
        for group in use.groups
    }
    return replace(table, hosts=hosts, groups=tuple(group for group in table.groups if group.name in used))
