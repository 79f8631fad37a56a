"""Which old worker of nginx a pod ends next, and why, as a function of what there is. Pure.

The workers from before a reload are one draining generation. They take no new sockets and live until their last one has
ended, or until one of two things is too much:

- the generation's age: past the drain timeout its workers are ended one at a time, :data:`PAUSE` apart, so that their
  clients don't all come back at once;
- the number of generations: a reload that may not wait (the removal of an endpoint) can leave one more than the
  balancer allows. Then the oldest one is ended, at once, one worker after another.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wsroute.balancer.control import OldWorker
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import NOT_DRAINING, Draining

PAUSE: Final = 5.0
"""Seconds between the ends of two workers whose time is over."""

SETTLED: Final = 2
"""Seconds after which a generation counts as one too many: a handshake or a page that was on its way at the reload has
ended by then. Ages are whole seconds, so this is at least one."""

_SAME: Final = 3.0
"""Seconds by which the beginning of one generation may seem to move, as its age is told in whole seconds."""


class Closed(StrEnum):
    """Why the balancer closed sockets; the values are labels of the metrics."""

    DRAIN_TIMEOUT = "drain-timeout"
    EARLY_RETIREMENT = "early-retirement"
    POD_TERMINATION = "pod-termination"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the balancer allows: so many generations that hold sockets, each for so many seconds."""

    generations: int
    timeout: float


@dataclass(frozen=True, slots=True)
class Retire:
    """End this worker."""

    worker: OldWorker
    why: Closed


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to end for so many seconds, None when nothing drains."""

    seconds: float | None


def parse_terms(annotations: Mapping[str, str]) -> Terms | None:
    """The terms that the version in force comes with; None when it has none that can be followed: nothing is ended."""
    generations = annotations.get(names.MAX_DRAINING_ANNOTATION, "")
    timeout = annotations.get(names.DRAIN_TIMEOUT_ANNOTATION, "")
    for text in (generations, timeout):
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text)):
            return None
    return Terms(int(generations), int(timeout) / 1000)


def stagger(pod: str) -> float:
    """Seconds, below the pause, by which a pod is later than the others: they all have reloaded at the same time."""
    return zlib.crc32(pod.encode()) / 2**32 * PAUSE


def decide(workers: Sequence[OldWorker], terms: Terms | None, *, stagger: float, rested: float) -> Retire | Wait:
    """What to do about the old workers, which come with the oldest first.

    ``rested`` is seconds since the last one was ended.
    """
    if terms is None or not workers:
        return Wait(None)
    settled = {worker.generation for worker in workers if worker.sockets and worker.age >= SETTLED}
    if len(settled) > terms.generations:
        oldest = min(settled)
        return Retire(next(worker for worker in workers if worker.generation == oldest), Closed.EARLY_RETIREMENT)
    oldest_worker = workers[0]
    ahead = terms.timeout + stagger - oldest_worker.age
    ahead = max(ahead, PAUSE - rested)
    return Retire(oldest_worker, Closed.DRAIN_TIMEOUT) if ahead <= 0 else Wait(ahead)


def describe(workers: Sequence[OldWorker], *, now: float, before: Draining) -> Draining:
    """What to tell of the old workers: generations that hold sockets count. ``now`` is seconds since the epoch."""
    holding = [worker for worker in workers if worker.sockets]
    if not holding:
        return NOT_DRAINING
    since = round(now - max(worker.age for worker in holding))
    if before.oldest and abs(since - before.oldest) <= _SAME:
        since = before.oldest
    return Draining(
        generations=len({worker.generation for worker in holding}),
        sockets=sum(worker.sockets for worker in holding),
        oldest=since,
    )


def one_more(draining: Draining, *, sockets: int, now: float) -> Draining:
    """What to tell right after a reload, until the old workers were counted: one generation more when the workers from
    before it had any of the pod's ``sockets``. So nobody takes the pod for one that has room left."""
    fresh = sockets - draining.sockets
    if fresh <= 0:
        return draining
    return Draining(draining.generations + 1, draining.sockets + fresh, draining.oldest or round(now))
