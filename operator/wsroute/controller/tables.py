"""Which ConfigMaps with the tables of a Dynamic balancer should stand. Pure but for its memo.

Endpoints are written before the hosts that name them, and a group that only a host as it is published names stays until
the pass after that host's write. So whoever reads the ConfigMaps in the order of their writes finds every group that a
host names. When the number of parts changes, the first part is written last: a family is whole only with it.

Certificates are the third family. They are written after the Secrets that bring their files to the pods, and while it
is not known which ones there are they stay as they are.

No part is ever deleted: one that is not needed any more is emptied, after everything else.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, compress
from operator import attrgetter, is_not
from typing import Final, Generic

from wsroute.cluster.objects import ConfigMap, Key
from wsroute.controller import generated
from wsroute.controller.fitting import Size, SizeMemo, fits, left_out, without
from wsroute.controller.generated import Wanted, is_of
from wsroute.controller.plan import Write, differing
from wsroute.controller.published_tables import (
    CERTIFICATES,
    GROUPS,
    HOSTS,
    Family,
    Item,
    Kind,
    Part,
    Standing,
    count_of,
    groups_of,
    look,
    total_size,
)
from wsroute.controller.table_view import TableView
from wsroute.dataplane import names, shards
from wsroute.dataplane.bundle import digest
from wsroute.dataplane.certificates import ListenerTls
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.shards import TABLE_KEY, shard_index
from wsroute.dataplane.table import CertificateRecord, EndpointGroup, HostRecord, Table
from wsroute.graph.changes import changed_names, span
from wsroute.graph.model import BalancerNode

PART_BYTES: Final = 8 * 1024
"""Bytes of a part beyond which there are more parts, while there can be: about 25 hosts. Of a part that is written the
API server, and each agent, must take in all; with 16 KiB that takes 2 ms longer, with 4 KiB it is hardly quicker."""

SPARSE: Final = 8
"""How many times the bytes of a family must fit into its parts before there are fewer of them, so that their number
does not go to and fro."""

_NAME: Final = attrgetter("name")

_PLACE: Final = re.compile(r"-table-([rec])(0|[1-9][0-9]{0,2})", re.ASCII)
"""How the name of a part's ConfigMap ends, behind the balancer's."""


Known = Mapping[tuple[str, int], ConfigMap]
"""The parts that stand, by family and index."""


@dataclass(slots=True)
class _FamilyMemo(Generic[Item]):
    """What is kept of one family between passes: the parts that some items gave when so many parts stood, and how they
    stand."""

    items: tuple[Item, ...] = ()
    before: int = 0
    parts: tuple[Part[Item], ...] = ()
    standing: Family[Item] | None = None
    looked: Known | None = None
    """What was looked at when they stood so."""
    compared: tuple[Known, tuple[Part[Item], ...], int] | None = None
    """What stood and what should, when that was compared last, and the writing leader's epoch."""
    different: frozenset[int] = frozenset()
    """The parts that did not stand as they should."""


@dataclass(slots=True)
class TableMemo:
    """What is kept of one balancer's tables between passes."""

    hosts: _FamilyMemo[HostRecord] = field(default_factory=_FamilyMemo)
    groups: _FamilyMemo[EndpointGroup] = field(default_factory=_FamilyMemo)
    certificates: _FamilyMemo[CertificateRecord] = field(default_factory=_FamilyMemo)
    view: TableView | None = None
    viewed: tuple[object, ...] | None = None
    """What the view was made of."""
    built: tuple[BalancerNode, Mapping[str, ListenerTls], Table] | None = None
    fitted: tuple[Table, Table, frozenset[RouteRef]] | None = None
    """A table that is too large, what is left of it, and what is not."""
    sizes: SizeMemo = field(default_factory=SizeMemo)
    settled: tuple[Table, Known, int, bool] | None = None
    """With what nothing was left to write."""
    known: tuple[Mapping[Key, ConfigMap], Known] | None = None
    """All ConfigMaps, and the parts among them."""

    def find(self, balancer: Key, maps: Mapping[Key, ConfigMap]) -> Known:
        """:func:`find_tables`, which looks again only when a part has changed."""
        if self.known is None or any(_may_be_part(balancer, key) for key in changed_names(self.known[0], maps)):
            parts = find_tables(balancer, maps)
        else:
            parts = self.known[1]
        self.known = (maps, parts)
        return parts


