"""When a pass runs: at once when nothing is going on, batched in a burst, one at a time, again after a failure.

:class:`Coalescer` is the pure part: a value with functions of the time. :class:`PassLoop` is the thin driver that waits
and calls. All times are seconds of a monotonic clock.

A burst ends with a *quiet period* without a trigger, which is as long as the last pass kept the processor busy, within
bounds: so passes take at most half of it, and cheap ones don't wait. A *maximum* bounds how long a steady stream of
triggers can hold a pass back. Failures are retried after a back-off that doubles up to a cap and is jittered, for ever.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long triggers are gathered (``quiet`` is the longest quiet period, ``brief`` the shortest), and how long a
    failed pass waits. Seconds."""

    brief: float = 0.002
    quiet: float = 0.020
    maximum: float = 0.200
    retry_first: float = 0.5
    retry_most: float = 30.0

    def retry_after(self, failures: int, jitter: float) -> float:
        """The back-off after so many failures in a row (at least 1): between half of it and all, by ``jitter`` 0..1."""
        whole = min(self.retry_most, self.retry_first * 2.0 ** min(failures - 1, 32))
        return whole * (0.5 + jitter / 2)


@dataclass(frozen=True, slots=True)
class Coalescer:
    """What is known about triggers and passes; every event gives a new value.

    ``due`` is when the next pass may start at the earliest, None when nothing asks for one.
    """

    pace: Pace
    running: bool = False
    pending_since: float | None = None
    last_event: float = float("-inf")
    """The last trigger, or the end of the last pass: a burst is going on while this is younger than a quiet period."""
    hold_until: float = float("-inf")
    """The end of the back-off after a failure."""
    failures: int = 0
    due: float | None = None
    busy: float = math.inf
    """How long the last pass kept the processor busy."""

    @property
    def quiet(self) -> float:
        """The quiet period."""
        return min(self.pace.quiet, max(self.pace.brief, self.busy))

    def triggered(self, now: float) -> "Coalescer":
        """Something changed."""
        idle = not self.running and now - self.last_event >= self.quiet
        if self.pending_since is None:
            due = now if idle else now + self.quiet
            since = now
        else:
            since = self.pending_since
            # A trigger that already waits on the leading edge is not put off by the next one.
            leading = self.due is not None and self.due <= since
            due = since if leading else min(now + self.quiet, since + self.pace.maximum)
        return replace(self, pending_since=since, last_event=now, due=max(due, self.hold_until))

    def started(self) -> "Coalescer":
        """A pass starts: it sees all that was triggered so far."""
        return replace(self, running=True, pending_since=None, due=None)

    def finished(self, now: float, busy: float = math.inf) -> "Coalescer":
        """A pass came to its end."""
        last = max(now, self.last_event)
        return replace(self, running=False, last_event=last, failures=0, hold_until=float("-inf"), busy=busy)

    def failed(self, now: float, jitter: float) -> "Coalescer":
        """A pass failed: it is due again after a back-off, and no trigger shortens that."""
        failures = self.failures + 1
        hold = now + self.pace.retry_after(failures, jitter)
        return replace(
            self,
            running=False,
            last_event=max(now, self.last_event),
            failures=failures,
            hold_until=hold,
            pending_since=now if self.pending_since is None else self.pending_since,
            due=hold,
        )

    def ready(self, now: float) -> bool:
        """Whether a pass may start now."""
        return not self.running and self.due is not None and self.due <= now


STUCK_AFTER: Final = 60.0
"""Seconds after which a running pass counts as stuck."""


class PassLoop:
    """Runs an asynchronous action as a :class:`Coalescer` says.

    ``trigger`` may be called from any callback of the loop; ``run`` never ends by itself. The action gets no argument:
    it looks at the state of the world when it is called. What it raises is logged and retried.
    """

    def __init__(
        self,
        action: Callable[[], Awaitable[None]],
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        processor: Callable[[], float] = time.thread_time,
    ) -> None:
        self._action = action
        self._clock = clock
        self._jitter = jitter
        self._processor = processor
        self._state = Coalescer(pace or Pace())
        self._wake = asyncio.Event()
        self._started_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.completed = 0
        """Passes that came to their end since the start."""
        self.failed = 0
        """Passes that failed since the start."""

    def trigger(self) -> None:
        """Ask for a pass."""
        self._state = self._state.triggered(self._clock())
        self._wake.set()

    def trigger_after(self, seconds: float) -> None:
        """Ask for a pass later; only the last such request stands."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.trigger)

    @property
    def stuck(self) -> bool:
        """Whether a pass runs since longer than any pass should."""
        return self._started_at is not None and self._clock() - self._started_at > STUCK_AFTER

    async def run(self) -> None:
        """Run passes until cancelled."""
        try:
            while True:
                await self._wait_until_due()
                await self._one_pass()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _wait_until_due(self) -> None:
        while not self._state.ready(now := self._clock()):
            self._wake.clear()
            due = self._state.due
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _one_pass(self) -> None:
        self._state = self._state.started()
        self._started_at = self._clock()
        used = self._processor()
        try:
            await self._action()
        except Exception:
            self.failed += 1
            self._state = self._state.failed(self._clock(), self._jitter())
            logger.exception("A pass failed; it is tried again after a pause.")
        else:
            self.completed += 1
            self._state = self._state.finished(self._clock(), self._processor() - used)
        finally:
            self._started_at = None
