"""Routes that are added one after the other: what each one's host answers, from before it exists until all have it.

Before a route is served its host has none: 404 with the reason `no-route`. From the first 101 on nothing else will do.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from bench.probes import handshake
from localcluster import api

AGAIN: Final = 3
"""How often a host is asked once more after a pod served it: a later change must not take it back."""


@dataclass
class Watched:
    """What one pod answered for the hosts that are young."""

    cluster: api.CurrentCluster
    address: str
    young: dict[str, None] = field(default_factory=dict)
    """Hosts to ask for. The one that is next to be written stands here already."""
    served: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask for all young hosts, again and again, until ``stop`` is set and none is left."""
        while not (self.stop.is_set() and not self.young):
            for host in tuple(self.young):
                self.look(host)
                if self.served[host] > AGAIN:
                    self.young.pop(host, None)
            self.stop.wait(0.002)

    def look(self, host: str) -> None:
        """One handshake, judged."""
        answer = handshake(self.cluster, self.address, host)
        self.asked += 1
        if answer.startswith(b"HTTP/1.1 101 "):
            self.served[host] += 1
        elif self.served[host] or not (answer.startswith(b"HTTP/1.1 404 ") and b"X-WSRoute-Reason: no-route" in answer):
            head = answer.partition(b"\r\n")[0].decode(errors="replace")
            self.wrong.append(f"{self.address} answered {head} for {host}, after {self.served[host]} times 101")


class Additions:
    """The pods, each asked by a thread of its own."""

    def __init__(self, cluster: api.CurrentCluster, addresses: Sequence[str]) -> None:
        self._watched = [Watched(cluster, address) for address in addresses]
        self._threads = [threading.Thread(target=watched.run) for watched in self._watched]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for watched in self._watched:
            watched.young.clear()  # after a failure there are some, which may never be served
        self.finish()

    def expect(self, host: str) -> None:
        """A route for this host comes next."""
        for watched in self._watched:
            watched.young[host] = None

    def finish(self) -> None:
        """Return when all pods serve all hosts that were expected."""
        for watched in self._watched:
            watched.stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def asked(self) -> int:
        """How many handshakes were judged."""
        return sum(watched.asked for watched in self._watched)

    @property
    def wrong(self) -> list[str]:
        """The answers that were neither 404 `no-route` before nor 101 afterwards."""
        return [line for watched in self._watched for line in watched.wrong]
