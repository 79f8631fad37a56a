"""The coalescer: leading edge, bursts, one pass at a time, back-off; and its driver."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.controller.coalescer import Coalescer, Pace, PassLoop

PACE = Pace(quiet=0.020, maximum=0.200, retry_first=0.5, retry_most=30.0)


def test_an_isolated_trigger_is_due_at_once() -> None:
    state = Coalescer(PACE).triggered(10.0)
    assert state.ready(10.0)


def test_the_leading_edge_is_not_put_off_by_the_next_trigger() -> None:
    state = Coalescer(PACE).triggered(10.0).triggered(10.001)
    assert state.ready(10.001)


def test_a_trigger_soon_after_a_pass_waits_for_quiet() -> None:
    state = Coalescer(PACE).triggered(10.0).started().finished(10.005).triggered(10.006)
    assert not state.ready(10.025)
    assert state.ready(10.026)


@pytest.mark.parametrize(("busy", "quiet"), [(0.0, 0.002), (0.005, 0.005), (0.5, 0.020)])
def test_after_a_cheap_pass_the_quiet_period_is_short(busy: float, quiet: float) -> None:
    state = Coalescer(PACE).triggered(10.0).started().finished(10.005, busy)
    assert state.triggered(10.005 + quiet + 1e-6).ready(10.005 + quiet + 1e-6)
    assert state.triggered(10.006).due == pytest.approx(10.006 + quiet)


def test_each_trigger_of_a_burst_extends_the_quiet_period_up_to_the_maximum() -> None:
    state = Coalescer(PACE).triggered(10.0).started().finished(10.005)
    for now in (10.010, 10.025, 10.040, 10.055, 10.200):
        state = state.triggered(now)
        assert not state.ready(now)
        assert state.due == pytest.approx(min(now + 0.020, 10.210))
    assert state.ready(10.211)


def test_what_is_triggered_during_a_pass_gets_a_pass_of_its_own() -> None:
    state = Coalescer(PACE).triggered(10.0).started()
    assert not state.ready(99.0)
    state = state.triggered(10.001)
    assert not state.ready(10.1)
    assert state.finished(10.1).ready(10.1)


def test_nothing_is_due_after_a_pass_without_triggers() -> None:
    state = Coalescer(PACE).triggered(10.0).started().finished(10.1)
    assert not state.ready(1e9)


def test_a_failure_is_retried_later_and_later_and_no_trigger_shortens_that() -> None:
    state = Coalescer(PACE).triggered(0.0).started().failed(1.0, 1.0)
    assert state.due == pytest.approx(1.5)
    assert state.triggered(1.1).due == pytest.approx(1.5)
    state = state.started().failed(2.0, 1.0)
    assert state.due == pytest.approx(3.0)
    for _ in range(100):
        state = state.started().failed(2.0, 1.0)
    assert state.due == pytest.approx(32.0)
    assert state.started().finished(40.0).failures == 0


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_the_back_off_is_bounded_on_both_sides(failures: int, jitter: float) -> None:
    assert PACE.retry_first / 2 <= PACE.retry_after(failures, jitter) <= PACE.retry_most


EVENTS = st.lists(
    st.tuples(st.sampled_from(["trigger", "finish", "fail"]), st.floats(0.0, 0.5, allow_nan=False)), max_size=60
)


@given(EVENTS)
def test_any_order_of_events_gives_each_trigger_a_pass_in_bounded_time(events: list[tuple[str, float]]) -> None:
    """Plays triggers and ends of passes; a pass starts as soon as the state says so. No trigger is lost or waits longer
    than the maximum, or the back-off, once nothing runs."""
    state = Coalescer(PACE)
    now = 0.0
    waiting: float | None = None  # the oldest trigger that no pass has seen
    free_since = 0.0  # since when no pass runs
    for kind, pause in [
        *events,
        ("finish", 0.0),
        ("trigger", 0.0),
        ("finish", 1.0),
        ("finish", 40.0),
        ("finish", 40.0),
    ]:
        end = now + pause
        while state.due is not None and not state.running and state.due <= end:
            now = max(now, state.due)
            if waiting is not None:
                assert now <= max(waiting + PACE.maximum, free_since, state.hold_until) + 1e-9
            state, waiting = state.started(), None
        now = end
        if kind == "trigger":
            state = state.triggered(now)
            waiting = now if waiting is None else waiting
            assert state.due is not None
        elif state.running:
            state = state.finished(now, pause / 10) if kind == "finish" else state.failed(now, 0.5)
            free_since = now
            waiting = now if kind == "fail" and waiting is None else waiting
    assert waiting is None


@contextlib.asynccontextmanager
async def running(loop: PassLoop) -> AsyncIterator[None]:
    """The driver as a task of its own."""
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_driver_never_runs_two_passes_at_once_and_sees_the_last_trigger() -> None:
    world = 0
    seen: list[int] = []
    inside = 0
    done = asyncio.Event()

    async def action() -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        seen.append(world)
        await asyncio.sleep(0)
        inside -= 1
        if world == 50 and seen[-1] == 50:
            done.set()

    loop = PassLoop(action, pace=Pace(quiet=0.001, maximum=0.004))
    async with running(loop):
        for _ in range(50):
            world += 1
            loop.trigger()
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await done.wait()
    assert seen[0] <= 2
    assert len(seen) < 50


async def test_the_driver_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0
    done = asyncio.Event()

    async def action() -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise RuntimeError("no luck")
        done.set()

    loop = PassLoop(action, pace=Pace(quiet=0.001, maximum=0.002, retry_first=0.002, retry_most=0.01))
    async with running(loop):
        loop.trigger()
        async with asyncio.timeout(60):
            await done.wait()
    assert loop.failed == 2
    assert caplog.text.count("A pass failed") == 2


async def test_a_later_trigger_comes_and_only_the_last_request_stands() -> None:
    passes = asyncio.Queue[None]()

    async def action() -> None:
        passes.put_nowait(None)

    loop = PassLoop(action, pace=Pace(quiet=0.001, maximum=0.002))
    async with running(loop):
        loop.trigger_after(60.0)
        loop.trigger_after(0.001)
        async with asyncio.timeout(60):
            await passes.get()
    assert passes.empty()


async def test_a_pass_that_does_not_end_is_seen_as_stuck() -> None:
    now = 0.0
    entered = asyncio.Event()

    async def action() -> None:
        entered.set()
        await asyncio.Event().wait()

    loop = PassLoop(action, clock=lambda: now)
    async with running(loop):
        assert not loop.stuck
        loop.trigger()
        async with asyncio.timeout(60):
            await entered.wait()
        now = 59.0
        assert not loop.stuck
        now = 61.0
        assert loop.stuck
