"""What we know about the cluster, kept by watch events and healed by lists. Pure: it is told, it never asks.

Watch events and lists race. Three rules keep the state from going back in time and deleted objects from coming back:

- of two records of one object the one with the higher resourceVersion counts (they are comparable within a kind,
  KEP-5504); where one does not parse, the later word counts, and a list always wins;
- a deletion counts only for the uid that it names, because the end of an old object may be told after the beginning of
  its successor of the same name; and a uid that was deleted comes back only with a higher resourceVersion than it went
  with: an object that lost the label by which it is watched is told to be deleted, and lives;
- an unknown object that is not newer than the last list is one that the list has already left out.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, Final

from wsroute.cluster.kinds import KIND_OF, KINDS, Kind, Record
from wsroute.cluster.objects import Balancer, EndpointSlice, Key, Meta, Route, Snapshot

REMEMBERED_DELETIONS: Final = 4096
"""Deleted uids that each kind remembers; a stale event or list is seconds old, not thousands of deletions."""

UNKNOWN_VERSION: Final = -1
"""A resourceVersion that can't be compared."""


class _Store:
    """The objects of one kind. ``objects`` belongs to a snapshot once that has it, and is copied before a change."""

    def __init__(self, kind: Kind) -> None:
        self.objects: dict[Key, Any] = {}
        self.list_version = UNKNOWN_VERSION
        self.deleted: OrderedDict[str, int] = OrderedDict()
        """The resourceVersion with which each uid went."""
        self.meaning = _meaning_of(kind)
        self.shared = False

    def writable(self) -> dict[Key, Any]:
        if self.shared:
            self.objects = dict(self.objects)
            self.shared = False
        return self.objects

    def forget(self, uid: str, version: int) -> None:
        if not uid:
            return  # objects from files have none
        before = self.deleted.get(uid, version)
        self.deleted[uid] = UNKNOWN_VERSION if UNKNOWN_VERSION in (before, version) else max(before, version)
        self.deleted.move_to_end(uid)
        if len(self.deleted) > REMEMBERED_DELETIONS:
            self.deleted.popitem(last=False)

    def is_gone(self, meta: Meta) -> bool:
        """Whether a record is an older word on an object than that of its end."""
        went = self.deleted.get(meta.uid)
        return went is not None and (UNKNOWN_VERSION in (went, meta.version) or meta.version <= went)


