"""What a pass wants done for one balancer, and what it found out about it. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from wsroute.api.conditions import Problem
from wsroute.cluster.balancer_state import RefusedTemplate
from wsroute.cluster.objects import ConfigMap
from wsroute.cluster.quarantine import Refusals
from wsroute.controller import generated
from wsroute.controller.budget import Reload, to_text
from wsroute.controller.certifying import Certified
from wsroute.controller.generated import Wanted
from wsroute.controller.release import Released
from wsroute.controller.restarting import Restart
from wsroute.controller.rollout import BalancerPod, Decision, InForce, Trial
from wsroute.controller.table_view import TableView
from wsroute.controller.versions import KnownVersion
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.reload_changes import Settings
from wsroute.dataplane.withholding import Withheld
from wsroute.graph.model import BalancerNode
from wsroute.graph.status import Leaving, Reloaded, ServedView

NOTHING: Final = ""
"""The version of a balancer for which nothing can be made."""


@dataclass(frozen=True, slots=True)
class Write:
    """A ConfigMap as it should stand, and as it was when the plan was made."""

    wanted: Wanted
    known: ConfigMap | None


@dataclass(frozen=True, slots=True)
class BalancerPlan:
    """What to do for a balancer, and what to say about it.

    ``template`` says why the shipped main template is used in place of the one that the balancer asks for, and
    ``refused_template`` is remembered in the state. ``held`` says why routes are served that are not there any more.
    ``stages`` go out one after another, the writes of a stage together; one that fails holds back the later stages.
    ``desired`` is empty, and ``obstacle`` says why, when no file could be made of what the routes wish for, which is
    ``unmade`` then: what stands stays, and its rollout goes on. ``gone`` are keys of the agents' ConfigMap whose pods
    are not there. ``released`` is what the rollout is for, which is not the desired
    version while that has to wait for the reload budget. ``backlog`` says which pod has no room for another reload.
    ``refusals`` are remembered, ``withheld`` is what follows from them, and from ``blamed`` something was concluded.
    ``restart`` follows the writes, with strategy Restart. ``now`` is seconds since the epoch.
    """

    node: BalancerNode
    desired: str
    unmade: KnownVersion | None
    obstacle: str
    template: Problem | None
    refused_template: RefusedTemplate | None
    held: str
    decision: Decision | None
    stages: tuple[tuple[Write, ...], ...]
    certificate_stages: tuple[tuple[Write, ...], ...]
    """What names certificates in tables: it goes out before, once the Secrets that bring them stand."""
    restart: Restart | None
    agents: Write
    gone: frozenset[str]
    pods: tuple[BalancerPod, ...]
    leaving: Leaving
    closed: Mapping[str, int]
    """Sockets that were closed by the end of a pod, by the name of the pod."""
    before: tuple[InForce | None, Trial | None]
    in_force_since: Reload | None
    trial_since: Reload | None
    released: Released | None
    waiting: frozenset[RouteRef] | None
    """The routes that wait while a version stands that was made elsewhere, None when this does not tell."""
    settings: Mapping[str, Settings]
    """Of a Dynamic balancer: what the desired version and those that pods may run say of the balancer itself."""
    tables: TableView | None
    """How far the tables of a Dynamic balancer are; None for another one, and while nothing is wanted of them."""
    left_out: frozenset[RouteRef]
    """The routes for which these, or the file of a Static one, have no room."""
    backlog: str
    certified: Certified
    """What the Secrets with certificates come to. Their writes go out first of all."""
    refusals: Refusals
    withheld: Withheld
    blamed: tuple[Failure, ...]
    now: float

    @property
    def writes(self) -> tuple[Write, ...]:
        """All writes, in an order in which they may go out."""
        return tuple(write for stage in (*self.certificate_stages, *self.stages) for write in stage)

    @property
    def aim(self) -> str:
        """The version that the pods are to come to: the desired one, else the one that stands."""
        return self.desired or (self.released.version if self.released is not None else NOTHING)

    @property
    def served(self) -> ServedView:
        """What the pods have, as they told it last."""
        said = [pod.said for pod in self.pods if pod.said is not None]
        in_force, since = self.before[0], self.in_force_since
        held = self.released is not None and self.released.hold is not None and in_force is not None
        return ServedView(
            version=in_force.version if held and in_force is not None else self.aim,
            sockets=sum(each.sockets for each in said),
            draining=(
                max((each.draining.generations for each in said), default=0),
                sum(each.draining.sockets for each in said),
            ),
            leaving=self.leaving,
            last_reload=None
            if in_force is None or since is None
            else Reloaded(
                time=to_text(since.time)[:19] + "Z",
                reason=since.cause,
                changes=since.changes,
                pods=sum(pod.ready and pod.runs(in_force.version) for pod in self.pods),
            ),
        )

    @property
    def look_again(self) -> float:
        """Seconds after which a pass would decide otherwise although nothing changed; infinite when never."""
        ahead = self.decision.look_again if self.decision is not None else None
        hold = self.released.hold if self.released is not None else None
        return min(
            math.inf if ahead is None else ahead,
            math.inf if hold is None else max(0.01, hold.look_at - self.now),
            max(0.01, self.certified.expires - self.now),
        )


def differing(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Those that would change something."""
    return tuple(write for write in writes if write.known is None or not generated.stands(write.wanted, write.known))
