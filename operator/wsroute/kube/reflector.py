"""Follows a kind of object: a list, then its changes, for ever, through any trouble."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, cast

from wsroute.kube.answers import resource_version
from wsroute.kube.backoff import OUTAGE, RETRY_AFTER, Backoff
from wsroute.kube.port import (
    ClusterClient,
    ForbiddenError,
    GoneError,
    Json,
    KubeError,
    NotFoundError,
    Resource,
    UnavailableError,
    WatchEvent,
)

logger = logging.getLogger(__name__)

STEADY: Final = 5.0
"""Seconds after which a watch counts as having worked, though nothing came."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """These are all the objects; whatever else was known is gone."""

    items: list[Json]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Upserted:
    """An object is new or has changed."""

    object: Json


@dataclass(frozen=True, slots=True)
class Deleted:
    """An object is gone; this is its last state."""

    object: Json


async def reflect(
    client: ClusterClient,
    resource: Resource,
    *,
    namespace: str | None = None,
    label_selector: str = "",
    field_selector: str = "",
    backoff: Backoff = OUTAGE,
    refusals: Backoff | None = None,
    refused: Callable[[ForbiddenError], None] = lambda _: None,
    keep: Callable[[Json], Json] | None = None,
) -> AsyncIterator[Replaced | Upserted | Deleted]:
    """First Replaced, then each change; Replaced again when the server no longer knows our position. Never ends.

    Failed requests raise nothing: they are tried again, endlessly. Nothing is told of an object while its state is
    unknown, so what was known stays known. ``refused`` is called whenever the server does not let us, for those who can
    go on without; ``refusals`` is how they wait for a right (403) that may be missing for good. ``keep`` is the list's.
    """
    what = f"{resource.plural} in namespace {namespace}" if namespace else resource.plural
    trouble = _Trouble(what, backoff, refusals or backoff)
    position = ""
    while True:
        failure: KubeError | None = None
        try:
            if not position:
                listing = await client.list(
                    resource,
                    namespace=namespace,
                    label_selector=label_selector,
                    field_selector=field_selector,
                    keep=keep,
                )
                position = listing.resource_version
                yield Replaced(listing.items, position)
            events = client.watch(
                resource,
                resource_version=position,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
            )
            async with contextlib.aclosing(cast("AsyncGenerator[WatchEvent, None]", events)):
                async for event in events:
                    version = resource_version(event.object) or position
                    trouble.heard(new=version != position)
                    position = version
                    if event.type != "BOOKMARK":
                        yield Deleted(event.object) if event.type == "DELETED" else Upserted(event.object)
        except KubeError as error:
            failure = error
            if isinstance(error, ForbiddenError):
                refused(error)
            if isinstance(error, GoneError | NotFoundError):
                # Not found is a resource whose definition went away: what comes back is not what was there.
                position = ""
        if pause := trouble.pause(failure):
            await asyncio.sleep(pause)


class _Trouble:
    """Counts ends of streams and failures in a row: how long to wait, and what to tell of an outage.

    An outage is told once when it begins and once when it ends. One failure alone is everyday life (an API server is
    replaced, a connection is cut) and not told, unless it is a refusal, which somebody has to mend.
    """

    def __init__(self, what: str, backoff: Backoff, refusals: Backoff) -> None:
        self._what = what
        self._backoff = backoff
        self._refusals = refusals
        self._delays = iter(backoff)
        self._refused_delays = iter(refusals)
        self._ends = 0
        self._failures = 0
        self._standing_since = math.inf
        self._told_at: float | None = None

    def heard(self, *, new: bool) -> None:
        """The stream stands; ``new`` when it brought something that was not known before."""
        now = time.monotonic()
        self._standing_since = min(self._standing_since, now)
        if self._told_at is not None:
            logger.info("Following %s works again after %.0f s.", self._what, now - self._told_at)
            self._told_at = None
        if new:
            self._reset()

    def pause(self, failure: KubeError | None) -> float:
        """Seconds to wait after the end of a stream; None when the server ended it, as it does every few minutes."""
        if time.monotonic() - self._standing_since >= STEADY:
            self._reset()
        self._standing_since = math.inf
        self._ends += 1
        if self._ends == 1 and (failure is None or isinstance(failure, GoneError)):
            return 0.0
        is_refusal = isinstance(failure, ForbiddenError) and failure.status == 403
        delay = next(self._refused_delays if is_refusal else self._delays)
        if failure is None:
            return delay
        self._failures += 1
        if self._told_at is None and (self._failures > 1 or not isinstance(failure, UnavailableError | GoneError)):
            self._told_at = time.monotonic()
            logger.warning(
                "Following %s is interrupted, what is known stays as it is; trying again until it works. %s",
                self._what,
                failure,
            )
        return max(delay, min(failure.retry_after or 0.0, RETRY_AFTER))

    def _reset(self) -> None:
        self._ends = self._failures = 0
        self._delays = iter(self._backoff)
        self._refused_delays = iter(self._refusals)
