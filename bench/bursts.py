"""Changes in quick succession: how long each one takes by itself.

Threads ask the pods, one thread each, for some of the changes in the order in which these were written. To ask for all
would take more of the processor than the changes do.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from localcluster import api

EVERY: Final = 5
"""Of so many changes one is asked for."""

Probe = Callable[[api.CurrentCluster, str, str, list[bytes]], float]
"""Asks a pod for a host until its answer holds one of these texts; when that was."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was written: the host that it is about, what an answer says once it is served, and when it was written."""

    host: str
    says: list[bytes]
    written: float


@dataclass
class Burst:
    """The changes of one burst. ``quiet`` is how many seconds after a change it is first asked for."""

    cluster: api.CurrentCluster
    addresses: Sequence[str]
    probe: Probe
    quiet: float
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._queues = {address: queue.SimpleQueue[Change | None]() for address in self.addresses}
        self._found: dict[str, list[float]] = {address: [] for address in self.addresses}
        self._threads = [threading.Thread(target=self._ask, args=(address,)) for address in self.addresses]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for waiting in self._queues.values():
            waiting.put(None)
        for thread in self._threads:
            thread.join()

    def wrote(self, host: str, says: list[bytes]) -> None:
        """A change was written just now."""
        change = Change(host, says, time.monotonic())
        self.changes.append(change)
        if len(self.changes) % EVERY == 0:
            for waiting in self._queues.values():
                waiting.put(change)

    @property
    def seconds(self) -> list[float]:
        """After the block: how long those took that were asked for, until the last pod served them."""
        asked = [change.written for change in self.changes[EVERY - 1 :: EVERY]]
        return [max(found) - written for written, *found in zip(asked, *self._found.values(), strict=True)]

    def _ask(self, address: str) -> None:
        while (change := self._queues[address].get()) is not None:
            time.sleep(max(0.0, change.written + self.quiet - time.monotonic()))
            self._found[address].append(self.probe(self.cluster, address, change.host, change.says))
