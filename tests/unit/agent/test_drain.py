"""Which old worker is ended, why and when; and what is told of them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.agent.drain import (
    PAUSE,
    SETTLED,
    Closed,
    Retire,
    Terms,
    Wait,
    decide,
    describe,
    one_more,
    parse_terms,
    stagger,
)
from wsroute.balancer.control import OldWorker
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import NOT_DRAINING, Draining

TERMS = Terms(generations=2, timeout=60)
RESTED = 1000.0


def old(generation: int, pid: int = 1, *, age: int = 10, sockets: int = 1) -> OldWorker:
    return OldWorker(generation, age, pid, sockets)


def what(
    *workers: OldWorker, terms: Terms | None = TERMS, stagger: float = 0.0, rested: float = RESTED
) -> Retire | Wait:
    return decide(workers, terms, stagger=stagger, rested=rested)


def test_without_old_workers_or_terms_nothing_is_ended() -> None:
    assert what() == Wait(None)
    assert what(old(1, age=10_000), old(2), old(3), old(4), terms=None) == Wait(None)


def test_as_many_generations_as_allowed_live_until_their_time_is_over() -> None:
    assert what(old(1, age=10), old(2, age=5)) == Wait(50)
    assert what(old(1, age=60), old(2, age=5)) == Retire(old(1, age=60), Closed.DRAIN_TIMEOUT)


def test_one_too_many_ends_the_oldest_at_once_one_worker_at_a_time() -> None:
    workers = [old(1, 11, age=30), old(1, 12, age=30), old(2, 21, age=20), old(3, 31, age=10)]
    assert what(*workers, rested=0.0) == Retire(workers[0], Closed.EARLY_RETIREMENT)
    assert what(*workers[1:], rested=0.0) == Retire(workers[1], Closed.EARLY_RETIREMENT)
    assert isinstance(what(*workers[2:], rested=0.0), Wait)


@pytest.mark.parametrize("passing", [old(3, age=SETTLED - 1), old(3, sockets=0)])
def test_a_generation_that_may_be_gone_in_a_moment_is_not_one_too_many(passing: OldWorker) -> None:
    assert isinstance(what(old(1), old(2), passing), Wait)


def test_workers_whose_time_is_over_go_one_after_another_with_a_pause() -> None:
    workers = [old(1, pid, age=100) for pid in range(1, 4)]
    assert what(*workers, rested=1.0) == Wait(PAUSE - 1)
    assert what(*workers, rested=PAUSE) == Retire(workers[0], Closed.DRAIN_TIMEOUT)


def test_a_worker_without_sockets_is_not_left_behind() -> None:
    assert what(old(1, age=60, sockets=0)) == Retire(old(1, age=60, sockets=0), Closed.DRAIN_TIMEOUT)


def test_pods_that_reloaded_together_don_t_close_together() -> None:
    delays = sorted(stagger(f"shared-balancer-5b9f7-{number:05}") for number in range(20))
    assert delays[0] >= 0
    assert delays[-1] < PAUSE
    assert all(later > earlier for earlier, later in pairwise(delays))
    assert what(old(1, age=60), stagger=3.0) == Wait(3.0)


WORKERS = st.lists(
    st.builds(OldWorker, st.integers(1, 6), st.integers(0, 200), st.integers(1, 99), st.integers(0, 3)), max_size=12
).map(lambda found: sorted(found, key=lambda worker: worker.generation))


@given(WORKERS, st.floats(0, PAUSE), st.floats(0, 100))
def test_only_what_is_over_or_too_much_is_ended(workers: list[OldWorker], late: float, rested: float) -> None:
    decision = decide(workers, TERMS, stagger=late, rested=rested)
    generations = {worker.generation for worker in workers if worker.sockets}
    if isinstance(decision, Retire):
        assert decision.worker in workers
        if decision.why is Closed.EARLY_RETIREMENT:
            assert len(generations) > TERMS.generations
            assert decision.worker.generation == min(g for g in generations if settled(workers, g))
        else:
            assert decision.worker.age >= TERMS.timeout + late
            assert rested >= PAUSE
    else:
        assert sum(settled(workers, generation) for generation in generations) <= TERMS.generations


def settled(workers: list[OldWorker], generation: int) -> bool:
    return any(w.generation == generation and w.sockets and w.age >= SETTLED for w in workers)


# --- what is told ---


def test_only_generations_that_hold_sockets_are_told_of() -> None:
    workers = [old(1, 1, age=30, sockets=0), old(2, 2, age=20, sockets=3), old(2, 3, age=20), old(3, 4, age=5)]
    assert describe(workers, now=1000.4, before=NOT_DRAINING) == Draining(generations=2, sockets=5, oldest=980)
    assert describe([old(1, sockets=0)], now=1000.4, before=NOT_DRAINING) == NOT_DRAINING


def test_the_beginning_of_a_generation_does_not_move_with_the_rounding_of_its_age() -> None:
    first = describe([old(1, age=10)], now=1000.4, before=NOT_DRAINING)
    assert describe([old(1, age=19)], now=1010.3, before=first) == first
    assert describe([old(2, age=3)], now=1010.3, before=first).oldest == 1007


def test_right_after_a_reload_one_generation_more_is_told_of_until_they_are_counted() -> None:
    before = Draining(generations=1, sockets=2, oldest=900)
    assert one_more(before, sockets=7, now=1000.0) == Draining(generations=2, sockets=7, oldest=900)
    assert one_more(NOT_DRAINING, sockets=7, now=1000.0) == Draining(generations=1, sockets=7, oldest=1000)
    assert one_more(before, sockets=2, now=1000.0) == before


def test_terms_are_numbers_or_none() -> None:
    good = {names.MAX_DRAINING_ANNOTATION: "3", names.DRAIN_TIMEOUT_ANNOTATION: "1500"}
    assert parse_terms(good) == Terms(generations=3, timeout=1.5)
    for key in good:
        for odd in ("", "0", "-1", "x", "1.5", "٣", "9" * 13):
            assert parse_terms({**good, key: odd}) is None
    assert parse_terms({}) is None
