"""Weights of endpoints, so that backends get the shares that their route gives them, however many endpoints they have.

nginx knows weights of servers only: a backend of weight 90 with three endpoints and one of weight 10 with a single one
need 30, 30, 30 and 10.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import Final

MAX_WEIGHT: Final = 65_535
"""What nginx's smooth weighted round robin adds up without overflow for thousands of servers."""

MAX_HASH_WEIGHT: Final = 16
"""For a consistent hash nginx keeps 160 points of 16 bytes for each unit of weight: at most 40 KiB for an endpoint."""


def endpoint_weights(backends: Sequence[tuple[int, int]], *, largest: int = MAX_WEIGHT) -> tuple[int, ...]:
    """The weight of each endpoint of a backend, for pairs of a backend's weight and its number of endpoints.

    Exact and in lowest terms while no weight gets larger than ``largest``. Beyond that all are scaled down to it and
    rounded to the nearest integer, but never to 0: the largest are then right to 1 in ``largest``, and a backend whose
    endpoints deserve less than that each gets a little more than its share. A backend without weight or endpoints has
    the weight 0.
    """
    counts = [count for weight, count in backends if weight and count]
    common = lcm(*counts)
    exact = [weight * (common // count) if weight and count else 0 for weight, count in backends]
    divisor = gcd(*exact)
    if divisor == 0:
        return tuple(exact)
    lowest = [weight // divisor for weight in exact]
    highest = max(lowest)
    if highest <= largest:
        return tuple(lowest)
    return tuple(max(1, round(Fraction(weight * largest, highest))) if weight else 0 for weight in lowest)
