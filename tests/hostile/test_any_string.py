"""Any string in any place of any object: a problem of that object and of nothing else, or one more argument of the same
directive.

The places are found by walking objects that hold every field of the models, so that none is forgotten.
"""

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.attacks import (
    OBJECTS,
    VALUES,
    Place,
    attack,
    attack_whole,
    base,
    has_kept_its_shape,
    judge,
    leaf_at,
    object_with,
)
from tests.hostile.fields import leaves
from tests.hostile.table import tried
from tests.hostile.texts import EXAMPLES, texts
from tests.hostile.world import BALANCER, MALLORY, WHOLE_BALANCER_SPEC, WHOLE_ROUTE_SPEC, place_of, places, spell

IDS: Final = [f"{kind}-{spell(place)}" for kind, place in VALUES]


@tried("L11")
@pytest.mark.parametrize(("kind", "place"), VALUES, ids=IDS)
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_string_in_any_place(kind: str, place: Place, data: st.DataObject) -> None:
    leaf = leaf_at(kind, place)
    example: Any = object_with(kind, place)
    for step in place:
        example = example[step]
    text = data.draw(texts(example, leaf.grammar if leaf else None))
    outcome = attack(kind, place, text)
    judge(kind, outcome)
    assert has_kept_its_shape(kind, place, outcome)


KEYS: Final = [(kind, place) for kind, place in VALUES if isinstance(place[-1], str)]


@tried("L11")
@pytest.mark.parametrize("kind", OBJECTS)
@settings(max_examples=5 * EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_string_as_any_key(kind: str, data: st.DataObject) -> None:
    """A field by another name, and one field too many."""
    place = data.draw(st.sampled_from([place for other, place in KEYS if other == kind]))
    name = data.draw(texts(place[-1]))
    above: Any = object_with(kind, place)
    for step in place[:-1]:
        above = above[step]
    more = {**above, name: above[place[-1]]}
    renamed = {key: value for key, value in more.items() if key != place[-1]}
    for value in (more, renamed):
        judge(kind, attack(kind, place[:-1], value) if place[:-1] else attack_whole({**value, "kind": kind}))


def test_the_objects_hold_every_field() -> None:
    """What ``specimen`` makes is valid, and no leaf of the models is missing from it."""
    for kind, spec in (("WebSocketRoute", WHOLE_ROUTE_SPEC), ("WebSocketBalancer", WHOLE_BALANCER_SPEC)):
        found = {spell(("spec", *place), indices=False) for place in places(spec)}
        for leaf in leaves(kind):
            assert leaf.path in found
            value: Any = {"spec": spec}
            for step in place_of(leaf.path):
                value = value[step]
    node = base().node
    assert node is not None
    assert node.key == (MALLORY, "chat")
    assert node.balancer == BALANCER
