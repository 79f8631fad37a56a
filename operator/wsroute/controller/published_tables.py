"""What the tables of a Dynamic balancer say as they stand in its ConfigMaps, and since when they say so of each route.
Pure.

A pod acknowledges the newest resourceVersion of a table that its nginx has. A part that was written for one route says
nothing new of the others in it, so what counts for a route is since when its own records stand as they are.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, NamedTuple, TypeVar

from wsroute.cluster.objects import ConfigMap
from wsroute.dataplane import shards
from wsroute.dataplane.certificate_table import EVERYTHING
from wsroute.dataplane.certificates import wildcard_of
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.shards import TABLE_KEY, ShardError
from wsroute.dataplane.table import CertificateRecord, EndpointGroup, Forward, HostRecord, PathRecord

Item = TypeVar("Item", HostRecord, EndpointGroup, CertificateRecord)

REMEMBERED: Final = 64
"""Routes that each part remembers to have told of once."""

Told = Mapping[Any, object]
"""What some items say, by whom it concerns: of hosts it concerns their routes; of endpoints the name of their group, of
which only counts that it is there; of certificates the names on their listeners, of which the same holds, and everybody
together, of whom counts which files they are."""

_EVERYBODY: Final = None


@dataclass(frozen=True, slots=True)
class Kind(Generic[Item]):
    """What the families of parts do differently. ``name`` decides in which part an item is."""

    family: str
    name: Callable[[Item], str]
    line: Callable[[Item], str]
    parse: Callable[[str], tuple[Item, ...]]
    told: Callable[[tuple[Item, ...]], Told]


def _told_by_hosts(hosts: tuple[HostRecord, ...]) -> Told:
    found: defaultdict[RouteRef, list[object]] = defaultdict(list)
    for host in hosts:
        paths: defaultdict[RouteRef, list[PathRecord]] = defaultdict(list)
        for path in host.paths:
            paths[path.route].append(path)
        for route, own in paths.items():
            found[route].append((host.host, host.listeners, tuple(own)))
    return {route: tuple(parts) for route, parts in found.items()}


def _told_by_groups(groups: tuple[EndpointGroup, ...]) -> Told:
    return dict.fromkeys((group.name for group in groups), True)


def _told_by_certificates(certificates: tuple[CertificateRecord, ...]) -> Told:
    names = dict.fromkeys(((each.name, listener) for each in certificates for listener in each.listeners), True)
    return {**names, _EVERYBODY: certificates}


HOSTS: Final[Kind[HostRecord]] = Kind("r", lambda host: host.host, shards.host_line, shards.parse_hosts, _told_by_hosts)
GROUPS: Final[Kind[EndpointGroup]] = Kind(
    "e", lambda group: group.name, shards.endpoints_line, shards.parse_groups, _told_by_groups
)

CERTIFICATES: Final[Kind[CertificateRecord]] = Kind(
    "c", lambda each: each.name, shards.certificate_line, shards.parse_certificates, _told_by_certificates
)


@dataclass(frozen=True, slots=True)
class Part(Generic[Item]):
    """A part as it should stand: its items, a line for each, all its text, and the SHA-256 of that."""

    items: tuple[Item, ...]
    lines: tuple[str, ...]
    text: str
    digest: str


class Since(NamedTuple):
    """What a part tells of somebody, None when it does not any more, and since which resourceVersion."""

    told: object
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class Standing(Generic[Item]):
    """A part as it stands. ``items`` is None when it can't be read. What was written before we first looked was written
    by ``floor`` at the latest; 0 when we have seen it all."""

    known: ConfigMap
    items: tuple[Item, ...] | None
    since: Mapping[Any, Since]
    floor: int

    @property
    def text(self) -> str:
        """Its lines."""
        return self.known.data.get(TABLE_KEY, "")


def look(
    kind: Kind[Item],
    known: ConfigMap,
    before: Standing[Item] | None,
    *,
    made: Part[Item] | None,
    first: bool,
) -> Standing[Item]:
    """A part as it stands now. ``made`` is how it was last to stand; ``first`` says that we look at this balancer's
    tables for the first time."""
    if before is not None and before.known is known:
        return before
    text, version = known.data.get(TABLE_KEY, ""), known.meta.version
    floor = before.floor if before is not None else version if first else 0
    if before is not None and before.text == text:
        return Standing(known, before.items, before.since, floor)
    items: tuple[Item, ...] | None
    try:
        items = made.items if made is not None and made.text == text else kind.parse(text)
    except ShardError:
        items = None
    told, old = kind.told(items or ()), before.since if before is not None else {}
    since: dict[Any, Since] = {}
    for somebody, says in told.items():
        entry = old.get(somebody)
        since[somebody] = entry if entry is not None and entry.told == says else Since(says, version)
    gone = [
        (somebody, entry if entry.told is None else Since(None, version))
        for somebody, entry in old.items()
        if somebody not in told
    ]
    since.update(sorted(gone, key=lambda pair: pair[1].version)[-REMEMBERED:])
    return Standing(known, items, since, floor)


def groups_of(told: object) -> Iterator[str]:
    """The groups of endpoints that are named in what hosts tell of a route."""
    if isinstance(told, tuple):
        for _, _, paths in told:
            for path in paths:
                if isinstance(path.action, Forward):
                    for target in path.action.targets:
                        yield target.group


class TableView:
    """How far the published tables are with what is wanted. ``parts`` are those with hosts: the items that they should
    have, and how they stand. ``groups`` are the parts with endpoints that stand, ``certificates`` those with
    certificates, as ``parts``."""

    def __init__(
        self,
        parts: Sequence[tuple[tuple[HostRecord, ...], Standing[HostRecord] | None]],
        groups: Sequence[Standing[EndpointGroup]],
        certificates: Sequence[tuple[tuple[CertificateRecord, ...], Standing[CertificateRecord] | None]] = (),
    ) -> None:
        self._parts = tuple(parts)
        self._certificates = tuple(certificates)
        self._groups = {
            name: since.version for part in groups for name, since in part.since.items() if since.told is not None
        }
        floors = [part.floor for part in groups]
        floors += [known.floor for _, known in (*parts, *certificates) if known is not None]
        self._floor = max([1, *floors])
        self._names = {
            (each.name, listener) for items, _ in certificates for each in items for listener in each.listeners
        }
        self._named = {
            key: since.version
            for _, standing in certificates
            if standing is not None
            for key, since in standing.since.items()
            if since.told is not None
        }

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal when the same is to be said of all routes."""
        return self._parts, self._groups, self._certificates, self._floor

    @cached_property
    def newest(self) -> int:
        """A pod that has the table of this resourceVersion has all that is published of routes."""
        others = (*self._groups.values(), *self._named.values())
        return max([self._floor, *others, *(since or 0 for since in self._routes.values())])

    @cached_property
    def certified(self) -> int | None:
        """A pod that has the table of this resourceVersion serves all certificates as they are wanted; None while they
        are not published."""
        since = self._floor
        for items, standing in self._certificates:
            if standing is None or standing.items != items:
                return None
            since = max(since, standing.since[_EVERYBODY].version)
        return since

    def since(self, route: RouteRef) -> int | None:
        """A pod that has the table of this resourceVersion serves a route as it is wanted; None while that is not
        published. Which endpoints a group has does not count, nor which certificate a host."""
        return self._routes.get(route, self._floor)

    @cached_property
    def _routes(self) -> Mapping[RouteRef, int | None]:
        found: dict[RouteRef, int | None] = {}
        for items, standing in self._parts:
            published: Mapping[RouteRef, Since] = standing.since if standing is not None else {}
            if standing is not None and standing.items == items:
                told: Told = {route: since.told for route, since in published.items()}
            else:
                told = HOSTS.told(items)
            for route in told.keys() | published.keys():
                before = found.get(route, self._floor)
                version = self._version(told.get(route), published.get(route))
                found[route] = None if version is None or before is None else max(before, version)
        return found

    def _version(self, told: object, published: Since | None) -> int | None:
        if published is None or published.told != told:
            return None
        version = published.version
        for group in groups_of(told):
            since = self._groups.get(group)
            if since is None:
                return None
            version = max(version, since)
        for name in self._names_of(told):
            since = self._named.get(name)
            if since is None:
                return None
            version = max(version, since)
        return version

    def _names_of(self, told: object) -> Iterator[tuple[str, str]]:
        """What is wanted to cover the hosts of a route, by name and listener, where they get a certificate."""
        if self._names and isinstance(told, tuple):
            for host, listeners, _ in told:
                for listener in listeners:
                    covering = ((name, listener) for name in (host, wildcard_of(host), EVERYTHING))
                    found = next((key for key in covering if key in self._names), None)
                    if found is not None:
                        yield found
