"""From a node, and from how far its rollout has come, to the conditions that its status shows."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from wsroute.api.conditions import Condition, ConditionType, Problem, Reason
from wsroute.cluster.quarantine import NO_ROOM, UNWRITTEN, WHOLE, Quarantined
from wsroute.graph.model import BalancerNode, RouteNode

MAX_MESSAGE: Final = 4_000
"""Characters of a condition's message; the API server takes 32,768, and nobody reads as many."""

MAX_FAILURE: Final = 1_000
"""Characters of nginx's own words in a message."""

TERMINAL: Final = frozenset(
    {
        Reason.INVALID,
        Reason.NOT_ALLOWED,
        Reason.HOST_CONFLICT,
        Reason.PATH_CONFLICT,
        Reason.QUOTA,
        Reason.UNSUPPORTED,
        Reason.REF_NOT_PERMITTED,
        Reason.UNSUPPORTED_SERVICE,
        Reason.CONFIG_REJECTED,
        Reason.TEMPLATE_INVALID,
    }
)
"""Reasons that go away only when somebody edits something; the others may by themselves."""

_MENDED_BY: Final = {
    Reason.NOT_ALLOWED: "the route, its balancer or its namespace's labels",
    Reason.HOST_CONFLICT: "the route, or deletes those that have the host",
    Reason.PATH_CONFLICT: "the route or the one that has the path",
    Reason.QUOTA: "the balancer, or deletes routes",
    Reason.UNSUPPORTED: "the route or its balancer",
    Reason.REF_NOT_PERMITTED: "this object, or permits what it refers to",
    Reason.UNSUPPORTED_SERVICE: "the route or its Service",
    Reason.CONFIG_REJECTED: "this object or what the message names",
    Reason.TEMPLATE_INVALID: "the template or the balancer",
}
"""What has to be edited, where it is not the object alone."""


@dataclass(frozen=True, slots=True)
class RolloutView:
    """How far the pods of a balancer are with one object's present state.

    ``total_pods`` are all pods of the Deployment, ``ready_pods`` those that are ready, ``current_pods`` those of the
    ready ones that acknowledged a version which holds the state. ``failure`` are nginx's words when it refused it.
    ``hold`` says why, and until when, it is not brought in yet.
    """

    ready_pods: int
    current_pods: int
    total_pods: int
    failure: str | None = None
    hold: str = ""
    quarantined: Quarantined | None = None
    is_held: bool = False
    is_stall: bool = False
    """Whether the failure is that the pods of a version never got ready, and not nginx's refusal."""
    trouble: str = ""
    """What hinders a pod, in its agent's words."""
    obstacle: str = ""
    """Why no version can be made that holds the state."""


def route_conditions(node: RouteNode, rollout: RolloutView) -> list[Condition]:
    """Accepted, ResolvedRefs, Programmed, Ready, Stalled."""
    accepted = _accepted(node.acceptance_problems, f"The balancer {node.balancer} takes the route.")
    resolved = _resolved(node)
    if accepted.status:
        programmed = _programmed(rollout, "the route")
    else:
        text = "The route is not served as it is now, because it is not accepted."
        programmed = Condition(ConditionType.PROGRAMMED, status=False, reason=accepted.reason, message=text)
    ready = _ready(node, (accepted, resolved, programmed))
    told = (accepted, resolved, programmed, ready)
    lasting = {problem.reason for problem in node.acceptance_problems if not problem.passing}
    passing = {problem.reason for problem in node.acceptance_problems} - lasting
    return [*told, _stalled(told, passing=passing)]


def balancer_conditions(
    node: BalancerNode, rollout: RolloutView, *, backlog: str = "", certificates: Sequence[Problem] = ()
) -> list[Condition]:
    """Accepted, ResolvedRefs (where a listener ends TLS), DeploymentReady, Programmed, DrainBacklog, Stalled.

    ``backlog`` says which pod has no room for another reload, ``certificates`` is what is wrong with the Secrets."""
    accepted = _accepted(node.acceptance_problems, "The balancer is valid.")
    if accepted.status:
        deployed = _deployment_ready(node)
        programmed = _programmed(rollout, "the version in force")
    else:
        text = "Nothing is changed on the pods while the balancer is not valid: they serve what they served before."
        deployed = Condition(ConditionType.DEPLOYMENT_READY, status=False, reason=accepted.reason, message=text)
        programmed = Condition(ConditionType.PROGRAMMED, status=False, reason=accepted.reason, message=text)
    told = (accepted, *_certified(node, certificates), deployed, programmed)
    return [*told, _drain_backlog(backlog), _stalled(told)]


