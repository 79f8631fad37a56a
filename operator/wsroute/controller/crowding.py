"""Which routes of a Static balancer have to give way where its file would be too large to be published. Pure.

It is the largest routes of the namespace that takes most of the room. How many of each namespace is remembered, not
which: that follows from the routes, whatever their endpoints, so that a few bytes tell of hundreds of routes.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heapreplace
from typing import Final

from wsroute.dataplane.ir import RouteRef
from wsroute.graph.model import RouteNode

LOCATION: Final = 600
"""About how many bytes nginx is told of a path on a host, beside the path."""

Routes = Mapping[RouteRef, RouteNode]


def left_out(counts: Mapping[str, int], routes: Routes) -> frozenset[RouteRef]:
    """The routes that give way, by how many of each namespace do."""
    queues = _largest_first(routes, counts)
    return frozenset(route for namespace, count in counts.items() for route in queues[namespace][:count])


def make_room(
    counts: Mapping[str, int], routes: Routes, sizes: Mapping[RouteRef, float], excess: float
) -> Mapping[str, int]:
    """How many give way when so much more has to: ``sizes`` are what the routes take now, of which ``excess`` is too
    much. At least one more does, unless nobody is left."""
    found = dict(counts)
    totals: defaultdict[str, float] = defaultdict(float)
    for route, size in sizes.items():
        totals[route.namespace] += size
    queues = _largest_first(routes, totals)
    for namespace, queue in queues.items():
        del queue[: counts.get(namespace, 0)]
    crowds = [(-totals[namespace], namespace) for namespace, queue in queues.items() if queue]
    heapify(crowds)
    freed = 0.0
    while crowds and (freed <= 0 or freed < excess):
        _, namespace = crowds[0]
        size = sizes.get(queues[namespace].pop(0), 0.0)
        found[namespace] = found.get(namespace, 0) + 1
        totals[namespace] -= size
        freed += size
        if queues[namespace] and totals[namespace] > 0:
            heapreplace(crowds, (-totals[namespace], namespace))
        else:
            heappop(crowds)
    return found


def _largest_first(routes: Routes, namespaces: Collection[str]) -> dict[str, list[RouteRef]]:
    """The routes of some namespaces."""
    queues: dict[str, list[RouteRef]] = {namespace: [] for namespace in namespaces}
    own = [route for route in routes if route.namespace in queues]
    for route in sorted(own, key=lambda each: (-_size(routes[each]), each)):
        queues[route.namespace].append(route)
    return queues


def _size(node: RouteNode) -> int:
    paths = [*(path.path for path in node.paths), *(claim.path for claim in node.withdrawn_paths)]
    return len(node.hosts) * (LOCATION * len(paths) + sum(map(len, paths)))
