"""How long to wait before the next try: endless, growing, capped, jittered."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final


def jitter() -> float:
    """A number in [0, 1) that keeps replicas out of step; nothing secret hangs on it."""
    return random.random()  # noqa: S311


@dataclass(frozen=True, slots=True)
class Backoff:
    """An endless policy of delays in seconds. Each iteration starts from the first delay again.

    The n-th delay lies in ``[d * (1 - spread), d]`` with ``d = min(first * factor ** n, cap)``. An object of this
    class can stand wherever an iterable of delays is wanted, such as kopf's ``networking.error_backoffs``.
    """

    first: float = 0.25
    factor: float = 2.0
    cap: float = 30.0
    spread: float = 0.5
    random: Callable[[], float] = jitter

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.cap and self.factor >= 1 and 0 <= self.spread < 1):
            raise ValueError("A back-off needs 0 < first <= cap, factor >= 1 and 0 <= spread < 1.")

    def __iter__(self) -> Iterator[float]:
        delay = self.first
        while True:
            yield delay * (1 - self.spread * self.random())
            delay = min(delay * self.factor, self.cap)


OUTAGE: Final = Backoff(first=0.25, cap=1.0)
"""For what follows the cluster: so short that what is edited right after an outage is live within seconds. Each replica
and each agent has a handful of watches, so it costs an API server that comes back next to nothing."""

RETRY_AFTER: Final = 30.0
"""Seconds up to which an API server is heeded that says when to come back."""