def describe(problems: Sequence[Problem]) -> str:
    """All problems in one text, of bounded length."""
    return _bounded(" ".join(str(problem) for problem in problems), MAX_MESSAGE)


def _accepted(problems: Sequence[Problem], praise: str) -> Condition:
    problems = sorted(problems, key=lambda problem: problem.passing)
    if problems:
        return Condition(ConditionType.ACCEPTED, status=False, reason=problems[0].reason, message=describe(problems))
    return Condition(ConditionType.ACCEPTED, status=True, reason=Reason.ACCEPTED, message=praise)


def _resolved(node: RouteNode) -> Condition:
    kind = ConditionType.RESOLVED_REFS
    if not node.references_checked:
        text = "The Services are looked up once a balancer exists and the spec is valid."
        return Condition(kind, status=False, reason=node.acceptance_problems[0].reason, message=text)
    problems = node.reference_problems
    if problems:
        return Condition(kind, status=False, reason=problems[0].reason, message=describe(problems))
    return Condition(kind, status=True, reason=Reason.RESOLVED, message="All Services and ports exist.")


def _programmed(rollout: RolloutView, what: str) -> Condition:
    kind = ConditionType.PROGRAMMED
    ready, current = rollout.ready_pods, rollout.current_pods
    if rollout.quarantined is not None:
        text = _quarantine(rollout.quarantined)
        return Condition(kind, status=False, reason=Reason.CONFIG_REJECTED, message=text)
    if 0 < ready <= current:
        text = f"All {ready} ready pods serve {what}." if ready > 1 else f"The only ready pod serves {what}."
        return Condition(kind, status=True, reason=Reason.PROGRAMMED, message=text)
    if rollout.obstacle and ready:
        text = f"{current}/{ready} pods serve {what}, and for the others no newer version can be made."
        text = f"{text} {_bounded(rollout.obstacle, MAX_FAILURE)}"
        return Condition(kind, status=False, reason=Reason.CONFIG_REJECTED, message=text)
    if rollout.failure is not None:
        words = "".join(letter if letter.isprintable() else " " for letter in rollout.failure)
        why = f"No pod got ready with {what}" if rollout.is_stall else f"nginx refused {what}"
        text = f"{why}, and the pods serve what they served before: {_bounded(words, MAX_FAILURE)}"
        return Condition(kind, status=False, reason=Reason.CONFIG_REJECTED, message=text)
    if rollout.is_held:
        text = "nginx refused the newest version, and whose fault that is is being found out: until then it waits."
        return Condition(kind, status=False, reason=Reason.PENDING, message=text)
    if ready == 0:
        text = f"No pod of the balancer is ready ({rollout.total_pods} in all)."
        return Condition(kind, status=False, reason=Reason.NO_BALANCER_PODS, message=text)
    if rollout.hold:
        return Condition(kind, status=False, reason=Reason.RELOAD_HELD, message=rollout.hold)
    text = f"{current}/{ready} pods serve {what}."
    if rollout.trouble:
        text = f"{text} {_bounded(rollout.trouble, MAX_FAILURE)}"
    return Condition(kind, status=False, reason=Reason.PENDING, message=text)


def _quarantine(quarantined: Quarantined) -> str:
    """What a route in quarantine is told."""
    answer = "404 (no-route)" if quarantined.left_out else "503 (route-invalid)"
    why = f"nginx's words: {quarantined.message}"
    if quarantined.version in (NO_ROOM, WHOLE):
        return f"The route is not served: open sockets stay, new handshakes get {answer}. {quarantined.message}"
    if quarantined.version == UNWRITTEN:
        why = f"It can't be written down for nginx: {quarantined.message}"
    return (
        "nginx refuses this route, and so it is not served: open sockets stay, new handshakes get "
        f"{answer}. Edit the route, and it is tried again. {why}"
    )


