"""List-and-replace for the kinds that kopf watches: what makes its events level-triggered.

kopf tells of what changed while its watch stood. Whatever was deleted during a gap it never tells, so every kind is
listed by ourselves: once before the first pass, every ten minutes, at once after kopf has listed a kind anew (an event
without a type), and soon after kopf was started. A list that fails changes nothing: the last known stays. One that
lacks most of what is known is believed once a second one, a moment later, says the same.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from wsroute.cluster.kinds import Kind, Record
from wsroute.cluster.parse import SERVICE_NAME_LABEL, parse_version
from wsroute.controller.feed import RESOURCES, Feed, read_all
from wsroute.kube.backoff import OUTAGE, RETRY_AFTER, Backoff, jitter
from wsroute.kube.port import ClusterClient, KubeError
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)

WATCHED: Final = (Kind.ROUTE, Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NAMESPACE)
"""The cluster-wide kinds."""

SELECTORS: Final = {Kind.ENDPOINT_SLICE: SERVICE_NAME_LABEL}
"""Label selectors, for the lists and for kopf's watches alike: slices of no Service are of no interest."""

PERIOD: Final = 600.0
"""Seconds between two lists of a kind, when nothing asks for one earlier."""

APART: Final = 5.0
"""Seconds between two lists that were asked for: a relist shows as many events as there are objects."""

FEW: Final = 10
"""Objects that may be missing from a list without any doubt."""

CONFIRM: Final = 1.0
"""Seconds after which a doubtful list is confirmed by a second one."""

CHUNK: Final = 200
"""Objects that are read without letting other tasks run in between."""


async def _always() -> bool:
    return True


class Resync:
    """Lists the watched kinds, each in a task of its own.

    ``vouches`` says whether routes that a list lacks were deleted."""

    def __init__(
        self,
        client: ClusterClient,
        feed: Feed,
        metrics: Metrics,
        *,
        kinds: Sequence[Kind] = WATCHED,
        period: float = PERIOD,
        apart: float = APART,
        confirm: float = CONFIRM,
        vouches: Callable[[], Awaitable[bool]] = _always,
        backoff: Backoff = OUTAGE,
    ) -> None:
        self._client = client
        self._feed = feed
        self._metrics = metrics
        self._period = period
        self._apart = apart
        self._confirm = confirm
        self._vouches = vouches
        self._backoff = backoff
        self._wanted = {kind: asyncio.Event() for kind in kinds}

    def request(self, kind: Kind) -> None:
        """Ask for a list of a kind, because its watch has had a gap."""
        self._wanted[kind].set()

    def request_all(self) -> None:
        """Ask for a list of each kind."""
        for event in self._wanted.values():
            event.set()

    async def run(self) -> None:
        """List until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in self._wanted:
                tasks.create_task(self._keep_listing(kind), name=f"resync {kind}")

    async def _keep_listing(self, kind: Kind) -> None:
        wanted = self._wanted[kind]
        while True:
            wanted.clear()
            await self._list_until_it_works(kind)
            # The pause comes after the list, so that an isolated request is answered at once.
            await asyncio.sleep(self._apart)
            try:
                async with asyncio.timeout(self._period * (0.9 + 0.2 * jitter())):
                    await wanted.wait()
            except TimeoutError:
                continue

    async def _list_until_it_works(self, kind: Kind) -> None:
        for failures, delay in enumerate(self._backoff):
            started = time.perf_counter()
            try:
                found = await self._list(kind)
                if is_sudden(found.missing, of=self._feed.state.size(kind)):
                    logger.warning("A list of %s lacks %d that are known; it is made once more.", kind, found.missing)
                    await asyncio.sleep(self._confirm)
                    found = await self._list(kind)
                complete = not found.missing or kind is not Kind.ROUTE or await self._vouches()
            except KubeError as error:
                self._metrics.resync_failures.labels(kind).inc()
                if failures == 0:
                    logger.warning("%s can't be listed; what is known stays, and it is tried again. %s", kind, error)
                await asyncio.sleep(max(delay, min(error.retry_after or 0.0, RETRY_AFTER)))
                continue
            self._feed.listed(kind, found.records, found.version, complete=complete)
            self._metrics.resync_seconds.labels(kind).observe(time.perf_counter() - started)
            return

    async def _list(self, kind: Kind) -> "_Found":
        listing = await self._client.list(RESOURCES[kind], label_selector=SELECTORS.get(kind, ""))
        records: list[Record] = []
        for start in range(0, len(listing.items), CHUNK):
            records += read_all(kind, listing.items[start : start + CHUNK])
            await asyncio.sleep(0)
        version = parse_version(listing.resource_version)
        keys = {record.meta.key for record in records}
        return _Found(records, version, self._feed.state.missing(kind, keys, version))


@dataclass(frozen=True, slots=True)
class _Found:
    """A list, and how many of the known objects it lacks."""

    records: list[Record]
    version: int
    missing: int


def is_sudden(missing: int, *, of: int) -> bool:
    """Whether a list lacks so much of what is known that it wants a second one."""
    return missing > FEW and missing * 2 > of
