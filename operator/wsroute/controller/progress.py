"""How far a balancer's pods are with the present state of the balancer and of each route. Pure."""

from dataclasses import replace
from typing import Final, Protocol

from wsroute.cluster.objects import Key
from wsroute.cluster.quarantine import NO_ROOM, WHOLE, Quarantined
from wsroute.controller.plan import BalancerPlan
from wsroute.controller.versions import Versions
from wsroute.dataplane.ir import RouteRef
from wsroute.graph.conditions import RolloutView
from wsroute.graph.memo import Memo

_NO_ROOM: Final = Quarantined(
    "",
    0,
    "",
    version=NO_ROOM,
    message="The balancer has no room for this route, one of the largest of the namespace that takes most of it: give "
    "it fewer or shorter paths, or fewer hosts, or use another balancer.",
    left_out=True,
)
_WHOLE: Final = Quarantined(
    "",
    0,
    "",
    version=WHOLE,
    message="nginx refuses more routes of this namespace than are remembered, and so none of its routes is served. "
    "Mend those that have nginx's words in their conditions, or delete them: with any edit all are tried again.",
    left_out=True,
)


class Progress(Protocol):
    """How far a balancer's pods are with the present state of the balancer and of each route."""

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for two passes over one graph in which nothing else is to be said of any pod."""
        ...

    def of_balancer(self) -> RolloutView:
        """With the balancer as a whole."""
        ...

    def of_route(self, route: Key) -> RolloutView:
        """With one route."""
        ...


class FileProgress:
    """How far the pods are where routes stand in their file.

    A ready pod is current with a route when the version that it acknowledged serves the route as the desired one does.
    Endpoints that it has yet to learn of don't count against it, unless it has fallen silent.
    """

    def __init__(self, plan: BalancerPlan, versions: Versions, memo: Memo) -> None:
        self._versions = versions
        self._memo = memo
        self._desired = versions.get(plan.desired) if plan.desired else plan.unmade
        self._akin = versions.akin(plan.aim) if plan.aim else frozenset()
        self._total = len(plan.pods)
        failure = plan.decision.failure if plan.decision is not None else None
        self._failure = failure.message if failure is not None else None
        self._is_stall = plan.decision is not None and plan.decision.is_stall
        released = plan.released
        self._hold = released.hold.message if released is not None and released.hold is not None else ""
        self._released = versions.get(released.version) if released is not None else None
        self._standing = released.version if released is not None else ""
        self._waiting = plan.waiting
        self._quarantined = plan.refusals.quarantined
        self._whole = plan.refusals.whole
        self._left_out = plan.left_out
        self._held = plan.withheld.held
        owing = plan.decision.owing if plan.decision is not None else {}
        self._runs: list[str] = []
        """For each ready pod the version that counts for it, empty when none does."""
        for pod in plan.pods:
            if pod.ready:
                version = pod.said.version if pod.said is not None else ""
                silent = pod.name in owing and owing[pod.name].is_silent
                self._runs.append("" if silent and version != plan.aim else version)
        self._obstacle = "" if plan.desired else self._describe(plan.obstacle)
        # What differs in endpoints only has the same fingerprints.
        self._all_akin = bool(plan.desired) and all(version in self._akin for version in self._runs)
        self._all = RolloutView(len(self._runs), len(self._runs), self._total, self._failure)

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for two passes over one graph in which nothing else is to be said of any pod."""
        return (
            *(self._runs, self._desired, self._total, self._failure),
            *(self._hold, self._standing, self._waiting, self._obstacle),
            *(self._quarantined, self._whole, self._left_out, self._held),
        )

    def of_balancer(self) -> RolloutView:
        """With the balancer as a whole."""
        return self._view(sum(version in self._akin for version in self._runs), self._hold)

    def of_route(self, route: Key) -> RolloutView:
        """With one route."""
        reference = RouteRef(*route)
        entry = self._quarantined.get(route)
        if route.namespace in self._whole:
            entry = _WHOLE if entry is None else replace(entry, left_out=True)
        if reference in self._left_out:
            entry = _NO_ROOM
        if entry is not None:
            return replace(self._view(0), quarantined=entry)
        if reference in self._held:
            return replace(self._view(0), is_held=True)
        if self._all_akin:
            return self._all
        if self._desired is None:
            return self._view(0)
        wanted = self._desired.fingerprints(self._memo).get(reference)
        current = 0
        stands = self._stands(reference, wanted)
        for version in self._runs:
            known = self._versions.get(version)
            if known is not None:
                current += wanted is not None and known.fingerprints(self._memo).get(reference) == wanted
            else:
                current += stands and version == self._standing
        # What is on its way already is not held, though something else is.
        return replace(self._view(current, "" if stands else self._hold), obstacle=self._obstacle)

    def _describe(self, obstacle: str) -> str:
        """The obstacle, and how far it is known what the pods serve meanwhile."""
        unknown = sum(bool(version) and self._versions.get(version) is None for version in self._runs)
        if not obstacle or not unknown:
            return obstacle
        return f"{obstacle} {unknown} pods run what was made before the operator started, and may serve it already."

    def _stands(self, reference: RouteRef, wanted: str | None) -> bool:
        """Whether the version that the rollout is for serves a route as the desired one does."""
        if self._released is not None:
            return wanted is not None and self._released.fingerprints(self._memo).get(reference) == wanted
        return self._waiting is not None and reference not in self._waiting

    def _view(self, current: int, hold: str = "") -> RolloutView:
        return RolloutView(len(self._runs), current, self._total, self._failure, hold, is_stall=self._is_stall)
