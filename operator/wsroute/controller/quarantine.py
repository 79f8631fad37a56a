"""Which routes keep nginx from taking a version, so that everybody else's goes out without them. Pure.

nginx refuses a file as a whole. From a refusal, and from what the pods serve, follows who is at fault:

* the route of the line that nginx names (``nginx.linemap``), if it is one that changed;
* else whoever a **search** finds among the routes that changed. It holds all of them in the form in which they are
  served, and lets them in by halves: what a pod accepts comes in force at once, what it refuses holds somebody at
  fault. A route is blamed only when nginx refuses a version that differs from the one in force in this route alone. For
  each of the guilty among n that takes at most log2 n + 1 trials, rounded up, and one to bring everything else in.

Whoever is at fault is put in quarantine: withdrawn, or left out where nginx refuses that too. Nobody is for what is the
balancer's own fault (its listeners, its template, the operator's version), nor for the machine's (no memory, an address
in use). So a route that is served stays unless it is what changed: while the balancer itself is not what nginx accepted
last, only routes that nobody is served by yet can be blamed, and when no route can, the version stays refused as a
whole, and what is in force stays in force.

The state is in :class:`Refusals`, which stands in an object, and each step is a function of it and of what is seen.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal, Protocol

from wsroute import __version__
from wsroute.cluster.objects import Key
from wsroute.cluster.quarantine import MAX_QUARANTINED, NO_ROOM, UNWRITTEN, Quarantined, Refusals, Search, clean_words
from wsroute.controller.versions import KnownVersion
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.fingerprint import fingerprints
from wsroute.dataplane.ir import Configuration, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.withholding import Withheld
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode, RouteNode
from wsroute.nginx.linemap import LineMap
from wsroute.nginx.quoting import EmitError

END: Final = "~"
"""Above all identities."""

IDENTITY_LENGTH: Final = 16
"""Hex digits."""

STEPS: Final = 1_000
"""Steps within one pass, each of which needs another word of a pod; far more than there can be."""


class NoRoomError(EmitError):
    """A file is too large to be published. ``route`` has to give way, wholly: the withdrawn form takes room as well."""


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

    def told(self, version: str) -> Mapping[RouteRef, str] | None:
        """The fingerprints of a version, None when it is not known."""
        known = self.known(version)
        return None if known is None else known.fingerprints(self.memo)

    def identity(self, route: RouteRef) -> str:
        """A digest of a route's uid, its generation and all that nginx is told of it but endpoints, which follows from
        the operator's version too."""
        node = self.routes[route]
        return self.memo.get(("identity", route), (node,), lambda: _identity(node))


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be remembered, what to aim at with it, and the refusals that led here."""

    refusals: Refusals
    withheld: Withheld
    blamed: tuple[Failure, ...]


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


def settle(refusals: Refusals, view: View) -> Settled:
    """Draw all conclusions from what the pods have said by now. Raises EmitError for a file that can't be written and
    whose fault is no route's."""
    blamed: list[Failure] = []
    for _ in range(STEPS):
        try:
            following = _step(refusals, view, blamed)
        except EmitError as error:
            following = _unwritten(refusals, error, view)
            if following == refusals:
                raise
        if following == refusals:
            break
        refusals = following
    return Settled(refusals, _aim(refusals, view), tuple(dict.fromkeys(blamed)))


def _aim(refusals: Refusals, view: View) -> Withheld:
    """What to withhold: the probe's part is let in as long as that still gives the probe."""
    search = refusals.search
    if search is not None and search.probe:
        probing = _withheld(refusals, view, let_in=_probed(refusals, view))
        if view.make(probing).structure == search.probe:
            return probing
    return _withheld(refusals, view)


def _step(refusals: Refusals, view: View, blamed: list[Failure]) -> Refusals:
    refusals = _current(refusals, view)
    search = refusals.search
    if search is not None and search.probe:
        verdict = view.verdict(search.probe)
        if verdict == "accepted":
            return replace(refusals, search=_cleared(refusals, search, view))
        if isinstance(verdict, Refused):
            following = _after_probe(refusals, search, verdict, view)
            if following != refusals:
                blamed.append(verdict.failure)
            return following
    still = _withheld(refusals, view)
    verdict = view.verdict(view.make(still).structure)
    if isinstance(verdict, Refused):
        following = _blame(refusals, verdict, view)
        if following != refusals:
            blamed.append(verdict.failure)
        return following
    if verdict != "accepted" or search is None:
        return refusals
    probe = view.make(_withheld(refusals, view, let_in=_probed(refusals, view)))
    return replace(refusals, search=replace(search, probe=probe.structure))


