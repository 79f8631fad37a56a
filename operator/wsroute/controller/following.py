"""Follows the kinds that live in the balancers' namespaces: balancers, Deployments, pods, generated ConfigMaps.

These go through our own list-and-watch, not through kopf: kopf has one scope for all kinds, and with a cluster-wide
scope the operator would need the right to read every pod and every ConfigMap of the cluster. So the cluster-wide kinds
(routes, Services, EndpointSlices, Namespaces) are kopf's, and what RBAC grants in a few namespaces only is followed
here. :func:`wsroute.kube.reflector.reflect` lists again after each gap, so nothing that was deleted meanwhile stays.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from wsroute.cluster.kinds import Kind
from wsroute.cluster.parse import parse_version
from wsroute.controller.feed import RESOURCES, Feed, read_all, read_change
from wsroute.dataplane.names import BALANCER_LABEL
from wsroute.kube.port import ClusterClient
from wsroute.kube.reflector import Deleted, Replaced, reflect
from wsroute.observability.metrics import Metrics

FOLLOWED: Final = (Kind.BALANCER, Kind.DEPLOYMENT, Kind.POD, Kind.CONFIG_MAP)
"""The kinds of the balancers' namespaces."""

SELECTORS: Final = {Kind.CONFIG_MAP: BALANCER_LABEL}
"""Label selectors of those kinds that aren't followed whole."""


async def follow_all(client: ClusterClient, feed: Feed, metrics: Metrics, *, namespaces: Sequence[str]) -> None:
    """Follow all kinds in all namespaces, until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for namespace in namespaces:
            for kind in FOLLOWED:
                tasks.create_task(_follow(client, feed, metrics, kind, namespace), name=f"follow {kind} in {namespace}")


async def _follow(client: ClusterClient, feed: Feed, metrics: Metrics, kind: Kind, namespace: str) -> None:
    events = reflect(client, RESOURCES[kind], namespace=namespace, label_selector=SELECTORS.get(kind, ""))
    async for event in events:
        metrics.events.labels(kind).inc()
        if isinstance(event, Replaced):
            records = read_all(kind, event.items)
            feed.listed_in(namespace, kind, records, parse_version(event.resource_version))
        elif (change := read_change(kind, event.object, deleted=isinstance(event, Deleted))) is not None:
            feed.observe(change)