def _ready(node: RouteNode, before: Sequence[Condition]) -> Condition:
    kind = ConditionType.READY
    for condition in before:
        if not condition.status:
            text = f"{condition.type} is false: {condition.message}"
            return Condition(kind, status=False, reason=condition.reason, message=_bounded(text, MAX_MESSAGE))
    text = explain_idle(node)
    if not text:
        return Condition(kind, status=True, reason=Reason.READY, message="Every path has endpoints for new sockets.")
    return Condition(kind, status=False, reason=Reason.NO_ENDPOINTS, message=_bounded(text, MAX_MESSAGE))


def explain_idle(node: RouteNode) -> str:
    """Which paths of a route have no endpoint for new sockets, and why, in sentences; empty when each has one."""
    sentences = []
    for path in node.paths:
        if path.takes_sockets:
            continue
        sentences.append(f"No endpoint takes new sockets for the path {path.path}.")
        for backend in path.backends:
            why = backend.endpoints.explanation()
            if backend.weight and why:
                sentences.append(f"Service {backend.service.name}: {why}")
    return " ".join(dict.fromkeys(sentences))


def _deployment_ready(node: BalancerNode) -> Condition:
    kind = ConditionType.DEPLOYMENT_READY
    problems, deployment = node.deployment_problems, node.deployment
    if problems:
        return Condition(kind, status=False, reason=problems[0].reason, message=describe(problems))
    if deployment is None:
        return Condition(kind, status=True, reason=Reason.READY, message="The balancer needs no Deployment.")
    if deployment.replicas == 0:
        text = f"The Deployment {deployment.meta.key.name} is scaled to 0."
        return Condition(kind, status=False, reason=Reason.NO_BALANCER_PODS, message=text)
    text = f"{deployment.ready_replicas}/{deployment.replicas} replicas are ready."
    if deployment.ready_replicas < deployment.replicas:
        return Condition(kind, status=False, reason=Reason.PENDING, message=text)
    return Condition(kind, status=True, reason=Reason.READY, message=text)


def _certified(node: BalancerNode, problems: Sequence[Problem]) -> Iterator[Condition]:
    """What a balancer refers to are the Secrets of the listeners that end TLS."""
    if node.spec is None or not any(listener.ends_tls for listener in node.spec.listeners):
        return
    kind = ConditionType.RESOLVED_REFS
    if problems:
        yield Condition(kind, status=False, reason=problems[0].reason, message=describe(problems))
    else:
        text = "All Secrets hold certificates that can be served."
        yield Condition(kind, status=True, reason=Reason.RESOLVED, message=text)


def _drain_backlog(backlog: str) -> Condition:
    kind = ConditionType.DRAIN_BACKLOG
    if backlog:
        return Condition(kind, status=True, reason=Reason.MAX_DRAINING_GENERATIONS, message=backlog)
    text = "No pod has as many draining generations as spec.reload.maxDrainingGenerations."
    return Condition(kind, status=False, reason=Reason.NO_BACKLOG, message=text)


def _stalled(conditions: Sequence[Condition], *, passing: Collection[Reason] = ()) -> Condition:
    """``passing``: the reasons that this time go away by themselves."""
    kind = ConditionType.STALLED
    false = [condition for condition in conditions if not condition.status]
    for condition in false:
        if condition.reason in TERMINAL and condition.reason not in passing:
            text = f"{needed_edit(condition.reason)} {condition.message}"
            return Condition(kind, status=True, reason=condition.reason, message=_bounded(text, MAX_MESSAGE))
    reason = Reason.PROGRESSING if false else Reason.READY
    return Condition(kind, status=False, reason=reason, message="Nothing waits for an edit.")


def needed_edit(reason: Reason) -> str:
    """Who has to edit something before a condition with one of the terminal reasons can hold, as a sentence."""
    return f"Nothing will change until somebody edits {_MENDED_BY.get(reason, 'this object')}."


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."
