"""How far the tables of a Dynamic balancer are with what is wanted, for each route and for the certificates. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from wsroute.controller.published_tables import FILES, GROUPS, HOSTS, Family, Item, Since, Standing, groups_of
from wsroute.dataplane.certificate_table import EVERYTHING
from wsroute.dataplane.certificates import wildcard_of
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.table import CertificateRecord, EndpointGroup, HostRecord

Pairs = Sequence[tuple[tuple[Item, ...], Standing[Item] | None]]
"""The items that each part should have, and how it stands."""


class TableView:
    """How far the published tables are with what is wanted: the parts with hosts, with endpoints and with certificates,
    and the families of them as they stand."""

    def __init__(
        self,
        parts: Pairs[HostRecord],
        group_parts: Pairs[EndpointGroup],
        certificate_parts: Pairs[CertificateRecord],
        hosts: Family[HostRecord],
        groups: Family[EndpointGroup],
        certificates: Family[CertificateRecord],
    ) -> None:
        self._parts = tuple(parts)
        self._certificate_parts = tuple(certificate_parts)
        self._hosts = hosts
        self._certificates = certificates
        self._groups = _told_since(groups)
        self._coming = frozenset(_untold(group_parts, groups))
        self._named = _told_since(certificates)
        self._floor = max(1, hosts.floor, groups.floor, certificates.floor)
        self._reachable = max(1, hosts.newest, groups.newest, certificates.newest)
        self._names = {
            (each.name, listener) for items, _ in certificate_parts for each in items for listener in each.listeners
        }

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal when the same is to be said of all routes."""
        return (
            *(self._parts, self._hosts.since, self._groups, self._coming),
            *(self._certificate_parts, self._named, self._floor),
        )

    @cached_property
    def newest(self) -> int:
        """A pod that has the table of this resourceVersion has all that is published of routes."""
        others = (*self._groups.values(), *(since.version for since in self._certificates.since.values()))
        return max([self._floor, *others, *(since or 0 for since in self._routes.values())])

    @cached_property
    def certified(self) -> int | None:
        """A pod that has the table of this resourceVersion serves all certificates as they are wanted; None while they
        are not published."""
        if any(standing is None or standing.items != items for items, standing in self._certificate_parts):
            return None
        versions = [since.version for (_, listener), since in self._certificates.since.items() if listener == FILES]
        return min(self._reachable, max([self._floor, *versions]))

    def since(self, route: RouteRef) -> int | None:
        """A pod that has the table of this resourceVersion serves a route as it is wanted; None while that is not
        published. Which endpoints a group has does not count, but whether any takes sockets; nor which certificate a
        host has."""
        since = self._routes.get(route, self._floor)
        return None if since is None else min(self._reachable, since)

    def listeners(self, route: RouteRef) -> frozenset[str]:
        """Those on which a route is wanted."""
        return self._listeners.get(route, frozenset())

    @cached_property
    def _listeners(self) -> Mapping[RouteRef, frozenset[str]]:
        found: defaultdict[RouteRef, set[str]] = defaultdict(set)
        for items, _ in self._parts:
            for host in items:
                for path in host.paths:
                    found[path.route].update(host.listeners)
        return {route: frozenset(listeners) for route, listeners in found.items()}

    @cached_property
    def _routes(self) -> Mapping[RouteRef, int | None]:
        wanted: dict[Any, object] = {}
        for items, standing in self._parts:
            wanted |= standing.told if standing is not None and standing.items == items else HOSTS.told(items)
        found: dict[RouteRef, int | None] = {}
        for key in wanted.keys() | self._hosts.since.keys():
            route, host = key
            before = found.get(route, self._floor)
            version = self._version(host, wanted.get(key), self._hosts.since.get(key))
            found[route] = None if version is None or before is None else max(before, version)
        return found

    def _version(self, host: str, told: object, published: Since | None) -> int | None:
        if published is None or published.told != told:
            return None
        version = published.version
        for group in groups_of(told):
            since = self._groups.get(group)
            if since is None or group in self._coming:
                return None
            version = max(version, since)
        for name in self._names_of(host, told):
            since = self._named.get(name)
            if since is None:
                return None
            version = max(version, since)
        return version

    def _names_of(self, host: str, told: object) -> Iterator[tuple[str, str]]:
        """What is wanted to cover a route's host, by name and listener, where it gets a certificate."""
        if self._names and isinstance(told, tuple):
            for listeners, _ in told:
                for listener in listeners:
                    covering = ((name, listener) for name in (host, wildcard_of(host), EVERYTHING))
                    found = next((key for key in covering if key in self._names), None)
                    if found is not None:
                        yield found


def _untold(wanted: Pairs[EndpointGroup], family: Family[EndpointGroup]) -> Iterator[str]:
    """The groups of which another thing is to be told than is published."""
    for items, standing in wanted:
        if standing is None or standing.items != items:
            for name, says in GROUPS.told(items).items():
                since = family.since.get(name)
                if since is None or since.told != says:
                    yield name


def _told_since(family: Family[Any]) -> Mapping[Any, int]:
    """Since when a family tells of each key, if it does."""
    return {key: since.version for key, since in family.since.items() if since.told is not None}