def _current(refusals: Refusals, view: View) -> Refusals:
    """Without the entries of routes that are other ones by now, and without a search that has come to its end."""
    quarantined = {
        key: entry
        for key, entry in refusals.quarantined.items()
        if RouteRef(*key) in view.routes and _identity_in(entry.version, RouteRef(*key), view) == entry.identity
    }
    if len(quarantined) != len(refusals.quarantined):
        refusals = replace(refusals, quarantined=quarantined)
    if refusals.search is not None and not _held(refusals, view):
        refusals = replace(refusals, search=None)
    return refusals


def _withheld(refusals: Refusals, view: View, *, let_in: tuple[RouteRef, ...] = ()) -> Withheld:
    entries = refusals.quarantined.items()
    known = view.known(refusals.search.base) if refusals.search is not None else None
    return Withheld(
        withdrawn=frozenset(RouteRef(*key) for key, entry in entries if not entry.left_out),
        left_out=frozenset(RouteRef(*key) for key, entry in entries if entry.left_out),
        held=frozenset(_held(refusals, view)) - frozenset(let_in),
        base=known.configuration if known is not None else None,
    )


# --- suspects ---


def _suspects(base: str, refusals: Refusals, view: View) -> list[RouteRef]:
    """The routes that changed since a version and can be held as they were in it, in the order of their identities.

    Where that version is not known, or none is meant, they are those that nobody is served by.
    """
    before = view.told(base)
    found = [
        route
        for route, wish in view.wishes.items()
        if route in view.routes
        and Key(*route) not in refusals.quarantined
        and (before.get(route) != wish if before is not None else not view.standing.has(route))
    ]
    return sorted(found, key=view.identity)


def _held(refusals: Refusals, view: View) -> list[RouteRef]:
    search = refusals.search
    if search is None:
        return []
    return [route for route in _suspects(search.base, refusals, view) if view.identity(route) >= search.low]


