"""What ``quarantine`` looks at: what a balancer's routes wish for, what its pods serve, and what they say. Pure."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, Protocol

from wsroute import __version__
from wsroute.controller.crowding import left_out
from wsroute.controller.versions import KnownVersion
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.fingerprint import fingerprints
from wsroute.dataplane.ir import Configuration, RouteRef
from wsroute.dataplane.withholding import Withheld
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode, RouteNode
from wsroute.nginx.linemap import LineMap
from wsroute.nginx.quoting import EmitError

IDENTITY_LENGTH: Final = 16
"""Hex digits."""


class NoRoomError(EmitError):
    """A file is too large to be published, and some routes have to give way, wholly: the withdrawn form takes room as
    well. ``sizes`` are what the routes take, of which ``excess`` is too much."""

    def __init__(self, message: str, *, sizes: Mapping[RouteRef, float], excess: float) -> None:
        super().__init__(message)
        self.sizes = sizes
        self.excess = excess


class Candidate(Protocol):
    """A file that could be tried. ``structure`` is the same for files that differ in endpoints only."""

    @property
    def version(self) -> str:
        """What nginx calls it."""
        ...

    @property
    def structure(self) -> str:
        """What it shares with others."""
        ...

    @property
    def lines(self) -> LineMap:
        """The routes of its lines."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """The pods refuse a file, and ``named`` are the routes of the line that nginx named, none when it named none."""

    failure: Failure
    named: tuple[RouteRef, ...]


Verdict = Literal["accepted", "open"] | Refused
"""What the pods say of a structure. It is accepted when it is in force and a pod runs it; open until they have said
enough."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the pods serve at present: the configuration of ``version`` as far as it is known, and the routes in it that
    are served somewhere.

    ``serves`` is None when they serve something and nobody knows what. ``text`` is the file, where that is all that is
    known.
    """

    version: str
    configuration: Configuration | None
    serves: frozenset[RouteRef] | None
    text: str = ""

    def has(self, route: RouteRef) -> bool:
        """Whether somebody may be served by a route."""
        return self.serves is None or route in self.serves


@dataclass(frozen=True)
class View:
    """What a step looks at: a balancer with what all its routes wish for, what the pods serve and say.

    ``own_is_taken`` says that nginx has taken what the balancer itself is. ``standing_now`` and ``known`` give what is
    served and what is known of a version, ``make`` the file without what is withheld, ``verdict`` what the pods say of
    a structure.
    """

    node: BalancerNode
    wished: Configuration
    own_is_taken: bool
    standing_now: Callable[[], Standing]
    known: Callable[[str], KnownVersion | None]
    memo: Memo
    make: Callable[[Withheld], Candidate]
    verdict: Callable[[str], Verdict]

    @cached_property
    def routes(self) -> Mapping[RouteRef, RouteNode]:
        """The routes of the balancer."""
        return {RouteRef(*route.key): route for route in (*self.node.accepted, *self.node.rejected)}

    @cached_property
    def standing(self) -> Standing:
        """What the pods serve."""
        return self.standing_now()

    def unchanged(self, route: RouteRef, withheld: Withheld) -> bool:
        """Whether a route's servers stand in the file that the pods have as in the one without what is withheld."""
        return all(block in self.standing.text for block in self.make(withheld).lines.blocks_of(route))

    @cached_property
    def wishes(self) -> Mapping[RouteRef, str]:
        """The fingerprints of what the routes wish for."""
        return fingerprints(self.wished, memo=self.memo)

    @cached_property
    def everything(self) -> str:
        """A digest of all routes."""
        return _digest(self.identity(route) for route in self.routes)

    def namespace(self, name: str) -> str:
        """A digest of a namespace's routes, empty where there are none."""
        return self._namespaces.get(name, "")

    @cached_property
    def _namespaces(self) -> Mapping[str, str]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for route in self.routes:
            found[route.namespace].append(self.identity(route))
        return {name: _digest(identities) for name, identities in found.items()}

    def crowded(self, counts: Mapping[str, int]) -> frozenset[RouteRef]:
        """The routes that give way where so many of each namespace do. Asked for again and again in a pass."""
        return self.memo.get(("crowded", self.node.key), (self.node, counts), lambda: left_out(counts, self.routes))

    def told(self, version: str) -> Mapping[RouteRef, str] | None:
        """The fingerprints of a version, None when it is not known."""
        known = self.known(version)
        return None if known is None else known.fingerprints(self.memo)

    def identity(self, route: RouteRef) -> str:
        """A digest of a route's uid, its generation and all that nginx is told of it but endpoints, which follows from
        the operator's version too."""
        node = self.routes[route]
        return self.memo.get(("identity", route), (node,), lambda: _identity(node))


def _identity(node: RouteNode) -> str:
    paths = [
        (
            path.path,
            str(path.match),
            path.websocket_only,
            path.rewrite_prefix,
            [(tuple(backend.service), backend.port, backend.weight) for backend in path.backends],
        )
        for path in node.paths
    ]
    withdrawn = [tuple(claim) for claim in node.withdrawn_paths]
    parts = (__version__, node.uid, node.generation, node.hosts, node.listeners, paths, withdrawn, repr(node.settings))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:IDENTITY_LENGTH]


def _digest(identities: Iterable[str]) -> str:
    return hashlib.sha256("".join(sorted(identities)).encode()).hexdigest()[:IDENTITY_LENGTH]
