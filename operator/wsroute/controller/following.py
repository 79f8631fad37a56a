"""Follows the kinds that live in the balancers' namespaces (balancers, Deployments, pods, generated ConfigMaps), and
nodes.

These go through our own list-and-watch, not through kopf: kopf has one scope for all kinds, and with a cluster-wide
scope the operator would need the right to read every pod and every ConfigMap of the cluster. So the cluster-wide kinds
(routes, Services, EndpointSlices, Namespaces) are kopf's, and what RBAC grants in a few namespaces only is followed
here. :func:`wsroute.kube.reflector.reflect` lists again after each gap, so nothing that was deleted meanwhile stays. A
list that lacks anything that is known is made once more before it is believed: a balancer that seems to have no pods
would try its next version on none of them.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from wsroute.cluster.kinds import Kind
from wsroute.cluster.parse import parse_version
from wsroute.controller.feed import RESOURCES, Feed, read_all, read_change
from wsroute.dataplane.names import BALANCER_LABEL
from wsroute.kube.backoff import OUTAGE, RETRY_AFTER, Backoff
from wsroute.kube.port import ClusterClient, ForbiddenError, Json, KubeError, Listing, Resource
from wsroute.kube.reflector import Deleted, Replaced, Upserted, reflect
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)

FOLLOWED: Final = (Kind.BALANCER, Kind.DEPLOYMENT, Kind.POD, Kind.CONFIG_MAP)
"""The kinds of the balancers' namespaces."""

SELECTORS: Final = {Kind.CONFIG_MAP: BALANCER_LABEL}
"""Label selectors of those kinds that aren't followed whole."""

META_FIELDS: Final = ("name", "uid", "resourceVersion", "creationTimestamp", "generation")
"""The metadata that records are made of, for kinds without a namespace."""

REFUSALS: Final = Backoff(first=0.5, cap=60.0)
"""Ever slower: an installation without the right to list nodes asks for ever."""


CONFIRM: Final = 1.0
"""Seconds after which a list that lacks something is made once more."""


async def follow_all(client: ClusterClient, feed: Feed, metrics: Metrics, *, namespaces: Sequence[str]) -> None:
    """Follow all kinds in all namespaces, until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for namespace in namespaces:
            for kind in FOLLOWED:
                tasks.create_task(_follow(client, feed, metrics, kind, namespace), name=f"follow {kind} in {namespace}")
        tasks.create_task(_follow_nodes(client, feed, metrics), name="follow nodes")


async def _follow(client: ClusterClient, feed: Feed, metrics: Metrics, kind: Kind, namespace: str) -> None:
    resource, selector = RESOURCES[kind], SELECTORS.get(kind, "")
    async for event in reflect(client, resource, namespace=namespace, label_selector=selector):
        metrics.events.labels(kind).inc()
        if isinstance(event, Replaced):
            records, version = read_all(kind, event.items), parse_version(event.resource_version)
            if feed.missing_in(namespace, kind, records, version):
                await asyncio.sleep(CONFIRM)
                listing = await _list_until_it_works(client, resource, namespace, selector)
                records, version = read_all(kind, listing.items), parse_version(listing.resource_version)
            feed.listed_in(namespace, kind, records, version)
        else:
            _observe(feed, kind, event)


async def _follow_nodes(client: ClusterClient, feed: Feed, metrics: Metrics) -> None:
    """Nodes have no namespace, and may be none of an installation's business: without the right to list them the
    operator goes on, and does not know their addresses."""
    told = False

    def refused(error: ForbiddenError) -> None:
        nonlocal told
        if error.status != 403:
            return  # not known to the server at all: a matter of the token, and of every other kind as well
        if not told:
            told = True
            logger.warning(
                "There is no right to list and watch nodes, so that their addresses aren't known: endpoints that have "
                "one are not left out. Grant it with the ClusterRole of the operator."
            )
        feed.skip(Kind.NODE)

    events = reflect(client, RESOURCES[Kind.NODE], refusals=REFUSALS, refused=refused, keep=addresses_of)
    async for event in events:
        metrics.events.labels(Kind.NODE).inc()
        if isinstance(event, Replaced):
            records = read_all(Kind.NODE, event.items)
            feed.listed(Kind.NODE, records, parse_version(event.resource_version))
        else:
            _observe(feed, Kind.NODE, event)


def addresses_of(node: Json) -> Json:
    """What the state takes of a node: 90 KiB of memory each, images and all, would be more than everything else."""
    metadata, status = node.get("metadata"), node.get("status")
    return {
        "metadata": {key: metadata.get(key) for key in META_FIELDS} if isinstance(metadata, dict) else None,
        "status": {"addresses": status.get("addresses")} if isinstance(status, dict) else None,
    }


def _observe(feed: Feed, kind: Kind, event: Upserted | Deleted) -> None:
    if (change := read_change(kind, event.object, deleted=isinstance(event, Deleted))) is not None:
        feed.observe(change)


async def _list_until_it_works(client: ClusterClient, resource: Resource, namespace: str, selector: str) -> Listing:
    delays = iter(OUTAGE)
    while True:
        try:
            return await client.list(resource, namespace=namespace, label_selector=selector)
        except KubeError as error:
            await asyncio.sleep(max(next(delays), min(error.retry_after or 0.0, RETRY_AFTER)))
