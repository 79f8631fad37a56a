"""How far a Dynamic balancer's pods are with the present state of the balancer and of each route. Pure."""

from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

from wsroute.cluster.objects import Key
from wsroute.cluster.quarantine import NO_ROOM, Quarantined
from wsroute.controller.fitting import TOO_LARGE
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.table_view import TableView
from wsroute.controller.versions import Versions
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.reload_changes import serves_alike
from wsroute.graph.conditions import RolloutView

_NO_ROOM: Final = RolloutView(
    0, 0, 0, quarantined=Quarantined("", 0, "", version=NO_ROOM, message=TOO_LARGE, left_out=True)
)
"""What is said of a route that has to give way."""


class _Pod(NamedTuple):
    """What counts of a ready pod: the version that it runs, empty when none counts; the resourceVersion of the tables
    that it has; and what hinders it."""

    name: str
    version: str
    table: int
    trouble: str


class TableProgress:
    """How far the pods are where routes are looked up in tables.

    A ready pod is current with a route when its nginx has the tables as they were when the route was last written, and
    runs a file that gives the route what it needs of one: its listeners, the timeouts, and the headers.
    """

    def __init__(self, plan: BalancerPlan, view: TableView, versions: Versions) -> None:
        self._view = view
        self._desired = versions.get(plan.desired) if plan.desired else None
        self._akin: Collection[str] = versions.akin(plan.aim) if plan.aim else frozenset()
        self._fits_all: Collection[str] = self._akin if plan.desired else frozenset()
        self._obstacle = "" if plan.desired else plan.obstacle
        self._total = len(plan.pods)
        decision, released = plan.decision, plan.released
        failure = decision.failure if decision is not None else None
        self._failure = failure.message if failure is not None else None
        self._hold = released.hold.message if released is not None and released.hold is not None else ""
        self._settings = plan.settings
        self._wanted = plan.settings.get(plan.desired)
        self._left_out = plan.left_out
        owing = decision.owing if decision is not None else {}
        silent = {name for name, debt in owing.items() if debt.is_silent}
        self._pods: list[_Pod] = []
        for pod in plan.pods:
            if pod.ready:
                said = pod.said
                version = said.version if said is not None else ""
                known = "" if pod.name in silent and version != plan.aim else version
                # What a pod has learnt beyond what concerns any route is no news.
                table = min(said.table, view.newest) if said is not None else 0
                self._pods.append(_Pod(pod.name, known, table, said.trouble if said is not None else ""))

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for two passes over one graph in which nothing else is to be said of any pod."""
        return (
            *(self._pods, self._desired, self._total, self._failure),
            *(self._hold, self._settings, self._left_out, self._view.signature, self._obstacle),
        )

    def of_balancer(self) -> RolloutView:
        """With the balancer as a whole: what its file says, which certificates there are, and that there are tables at
        all."""
        since = self._view.certified
        current = [
            pod
            for pod in self._pods
            if pod.version in self._akin and since is not None and pod.table >= since and not pod.trouble
        ]
        return self._rollout(current, fitting=all(pod.version in self._akin for pod in self._pods))

    def of_route(self, route: Key) -> RolloutView:
        """With one route."""
        reference = RouteRef(*route)
        if reference in self._left_out:
            return _NO_ROOM
        since = self._view.since(reference)
        fitting = [pod for pod in self._pods if self._fits(pod.version, reference)]
        current = [pod for pod in fitting if since is not None and pod.table >= since]
        return self._rollout(current, fitting=len(fitting) == len(self._pods), obstacle=self._obstacle)

    def _fits(self, version: str, route: RouteRef) -> bool:
        """Whether a version gives a route what it needs of a file."""
        if version in self._fits_all:
            return True
        there = self._settings.get(version) if version else None
        if self._wanted is None or there is None:
            return False
        return serves_alike(there, self._wanted, self._view.listeners(route))

    def _rollout(self, current: Collection[_Pod], *, fitting: bool, obstacle: str = "") -> RolloutView:
        """``fitting``: no pod lacks a file."""
        troubles = [f"Pod {pod.name}: {pod.trouble}" for pod in self._pods if pod not in current and pod.trouble]
        return _view(
            len(self._pods),
            len(current),
            self._total,
            None if fitting else self._failure,
            "" if fitting else self._hold,
            troubles[0] if troubles else "",
            obstacle,
        )


@lru_cache(maxsize=256)
def _view(
    ready: int, current: int, total: int, failure: str | None, hold: str, trouble: str, obstacle: str
) -> RolloutView:
    """What is said of nearly all routes at a time: one object for all of them, and for the next pass."""
    return RolloutView(ready, current, total, failure=failure, hold=hold, trouble=trouble, obstacle=obstacle)
