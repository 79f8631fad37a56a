"""Guards the routes that are known against the loss of their CustomResourceDefinition.

A deletion that a watch tells, or a list that lacks a route, counts only once the definition was read afterwards and
vouches for it (:mod:`wsroute.controller.definition`). The API server marks a definition before it deletes the first of
its objects, and answers such a list with what etcd holds, so the look always comes in time.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from wsroute.cluster.kinds import Kind
from wsroute.cluster.parse import parse_version
from wsroute.controller.definition import NAME, Definition, Trust, parse_definition
from wsroute.controller.feed import Change
from wsroute.kube.backoff import OUTAGE
from wsroute.kube.port import DEFINITIONS, ClusterClient, ForbiddenError, KubeError, Listing
from wsroute.kube.reflector import Deleted, Replaced, reflect

logger = logging.getLogger(__name__)

SELECTOR: Final = f"metadata.name={NAME}"


class RouteGuard:
    """``observe`` takes in what a watch tells. ``changed`` is called when ``trust`` has changed its mind; ``complete``
    when absent routes count as deleted again, so that they should be listed."""

    def __init__(
        self,
        client: ClusterClient,
        *,
        observe: Callable[[Change], None],
        changed: Callable[[], None],
        complete: Callable[[], None],
    ) -> None:
        self.trust = Trust()
        self._client = client
        self._observe = observe
        self._changed = changed
        self._complete = complete
        self._deletions: list[Change] = []
        self._wake = asyncio.Event()

    def observe(self, change: Change) -> None:
        """Take in a watch event; a route's deletion a moment later, if at all."""
        if change.kind is Kind.ROUTE and change.record is None:
            self._deletions.append(change)
            self._wake.set()
        else:
            self._observe(change)

    async def vouches(self) -> bool:
        """Whether routes that were absent before this call were deleted by themselves. Raises KubeError."""
        try:
            listing = await self._client.list(DEFINITIONS, field_selector=SELECTOR)
        except ForbiddenError as error:
            self._refused(error)
        else:
            self._look(_newest(listing))
        return self.trust.vouches

    async def run(self) -> None:
        """Follow the definition and settle deletions, until cancelled."""
        for delay in OUTAGE:
            try:
                await self.vouches()
                break
            except KubeError as error:
                logger.debug("The definition of routes is still to be read. %s", error)
                await asyncio.sleep(delay)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="follow the definition")
            tasks.create_task(self._settle(), name="settle deletions")

    async def _follow(self) -> None:
        async for event in reflect(self._client, DEFINITIONS, field_selector=SELECTOR):
            if isinstance(event, Replaced):
                self._look(_newest(Listing(event.items, event.resource_version)))
            else:
                raw = event.object
                version = parse_version((raw.get("metadata") or {}).get("resourceVersion"))
                gone = isinstance(event, Deleted)
                self._look(Definition(version) if gone else parse_definition(raw, version=version))

    async def _settle(self) -> None:
        delays = iter(OUTAGE)
        while True:
            await self._wake.wait()
            self._wake.clear()
            changes, self._deletions = self._deletions, []
            try:
                vouched = await self.vouches()
            except KubeError as error:
                logger.debug("%d deletions of routes wait. %s", len(changes), error)
                self._deletions[:0] = changes
                self._wake.set()
                await asyncio.sleep(next(delays))
                continue
            delays = iter(OUTAGE)
            if vouched:
                for change in changes:
                    self._observe(change)

    def _look(self, seen: Definition) -> None:
        before, self.trust = self.trust, self.trust.look(seen)
        if self.trust.means(before):
            return
        if before.vouches and not self.trust.vouches:
            logger.warning("%s", self.trust.explain())
        if self.trust.vouches and not before.vouches:
            self._complete()
        self._changed()

    def _refused(self, error: KubeError) -> None:
        if self.trust.readable:
            logger.warning("Routes are not guarded against the loss of their CustomResourceDefinition. %s", error)
            self.trust = self.trust.refused()
            self._changed()


def _newest(listing: Listing) -> Definition:
    version = parse_version(listing.resource_version)
    return parse_definition(listing.items[0], version=version) if listing.items else Definition(version)
