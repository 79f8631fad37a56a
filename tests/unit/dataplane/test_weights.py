"""Shares of backends, whatever the numbers of their endpoints."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.dataplane.weights import MAX_HASH_WEIGHT, MAX_WEIGHT, endpoint_weights


@pytest.mark.parametrize(
    ("backends", "weights"),
    [
        ([], ()),
        ([(1, 0)], (0,)),
        ([(0, 3)], (0,)),
        ([(1, 1)], (1,)),
        ([(7, 3)], (1,)),
        ([(1, 3), (1, 1)], (1, 3)),
        ([(90, 3), (10, 1)], (3, 1)),
        ([(90, 1), (10, 9)], (81, 1)),
        ([(90, 2), (10, 3)], (27, 2)),
        ([(90, 0), (10, 3)], (0, 1)),
        ([(90, 3), (0, 3)], (1, 0)),
        ([(1000, 1), (1, 1)], (1000, 1)),
    ],
)
def test_weights(backends: list[tuple[int, int]], weights: tuple[int, ...]) -> None:
    assert endpoint_weights(backends) == weights


@pytest.mark.parametrize(
    ("backends", "weights"),
    [
        ([(90, 1), (10, 1)], (9, 1)),
        ([(16, 1), (1, 1)], (16, 1)),
        ([(99, 1), (1, 1)], (16, 1)),
        ([(1000, 1), (500, 1), (1, 50)], (16, 8, 1)),
    ],
)
def test_weights_of_a_hash_are_small(backends: list[tuple[int, int]], weights: tuple[int, ...]) -> None:
    assert endpoint_weights(backends, largest=MAX_HASH_WEIGHT) == weights


BACKENDS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 50)), max_size=4)


@given(BACKENDS)
def test_shares_are_exact_or_as_near_as_the_limit_allows(backends: list[tuple[int, int]]) -> None:
    weights = endpoint_weights(backends)
    taking = [(weight, count) for weight, count in backends if weight and count]
    assert all((weight > 0) == (backend in taking) for backend, weight in zip(backends, weights, strict=True))
    assert all(0 <= weight <= MAX_WEIGHT for weight in weights)
    exact = [Fraction(weight, count) for weight, count in taking]
    got = [weight for weight in weights if weight]
    if not taking:
        return
    # Relative to the largest, each weight is off by at most one half in MAX_WEIGHT, or was raised to 1.
    unit = Fraction(max(got)) / max(exact)
    for wanted, weight in zip(exact, got, strict=True):
        assert abs(weight - wanted * unit) <= Fraction(1, 2) or weight == 1


@given(BACKENDS.filter(lambda backends: any(weight and count for weight, count in backends)))
def test_small_shares_are_exact(backends: list[tuple[int, int]]) -> None:
    weights = endpoint_weights(backends)
    if max(weights) == MAX_WEIGHT:
        return
    total = sum(weight * count for weight, (_, count) in zip(weights, backends, strict=True))
    whole = sum(weight for weight, count in backends if count)
    for weight, (wanted, count) in zip(weights, backends, strict=True):
        assert Fraction(weight * count, total) == (Fraction(wanted, whole) if count else 0)


def test_huge_ratios_keep_everybody_in() -> None:
    weights = endpoint_weights([(1000, 1), (1, 1000)])
    assert weights == (MAX_WEIGHT, 1)
