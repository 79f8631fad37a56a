"""Waiting for a condition: never a bare sleep, and no bound that only a machine with nothing else to do can keep.

A bound stands for what wsroute promises. Whether it is kept can be told only while there is a processor for it, so the
seconds for which somebody had to wait for one don't count (:class:`Stopwatch`), within reason. Where a bound tells
whether a timer was waited for, all seconds count: timers run on a busy machine too.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

PRESSURE: Final = Path("/proc/pressure/cpu")

_WAITED: Final = re.compile(r"^some .*\btotal=([0-9]+)$", re.ASCII | re.MULTILINE)

PATIENCE: Final = 3
"""How many times as long as a bound is waited on a machine that is busy all the time."""


def starved() -> float:
    """Seconds in which somebody waited for a processor, since the machine's start; 0 where the kernel does not tell."""
    try:
        found = _WAITED.search(PRESSURE.read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1e6 if found else 0.0


def is_too_long(elapsed: float, bound: float, starved: Callable[[], float]) -> bool:
    """Whether so many seconds are more than a bound; on a machine that is busy all the time, than a multiple of it.
    ``starved`` gives those of them in which somebody waited for a processor, and is asked only when it matters."""
    return elapsed > bound and (elapsed > PATIENCE * bound or elapsed - starved() > bound)


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self.starved_before = starved()
        """The seconds since the machine's start in which somebody had waited for a processor by then."""
        self.began = time.monotonic()
        """By the monotonic clock."""

    @property
    def starved(self) -> float:
        """The seconds in which somebody waited for a processor."""
        return min(starved() - self.starved_before, self.elapsed)

    @property
    def elapsed(self) -> float:
        """All seconds."""
        return time.monotonic() - self.began

    def is_over(self, bound: float) -> bool:
        """Whether so many seconds have gone by; on a machine that is busy all the time a multiple of them."""
        return is_too_long(self.elapsed, bound, lambda: self.starved)


async def until(condition: Callable[[], object], *, seconds: float = 10.0, what: str = "") -> None:
    """Return as soon as the condition holds; fail with ``what`` when it does not in time."""
    watch = Stopwatch()
    while not condition():
        if watch.is_over(seconds):
            raise AssertionError(f"waited {watch.elapsed:.1f} s in vain {what}")
        await asyncio.sleep(0.002)


async def until_async(
    condition: Callable[[], Awaitable[object]], *, seconds: float = 10.0, what: str = "", pause: float = 0.02
) -> float:
    """The same for a condition that has to ask somebody, who tells of no change by himself. Gives the seconds that it
    took."""
    watch = Stopwatch()
    while True:
        holds = await condition()
        # Whom it asks may have answered when it was too late.
        if watch.is_over(seconds):
            raise AssertionError(f"waited {watch.elapsed:.1f} s in vain {what}")
        if holds:
            return watch.elapsed
        await asyncio.sleep(pause)


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 15.0) -> None:
    """The same where there is no loop."""
    watch = Stopwatch()
    while not condition():
        if watch.is_over(seconds):
            raise AssertionError(f"waited {watch.elapsed:.1f} s in vain: {what}")
        time.sleep(0.005)