@dataclass(frozen=True, slots=True)
class Tables:
    """What brings the tables about: the writes of a stage go out together, and one stage after another,
    ``certificates``, ``endpoints`` and then ``hosts``; after everything else what is emptied. ``view`` is None where
    nothing is wanted. ``left_out`` are the routes for which there is no room."""

    certificates: tuple[tuple[Write, ...], ...] = ()
    endpoints: tuple[tuple[Write, ...], ...] = ()
    hosts: tuple[tuple[Write, ...], ...] = ()
    emptied: tuple[Write, ...] = ()
    view: TableView | None = None
    left_out: frozenset[RouteRef] = frozenset()


def find_tables(balancer: Key, maps: Mapping[Key, ConfigMap]) -> Known:
    """The parts of a balancer's tables that stand and are ours."""
    found = {}
    for key, known in maps.items():
        if _may_be_part(balancer, key) and is_of(known, balancer.name):
            place = _PLACE.fullmatch(key.name, len(balancer.name))
            if place is not None:
                found[place[1], int(place[2])] = known
    return found


def _may_be_part(balancer: Key, key: Key) -> bool:
    return key.namespace == balancer.namespace and key.name.startswith(f"{balancer.name}-table-")


def keep_tables(balancer: Key, known: Known, *, epoch: int) -> Tables:
    """What stands, as it is, with this leader's epoch."""
    writes = [_restamp(balancer, each, epoch=epoch) for each in known.values()]
    return Tables(endpoints=_stages(differing(writes)))


def empty_tables(balancer: Key, known: Known, *, epoch: int) -> Tables:
    """Nothing, where parts stand that nobody needs."""
    return Tables(emptied=differing(_emptied(balancer, each, epoch=epoch) for each in known.values()))


def plan_tables(
    balancer: Key, table: Table, known: Known, memo: TableMemo, *, epoch: int, certified: bool = True
) -> Tables:
    """The tables that should stand, without the routes for which there is no room. ``certified`` says that the table's
    certificates are known."""
    if memo.fitted is None or memo.fitted[0] is not table:
        # Weighed first: the lines of one that is far too large would take minutes, and all the memory that there is.
        memo.sizes.weigh(table)
        planned = _plan(balancer, table, known, memo, epoch=epoch, certified=certified) if memo.sizes.fits else None
        if planned is not None:
            memo.fitted = None
            return planned
        gone = left_out(table, memo.sizes)
        memo.fitted = (table, without(table, gone, memo.sizes), gone)
    _, fitting, gone = memo.fitted
    planned = _plan(balancer, fitting, known, memo, epoch=epoch, certified=certified)
    return replace(planned or keep_tables(balancer, known, epoch=epoch), left_out=gone)


def _plan(balancer: Key, table: Table, known: Known, memo: TableMemo, *, epoch: int, certified: bool) -> Tables | None:
    """None where there is no room for a table."""
    if memo.settled is not None and memo.settled[0] is table and memo.settled[1:] == (known, epoch, certified):
        return Tables(view=memo.view)
    hosts = _look(HOSTS, known, memo.hosts)
    groups = _look(GROUPS, known, memo.groups)
    certificates = _look(CERTIFICATES, known, memo.certificates)
    wanted_groups = _with_published(table.groups, hosts.parts.values(), groups.parts.values())
    host_parts = _split(HOSTS, table.hosts, _count(HOSTS, known), memo.hosts)
    group_parts = _split(GROUPS, wanted_groups, _count(GROUPS, known), memo.groups)
    certificate_parts: tuple[Part[CertificateRecord], ...] = ()
    wanted_certificates = table.certificates if certified else _items(CERTIFICATES, certificates.parts.values())
    if wanted_certificates or certificates.parts:  # most balancers end no TLS
        count = _count(CERTIFICATES, known)
        certificate_parts = _split(CERTIFICATES, wanted_certificates, count, memo.certificates)
    if not fits([*_sizes(table, host_parts, group_parts), *(part.size for part in certificate_parts)]):
        return None
    counts = {
        HOSTS.family: len(host_parts),
        GROUPS.family: len(group_parts),
        CERTIFICATES.family: len(certificate_parts),
    }
    excess = [
        _emptied(balancer, each, epoch=epoch) for (family, index), each in known.items() if index >= counts[family]
    ]
    seen = (
        [(part.items, hosts.parts.get(index)) for index, part in enumerate(host_parts)],
        [(part.items, groups.parts.get(index)) for index, part in enumerate(group_parts)],
        [(part.items, certificates.parts.get(index)) for index, part in enumerate(certificate_parts)],
        *(hosts, groups, certificates),
    )
    if memo.view is None or memo.viewed != seen:
        view = TableView(*seen)
        if memo.view is None or memo.view.signature != view.signature:
            memo.view = view
        memo.viewed = seen
    planned = Tables(
        certificates=_family_writes(CERTIFICATES, balancer, certificate_parts, known, memo.certificates, epoch=epoch),
        endpoints=_family_writes(GROUPS, balancer, group_parts, known, memo.groups, epoch=epoch),
        hosts=_family_writes(HOSTS, balancer, host_parts, known, memo.hosts, epoch=epoch),
        emptied=differing(excess),
        view=memo.view,
    )
    nothing_left = not (planned.certificates or planned.endpoints or planned.hosts or planned.emptied)
    memo.settled = (table, known, epoch, certified) if nothing_left else None
    return planned


