"""List-and-replace for the kinds that kopf watches: what makes its events level-triggered.

kopf tells of what changed while its watch stood. Whatever was deleted during a gap it never tells, so every kind is
listed by ourselves: once before the first pass, every ten minutes, at once after kopf has listed a kind anew (an event
without a type), and soon after kopf was started. A list that fails changes nothing: the last known stays. One that
lacks most of what is known is believed once a second one, a moment later, says the same.

Where the operator has a list of namespaces, one of them may refuse it: its Role was deleted, which a team can do, or
there is no such namespace. The others must not wait for it, so it is passed over until it lets itself be listed.
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
from wsroute.kube.port import ClusterClient, ForbiddenError, KubeError
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)

WATCHED: Final = (Kind.ROUTE, Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NAMESPACE)
"""The kinds that teams have, and their namespaces."""

SELECTORS: Final = {Kind.ENDPOINT_SLICE: SERVICE_NAME_LABEL}
"""Label selectors, for the lists and for kopf's watches alike: slices of no Service are of no interest."""

PERIOD: Final = 600.0
"""Seconds between two lists of a kind, when nothing asks for one earlier."""

APART: Final = 5.0
"""Seconds between two lists that were asked for: a relist shows as many events as there are objects."""

REFUSALS: Final = 6
"""Refused lists in a row after which a namespace is passed over: some seconds, in which an API server that has just
started comes to know its Roles."""

FEW: Final = 10
"""Objects that may be missing from a list without any doubt."""

CONFIRM: Final = 1.0
"""Seconds after which a doubtful list is confirmed by a second one."""

CHUNK: Final = 200
"""Objects that are read without letting other tasks run in between."""


async def _always() -> bool:
    return True


class Resync:
    """Lists the watched kinds, each in a task of its own, and in each of ``namespaces`` apart when there are any.

    ``vouches`` says whether routes that a list lacks were deleted."""

    def __init__(
        self,
        client: ClusterClient,
        feed: Feed,
        metrics: Metrics,
        *,
        kinds: Sequence[Kind] = WATCHED,
        namespaces: Sequence[str] = (),
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
        places: Sequence[str | None] = namespaces or (None,)
        self._wanted = {(kind, namespace): asyncio.Event() for kind in kinds for namespace in places}
        self._listed: set[Kind] = set()
        """The kinds that could be listed anywhere."""
        self._passed_over: set[tuple[Kind, str | None]] = set()

    def request(self, kind: Kind) -> None:
        """Ask for a list of a kind, because its watch has had a gap."""
        for (wanted, _), event in self._wanted.items():
            if wanted is kind:
                event.set()

    def request_all(self) -> None:
        """Ask for a list of each kind."""
        for event in self._wanted.values():
            event.set()

    async def run(self) -> None:
        """List until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for (kind, namespace), wanted in self._wanted.items():
                tasks.create_task(self._keep_listing(kind, namespace, wanted), name=f"resync {_title(kind, namespace)}")

    async def _keep_listing(self, kind: Kind, namespace: str | None, wanted: asyncio.Event) -> None:
        while True:
            wanted.clear()
            await self._list_until_it_works(kind, namespace)
            # The pause comes after the list, so that an isolated request is answered at once.
            await asyncio.sleep(self._apart)
            try:
                async with asyncio.timeout(self._period * (0.9 + 0.2 * jitter())):
                    await wanted.wait()
            except TimeoutError:
                continue

    async def _list_until_it_works(self, kind: Kind, namespace: str | None) -> None:
        what = _title(kind, namespace)
        for failures, delay in enumerate(self._backoff):
            started = time.perf_counter()
            try:
                found = await self._list(kind, namespace)
                if is_sudden(found.missing, of=found.known):
                    logger.warning("A list of %s lacks %d that are known; it is made once more.", what, found.missing)
                    await asyncio.sleep(self._confirm)
                    found = await self._list(kind, namespace)
                complete = not found.missing or kind is not Kind.ROUTE or await self._vouches()
            except KubeError as error:
                self._metrics.resync_failures.labels(kind).inc()
                if failures == 0:
                    logger.warning("%s can't be listed; what is known stays, and it is tried again. %s", what, error)
                if namespace is not None and failures >= REFUSALS - 1 and self._refused_here_alone(kind, error):
                    self._pass_over(kind, namespace)
                await asyncio.sleep(max(delay, min(error.retry_after or 0.0, RETRY_AFTER)))
                continue
            self._listed.add(kind)
            self._passed_over.discard((kind, namespace))
            if namespace is None:
                self._feed.listed(kind, found.records, found.version, complete=complete)
            else:
                self._feed.listed_in(namespace, kind, found.records, found.version, complete=complete)
            self._metrics.resync_seconds.labels(kind).observe(time.perf_counter() - started)
            return

    async def _list(self, kind: Kind, namespace: str | None) -> "_Found":
        listing = await self._client.list(RESOURCES[kind], namespace=namespace, label_selector=SELECTORS.get(kind, ""))
        records: list[Record] = []
        for start in range(0, len(listing.items), CHUNK):
            records += read_all(kind, listing.items[start : start + CHUNK])
            await asyncio.sleep(0)
        version = parse_version(listing.resource_version)
        state = self._feed.state
        if namespace is None:
            keys = {record.meta.key for record in records}
            return _Found(records, version, state.missing(kind, keys, version), state.size(kind))
        missing = len(self._feed.missing_in(namespace, kind, records, version))
        known = sum(key.namespace == namespace for key, _, _ in state.known(kind))
        return _Found(records, version, missing, known)

    def _refused_here_alone(self, kind: Kind, error: KubeError) -> bool:
        """Whether it is this namespace that refuses us, and not the API server as a whole."""
        return isinstance(error, ForbiddenError) and error.status == 403 and kind in self._listed

    def _pass_over(self, kind: Kind, namespace: str) -> None:
        if (kind, namespace) in self._passed_over:
            return
        self._passed_over.add((kind, namespace))
        logger.error(
            "There is no right to list %s, or no such namespace: nothing new is learnt of it until there is. The other "
            "namespaces go on.",
            _title(kind, namespace),
        )
        self._feed.pass_over(namespace, kind)


def _title(kind: Kind, namespace: str | None) -> str:
    return kind if namespace is None else f"{kind} in {namespace}"


@dataclass(frozen=True, slots=True)
class _Found:
    """A list, and how many of the known objects it lacks."""

    records: list[Record]
    version: int
    missing: int
    known: int


def is_sudden(missing: int, *, of: int) -> bool:
    """Whether a list lacks so much of what is known that it wants a second one."""
    return missing > FEW and missing * 2 > of
