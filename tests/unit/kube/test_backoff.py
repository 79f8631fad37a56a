"""Delays between tries."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.kube.backoff import Backoff


def test_delays_double_up_to_the_cap() -> None:
    assert list(islice(Backoff(first=1, cap=5, spread=0), 5)) == [1, 2, 4, 5, 5]


@given(st.floats(0, 0.999))
def test_jitter_shortens_and_never_lengthens(chance: float) -> None:
    backoff = Backoff(first=2, cap=8, spread=0.5, random=lambda: chance)
    for delay, most in zip(islice(backoff, 6), (2, 4, 8, 8, 8, 8), strict=True):
        assert most / 2 <= delay <= most


def test_each_iteration_begins_anew() -> None:
    backoff = Backoff(spread=0)
    assert list(islice(backoff, 20)) == list(islice(backoff, 20))


@pytest.mark.parametrize("wrong", [{"first": 0}, {"first": 31}, {"factor": 0.5}, {"spread": 1}])
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="back-off"):
        Backoff(**wrong)  # type: ignore[arg-type]
