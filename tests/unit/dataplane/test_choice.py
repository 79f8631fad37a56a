"""Which endpoint a request goes to."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import repeat
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.dataplane.choice import Choice, Live, choose, mix
from wsroute.dataplane.dictionary import endpoint_id
from wsroute.dataplane.router import Candidates, Forwarded
from wsroute.dataplane.table import Address


def endpoints(*numbers: int) -> tuple[tuple[str, str], ...]:
    """Ids and addresses of 10.0.0.number."""
    made = [Address(f"10.0.0.{number}", 80) for number in numbers]
    return tuple((endpoint_id(address), str(address)) for address in made)


def identity(number: int) -> str:
    return endpoints(number)[0][0]


def name(number: int) -> str:
    return endpoints(number)[0][1]


def forwarded(*candidates: Candidates, policy: str = "L", **more: Any) -> Forwarded:
    whole: dict[str, Any] = {
        "route": "team-a/chat",
        "websocket": True,
        "path": None,
        "idle_timeout": 1,
        "connect_timeout": 1,
        "set_headers": {},
        "remove_headers": (),
    }
    return Forwarded(candidates=candidates, policy=policy, **(whole | more))


def candidates(*numbers: int, group: str = "a", weight: int = 1, returning: Iterable[int] = ()) -> Candidates:
    return Candidates(group, weight, endpoints(*numbers), endpoints(*returning))


def drawn(*numbers: float) -> Callable[[], float]:
    """A source of these numbers and no more."""
    source = iter(numbers)
    return lambda: next(source)


def live(*numbers: float, **more: Any) -> Live:
    whole: dict[str, Any] = {"draw": drawn(*numbers), "sockets": {}, "turns": {}}
    return Live(**(whole | more))


def chosen(request: Forwarded, *numbers: float, **more: Any) -> str | None:
    """The address that is chosen."""
    choice = choose(request, live(*numbers, **more))
    return None if choice is None else choice.endpoint


def test_the_only_endpoint_needs_no_chance() -> None:
    for policy in "LRH":
        assert chosen(forwarded(candidates(1), policy=policy, hashed="x" if policy == "H" else "")) == name(1)


def test_of_two_drawn_the_one_with_fewer_sockets() -> None:
    request = forwarded(candidates(1, 2, 3))
    assert chosen(request, 0.0, 0.0, sockets={name(1): 2, name(2): 1}) == name(2)
    assert chosen(request, 0.0, 0.0, sockets={name(1): 1, name(2): 1}) == name(1)
    assert chosen(request, 0.0, 0.99, sockets={name(1): 1, name(2): 9}) == name(3)
    assert chosen(request, 0.99, 0.99) == name(3), "never the same one twice"
    assert chosen(request, 0.99, 0.99, sockets={name(3): 1}) == name(2)


def test_one_of_two_is_always_the_one_with_fewer_sockets() -> None:
    request = forwarded(candidates(1, 2))
    for first in (0.0, 0.49, 0.5, 0.99):
        assert chosen(request, first, 0.5, sockets={name(1): 3, name(2): 2}) == name(2)


def test_round_robin_goes_by_the_group_s_turns() -> None:
    request = forwarded(candidates(1, 2, 3), policy="R")
    assert [chosen(request, turns={"a": turn}) for turn in range(4)] == [name(1), name(2), name(3), name(1)]
    assert chosen(request, turns={"b": 1}) == name(1)


def test_weights_between_groups() -> None:
    request = forwarded(candidates(1, weight=3), candidates(2, group="b", weight=1))
    assert [chosen(request, number) for number in (0.0, 0.74, 0.75, 0.99)] == [name(1), name(1), name(2), name(2)]


def test_a_group_without_endpoints_takes_no_share() -> None:
    request = forwarded(candidates(weight=1000), candidates(2, group="b"), candidates(3, group="c"))
    assert [chosen(request, number) for number in (0.0, 0.5)] == [name(2), name(3)]


def test_who_refused_connections_gets_none_as_long_as_there_are_others() -> None:
    request = forwarded(candidates(1, 2), candidates(3, group="b"))
    assert chosen(request, 0.0, ejected={name(1)}) == name(2)
    assert chosen(request, ejected={name(1), name(2)}) == name(3)
    assert chosen(request, 0.9, ejected={name(1), name(2), name(3)}) == name(3)


def test_who_refused_this_request_is_not_asked_again() -> None:
    request = forwarded(candidates(1, 2))
    assert chosen(request, tried={name(1)}) == name(2)
    assert chosen(request, tried={name(1)}, ejected={name(2)}) == name(2)
    assert chosen(request, tried={name(1), name(2)}) is None
    assert chosen(forwarded(candidates(returning=[1]))) is None


def test_a_client_returns_to_its_endpoint() -> None:
    sticky: dict[str, Any] = {"sticky": ("wsr", 60), "returning_to": identity(2)}
    request = forwarded(candidates(1, returning=[2]), candidates(3, group="b"), **sticky)
    assert choose(request, live()) == Choice(name(2), identity(2)), "the cookie's age counts anew"
    assert choose(request, live(0.0, tried={name(2)})) == Choice(name(1), identity(1))
    assert choose(request, live(0.0, ejected={name(2)})) == Choice(name(1), identity(1))
    ready = forwarded(candidates(1), candidates(2, group="b"), **sticky)
    assert choose(replace(ready, sticky=("wsr", 0)), live()) == Choice(name(2))


def test_a_client_whose_endpoint_is_gone_gets_another_and_its_cookie() -> None:
    sticky: dict[str, Any] = {"sticky": ("wsr", 60), "returning_to": identity(9)}
    assert choose(forwarded(candidates(1, returning=[2]), **sticky), live()) == Choice(name(1), identity(1))
    assert choose(forwarded(candidates(1), sticky=("wsr", 60)), live()) == Choice(name(1), identity(1))


def test_nobody_else_reaches_an_endpoint_that_terminates() -> None:
    request = forwarded(candidates(1, returning=[2]))
    assert {chosen(request) for _ in range(10)} == {name(1)}


def hashed(groups: tuple[Candidates, ...], keys: Iterable[str], **more: Any) -> dict[str, str | None]:
    return {key: chosen(forwarded(*groups, policy="H", hashed=key), **more) for key in keys}


KEYS = [f"room-{number}" for number in range(3000)]


def test_a_hash_spreads_keys_evenly() -> None:
    counts = Counter(hashed((candidates(1, 2, 3, 4, 5, 6),), KEYS).values())
    assert len(counts) == 6
    assert all(400 < count < 600 for count in counts.values())


@pytest.mark.parametrize("count", [2, 3, 10])
def test_one_endpoint_more_moves_only_the_keys_that_it_gets(count: int) -> None:
    before = hashed((candidates(*range(1, count + 1)),), KEYS)
    after = hashed((candidates(*range(1, count + 2)),), KEYS)
    moved = [key for key in KEYS if before[key] != after[key]]
    assert {after[key] for key in moved} == {name(count + 1)}
    share = len(KEYS) / (count + 1)
    assert share * 0.8 < len(moved) < share * 1.2
    assert hashed((candidates(*range(1, count + 2)),), KEYS, ejected={name(count + 1)}) == before


def test_keys_stay_with_their_group_when_another_has_no_endpoints() -> None:
    one, two = candidates(1, 2, weight=3), candidates(3, 4, group="b")
    before = hashed((one, two), KEYS)
    counts = Counter(before.values())
    in_one = counts[name(1)] + counts[name(2)]
    assert 0.7 * len(KEYS) < in_one < 0.8 * len(KEYS)
    after = hashed((one, candidates(group="b")), KEYS)
    assert all(after[key] == before[key] for key in KEYS if before[key] in (name(1), name(2)))
    assert set(after.values()) == {name(1), name(2)}


def test_a_hash_of_nothing_is_a_matter_of_sockets() -> None:
    request = forwarded(candidates(1, 2), policy="H")
    assert chosen(request, 0.0, 0.0, sockets={name(1): 1}) == name(2)


def test_murmur_s_finalizer() -> None:
    assert [mix(number) for number in (0, 1, 0xFFFFFFFF)] == [0, 0x514E28B7, 0x81F16F39]


def test_two_choices_keep_sockets_even() -> None:
    source, sockets = Random(1), Counter[str]()  # noqa: S311 - always the same numbers
    request = forwarded(candidates(*range(1, 11)))
    for _ in range(1000):
        choice = choose(request, Live(source.random, sockets, {}))
        assert choice is not None
        sockets[choice.endpoint] += 1
    assert max(sockets.values()) - min(sockets.values()) < 10


@given(st.sampled_from("LRH"), st.integers(0, 4), st.integers(0, 4), st.floats(0, 1, exclude_max=True))
def test_whatever_is_drawn_a_ready_endpoint_is_chosen(policy: str, one: int, two: int, number: float) -> None:
    groups = candidates(*range(one), weight=3), candidates(*range(10, 10 + two), group="b")
    source = repeat(number)
    found = choose(forwarded(*groups, policy=policy, hashed=str(number)), Live(lambda: next(source), {}, {"a": 7}))
    assert (found is None) is (one + two == 0)
    assert found is None or found.endpoint in {endpoint for part in groups for _, endpoint in part.ready}
