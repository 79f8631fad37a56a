"""Which routes have to give way where a balancer's tables would be too large for it. Pure.

Not everybody's change shall wait for the one who takes most of the room: it is the largest route of the namespace that
takes most of it that is left out.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.shards import certificate_line, endpoints_line, host_line
from wsroute.dataplane.table import Forward, HostRecord, Table

HOST_BYTES: Final = 512 * 1024
"""Bytes of one host's line: a ConfigMap holds it, with the lines of others."""

TABLE_BYTES: Final = 12 * 1024 * 1024
"""Bytes of all lines, those of some 20,000 routes: nginx's dictionary has room for them twice, for while all of it is
pushed anew beside what is served."""

TOO_LARGE: Final = (
    "The balancer's tables have no room for this route, the largest one of the namespace that takes most of it: give "
    "it fewer or shorter paths, or fewer hosts, or use another balancer."
)


def fits(hosts: Collection[int], groups: Collection[int]) -> bool:
    """Whether lines of so many bytes fit."""
    return max(hosts, default=0) <= HOST_BYTES and sum(hosts) + sum(groups) <= TABLE_BYTES


def left_out(table: Table) -> frozenset[RouteRef]:
    """The routes that have to give way, none where there is room."""
    hosts: defaultdict[str, _Room] = defaultdict(lambda: _Room(HOST_BYTES))
    # Certificates are the administrator's, and bounded (``certifying``).
    whole = _Room(TABLE_BYTES - sum(len(certificate_line(each)) for each in table.certificates))
    groups = {group.name: len(endpoints_line(group)) for group in table.groups}
    for host in table.hosts:
        for path in host.paths:
            size = len(host_line(replace(host, paths=(path,))))
            hosts[host.host].put(path.route, size)
            whole.put(path.route, size)
            if isinstance(path.action, Forward):
                whole.put(path.route, sum(groups[target.group] for target in path.action.targets))
    gone = {route for room in hosts.values() for route in room.make_room()}
    for route in gone:
        whole.take(route)
    return frozenset(gone.union(whole.make_room()))


class _Room:
    """How much of ``limit`` bytes each route takes, by its namespace."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._sizes: defaultdict[str, defaultdict[RouteRef, int]] = defaultdict(lambda: defaultdict(int))
        self._totals: defaultdict[str, int] = defaultdict(int)

    def put(self, route: RouteRef, size: int) -> None:
        """Give a route so many bytes more."""
        self._left -= size
        self._sizes[route.namespace][route] += size
        self._totals[route.namespace] += size

    def take(self, route: RouteRef) -> None:
        """Take all that a route has."""
        size = self._sizes[route.namespace].pop(route)
        self._left += size
        self._totals[route.namespace] -= size

    def make_room(self) -> Iterator[RouteRef]:
        """Take all from one route after another until the others have room: each time the largest of the namespace
        that has most."""
        while self._left < 0:
            most = max(self._totals, key=lambda name: (self._totals[name], name))
            sizes = self._sizes[most]
            route = max(sizes, key=lambda each: (sizes[each], each))
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