def _sizes(table: Table, hosts: tuple[Part[HostRecord], ...], groups: tuple[Part[EndpointGroup], ...]) -> list[Size]:
    """The sizes of a table's parts, without the groups in them that stay for a while only."""
    found = [part.size for part in hosts]
    if sum(len(part.items) for part in groups) == len(table.groups):
        return found + [part.size for part in groups]
    wanted = {group.name for group in table.groups}
    return found + [part.size_of(GROUPS, wanted) for part in groups]


def _count(kind: Kind[Item], known: Known) -> int:
    """How many parts a family has as it stands, as far as that can be read."""
    return count_of(known.get((kind.family, 0)))


def _look(kind: Kind[Item], known: Known, memo: _FamilyMemo[Item]) -> Family[Item]:
    """A family as it stands."""
    if memo.standing is None or memo.looked is not known:
        own = {index: each for (family, index), each in known.items() if family == kind.family}
        memo.standing, memo.looked = look(kind, own, memo.standing, made=memo.parts), known
    return memo.standing


def _items(kind: Kind[Item], parts: Iterable[Standing[Item]]) -> tuple[Item, ...]:
    """What some parts of a family say as they stand, as far as that can be read. While the number of parts changes, a
    name may stand in two of them: what was written last counts."""
    found: dict[str, list[Item]] = {}
    for part in sorted(parts, key=lambda part: part.version):
        own: defaultdict[str, list[Item]] = defaultdict(list)
        for item in part.items or ():
            own[kind.name(item)].append(item)
        found |= own
    return tuple(item for name in sorted(found) for item in found[name])


def _with_published(
    wanted: tuple[EndpointGroup, ...],
    hosts: Collection[Standing[HostRecord]],
    groups: Iterable[Standing[EndpointGroup]],
) -> tuple[EndpointGroup, ...]:
    """The groups that are wanted, and those that nobody wants any more but a host still names as it is published."""
    names_wanted = set(map(_NAME, wanted))
    unwanted = (standing for standing in groups if standing.told.keys() - names_wanted)
    others = [group for group in _items(GROUPS, unwanted) if group.name not in names_wanted]
    if not others:
        return wanted
    if all(standing.items is not None for standing in hosts):
        named = {name for standing in hosts for told in standing.told.values() for name in groups_of(told)}
        others = [group for group in others if group.name in named]
    return tuple(sorted((*wanted, *others), key=lambda group: group.name))


def _split(kind: Kind[Item], items: tuple[Item, ...], count: int, memo: _FamilyMemo[Item]) -> tuple[Part[Item], ...]:
    """The parts that some items give, about as many as stand."""
    before = count
    if not memo.parts or memo.before != before or memo.items != items:
        if len(memo.parts) == count:
            parts = _changed_parts(kind, memo.items, items, memo.parts)
        else:
            parts = _parts(kind, items, count, memo.parts)
        while count < shards.MAX_SHARDS and any(len(part.text) > PART_BYTES for part in parts):
            count *= 2
            parts = _parts(kind, items, count, parts)
        total = sum(len(part.text) for part in parts)
        while count > 1 and total * SPARSE < count * PART_BYTES:
            count //= 2
            parts = _parts(kind, items, count, parts)
        memo.items, memo.before, memo.parts = items, before, parts
    return memo.parts


def _parts(
    kind: Kind[Item], items: tuple[Item, ...], count: int, before: tuple[Part[Item], ...]
) -> tuple[Part[Item], ...]:
    """So many parts. What stands in the parts before need not be written down again."""
    split: list[list[Item]] = [[] for _ in range(count)]
    for item in items:
        split[shard_index(kind.name(item), count)].append(item)
    return tuple(
        _part(kind, tuple(own), [before[index]] if count == len(before) else before) for index, own in enumerate(split)
    )


