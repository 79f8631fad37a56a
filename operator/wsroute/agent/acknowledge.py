"""Tells the operator what this pod runs: one key of the agents' ConfigMap, by server-side apply."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wsroute.dataplane.acknowledgement import Acknowledgement
from wsroute.dataplane.names import agents_name
from wsroute.kube.backoff import Backoff
from wsroute.kube.port import CONFIG_MAPS, ClusterClient, KubeError

logger = logging.getLogger(__name__)

COALESCE: Final = 1.0
"""Seconds between two writes where neither version nor failure changed."""

AFTERWARDS: Final = 0.05
"""Seconds until a change of anything else is written: right after it the other pods, on the same cores perhaps, take in
the same change of a table."""

SOCKETS: Final = 10.0
"""Seconds between two writes where only numbers of sockets changed."""

REFRESH: Final = 30.0
"""Seconds after which the same is written again: somebody may have taken our key out. It costs the server no write."""

_MANAGER_LIMIT = 128  # of a field manager's name, by the API server


@dataclass(frozen=True, slots=True)
class Sent:
    """What was last written, and when (seconds of a monotonic clock)."""

    acknowledgement: Acknowledgement
    at: float


def due(wanted: Acknowledgement, sent: Sent | None, *, since: float = float("-inf")) -> float:
    """The time at which to write. Since ``since`` more than numbers of sockets differs from what was sent."""
    if sent is None:
        return float("-inf")
    last = sent.acknowledgement
    if (wanted.version, wanted.failure, wanted.closed) != (last.version, last.failure, last.closed):
        return sent.at
    if _facts(wanted) != _facts(last):
        return max(sent.at + COALESCE, since + AFTERWARDS)
    return sent.at + (SOCKETS if _counts(wanted) != _counts(last) else REFRESH)


def _facts(said: Acknowledgement) -> tuple[object, ...]:
    draining = said.draining.generations, said.draining.oldest
    return said.epoch, said.nginx, said.ipv6, draining, said.table, said.formats, said.trouble


def _counts(said: Acknowledgement) -> tuple[int, int]:
    return said.sockets, said.draining.sockets


class Acknowledger:
    """Writes the newest acknowledgement whenever it is due, for ever, through any trouble."""

    def __init__(
        self,
        client: ClusterClient,
        *,
        namespace: str,
        balancer: str,
        pod: str,
        counted: Callable[[bool], None],
    ) -> None:
        """``counted`` hears of each attempt, whether it worked."""
        self._client = client
        self._namespace = namespace
        self._name = agents_name(balancer)
        self._pod = pod
        self._counted = counted
        self._wanted: Acknowledgement | None = None
        self._since = float("-inf")
        self._sent: Sent | None = None
        self._changed = asyncio.Event()
        self._backoff = Backoff(cap=10.0)

    def update(self, acknowledgement: Acknowledgement) -> None:
        """This is our state now."""
        if acknowledgement != self._wanted:
            last = self._sent.acknowledgement if self._sent is not None else acknowledgement
            if self._wanted is not None and _facts(self._wanted) == _facts(last) != _facts(acknowledgement):
                self._since = time.monotonic()
            self._wanted = acknowledgement
            self._changed.set()

    def repeat(self) -> None:
        """The API server is there again, perhaps with another past: write at once whatever was written before."""
        self._sent = None
        self._changed.set()

    async def written(self, *, within: float) -> None:
        """Wait until our state stands there, no longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._sent is None or self._sent.acknowledgement != self._wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def run(self) -> None:
        """Write until cancelled."""
        delays = iter(self._backoff)
        while True:
            await self._until_due()
            assert self._wanted is not None
            writing = Sent(self._wanted, time.monotonic())
            try:
                await self._write(writing.acknowledgement)
            except KubeError as error:
                self._counted(False)
                delay = next(delays)
                logger.warning("The state of this pod can't be written; next try in %.1f s. %s", delay, error)
                await self._pause(delay)
            else:
                self._counted(True)
                self._sent = writing
                delays = iter(self._backoff)

    async def _until_due(self) -> None:
        while True:
            self._changed.clear()
            delay = (
                None if self._wanted is None else due(self._wanted, self._sent, since=self._since) - time.monotonic()
            )
            if delay is not None and delay <= 0:
                return
            await self._pause(delay)

    async def _pause(self, seconds: float | None) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _write(self, acknowledgement: Acknowledgement) -> None:
        body = {
            "apiVersion": CONFIG_MAPS.api_version,
            "kind": CONFIG_MAPS.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "data": {self._pod: acknowledgement.to_json()},
        }
        # A manager of its own for each pod, so that none takes away another's key. Pods' names end in what is unique.
        await self._client.apply(CONFIG_MAPS, body, manager=f"wsroute-agent-{self._pod[-(_MANAGER_LIMIT - 14) :]}")