def _probed(refusals: Refusals, view: View) -> tuple[RouteRef, ...]:
    """Who is let in next: the first half of those that are at fault together, else all of whom nothing is known."""
    search = refusals.search
    assert search is not None
    held = _held(refusals, view)
    guilty = [route for route in held if view.identity(route) < search.high]
    return tuple(guilty[: (len(guilty) + 1) // 2] if guilty else held)


def _cleared(refusals: Refusals, search: Search, view: View) -> Search:
    """The search after a probe that was accepted. Who was let in is in force."""
    probed = _probed(refusals, view)
    low = max([search.low, *(_after(view.identity(route)) for route in probed)])
    return replace(search, low=low, high=max(search.high, low), probe="")


def _after(identity: str) -> str:
    """Just above an identity: all have the same length."""
    return f"{identity}0"


def _after_probe(refusals: Refusals, search: Search, refused: Refused, view: View) -> Refusals:
    """After a probe that was refused: blame a single one, or go on with the half that was let in."""
    probed = _probed(refusals, view)
    present = view.make(_withheld(refusals, view, let_in=probed)).structure == search.probe
    if present:
        named = _named(refused, probed)
        if named is not None or len(probed) == 1:
            return _convict(refusals, named or probed[0], refused, view)
    # Between the two halves lies the first identity that was not let in.
    rest = [view.identity(route) for route in _held(refusals, view) if route not in probed]
    beyond = [identity for identity in rest if identity > view.identity(probed[-1])]
    return replace(refusals, search=replace(search, high=min(beyond, default=END), probe=""))


# --- blame ---


def _named(refused: Refused, candidates: tuple[RouteRef, ...]) -> RouteRef | None:
    """The only one of the candidates that nginx's line belongs to."""
    named = [route for route in refused.named if route in candidates]
    return named[0] if len(named) == 1 else None


def _blame(refusals: Refusals, refused: Refused, view: View) -> Refusals:
    """After a version was refused that is no probe. The same refusals when there is nobody to blame."""
    quarantined = refusals.quarantined
    for route in refused.named:
        entry = quarantined.get(Key(*route))
        if entry is not None and not entry.left_out and len(refused.named) == 1:
            return replace(refusals, quarantined={**quarantined, Key(*route): replace(entry, left_out=True)})
    changed = _changed(refusals, view)
    named = _named(refused, changed)
    if named is not None:
        return _convict(refusals, named, refused, view)
    fresh = {key: entry for key, entry in quarantined.items() if not entry.left_out and not _is_withdrawn(key, view)}
    if fresh:
        left_out = {key: replace(entry, left_out=True) for key, entry in fresh.items()}
        return replace(refusals, quarantined={**quarantined, **left_out})
    search = refusals.search
    if search is None or search.low or (view.known(search.base) is None and _base(view)):
        # Either there is no search, or among those that one had cleared there is a route that changed again.
        anew = replace(refusals, search=Search(_base(view), low="", high=END))
        if _held(anew, view):
            return anew
    # All that can be held are. It is the only other one that changed, or it is the balancer's own fault.
    return _convict(refusals, changed[0], refused, view) if len(changed) == 1 else refusals


def _base(view: View) -> str:
    """The version that a search begins with, empty when only routes that nobody is served by can be blamed."""
    standing = view.standing
    return standing.version if view.own_is_taken and standing.configuration is not None else ""


def _changed(refusals: Refusals, view: View) -> tuple[RouteRef, ...]:
    """The routes that are let in, differ from what is served and may be blamed: while the balancer itself is not what
    it was, a route that is served is not at fault."""
    held = set(_held(refusals, view))
    withheld = _withheld(refusals, view)
    before = view.told(view.standing.version) if view.standing.configuration is not None else None
    return tuple(
        route
        for route, wish in view.wishes.items()
        if route in view.routes
        and route not in held
        and Key(*route) not in refusals.quarantined
        and (view.own_is_taken or not view.standing.has(route))
        and (
            before.get(route) != wish
            if before is not None
            else not view.standing.has(route) or not view.unchanged(route, withheld)
        )
    )


def _is_withdrawn(key: Key, view: View) -> bool:
    """Whether a route is served as withdrawn; also when nobody knows, so that nothing more is taken away from it."""
    known = view.standing.configuration
    if known is None:
        return view.standing.serves is None or f" {key};\n" in view.standing.text
    actions = [
        location.action for server in known.servers for location in server.locations if location.route == RouteRef(*key)
    ]
    return bool(actions) and all(action == Refuse(RefusalReason.ROUTE_INVALID) for action in actions)


def _unwritten(refusals: Refusals, error: EmitError, view: View) -> Refusals:
    """After a route could not be written down, which the operator found out itself."""
    route = error.route
    if route is None or route not in view.routes:
        return refusals
    known = refusals.quarantined.get(Key(*route))
    if known is not None:
        left_out = {Key(*route): replace(known, left_out=True)}
        return replace(refusals, quarantined={**refusals.quarantined, **left_out})
    if isinstance(error, NoRoomError):
        return _convict(refusals, route, Refused(Failure(NO_ROOM, "test", str(error)), ()), view, left_out=True)
    if not view.own_is_taken and view.standing.has(route):
        return refusals
    return _convict(refusals, route, Refused(Failure(UNWRITTEN, "test", str(error)), ()), view)


def _identity_in(version: str, route: RouteRef, view: View) -> str:
    """What an entry holds for. One that only had no room holds until its namespace has other routes or other ones of
    the same names."""
    if version != NO_ROOM:
        return view.identity(route)
    own = sorted(view.identity(each) for each in view.routes if each.namespace == route.namespace)
    return hashlib.sha256("".join(own).encode()).hexdigest()[:IDENTITY_LENGTH]


def _convict(refusals: Refusals, route: RouteRef, refused: Refused, view: View, *, left_out: bool = False) -> Refusals:
    if len(refusals.quarantined) >= MAX_QUARANTINED:
        return refusals
    node = view.routes[route]
    entry = Quarantined(
        uid=node.uid,
        generation=node.generation,
        identity=_identity_in(refused.failure.version, route, view),
        version=refused.failure.version,
        message=clean_words(refused.failure.message),
        left_out=left_out or not node.accepted,  # what it has then is the withdrawn form already
    )
    search = refusals.search
    if search is not None:
        # Whether the others were at fault as well is not known any more.
        search = replace(search, high=search.low, probe="")
    return replace(refusals, quarantined={**refusals.quarantined, Key(*route): entry}, search=search)
