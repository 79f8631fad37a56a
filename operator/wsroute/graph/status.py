"""The status of an object as it ought to be, without transition times.

A status has ``conditions`` too: these are made by ``conditions`` and get their times from
``api.conditions.merge_conditions`` when they are written.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from wsroute.api.conditions import Condition
from wsroute.api.status import balancer_summary, route_summary
from wsroute.cluster.objects import Key
from wsroute.graph.conditions import RolloutView
from wsroute.graph.model import BalancerNode, RouteNode

MAX_ADDRESSES: Final = 16
MAX_COUNT: Final = 2**31 - 1
"""What a status holds (``api.status``)."""


def route_status(node: RouteNode, conditions: Sequence[Condition]) -> dict[str, Any]:
    """A route's status but for its conditions. What a route can't have (hosts, URLs) is left out, not empty."""
    ready, draining = count_endpoints(node)
    status: dict[str, Any] = {
        "observedGeneration": node.generation,
        "endpoints": {"ready": ready, "draining": draining},
        "summary": route_summary(hosts=node.hosts, ready=ready, draining=draining, conditions=conditions),
    }
    if node.balancer is not None:
        status["balancer"] = str(node.balancer)
    if node.hosts:
        status["hosts"] = list(node.hosts)
    if node.urls:
        status["urls"] = list(node.urls)
    return status


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The last version that came in force: when (RFC 3339, whole seconds), why, and how many ready pods run it.
    ``changes`` are reasons and what they are about."""

    time: str
    reason: str
    pods: int
    changes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Leaving:
    """Pods that were told to end and finish their sockets: how many, with how many sockets, and until when at the
    latest (RFC 3339, empty when there are none)."""

    pods: int
    sockets: int
    until: str


NOBODY_LEAVES: Final = Leaving(pods=0, sockets=0, until="")


@dataclass(frozen=True, slots=True)
class ServedView:
    """What a balancer's pods have.

    ``version`` is the one in force, empty before the first. ``draining`` counts generations (of the pod that has the
    most) and sockets of old workers. ``leaving`` are the pods that count for nothing else.
    """

    version: str
    sockets: int
    draining: tuple[int, int] = (0, 0)
    last_reload: Reloaded | None = None
    leaving: Leaving = NOBODY_LEAVES


def balancer_status(
    node: BalancerNode, conditions: Sequence[Condition], *, rollout: RolloutView, served: ServedView
) -> dict[str, Any]:
    """A balancer's status but for its conditions."""
    generations, sockets = served.draining
    leaving = served.leaving
    status: dict[str, Any] = {
        "observedGeneration": node.generation,
        "routes": {"accepted": len(node.accepted), "rejected": len(node.rejected)},
        "pods": {"total": rollout.ready_pods, "current": rollout.current_pods},
        "sockets": min(served.sockets, MAX_COUNT),
        "draining": {"generations": generations, "sockets": min(sockets, MAX_COUNT)},
        "leaving": {"pods": leaving.pods, "sockets": min(leaving.sockets, MAX_COUNT)},
        "summary": balancer_summary(
            listeners=node.spec.listeners if node.spec is not None else (),
            accepted=len(node.accepted),
            rejected=len(node.rejected),
            current=rollout.current_pods,
            total=rollout.ready_pods,
            leaving=leaving.pods,
            conditions=conditions,
        ),
    }
    if leaving.until:
        status["leaving"]["until"] = leaving.until
    if node.addresses:
        status["addresses"] = list(node.addresses[:MAX_ADDRESSES])
    if served.version:
        status["version"] = served.version
    if served.last_reload is not None:
        last = served.last_reload
        status["lastReload"] = {"time": last.time, "reason": last.reason, "pods": last.pods}
        if last.changes:
            changes = [{"reason": reason, "subject": subject} for reason, subject in last.changes]
            status["lastReload"]["changes"] = changes
    return status


def count_endpoints(node: RouteNode) -> tuple[int, int]:
    """How many endpoints are ready and how many drain, over all backends that take sockets.

    Several ports of one Service are the same pods, so that of each Service the port with the most counts.
    """
    ready: defaultdict[Key, int] = defaultdict(int)
    draining: defaultdict[Key, int] = defaultdict(int)
    for path in node.paths:
        for backend in path.backends:
            if backend.weight:
                ready[backend.service] = max(ready[backend.service], backend.endpoints.ready)
                draining[backend.service] = max(draining[backend.service], backend.endpoints.draining)
    return sum(ready.values()), sum(draining.values())
