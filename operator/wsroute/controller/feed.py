"""Everything that reaches the state goes through here: watch events, lists, and the answers to our own writes.

The feed belongs to one event loop. It says when a pass could come to another result, and only once every kind has been
listed: before that a pass would see objects missing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wsroute.cluster.kinds import Kind, Record, parse_record
from wsroute.cluster.objects import Key
from wsroute.cluster.parse import parse_version
from wsroute.cluster.state import UNKNOWN_VERSION, ClusterState
from wsroute.kube import port

RESOURCES: Final = {
    Kind.ROUTE: port.ROUTES,
    Kind.BALANCER: port.BALANCERS,
    Kind.SERVICE: port.SERVICES,
    Kind.ENDPOINT_SLICE: port.ENDPOINT_SLICES,
    Kind.NAMESPACE: port.NAMESPACES,
    Kind.POD: port.PODS,
    Kind.DEPLOYMENT: port.DEPLOYMENTS,
    Kind.CONFIG_MAP: port.CONFIG_MAPS,
    Kind.NODE: port.NODES,
}


@dataclass(frozen=True, slots=True)
class Change:
    """A watch event. ``record`` is None when the object is gone, or has become unusable, which is the same to us until
    it comes with a higher ``version``."""

    kind: Kind
    key: Key
    uid: str
    record: Record | None
    version: int = UNKNOWN_VERSION


def read_change(kind: Kind, raw: Any, *, deleted: bool) -> Change | None:
    """A watch event's object as a change; None when it does not even say which object it is. Never raises."""
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(metadata, dict):
        return None
    namespace, name, uid = (metadata.get(field) or "" for field in ("namespace", "name", "uid"))
    if not (isinstance(namespace, str) and isinstance(name, str) and name and isinstance(uid, str)):
        return None
    record = None if deleted else parse_record(kind, raw)
    key = record.meta.key if record is not None else Key(namespace, name)
    return Change(kind, key, uid, record, parse_version(metadata.get("resourceVersion")))


def read_all(kind: Kind, items: Iterable[Any]) -> list[Record]:
    """The usable objects of a list."""
    return [record for item in items if (record := parse_record(kind, item)) is not None]


class Feed:
    """Feeds a state. ``changed`` is called whenever a pass could come to another result.

    ``split`` has the kinds that are listed for each of some namespaces apart: they are complete when each was listed.
    """

    def __init__(
        self,
        state: ClusterState,
        *,
        changed: Callable[[], None],
        split: Mapping[Kind, Sequence[str]] = {},
    ) -> None:
        self.state = state
        self.revision = 0
        """Grows with each change of meaning, those of ConfigMaps left aside."""
        self.synced = asyncio.Event()
        """Set once every kind has been listed."""
        self._changed = changed
        self._listeners: list[Callable[[Record], None]] = []
        self._outstanding = {kind: set(namespaces) for kind, namespaces in split.items()}

    def listen(self, listener: Callable[[Record], None]) -> None:
        """Have each record told that a watch shows, also when no pass could come to another result because of it. The
        answers to our own writes aren't told, and neither are :meth:`listed` kinds: their watch tells of each object
        anew after a gap."""
        self._listeners.append(listener)

    def observe(self, change: Change) -> None:
        """Take in a watch event."""
        self._take(change)
        if change.record is not None:
            self._show(change.record)

    def _take(self, change: Change, *, quietly: bool = False) -> None:
        if change.record is None:
            changed = self.state.delete(change.kind, change.key, change.uid, change.version)
        else:
            changed = self.state.upsert(change.record)
        self._tell(change.kind, changed, quietly=quietly)

    def listed(self, kind: Kind, records: Iterable[Record], version: int, *, complete: bool = True) -> None:
        """Take in a list of all objects of a kind; with ``complete`` false what is not in it stays."""
        if complete:
            changed = self.state.replace(kind, records, version)
        else:
            changed = sum(self.state.upsert(record) for record in records) > 0
        self.state.mark_synced(kind)
        self._tell(kind, changed)

    def skip(self, kind: Kind) -> None:
        """Don't wait for a kind any longer: there is no right to list it. It may come all the same."""
        self.state.mark_synced(kind)
        self._tell(kind, changed=False)

    def listed_in(
        self, namespace: str, kind: Kind, records: Sequence[Record], version: int, *, complete: bool = True
    ) -> None:
        """Take in a list of a kind's objects in one namespace (or of the Namespace itself); those of others stay. With
        ``complete`` false what is not in it stays, too."""
        gone = self.missing_in(namespace, kind, records, version) if complete else []
        removed = [self.state.delete(kind, key, uid, version) for key, uid in gone]
        taken = [self.state.upsert(record) for record in records]
        outstanding = self._outstanding.get(kind, set())
        outstanding.discard(namespace)
        if not outstanding:
            self.state.mark_synced(kind)
        self._tell(kind, any(removed) or any(taken))
        for record in records:
            self._show(record)

    def pass_over(self, namespace: str, kind: Kind) -> None:
        """Go on without a kind's objects in one namespace, which we are not let list. What is known of them stays."""
        self.listed_in(namespace, kind, [], 0)

    def missing_in(self, namespace: str, kind: Kind, records: Iterable[Record], version: int) -> list[tuple[Key, str]]:
        """Which known objects of a namespace (or the Namespace itself) a list lacks, with their uids."""
        listed = {record.meta.key for record in records}
        return [
            (key, uid)
            for key, uid, seen in self.state.known(kind)
            if (key.namespace or key.name) == namespace and key not in listed and (seen <= version or version < 0)
        ]

    def wrote(self, kind: Kind, raw: Any, *, quietly: bool = False) -> None:
        """Take in the answer to a write of our own: the next pass need not wait for the watch to show it. It does not
        come because of this where that was ``quietly``: who wrote asks for it himself."""
        change = read_change(kind, raw, deleted=False)
        if change is not None:
            self._take(change, quietly=quietly)

    def _show(self, record: Record) -> None:
        for listener in self._listeners:
            listener(record)

    def _tell(self, kind: Kind, changed: bool, *, quietly: bool = False) -> None:
        if changed and kind is not Kind.CONFIG_MAP:
            self.revision += 1
        if not self.synced.is_set():
            if self.state.ready:
                self.synced.set()
                self._changed()
        elif changed and not quietly:
            self._changed()
