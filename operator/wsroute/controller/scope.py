"""Where routes are looked for: in all namespaces, or in those of a list.

With a list the operator needs no right to read objects elsewhere: kopf watches and we list each namespace by itself.
What has no namespace are the Namespaces, whose labels ``allowedRoutes`` asks for: each is followed by its own name,
which a ClusterRole can allow for just these (``resourceNames``). Of one that does not exist nothing is known, so that
no selector meets it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wsroute.cluster.kinds import Kind
from wsroute.cluster.parse import parse_version
from wsroute.controller.feed import RESOURCES, Feed, read_all, read_change
from wsroute.controller.resync import WATCHED
from wsroute.kube.port import ClusterClient
from wsroute.kube.reflector import Deleted, Replaced, reflect
from wsroute.observability.metrics import Metrics

IN_NAMESPACES: Final = tuple(kind for kind in WATCHED if kind is not Kind.NAMESPACE)
"""The watched kinds that can be listed in one namespace alone."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The namespaces of the list, sorted; empty for all namespaces."""

    namespaces: tuple[str, ...] = ()

    @property
    def listed(self) -> bool:
        """Whether there is a list."""
        return bool(self.namespaces)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What kopf watches and :class:`wsroute.controller.resync.Resync` lists."""
        return IN_NAMESPACES if self.listed else WATCHED

    @property
    def split(self) -> Mapping[Kind, Sequence[str]]:
        """The kinds that are listed for each namespace apart."""
        return dict.fromkeys(WATCHED, self.namespaces) if self.listed else {}


def scope_of(watched: Sequence[str], balancers: Sequence[str]) -> Scope:
    """The scope of the namespaces that an operator is told to watch. A list takes in those of the balancers, whose
    Services it has to know."""
    return Scope(tuple(sorted({*watched, *balancers}))) if watched else Scope()


async def follow_namespaces(client: ClusterClient, feed: Feed, metrics: Metrics, scope: Scope) -> None:
    """Follow each Namespace of the list by its name, until cancelled; without a list it ends at once."""
    async with asyncio.TaskGroup() as tasks:
        for name in scope.namespaces:
            tasks.create_task(_follow_namespace(client, feed, metrics, name), name=f"follow Namespace {name}")


async def _follow_namespace(client: ClusterClient, feed: Feed, metrics: Metrics, name: str) -> None:
    kind = Kind.NAMESPACE
    async for event in reflect(client, RESOURCES[kind], field_selector=f"metadata.name={name}"):
        metrics.events.labels(kind).inc()
        if isinstance(event, Replaced):
            feed.listed_in(name, kind, read_all(kind, event.items), parse_version(event.resource_version))
        elif (change := read_change(kind, event.object, deleted=isinstance(event, Deleted))) is not None:
            feed.observe(change)
