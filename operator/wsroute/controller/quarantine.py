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

What is remembered is bounded, and shared by the namespaces: who has more than its part, or most when all parts are
taken, is put in quarantine as a whole, so that a team that is at fault a hundred times takes no place from others. A
file that would be too large is nobody's refusal, and remembered apart (``crowding``).

The state is in :class:`Refusals`, which stands in an object, and each step is a function of it and of what is seen.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from wsroute.cluster.objects import Key
from wsroute.cluster.quarantine import (
    MAX_NAMESPACES,
    MAX_OF_NAMESPACE,
    MAX_QUARANTINED,
    UNWRITTEN,
    Crowded,
    Quarantined,
    Refusals,
    Search,
    clean_words,
)
from wsroute.controller.crowding import make_room
from wsroute.controller.view import NoRoomError, Refused, View
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.ir import RefusalReason, Refuse, RouteRef
from wsroute.dataplane.withholding import Withheld
from wsroute.nginx.quoting import EmitError

END: Final = "~"
"""Above all identities."""

STEPS: Final = 1_000
"""Steps within one pass, each of which needs another word of a pod; far more than there can be."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be remembered, what to aim at with it, and the refusals that led here. ``crowded`` are the routes for
    which there is no room."""

    refusals: Refusals
    withheld: Withheld
    blamed: tuple[Failure, ...]
    crowded: frozenset[RouteRef] = frozenset()


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
    crowded = view.crowded(refusals.crowded.counts) if refusals.crowded is not None else frozenset()
    return Settled(refusals, _aim(refusals, view), tuple(dict.fromkeys(blamed)), crowded)


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
        if RouteRef(*key) in view.routes and view.identity(RouteRef(*key)) == entry.identity
    }
    whole = {name: identity for name, identity in refusals.whole.items() if view.namespace(name) == identity}
    if len(whole) != len(refusals.whole):
        refusals = replace(refusals, whole=whole)
    if refusals.crowded is not None and refusals.crowded.identity != view.everything:
        refusals = replace(refusals, crowded=None)
    if len(quarantined) != len(refusals.quarantined):
        refusals = replace(refusals, quarantined=quarantined)
    if refusals.search is not None and not _held(refusals, view):
        refusals = replace(refusals, search=None)
    return refusals


def _withheld(refusals: Refusals, view: View, *, let_in: tuple[RouteRef, ...] = ()) -> Withheld:
    entries = refusals.quarantined.items()
    aside = _aside(refusals, view)
    known = view.known(refusals.search.base) if refusals.search is not None else None
    return Withheld(
        withdrawn=frozenset(RouteRef(*key) for key, entry in entries if not entry.left_out) - aside,
        left_out=frozenset(RouteRef(*key) for key, entry in entries if entry.left_out) | aside,
        held=frozenset(_held(refusals, view)) - frozenset(let_in),
        base=known.configuration if known is not None else None,
    )


def _aside(refusals: Refusals, view: View) -> frozenset[RouteRef]:
    """The routes that are left out without an entry of their own."""
    if not refusals.whole and refusals.crowded is None:
        return frozenset()
    crowded = view.crowded(refusals.crowded.counts) if refusals.crowded is not None else frozenset()
    return crowded | {route for route in view.routes if route.namespace in refusals.whole}


# --- suspects ---


def _suspects(base: str, refusals: Refusals, view: View) -> list[RouteRef]:
    """The routes that changed since a version and can be held as they were in it, in the order of their identities.

    Where that version is not known, or none is meant, they are those that nobody is served by.
    """
    before = view.told(base)
    aside = _aside(refusals, view)
    found = [
        route
        for route, wish in view.wishes.items()
        if route in view.routes
        and route not in aside
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
        and route not in withheld.left_out
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
    if isinstance(error, NoRoomError):
        return _crowd(refusals, error, view)
    route = error.route
    if route is None or route not in view.routes:
        return refusals
    known = refusals.quarantined.get(Key(*route))
    if known is not None:
        left_out = {Key(*route): replace(known, left_out=True)}
        return replace(refusals, quarantined={**refusals.quarantined, **left_out})
    if not view.own_is_taken and view.standing.has(route):
        return refusals
    return _convict(refusals, route, Refused(Failure(UNWRITTEN, "test", str(error)), ()), view)


def _crowd(refusals: Refusals, error: NoRoomError, view: View) -> Refusals:
    """With so many more routes left out that the others may have room."""
    refusals = _current(refusals, view)  # what the file was made with
    before = refusals.crowded.counts if refusals.crowded is not None else {}
    counts = make_room(before, view.routes, error.sizes, error.excess)
    if counts == before or len(counts) > MAX_NAMESPACES:
        return refusals
    return replace(refusals, crowded=Crowded(view.everything, counts), search=_anew(refusals.search))


def _anew(search: Search | None) -> Search | None:
    """A search after somebody was put aside: whether the others were at fault as well is not known any more."""
    return None if search is None else replace(search, high=search.low, probe="")


def _convict(refusals: Refusals, route: RouteRef, refused: Refused, view: View) -> Refusals:
    node = view.routes[route]
    entry = Quarantined(
        uid=node.uid,
        generation=node.generation,
        identity=view.identity(route),
        version=refused.failure.version,
        message=clean_words(refused.failure.message),
        left_out=not node.accepted,  # what it has then is the withdrawn form already
    )
    quarantined = {**refusals.quarantined, Key(*route): entry}
    counts = Counter(key.namespace for key in quarantined)
    has_too_many = counts[route.namespace] > MAX_OF_NAMESPACE
    if not has_too_many and len(quarantined) <= MAX_QUARANTINED:
        return replace(refusals, quarantined=quarantined, search=_anew(refusals.search))
    # Whoever takes the most places gives one back, and is put aside as a whole; who is so already gives before others.
    crowd = max(counts, key=lambda name: (name in refusals.whole, counts[name], name))
    crowd = route.namespace if has_too_many else crowd
    whole = refusals.whole
    if crowd not in whole:
        if counts[crowd] == 1 or len(whole) >= MAX_NAMESPACES or not _can_go(crowd, view):
            return refusals
        whole = {**whole, crowd: view.namespace(crowd)}
    del quarantined[max(key for key in quarantined if key.namespace == crowd)]
    return replace(refusals, quarantined=quarantined, whole=whole, search=_anew(refusals.search))


def _can_go(namespace: str, view: View) -> bool:
    """Whether all routes of a namespace may be put aside: there are others, and nobody is served by its own while the
    balancer itself is not what it was."""
    if all(route.namespace == namespace for route in view.routes):
        return False
    return view.own_is_taken or not any(
        route.namespace == namespace and view.standing.has(route) for route in view.routes
    )
