"""One pass: from everything that is known to everything that should stand and be said. Pure but for its memo.

The memo holds nothing that the result depends on but since when pods are silent, and the time at which a host was found
without a route until that is written; without it a pass only takes longer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final

from wsroute.cluster.balancer_state import BalancerState
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key, Snapshot
from wsroute.controller.balancing import plan_balancer
from wsroute.controller.certifying import NOTHING_SEEN, Sights
from wsroute.controller.definition import NO_DEFINITION, Trust
from wsroute.controller.making import BalancerMemo
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.progress import FileProgress, Progress
from wsroute.controller.statuses import StatusKey, Target, balancer_target, route_target
from wsroute.controller.table_progress import TableProgress
from wsroute.controller.versions import Versions
from wsroute.graph.build import build_graph
from wsroute.graph.conditions import RolloutView
from wsroute.graph.memo import Memo
from wsroute.graph.model import Graph, GraphSettings, RouteNode

NOBODY_BLOCKED: Final[Mapping[Key, str]] = MappingProxyType({})


@dataclass(slots=True)
class PassMemo:
    """What is kept between the passes of one operator."""

    revision: int = -1
    states: Mapping[Key, BalancerState] = field(default_factory=dict)
    built: float = 0.0
    graph: Graph | None = None
    """The last graph, and the revision and the states of what it was built from."""
    parts: Memo = field(default_factory=Memo)
    statuses: Memo = field(default_factory=Memo)
    balancers: dict[Key, BalancerMemo] = field(default_factory=dict)
    told: tuple[Graph, object, dict[StatusKey, Target]] | None = None
    """The last targets of statuses, and what they follow from."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass found: the graph, and a plan for each balancer. ``wall`` is when, in seconds since the epoch."""

    graph: Graph
    plans: Mapping[Key, BalancerPlan]
    wall: float

    @property
    def look_again(self) -> float:
        """Seconds after which a pass would decide otherwise although nothing changed; infinite when never."""
        ahead = [plan.look_again for plan in self.plans.values()]
        return min([*ahead, max(0.0, self.graph.expires - self.wall)])


def plan_pass(
    snapshot: Snapshot,
    settings: GraphSettings,
    memo: PassMemo,
    *,
    revision: int,
    epoch: int,
    now: float,
    wall: float,
    trust: Trust = NO_DEFINITION,
    sights: Sights = NOTHING_SEEN,
) -> PassResult:
    """Plan everything. Snapshots of one ``revision`` differ in ConfigMaps and statuses only; ``epoch`` is the leader's;
    ``now`` is monotonic, seconds; ``wall`` is the time that people know, seconds since the epoch; ``trust`` is in the
    routes' definition; ``sights`` are the Secrets that are followed."""
    memo.balancers = {key: memo.balancers.get(key) or BalancerMemo() for key in snapshot.balancers}
    states = {key: balancer.state.read(snapshot.config_maps, key) for key, balancer in memo.balancers.items()}
    graph = _graph(snapshot, settings, memo, states, revision=revision, wall=wall)
    plans = {
        key: plan_balancer(
            node,
            snapshot,
            memo.balancers[key],
            memo.parts,
            state=graph.states[key],
            epoch=epoch,
            now=now,
            wall=wall,
            trust=trust,
            sights=sights,
        )
        for key, node in graph.balancers.items()
    }
    return PassResult(graph, plans, wall)


def _graph(
    snapshot: Snapshot,
    settings: GraphSettings,
    memo: PassMemo,
    states: Mapping[Key, BalancerState],
    *,
    revision: int,
    wall: float,
) -> Graph:
    """The graph, built anew unless nothing but ConfigMaps has changed: most passes are for an agent's answer. Nor does
    it matter when what the last graph wants remembered has been written meanwhile."""
    known = memo.graph
    if (
        known is not None
        and memo.revision == revision
        and memo.built <= wall < known.expires  # a clock that was set back makes holds longer
        and states in (memo.states, known.states)
    ):
        return known
    graph = build_graph(snapshot, settings, memo.parts, states=states, wall=wall)
    memo.graph, memo.states, memo.revision, memo.built = graph, states, revision, wall
    memo.parts.end_pass()
    return graph


def status_targets(
    result: PassResult, memo: PassMemo, *, blocked: Mapping[Key, str] = NOBODY_BLOCKED
) -> dict[StatusKey, Target]:
    """What the statuses of all routes and balancers ought to say. What did not change is the same object as before:
    each target, and the whole when that holds for all of them. ``blocked`` says of balancers what stands in the way of
    writing their ConfigMaps."""
    progress = {key: _progress(plan, memo.balancers[key].versions, memo.statuses) for key, plan in result.plans.items()}
    plans = result.plans.items()
    signature = [
        (
            key,
            progress[key].signature,
            plan.obstacle,
            plan.held,
            plan.template,
            plan.backlog,
            plan.certified.problems,
            blocked.get(key, ""),
            plan.served,
        )
        for key, plan in plans
    ]
    if memo.told is not None and memo.told[0] is result.graph and memo.told[1] == signature:
        return memo.told[2]
    nobody = RolloutView(0, 0, 0)

    def target_of(key: Key, route: RouteNode) -> Target:
        serving = progress.get(route.balancer) if route.balancer is not None else None
        view = serving.of_route(key) if serving is not None else nobody
        return memo.statuses.get((Kind.ROUTE, key), (route, view), partial(route_target, route, view))

    routes = result.graph.routes
    same = memo.told is not None and memo.told[1] == signature
    if memo.told is not None and same:
        # Nothing else is to be said of any pod: what there is to say of a route follows from the route.
        known, before = memo.told[0].routes, memo.told[2]
        targets = {
            (status := StatusKey(Kind.ROUTE, key)): before[status] if known.get(key) is route else target_of(key, route)
            for key, route in routes.items()
        }
    else:
        targets = {StatusKey(Kind.ROUTE, key): target_of(key, route) for key, route in routes.items()}
    for key, plan in result.plans.items():
        view = progress[key].of_balancer()
        targets[StatusKey(Kind.BALANCER, key)] = memo.statuses.get(
            (Kind.BALANCER, key),
            (
                *(plan.node, view, plan.obstacle, plan.held, plan.template, plan.backlog),
                *(plan.certified.problems, blocked.get(key, ""), plan.served),
            ),
            partial(balancer_target, plan, view, blocked=blocked.get(key, "")),
        )
    if not same:
        memo.statuses.end_pass()
    memo.told = (result.graph, signature, targets)
    return targets


def _progress(plan: BalancerPlan, versions: Versions, memo: Memo) -> Progress:
    if plan.tables is None:
        return FileProgress(plan, versions, memo)
    return TableProgress(plan, plan.tables, versions)
