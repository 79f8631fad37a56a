"""Looks at nginx's old workers, ends those whose time is over, and counts what that closes."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from wsroute.agent.drain import SETTLED, Retire, Terms, Wait, decide, describe, one_more, stagger
from wsroute.agent.metrics import AgentMetrics
from wsroute.balancer.applier import Applier
from wsroute.balancer.control import ControlUnavailableError, OldWorker
from wsroute.dataplane.acknowledgement import NOT_DRAINING, Draining

logger = logging.getLogger(__name__)

LOOK: Final = 10.0
"""Seconds between two looks: while nothing drains they cost nothing, else some milliseconds for each 1,000 sockets."""

CROWDED: Final = 2.0
"""The same while there are as many generations as may be: somebody waits for the end of one."""

UNSETTLED: Final = 1.0
"""The same while a generation is so young that it may yet vanish, and after a reload: an earlier look would take the
processor from the new workers, and hold up the next reload, for sockets of which some end at once."""


class Drainer:
    """``draining`` is what to tell of the old workers, None before the first look; ``changed`` is called when that is
    news."""

    def __init__(self, applier: Applier, metrics: AgentMetrics, *, pod: str, changed: Callable[[], None]) -> None:
        self._applier = applier
        self._metrics = metrics
        self._stagger = stagger(pod)
        self._changed = changed
        self._terms: Terms | None = None
        self._only_looks = False
        self._rested_since = float("-inf")
        self._due = float("-inf")
        """When to look next, on the loop's clock."""
        self._unseen_since: float | None = None
        """When nginx was reloaded for the first time since the last look."""
        self._rescheduled = asyncio.Event()
        self.draining: Draining | None = None

    def follow(self, terms: Terms | None) -> None:
        """These terms count from now on."""
        if terms != self._terms and not self._only_looks:
            self._terms = terms
            self._look_at(_now())

    def only_look(self) -> None:
        """End no worker any more: the pod is ending, and nginx's script does that."""
        self.follow(None)
        self._only_looks = True

    def reloaded(self, *, sockets: int) -> None:
        """nginx has loaded a version. ``sockets`` is what the pod had before."""
        self.draining = one_more(self.draining or NOT_DRAINING, sockets=sockets, now=time.time())
        now = _now()
        if self._unseen_since is None:
            self._unseen_since = now
        # Reloads in quick succession put the look off, but not for ever.
        self._look_at(min(now + UNSETTLED, self._unseen_since + CROWDED))

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._until_due()
            self._due, self._unseen_since = float("inf"), None
            try:
                pause = await self._step()
            except ControlUnavailableError as error:
                logger.debug("The old workers can't be looked at: %s", error)
                if self.draining is None:
                    self._tell(NOT_DRAINING)
                pause = UNSETTLED
            # Meanwhile there may have been a reload, or other terms.
            self._due = min(self._due, _now() + pause)

    def _look_at(self, due: float) -> None:
        self._due = due
        self._rescheduled.set()

    async def _until_due(self) -> None:
        while (ahead := self._due - _now()) > 0:
            self._rescheduled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ahead):
                    await self._rescheduled.wait()

    async def _step(self) -> float:
        """Look once, and end at most one worker; gives the seconds until the next look."""
        workers = await self._applier.survey()
        self._tell(describe(workers, now=time.time(), before=self.draining or NOT_DRAINING))
        decision = decide(workers, self._terms, stagger=self._stagger, rested=_now() - self._rested_since)
        match decision:
            case Retire():
                # At once the next one, should that be due; a worker that is no more is looked for less eagerly.
                return 0.0 if await self._retire(decision) else UNSETTLED
            case Wait(seconds):
                pause = self._pause(workers)
                return pause if seconds is None else min(pause, seconds)

    def _pause(self, workers: tuple[OldWorker, ...]) -> float:
        if any(worker.sockets and worker.age < SETTLED for worker in workers):
            return UNSETTLED
        generations = self.draining.generations if self.draining is not None else 0
        return CROWDED if self._terms is not None and generations >= self._terms.generations else LOOK

    async def _retire(self, decision: Retire) -> bool:
        """End a worker; false when it had ended by itself."""
        worker, why = decision.worker, decision.why
        closed = await self._applier.retire(worker.pid)
        self._rested_since = _now()
        if closed is None:
            return False
        self._metrics.retired(why, sockets=closed)
        logger.warning(
            "%s: worker %d, which drained for %d s, was ended; that closed %d sockets.",
            why,
            worker.pid,
            worker.age,
            closed,
        )
        return True

    def _tell(self, found: Draining) -> None:
        self._metrics.drain(generations=found.generations, sockets=found.sockets)
        if found != self.draining:
            self.draining = found
            self._changed()


def _now() -> float:
    return asyncio.get_running_loop().time()
