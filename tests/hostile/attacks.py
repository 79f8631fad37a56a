"""One thing changed in a world where all else is good, and what must hold of whatever comes of it."""

from functools import cache
from typing import Any, Final

from tests.hostile.fields import Leaf, leaves
from tests.hostile.world import (
    APART,
    WHOLE_BALANCER_SPEC,
    WHOLE_ROUTE_SPEC,
    Outcome,
    World,
    attacker,
    changed,
    neighbours,
    places,
    spell,
)
from tests.support.nginx_tokens import Directive

Place = tuple[str | int, ...]
Json = dict[str, Any]

OBJECTS: Final = {
    **{raw["kind"]: raw for raw in attacker()},
    "WebSocketBalancer": neighbours()[0],
    "Deployment": neighbours()[1],
    "Pod": neighbours()[2],
}
_WHOLE: Final = {
    kind: {**OBJECTS[kind], "spec": spec}
    for kind, spec in (("WebSocketRoute", WHOLE_ROUTE_SPEC), ("WebSocketBalancer", WHOLE_BALANCER_SPEC))
}
ADMINS: Final = ("WebSocketBalancer", "Deployment", "Pod")
"""Objects of the balancer's administrator: what is wrong there may concern everybody."""

_FIXED: Final = ("apiVersion", "kind")

VALUES: Final = [
    (kind, place) for kind, raw in (OBJECTS | _WHOLE).items() for place in places(raw) if place[0] not in _FIXED
]
LEAVES: Final = {(kind, leaf.path): leaf for kind in ("WebSocketRoute", "WebSocketBalancer") for leaf in leaves(kind)}
WORLD: Final = World()

HARMLESS: Final[dict[str, tuple[Any, ...]]] = {
    "path": ("/", "/a"),
    "duration": ("5s", "1h", "30m"),  # what stands once for all locations is not written again
    "host": ("x.example.com", "*.x.example.com"),
    "workerProcesses": (2, "auto"),
}
"""Good values of a grammar whose structures differ, beside the example."""


@cache
def base() -> Outcome:
    """What comes of objects that are all good."""
    outcome = WORLD.attack(attacker())
    assert outcome.complaints == ()
    return outcome


def attack(kind: str, place: Place, value: Any) -> Outcome:
    """The world with one value in the place of another."""
    return attack_whole(changed(object_with(kind, place), place, value))


def object_with(kind: str, place: Place) -> Json:
    """The object that is attacked in a place: a good one, unless the place is one that its data plane can't have."""
    apart = spell(place, indices=False).startswith(APART.get(kind, ()))
    return _WHOLE[kind] if apart else OBJECTS[kind]


@cache
def shapes(kind: str, place: Place) -> frozenset[tuple[object, ...]]:
    """The structures that good values in a place give."""
    leaf = leaf_at(kind, place)
    good: tuple[Any, ...] = ()
    if leaf is not None:
        good = leaf.words + (HARMLESS.get(leaf.grammar.name, ()) if leaf.grammar else ())
    outcomes = [base(), *(attack(kind, place, value) for value in good)]
    return frozenset(outcome.tree.shape for outcome in outcomes if outcome.text)


@cache
def grammar() -> frozenset[tuple[str, str, int]]:
    """Every directive, with where it may stand and how many arguments it has, that good objects give."""
    found: set[tuple[str, str, int]] = set()
    for kind, place in VALUES:
        for outcome in (attack(kind, place, None), *(attack(kind, place, word) for word in words(kind, place))):
            found |= triples(outcome.tree)
    return frozenset(found)


def words(kind: str, place: Place) -> tuple[Any, ...]:
    leaf = leaf_at(kind, place)
    return leaf.words if leaf is not None else ()


def triples(tree: Directive) -> set[tuple[str, str, int]]:
    """What ``grammar`` compares."""
    return {
        (str(name), str(below), int(str(arguments)))
        for found in tree.walk()
        for name, _, children in [found.shape]
        for below, arguments, _ in children  # type: ignore[attr-defined]
    }


def leaf_at(kind: str, place: Place) -> Leaf | None:
    return LEAVES.get((kind, spell(place, indices=False)))


def judge(kind: str, outcome: Outcome) -> None:
    """What must hold of anything: it is told in plain words, neighbours notice nothing, nginx reads what we meant."""
    for message in outcome.said:
        assert message.isprintable(), "no control characters in what is told"
        assert len(message) <= 4096
    if kind in ADMINS:
        if outcome.text == "":
            assert outcome.complaints, "nothing is made of an invalid balancer, and it says why"
            return
    else:
        assert outcome.obstacle == "", "nobody holds up the others' changes"
        assert outcome.innocent == base().innocent
    assert triples(outcome.tree) <= grammar()


def has_kept_its_shape(kind: str, place: Place, outcome: Outcome) -> bool:
    """Whether a value that nobody complains of gave the structure that a harmless one gives."""
    if outcome.complaints or outcome.node is None:
        return True
    return outcome.tree.shape in shapes(kind, place)


def attack_whole(raw: Any) -> Outcome:
    """The world with an object in the place of the attacker's one of its kind."""
    return WORLD.attack([*(other for other in attacker() if other["kind"] != raw["kind"]), raw])
