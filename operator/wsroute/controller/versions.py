"""What is remembered of the versions that pods may still run: what each serves for each route, and its structure."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from wsroute.dataplane.fingerprint import fingerprints
from wsroute.dataplane.ir import Configuration, RouteRef, Upstream
from wsroute.graph.memo import Memo

REMEMBERED: Final = 32
"""Versions of each balancer that are remembered; pods run the last few."""


class KnownVersion:
    """A version that was made here.

    ``structure`` is the configuration of the first version in a row that differ in endpoints only: the same object for
    all of them. Fingerprints are worked out when somebody asks: that is after the version was written.
    """

    __slots__ = ("_fingerprints", "configuration", "structure")

    def __init__(self, configuration: Configuration, structure: Configuration) -> None:
        self.structure = structure
        self.configuration = configuration
        self._fingerprints: Mapping[RouteRef, str] | None = None

    def fingerprints(self, memo: Memo) -> Mapping[RouteRef, str]:
        """For each route what a handshake on it depends on."""
        if self._fingerprints is None:
            self._fingerprints = fingerprints(self.configuration, memo=memo)
        return self._fingerprints


class Versions:
    """The last versions of one balancer, at most :data:`REMEMBERED`; the least recently looked at goes first.

    After a restart it is empty: a version that is not known counts as different in everything.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, KnownVersion] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, version: str, configuration: Configuration) -> None:
        """Remember a version."""
        if version in self._known:
            # The same bytes: what was derived from the first configuration that gave them stays valid.
            self._known.move_to_end(version)
            return
        structure = configuration
        for known in {id(known.structure): known for known in reversed(self._known.values())}.values():
            if same_structure(known.structure, configuration):
                structure = known.structure
                break
        self._known[version] = KnownVersion(configuration, structure)
        self._known.move_to_end(version)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def get(self, version: str) -> KnownVersion | None:
        """A version, if it is remembered; asking keeps it."""
        known = self._known.get(version)
        if known is not None:
            self._known.move_to_end(version)
        return known

    def configuration(self, version: str) -> Configuration | None:
        """The configuration of a version, if it is remembered; asking keeps it."""
        known = self.get(version)
        return None if known is None else known.configuration

    def akin(self, version: str) -> frozenset[str]:
        """The remembered versions that differ from this one in endpoints only, itself included."""
        known = self._known.get(version)
        if known is None:
            return frozenset({version})
        return frozenset(other for other, each in self._known.items() if each.structure is known.structure)


def same_structure(one: Configuration, other: Configuration) -> bool:
    """Whether two configurations differ in nothing but the endpoints of their upstreams.

    Parts that did not change are the same objects from pass to pass, so that comparing costs little.
    """
    return (
        len(one.upstreams) == len(other.upstreams)
        and all(a is b or _same_group(a, b) for a, b in zip(one.upstreams, other.upstreams, strict=True))
        and _without_upstreams(one) == _without_upstreams(other)
    )


def _same_group(one: Upstream, other: Upstream) -> bool:
    return (one.name, one.balancing, one.sources) == (other.name, other.balancing, other.sources)


def _without_upstreams(configuration: Configuration) -> tuple[object, ...]:
    return tuple(getattr(configuration, field) for field in Configuration.__dataclass_fields__ if field != "upstreams")