class ClusterState:
    """All records, by kind. Not thread-safe: one event loop feeds it and takes snapshots.

    ``kinds`` are those that must be listed before the state is ``ready``; the others stay empty.
    """

    def __init__(self, *, kinds: Iterable[Kind] = tuple(Kind)) -> None:
        self._stores = {kind: _Store(kind) for kind in Kind}
        self._awaited = set(kinds)
        self._groups: dict[Key, tuple[EndpointSlice, ...]] = {}
        """Slices by their Service, as a snapshot shows them."""
        self._groups_shared = False

    @property
    def ready(self) -> bool:
        """Whether all awaited kinds were listed at least once: before that a pass would see objects missing."""
        return not self._awaited

    @property
    def awaited(self) -> frozenset[Kind]:
        """The kinds whose first list is still to come."""
        return frozenset(self._awaited)

    def mark_synced(self, kind: Kind) -> None:
        """Say that a complete list of a kind has arrived."""
        self._awaited.discard(kind)

    def size(self, kind: Kind) -> int:
        """How many objects of a kind there are."""
        return len(self._stores[kind].objects)

    def known(self, kind: Kind) -> list[tuple[Key, str, int]]:
        """Key, uid and resourceVersion of each object of a kind."""
        return [(key, found.meta.uid, found.meta.version) for key, found in self._stores[kind].objects.items()]

    def upsert(self, record: Record) -> bool:
        """Take in an added or changed object. True when a pass could come to another result because of it."""
        kind = KIND_OF[type(record)]
        store = self._stores[kind]
        meta = record.meta
        if store.is_gone(meta):
            return False
        known = store.objects.get(meta.key)
        if known is None and UNKNOWN_VERSION < meta.version <= store.list_version:
            return False
        if known is not None and UNKNOWN_VERSION < meta.version < known.meta.version:
            return False
        return self._put(kind, store, record)

    def delete(self, kind: Kind, key: Key, uid: str, version: int = UNKNOWN_VERSION) -> bool:
        """Take out a deleted object, if it is still the one with that uid. True when there was one.

        ``version`` is the resourceVersion of its end; without one it never comes back.
        """
        store = self._stores[kind]
        known = store.objects.get(key)
        if known is not None and known.meta.uid == uid and UNKNOWN_VERSION < version < known.meta.version:
            return False  # it has come back since
        store.forget(uid, version)
        if known is None or known.meta.uid != uid:
            return False
        self._remove(kind, store, key)
        return True

    def replace(self, kind: Kind, records: Iterable[Record], list_version: int) -> bool:
        """Make a list the truth, except for what is known to be newer than it. True when a pass could be concerned.

        ``list_version`` is the list's resourceVersion, or -1 when it does not parse. Where one kind is listed in
        several namespaces, ``records`` holds all of them, and ``list_version`` is the lowest of the lists' versions.
        """
        store = self._stores[kind]
        if UNKNOWN_VERSION < list_version < store.list_version:
            return False  # an older list than the last one knows nothing new
        changed = False
        listed = set()
        for record in records:
            meta = record.meta
            listed.add(meta.key)
            known = store.objects.get(meta.key)
            if known is None:
                # An unknown one that was deleted since the list was made stays deleted.
                changed |= not store.is_gone(meta) and self._put(kind, store, record)
            elif meta.version > known.meta.version or UNKNOWN_VERSION in (meta.version, known.meta.version):
                changed |= self._put(kind, store, record)
        gone = [
            key
            for key, known in store.objects.items()
            if key not in listed and (known.meta.version <= list_version or list_version == UNKNOWN_VERSION)
        ]
        for key in gone:
            store.forget(store.objects[key].meta.uid, list_version)
            self._remove(kind, store, key)
        store.list_version = list_version
        return changed or bool(gone)

    def missing(self, kind: Kind, keys: Collection[Key], list_version: int) -> int:
        """How many objects :meth:`replace` would take out for a list with these keys."""
        store = self._stores[kind]
        if UNKNOWN_VERSION < list_version < store.list_version:
            return 0
        return sum(
            key not in keys and (known.meta.version <= list_version or list_version == UNKNOWN_VERSION)
            for key, known in store.objects.items()
        )

    def snapshot(self) -> Snapshot:
        """Everything as it is now. Costs nothing; the next change of a kind copies that kind's mapping."""
        for store in self._stores.values():
            store.shared = True
        self._groups_shared = True
        stores = self._stores
        return Snapshot(
            routes=stores[Kind.ROUTE].objects,
            balancers=stores[Kind.BALANCER].objects,
            services=stores[Kind.SERVICE].objects,
            slices=self._groups,
            namespaces=stores[Kind.NAMESPACE].objects,
            pods=stores[Kind.POD].objects,
            deployments=stores[Kind.DEPLOYMENT].objects,
            config_maps=stores[Kind.CONFIG_MAP].objects,
            nodes=stores[Kind.NODE].objects,
        )

    def _put(self, kind: Kind, store: _Store, record: Any) -> bool:
        key = record.meta.key
        known = store.objects.get(key)
        if known is not None and store.meaning(known) == store.meaning(record):
            if known.meta.version != record.meta.version:
                store.writable()[key] = _refreshed(known, record)
            return False
        store.writable()[key] = record
        if kind is Kind.ENDPOINT_SLICE:
            if known is not None and known.service != record.service:
                self._regroup(known.service, without=key)
            self._regroup(record.service, without=key, extra=record)
        return True

    def _remove(self, kind: Kind, store: _Store, key: Key) -> None:
        gone = store.writable().pop(key)
        if kind is Kind.ENDPOINT_SLICE:
            self._regroup(gone.service, without=key)

    def _regroup(self, service: Key, *, without: Key, extra: EndpointSlice | None = None) -> None:
        if self._groups_shared:
            self._groups = dict(self._groups)
            self._groups_shared = False
        members = [member for member in self._groups.get(service, ()) if member.meta.key != without]
        if extra is not None:
            members.append(extra)
            members.sort(key=lambda member: member.meta.key)
        if members:
            self._groups[service] = tuple(members)
        else:
            self._groups.pop(service, None)


def _refreshed(known: Any, record: Any) -> Any:
    """The known record with the new version and status: its other fields stay the same objects, so that what was worked
    out from them stays known too."""
    meta = replace(known.meta, version=record.meta.version, generation=record.meta.generation)
    if isinstance(known, Route | Balancer):
        return replace(known, meta=meta, status=record.status)
    return replace(known, meta=meta)


def _meaning_of(kind: Kind) -> Callable[[Any], Any]:
    """A function that takes out of a record what a pass looks at: all but the version and the status."""
    info = KINDS[kind]
    names = [field.name for field in fields(info.record) if field.compare and field.name != "meta"]
    names += ["meta.uid", "meta.created"]
    if info.observed_generation:
        names.append("meta.generation")
    return attrgetter(*names)
