"""Statuses: what they ought to say, when a written one must be rewritten, and which Events go with it. Pure.

The driver is :mod:`wsroute.controller.status_writer`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from wsroute.api.conditions import ABNORMAL, Condition, ConditionType, Problem, Reason, merge_conditions
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.controller.plan import BalancerPlan
from wsroute.graph.conditions import TERMINAL, RolloutView, balancer_conditions, needed_edit, route_conditions
from wsroute.graph.model import RouteNode
from wsroute.graph.status import balancer_status, route_status

COUNTS: Final = frozenset(
    {"endpoints", "routes", "pods", "sockets", "version", "summary", "draining", "leaving", "lastReload"}
)
"""Fields that change with the traffic: alone they are rewritten at most every :data:`COUNT_PERIOD` seconds."""

COUNT_PERIOD: Final = 10.0

_WAITING: Final = frozenset({Reason.PENDING, Reason.PROGRESSING, Reason.RELOAD_HELD})
"""Reasons that ordinary changes pass through: no news. What holds reloads for long, the balancer tells of."""


class StatusKey(NamedTuple):
    """Whose status."""

    kind: Kind
    key: Key


@dataclass(frozen=True, slots=True)
class Target:
    """A status as it ought to be. ``body`` is all but the conditions."""

    uid: str
    generation: int
    conditions: tuple[Condition, ...]
    body: Mapping[str, Any]


def route_target(node: RouteNode, view: RolloutView) -> Target:
    """The status of a route."""
    conditions = route_conditions(node, view)
    return Target(node.uid, node.generation, tuple(conditions), route_status(node, conditions))


def balancer_target(plan: BalancerPlan, view: RolloutView, *, blocked: str = "") -> Target:
    """The status of a balancer. An obstacle to making its file takes the place of what its pods have, and so does what
    stands in the way of writing it (``blocked``), which is tried again and so stalls nothing. Only then a main template
    that can't be used is told. Where routes are held, nothing else counts before somebody has said what is to become of
    them."""
    node = plan.node
    conditions = balancer_conditions(node, view, backlog=plan.backlog, certificates=plan.certified.problems)
    if plan.obstacle:
        conditions = [_obstructed(condition, plan.obstacle) for condition in conditions]
    elif blocked:
        conditions = [_blocked(condition, blocked) for condition in conditions]
    elif plan.template is not None:
        conditions = [_backed_up(condition, plan.template) for condition in conditions]
    if plan.held:
        conditions = [_held(condition, plan.held) for condition in conditions]
    body = balancer_status(node, conditions, rollout=view, served=plan.served)
    return Target(node.uid, node.generation, tuple(conditions), body)


def _obstructed(condition: Condition, obstacle: str) -> Condition:
    if condition.type is ConditionType.PROGRAMMED:
        text = f"{obstacle} What stands is not changed, and its rollout goes on: {condition.message}"
        return replace(condition, status=False, reason=Reason.CONFIG_REJECTED, message=text)
    if condition.type is ConditionType.STALLED:
        text = f"{needed_edit(Reason.CONFIG_REJECTED)} {obstacle}"
        return replace(condition, status=True, reason=Reason.CONFIG_REJECTED, message=text)
    return condition


def _held(condition: Condition, held: str) -> Condition:
    if condition.type is ConditionType.PROGRAMMED:
        return replace(condition, status=False, reason=Reason.ROUTES_HELD, message=held)
    if condition.type is ConditionType.STALLED:
        return replace(condition, status=True, reason=Reason.ROUTES_HELD, message=held)
    return condition


def _blocked(condition: Condition, blocked: str) -> Condition:
    if condition.type is ConditionType.PROGRAMMED and condition.reason not in TERMINAL:
        return replace(condition, status=False, reason=Reason.PENDING, message=blocked)
    if condition.type is ConditionType.STALLED and condition.reason is Reason.READY:
        return replace(condition, reason=Reason.PROGRESSING)
    return condition


def _backed_up(condition: Condition, problem: Problem) -> Condition:
    """The shipped main template serves in place of the one that the balancer asks for."""
    text = f"{problem} The shipped template is used instead"
    if condition.type is ConditionType.PROGRAMMED and condition.reason not in TERMINAL:
        message = f"{text}. {condition.message}"
        return replace(condition, status=False, reason=problem.reason, message=message)
    if condition.type is ConditionType.STALLED and not condition.status:
        if problem.reason in TERMINAL:
            message = f"{needed_edit(problem.reason)} {text}."
            return replace(condition, status=True, reason=problem.reason, message=message)
        return replace(condition, reason=Reason.PROGRESSING)
    return condition


def due_at(target: Target, written: Mapping[str, Any], *, last_write: float) -> float | None:
    """When a status must be written: None when it says all it should, else a monotonic time that may be past.

    ``written`` is what the object has, which any hand may have put there.
    """
    known = written.get("conditions")
    if _stated(target) != _said(known if isinstance(known, list) else []):
        return float("-inf")
    rest = {field: value for field, value in written.items() if field != "conditions"}
    different = {field for field in rest.keys() | target.body.keys() if rest.get(field) != target.body.get(field)}
    if different - COUNTS:
        return float("-inf")
    return last_write + COUNT_PERIOD if different else None


def status_body(target: Target, written: Mapping[str, Any], *, now: str) -> dict[str, Any]:
    """The whole status to write; ``now`` is RFC 3339."""
    known = written.get("conditions")
    conditions = merge_conditions(
        target.conditions, known if isinstance(known, list) else [], generation=target.generation, now=now
    )
    return {**target.body, "conditions": conditions}


def _stated(target: Target) -> list[tuple[Any, ...]]:
    return [
        (str(c.type), "True" if c.status else "False", str(c.reason), c.message, target.generation)
        for c in target.conditions
    ]


def _said(conditions: Sequence[Any]) -> list[tuple[Any, ...]]:
    fields = ("type", "status", "reason", "message", "observedGeneration")
    return [tuple(c.get(field) for field in fields) for c in conditions if isinstance(c, Mapping)]


@dataclass(frozen=True, slots=True)
class News:
    """An Event to post."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str


def news(target: Target, written: Mapping[str, Any]) -> list[News]:
    """What to tell of a change of conditions: each new trouble once, and that the object is served (again)."""
    known = written.get("conditions")
    said = _said(known if isinstance(known, list) else [])
    before = {kind: (status, reason) for kind, status, reason, *_ in said if isinstance(kind, str)}
    told: dict[str, News] = {}
    for condition in target.conditions:
        status, reason = "True" if condition.status else "False", str(condition.reason)
        if condition.type is ConditionType.STALLED or before.get(condition.type) == (status, reason):
            continue
        troubled = condition.status is (condition.type in ABNORMAL)
        if troubled and condition.reason not in _WAITING:
            told.setdefault(reason, News("Warning", reason, condition.message))
        elif condition.status and condition.type is ConditionType.PROGRAMMED:
            told.setdefault(reason, News("Normal", reason, condition.message))
    return list(told.values())
