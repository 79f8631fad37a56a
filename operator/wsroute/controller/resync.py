"""List-and-replace for the kinds that kopf watches: what makes its events level-triggered.

kopf tells of what changed while its watch stood. Whatever was deleted during a gap it never tells, so every kind is
listed by ourselves: once before the first pass, every ten minutes, at once after kopf has listed a kind anew (an event
without a type), and soon after kopf was started. A list that fails changes nothing: the last known stays.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from wsroute.cluster.kinds import Kind, Record
from wsroute.cluster.parse import SERVICE_NAME_LABEL, parse_version
from wsroute.controller.feed import RESOURCES, Feed, read_all
from wsroute.kube.backoff import Backoff, jitter
from wsroute.kube.port import ClusterClient, Json, KubeError
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

CHUNK: Final = 200
"""Objects that are read without letting other tasks run in between."""


class Resync:
    """Lists the watched kinds, each in a task of its own."""

    def __init__(
        self,
        client: ClusterClient,
        feed: Feed,
        metrics: Metrics,
        *,
        kinds: Sequence[Kind] = WATCHED,
        period: float = PERIOD,
        apart: float = APART,
        backoff: Backoff | None = None,
    ) -> None:
        self._client = client
        self._feed = feed
        self._metrics = metrics
        self._period = period
        self._apart = apart
        self._backoff = backoff or Backoff(first=0.5, cap=30.0)
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
        resource = RESOURCES[kind]
        for failures, delay in enumerate(self._backoff):
            started = time.perf_counter()
            try:
                listing = await self._client.list(resource, label_selector=SELECTORS.get(kind, ""))
            except KubeError as error:
                self._metrics.resync_failures.labels(kind).inc()
                if failures == 0:
                    logger.warning("%s can't be listed; what is known stays, and it is tried again. %s", kind, error)
                await asyncio.sleep(max(delay, min(error.retry_after or 0.0, 60.0)))
                continue
            records = await _read(kind, listing.items)
            self._feed.listed(kind, records, parse_version(listing.resource_version))
            self._metrics.resync_seconds.labels(kind).observe(time.perf_counter() - started)
            return


async def _read(kind: Kind, items: list[Json]) -> list[Record]:
    records: list[Record] = []
    for start in range(0, len(items), CHUNK):
        records += read_all(kind, items[start : start + CHUNK])
        await asyncio.sleep(0)
    return records
