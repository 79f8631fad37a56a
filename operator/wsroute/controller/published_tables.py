"""What the tables of a Dynamic balancer say as they stand in its ConfigMaps, and since when they say so of each route.
Pure.

A pod acknowledges the newest resourceVersion of a table that its nginx has. A part that was written for one route says
nothing new of the others in it, so what counts for a route is since when its own records stand as they are.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from wsroute.cluster.objects import ConfigMap
from wsroute.controller.fitting import Size
from wsroute.dataplane import names, shards
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.room import certificate_room, group_room, host_room
from wsroute.dataplane.shards import TABLE_KEY, ShardError
from wsroute.dataplane.table import CertificateRecord, EndpointGroup, Forward, HostRecord, PathRecord

Item = TypeVar("Item", HostRecord, EndpointGroup, CertificateRecord)

REMEMBERED: Final = 1024
"""Keys that each family remembers to have told of once."""

Told = Mapping[Any, object]
"""What some items say, by keys of what it concerns: of hosts a route and a host, of endpoints the name of their group,
of which only counts whether any takes sockets, of certificates a name and a listener, of which only counts that it is
there, and a name and nothing, of which counts which files they are."""

FILES: Final = ""
"""Stands in a key for no listener."""

_VERSION: Final = attrgetter("version")


_Served = tuple[tuple[str, ...], tuple[PathRecord, ...]]
"""The listeners of a host, and a route's paths there."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[Item]):
    """What the families of parts do differently. ``name`` decides in which part an item is; ``room`` is what an
    item with this line takes of nginx's dictionary."""

    family: str
    name: Callable[[Item], str]
    line: Callable[[Item], str]
    room: Callable[[Item, str], int]
    parse: Callable[[str], tuple[Item, ...]]
    told: Callable[[tuple[Item, ...]], Told]


def _told_by_hosts(hosts: tuple[HostRecord, ...]) -> Told:
    found: defaultdict[tuple[RouteRef, str], list[_Served]] = defaultdict(list)
    for host in hosts:
        paths: defaultdict[RouteRef, list[PathRecord]] = defaultdict(list)
        for path in host.paths:
            paths[path.route].append(path)
        for route, own in paths.items():
            found[route, host.host].append((host.listeners, tuple(own)))
    return {key: tuple(served) for key, served in found.items()}


def _told_by_groups(groups: tuple[EndpointGroup, ...]) -> Told:
    return {group.name: bool(group.addresses) for group in groups}


def _told_by_certificates(certificates: tuple[CertificateRecord, ...]) -> Told:
    names = dict.fromkeys(((each.name, listener) for each in certificates for listener in each.listeners), True)
    files: defaultdict[tuple[str, str], list[CertificateRecord]] = defaultdict(list)
    for each in certificates:
        files[each.name, FILES].append(each)
    return {**names, **{key: tuple(own) for key, own in files.items()}}


HOSTS: Final[Kind[HostRecord]] = Kind(
    "r", lambda host: host.host, shards.host_line, host_room, shards.parse_hosts, _told_by_hosts
)
GROUPS: Final[Kind[EndpointGroup]] = Kind(
    "e", lambda group: group.name, shards.endpoints_line, group_room, shards.parse_groups, _told_by_groups
)

CERTIFICATES: Final[Kind[CertificateRecord]] = Kind(
    "c",
    lambda each: each.name,
    shards.certificate_line,
    certificate_room,
    shards.parse_certificates,
    _told_by_certificates,
)


@dataclass(frozen=True, slots=True)
class Part(Generic[Item]):
    """A part as it should stand: its items, a line for each, all its text, the SHA-256 of that, and its size."""

    items: tuple[Item, ...]
    lines: tuple[str, ...]
    text: str
    digest: str
    size: Size

    def size_of(self, kind: Kind[Item], names: Collection[str]) -> Size:
        """The size of the items of these names."""
        pairs = zip(self.items, self.lines, strict=True)
        return total_size(kind, [(item, line) for item, line in pairs if kind.name(item) in names])


def total_size(kind: Kind[Item], items: Collection[tuple[Item, str]]) -> Size:
    """The size of some items with their lines."""
    return Size(sum(len(line) + 1 for _, line in items), sum(kind.room(*each) for each in items))


class Since(NamedTuple):
    """What a family tells of a key, None when it does not any more, and since which resourceVersion."""

    told: object
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class Standing(Generic[Item]):
    """A part as it stands, and what it tells. ``items`` is None when it can't be read."""

    known: ConfigMap
    items: tuple[Item, ...] | None
    told: Told

    @property
    def text(self) -> str:
        """Its lines."""
        return self.known.data.get(TABLE_KEY, "")

    @property
    def version(self) -> int:
        """Its resourceVersion."""
        return self.known.meta.version


@dataclass(frozen=True, slots=True, eq=False)
class Family(Generic[Item]):
    """The parts of a family as they stand, by their index, and since when it tells what it tells, in whichever part:
    when there are more parts, most of what they tell has only moved. What was written before we first looked was
    written by ``floor`` at the latest; 0 when we have seen it all."""

    parts: Mapping[int, Standing[Item]]
    since: Mapping[Any, Since]
    floor: int

    @property
    def newest(self) -> int:
        """The newest resourceVersion of its parts that pods tell of, 0 without any."""
        return _newest(self.parts)