def _changed_parts(
    kind: Kind[Item], before: tuple[Item, ...], items: tuple[Item, ...], parts: tuple[Part[Item], ...]
) -> tuple[Part[Item], ...]:
    """The same number of parts, of which only those are made anew in which something has changed."""
    start, end_before, end_after = span(before, items)
    gone = set(map(id, before[start:end_before]))
    come: defaultdict[int, list[Item]] = defaultdict(list)
    for item in before[start:end_before]:
        come[shard_index(kind.name(item), len(parts))] = []
    for item in items[start:end_after]:
        come[shard_index(kind.name(item), len(parts))].append(item)
    changed = list(parts)
    for index, fresh in come.items():
        kept = (item for item in parts[index].items if id(item) not in gone)
        # Of one name either all items are others or none, so that those that are equal keep their order.
        changed[index] = _part(kind, tuple(sorted(chain(kept, fresh), key=kind.name)), [parts[index]])
    return tuple(changed)


def _part(kind: Kind[Item], items: tuple[Item, ...], before: Sequence[Part[Item]]) -> Part[Item]:
    for part in before:
        if part.items == items:
            return replace(part, items=items)  # these very objects, by which the next change is found
    known = {id(item): line for part in before for item, line in zip(part.items, part.lines, strict=True)}
    lines = tuple(known.get(id(item)) or kind.line(item) for item in items)
    text = "".join(f"{line}\n" for line in lines)
    pairs: list[tuple[Item, str]] = list(zip(items, lines, strict=True))
    return Part(items, lines, text, digest(text.encode()), total_size(kind, pairs))


# --- the ConfigMaps ---


def _family_writes(
    kind: Kind[Item],
    balancer: Key,
    parts: tuple[Part[Item], ...],
    known: Known,
    memo: _FamilyMemo[Item],
    *,
    epoch: int,
) -> tuple[tuple[Write, ...], ...]:
    """Where the number of parts changes, the first one is written last: a family is whole only with it."""
    first: list[Write] = []
    others: list[Write] = []
    every = range(len(parts))
    changed: Iterable[int] = every
    if memo.compared is not None and memo.compared[2] == epoch and len(memo.compared[1]) == len(parts):
        stood, before, _ = memo.compared
        anew = memo.different.union(compress(every, map(is_not, before, parts)))
        if stood is not known:
            anew |= {at for at in every if stood.get((kind.family, at)) is not known.get((kind.family, at))}
        changed = sorted(anew)
    different = set()
    for index in changed:
        place = shards.Place(kind.family, index, len(parts))
        wanted = _wanted(balancer, place, parts[index], epoch=epoch)
        writes = differing([Write(wanted, known.get((kind.family, index)))])
        if writes:
            different.add(index)
        (others if index else first).extend(writes)
    memo.compared, memo.different = (known, parts, epoch), frozenset(different)
    if (kind.family, 0) in known and _count(kind, known) != len(parts):
        return _stages(tuple(others), tuple(first))
    return _stages((*first, *others))


def _stages(*stages: tuple[Write, ...]) -> tuple[tuple[Write, ...], ...]:
    return tuple(stage for stage in stages if stage)


def _wanted(balancer: Key, place: shards.Place, part: Part[Item], *, epoch: int) -> Wanted:
    return Wanted(
        key=Key(balancer.namespace, names.table_name(balancer.name, place.family, place.index)),
        balancer=balancer.name,
        role=names.ROLE_TABLE,
        annotations={
            names.TABLE_FORMAT_ANNOTATION: str(shards.FORMAT),
            names.SHARD_ANNOTATION: str(place),
            names.DIGEST_ANNOTATION: part.digest,
            names.EPOCH_ANNOTATION: str(epoch),
        },
        data={TABLE_KEY: part.text},
    )


def _restamp(balancer: Key, known: ConfigMap, *, epoch: int) -> Write:
    return Write(generated.restamped(known, balancer, role=names.ROLE_TABLE, epoch=epoch), known)


def _emptied(balancer: Key, known: ConfigMap, *, epoch: int) -> Write:
    wanted = _restamp(balancer, known, epoch=epoch).wanted
    annotations = {**wanted.annotations, names.DIGEST_ANNOTATION: digest(b"")}
    return Write(replace(wanted, annotations=annotations, data={TABLE_KEY: ""}, binary_data={}), known)
