"""Anything that JSON can hold in any place of any object: no exception, no harm to others, and words about it."""

import json
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.attacks import OBJECTS, VALUES, WORLD, attack, base, judge, object_with
from tests.hostile.table import tried
from tests.hostile.texts import EXAMPLES, NASTY
from tests.hostile.world import attacker, changed, places, spell
from wsroute.cluster.kinds import Kind
from wsroute.controller.feed import read_all, read_change


def nested(depth: int, *, mapping: bool) -> Any:
    """Lists or objects in one another."""
    value: Any = []
    for _ in range(depth):
        value = {"spec": value} if mapping else [value]
    return value


ODD: Final[dict[str, Any]] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "minus one": -1,
    "a port": 8080,
    "more than a port": 65_536,
    "2^31": 2**31,
    "2^63": 2**63,
    "a hundred digits": 10**100,
    "more digits than Python prints": 10**5000,
    "a fraction": 0.5,
    "a whole fraction": 8080.0,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "an empty list": [],
    "an empty object": {},
    "a list of null": [None],
    "a list of lists": [[[]], [None], [[["a"]]]],
    "a list of everything": [None, True, 1, 1.5, "a", [], {}],
    "an object with odd keys": {"": 1, "\ud800": 2, "a\nb": None, "$host": {}, "__class__": {}, "0": []},
    "an object of itself": {"metadata": {"name": {"name": {}}}},
    "deep lists": nested(5000, mapping=False),
    "deep objects": nested(5000, mapping=True),
    "half a surrogate pair": "\ud800",
    "a megabyte": "a" * 2**20,
    "a megabyte of escapes": '"\\' * 2**19,
    "10,000 items": ["a"] * 10_000,
    "10,000 objects": [{"path": "/a"}] * 10_000,
    "10,000 fields": {f"field-{number}": number for number in range(10_000)},
}


@tried("L4")
@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_in_every_place(name: str) -> None:
    for kind, place in VALUES:
        judge(kind, attack(kind, place, ODD[name]))


@tried("L4")
@pytest.mark.parametrize("name", ODD)
def test_an_odd_item_in_every_list(name: str) -> None:
    for kind, place in VALUES:
        items: Any = object_with(kind, place)
        for step in place:
            items = items[step]
        if isinstance(items, list):
            judge(kind, attack(kind, place, [*items, ODD[name]]))
            judge(kind, attack(kind, place, [ODD[name], *items]))


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", Kind)
def test_an_odd_value_in_place_of_an_object(kind: Kind, name: str) -> None:
    assert read_change(kind, ODD[name], deleted=False) is None
    assert read_change(kind, ODD[name], deleted=True) is None
    assert read_all(kind, [ODD[name]]) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=9)
    | st.sampled_from(NASTY),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)


@tried("L4")
@settings(max_examples=40 * EXAMPLES, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.sampled_from(VALUES), JSON), min_size=1, max_size=4))
def test_several_places_at_once(changes: list[tuple[tuple[str, tuple[str | int, ...]], Any]]) -> None:
    objects: dict[str, Any] = json.loads(json.dumps(OBJECTS))
    for (kind, place), value in changes:
        if place in set(places(objects[kind])):  # an earlier change may have taken it away
            objects[kind] = changed(objects[kind], place, value)
    touched = {kind for (kind, _), _ in changes}
    raws = [objects[raw["kind"]] for raw in attacker()] + [objects[kind] for kind in touched if kind not in KINDS]
    outcome = WORLD.attack(raws)
    for kind in sorted(touched):
        judge(kind if touched <= KINDS else "WebSocketBalancer", outcome)


KINDS: Final = {raw["kind"] for raw in attacker()}


def test_a_place_is_where_it_says() -> None:
    assert ("WebSocketRoute", ("spec", "paths", 0, "backends", 0, "port")) in VALUES
    assert spell(("spec", "paths", 0, "backends", 0, "port")) == "spec.paths[0].backends[0].port"
    assert base().text
