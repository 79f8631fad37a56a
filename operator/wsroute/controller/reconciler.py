"""One pass: from everything that is known to everything that should stand and be said. Pure but for its memo.

The memo holds nothing that the result depends on but since when pods are silent; without it a pass only takes longer.
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key, Snapshot
from wsroute.controller.balancing import BalancerMemo, BalancerPlan, Progress, plan_balancer
from wsroute.controller.statuses import StatusKey, Target, balancer_target, route_target
from wsroute.graph.build import build_graph
from wsroute.graph.conditions import RolloutView
from wsroute.graph.memo import Memo
from wsroute.graph.model import Graph, GraphSettings


@dataclass(slots=True)
class PassMemo:
    """What is kept between the passes of one operator."""

    seen: tuple[object, ...] = ()
    """What the last graph was built from."""
    graph: Graph | None = None
    parts: Memo = field(default_factory=Memo)
    statuses: Memo = field(default_factory=Memo)
    balancers: dict[Key, BalancerMemo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass found: the graph, and a plan for each balancer."""

    graph: Graph
    plans: Mapping[Key, BalancerPlan]

    @property
    def look_again(self) -> float:
        """Seconds after which a pass would decide otherwise although nothing changed; infinite when never."""
        return min((plan.look_again for plan in self.plans.values()), default=math.inf)


def plan_pass(snapshot: Snapshot, settings: GraphSettings, memo: PassMemo, *, epoch: int, now: float) -> PassResult:
    """Plan everything. ``epoch`` is the leader's, ``now`` is monotonic, seconds."""
    graph = _graph(snapshot, settings, memo)
    memo.balancers = {key: memo.balancers.get(key) or BalancerMemo() for key in graph.balancers}
    plans = {
        key: plan_balancer(node, snapshot, memo.balancers[key], memo.parts, epoch=epoch, now=now)
        for key, node in graph.balancers.items()
    }
    return PassResult(graph, plans)


def _graph(snapshot: Snapshot, settings: GraphSettings, memo: PassMemo) -> Graph:
    """The graph, built anew unless nothing but ConfigMaps has changed: most passes are for an agent's answer.

    Of a kind that did not change, a snapshot has the same mapping as the one before.
    """
    mappings = (getattr(snapshot, name) for name in Snapshot.__dataclass_fields__ if name != "config_maps")
    seen = (settings, *mappings)
    if memo.graph is None or not all(map(operator.is_, seen, memo.seen)):
        if memo.graph is not None:
            memo.parts.end_pass()
        memo.graph = build_graph(snapshot, settings, memo.parts)
        memo.seen = seen
    return memo.graph


def status_targets(result: PassResult, memo: PassMemo) -> dict[StatusKey, Target]:
    """What the statuses of all routes and balancers ought to say. An unchanged one is the same object as before."""
    progress = {key: Progress(plan, memo.balancers[key].versions, memo.statuses) for key, plan in result.plans.items()}
    targets = {}
    nobody = RolloutView(0, 0, 0)
    for key, route in result.graph.routes.items():
        serving = progress.get(route.balancer) if route.balancer is not None else None
        view = serving.of_route(key) if serving is not None else nobody
        targets[StatusKey(Kind.ROUTE, key)] = memo.statuses.get(
            (Kind.ROUTE, key), (route, view), partial(route_target, route, view)
        )
    for key, plan in result.plans.items():
        view = progress[key].of_balancer()
        targets[StatusKey(Kind.BALANCER, key)] = memo.statuses.get(
            (Kind.BALANCER, key),
            (plan.node, view, plan.desired, plan.obstacle, plan.sockets),
            partial(balancer_target, plan, view),
        )
    memo.statuses.end_pass()
    return targets