def look(
    kind: Kind[Item], known: Mapping[int, ConfigMap], before: Family[Item] | None, *, made: Sequence[Part[Item]]
) -> Family[Item]:
    """A family as it stands now. ``made`` is how its parts were last to stand."""
    old = before.parts if before is not None else {}
    parts: dict[int, Standing[Item]] = {}
    changed: list[int] = []
    for index, config_map in known.items():
        standing = old.get(index)
        if standing is None or standing.text != config_map.data.get(TABLE_KEY, ""):
            standing = _read(kind, config_map, made[index] if index < len(made) else None)
            changed.append(index)
        elif standing.known is not config_map:
            standing = replace(standing, known=config_map)
        parts[index] = standing
    if before is None or not old:
        return Family(parts, _since({}, {}, parts, changed), _newest(parts))
    before = _renewed(before, parts)
    if not changed and parts.keys() == old.keys():
        return Family(parts, before.since, before.floor)
    return Family(parts, _since(before.since, old, parts, changed), before.floor)


def _newest(parts: Mapping[int, Standing[Item]]) -> int:
    count = _count(parts)
    return max((part.version for index, part in parts.items() if _counts(index, part, count)), default=0)


def _count(parts: Mapping[int, Standing[Item]]) -> int:
    """How many parts a family has, as its first one says."""
    return count_of(parts[0].known if 0 in parts else None)


def _counts(index: int, part: Standing[Item], count: int) -> bool:
    """Whether pods tell of a part. One that was left over and is emptied they have forgotten."""
    return index < count or bool(part.text)


def _renewed(before: Family[Item], parts: Mapping[int, Standing[Item]]) -> Family[Item]:
    """What counts once parts were written again that no pod had yet, as their number is not that of the first one: a
    pod that has all that is older has them no more than before."""
    old = before.parts
    whole, count = _count(old), _count(parts)
    versions: dict[int, int] = {
        part.version: parts[index].version
        for index, part in old.items()
        if index in parts
        and part.known is not parts[index].known
        and count_of(part.known) != whole
        and _counts(index, part, whole)
        and _counts(index, parts[index], count)
    }
    if not versions:
        return before
    since = {
        key: entry._replace(version=versions.get(entry.version, entry.version)) for key, entry in before.since.items()
    }
    # What was written before we first looked may have said anything before that.
    floor = max([before.floor, *(now for then, now in versions.items() if then <= before.floor)])
    return Family(old, since, floor)


def count_of(part: ConfigMap | None) -> int:
    """How many parts a family has, by one of them, as far as that can be read."""
    annotation = part.annotations.get(names.SHARD_ANNOTATION, "") if part is not None else ""
    try:
        return shards.parse_place(annotation).count
    except ShardError:
        return 1


def _read(kind: Kind[Item], known: ConfigMap, made: Part[Item] | None) -> Standing[Item]:
    text = known.data.get(TABLE_KEY, "")
    items: tuple[Item, ...] | None
    try:
        items = made.items if made is not None and made.text == text else kind.parse(text)
    except ShardError:
        items = None
    return Standing(known, items, kind.told(items or ()))


def _since(
    before: Mapping[Any, Since],
    old: Mapping[int, Standing[Item]],
    parts: Mapping[int, Standing[Item]],
    changed: Collection[int],
) -> Mapping[Any, Since]:
    """Since when parts tell what they tell, of which these have ``changed``. What was written last counts."""
    lost = _lost(old, parts, changed)
    fresh: dict[Any, Since] = {}
    for part in sorted((parts[index] for index in changed), key=_VERSION):
        for key, says in part.told.items():
            entry = fresh.get(key) or before.get(key)
            if entry is None or entry.told != says:
                fresh[key] = Since(says, part.version)
            lost.pop(key, None)
    if not fresh and not lost:
        return before
    found = {**before, **fresh}
    for key, version in lost.items():
        if telling := [part for part in parts.values() if key in part.told]:
            says = max(telling, key=_VERSION).told[key]
            if found[key].told != says:
                found[key] = Since(says, max(map(_VERSION, parts.values())))
        elif version is None:
            del found[key]
        else:
            found[key] = Since(None, version)
    return _bounded(found) if lost else found


def _lost(
    old: Mapping[int, Standing[Item]], parts: Mapping[int, Standing[Item]], changed: Collection[int]
) -> dict[Any, int | None]:
    """What parts do not tell any more, and since which version; None where a hand has deleted the part: what that told
    is told anew."""
    lost: dict[Any, int | None] = {}
    for index, part in old.items():
        now = parts.get(index)
        if now is None:
            lost |= dict.fromkeys(part.told)
        elif index in changed and (gone := part.told.keys() - now.told.keys()):
            lost |= dict.fromkeys(gone, min(now.version, _newest(parts)))
    return lost


def _bounded(since: dict[Any, Since]) -> dict[Any, Since]:
    gone = sorted((key for key, entry in since.items() if entry.told is None), key=lambda key: since[key].version)
    for key in gone[:-REMEMBERED]:
        del since[key]
    return since


def groups_of(told: object) -> Iterator[str]:
    """The groups of endpoints that are named in what is told of a route on a host."""
    if isinstance(told, tuple):
        for _, paths in told:
            for path in paths:
                if isinstance(path.action, Forward):
                    for target in path.action.targets:
                        yield target.group
