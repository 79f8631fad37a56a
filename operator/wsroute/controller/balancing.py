"""The plan for one balancer: its nginx.conf, the ConfigMaps that should stand, and how far its pods are. Pure.

What was worked out is kept from pass to pass in :class:`BalancerMemo`; a pass after a small change costs little.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from wsroute.cluster.objects import ConfigMap, Key, Snapshot
from wsroute.controller import generated, rollout
from wsroute.controller.definition import Trust
from wsroute.controller.generated import File, Wanted
from wsroute.controller.rollout import BalancerPod, Decision, InForce, Inputs, Owing, Trial
from wsroute.controller.versions import Versions
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement
from wsroute.dataplane.build import build_configuration
from wsroute.dataplane.bundle import BundleError, unpack
from wsroute.dataplane.ir import Configuration, RouteRef
from wsroute.graph.conditions import RolloutView
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.render import render

NOTHING: Final = ""
"""The version of a balancer for which nothing can be made."""


@dataclass(frozen=True, slots=True)
class Made:
    """The file that a balancer's configuration gives."""

    node: BalancerNode
    configuration: Configuration
    version: str
    file: File


@dataclass(slots=True)
class BalancerMemo:
    """What is kept of one balancer between passes."""

    rendered: RenderMemo = field(default_factory=RenderMemo)
    made: Made | None = None
    versions: Versions = field(default_factory=Versions)
    owing: Mapping[str, Owing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Write:
    """A ConfigMap as it should stand, and as it was when the plan was made."""

    wanted: Wanted
    known: ConfigMap | None


@dataclass(frozen=True, slots=True)
class BalancerPlan:
    """What to do for a balancer, and what to say about it.

    ``writes`` go out in this order; one that fails holds back the others. ``desired`` is empty, and ``obstacle`` says
    why, when no file could be made: what stands stays. ``held`` says why routes are served that are not there any more.
    ``gone`` are keys of the agents' ConfigMap whose pods are not there.
    """

    node: BalancerNode
    desired: str
    obstacle: str
    held: str
    decision: Decision | None
    writes: tuple[Write, ...]
    agents: Write
    gone: frozenset[str]
    pods: tuple[BalancerPod, ...]
    before: tuple[InForce | None, Trial | None]

    @property
    def sockets(self) -> int:
        """Open connections of clients, as last told."""
        return sum(pod.said.sockets for pod in self.pods if pod.said is not None)

    @property
    def look_again(self) -> float:
        """Seconds after which a pass would decide otherwise although nothing changed; infinite when never."""
        ahead = self.decision.look_again if self.decision is not None else None
        return math.inf if ahead is None else ahead


def plan_balancer(
    node: BalancerNode, snapshot: Snapshot, memo: BalancerMemo, parts: Memo, *, epoch: int, now: float, trust: Trust
) -> BalancerPlan:
    """The plan for a balancer. ``epoch`` is the writing leader's; ``parts`` is the memo of the pass; ``trust`` is that
    in the routes' definition."""
    maps = snapshot.config_maps
    own = node.key
    nginx = _ours(maps.get(Key(own.namespace, names.nginx_name(own.name))), own)
    following = _ours(maps.get(Key(own.namespace, names.next_name(own.name))), own)
    agents = _ours(maps.get(Key(own.namespace, names.agents_name(own.name))), own)
    said = generated.read_acknowledgements(agents)
    pods = tuple(
        BalancerPod(pod.meta.key.name, pod.ready, said.get(pod.meta.key.name))
        for pod in node.pods
        if not pod.terminating
    )
    in_force, trial = generated.read_in_force(nginx), generated.read_trial(following)
    recorded = generated.read_definition(nginx)
    made, obstacle = _make(node, said, memo, parts) if trust.knows(recorded) else (None, "")
    decision: Decision | None = None
    if made is None:
        writes = _restamped(own, nginx, following, epoch=epoch, definition=recorded)
    else:
        inputs = Inputs(
            desired=made.version,
            akin=memo.versions.akin(made.version),
            in_force=in_force,
            trial=trial if _is_whole(following, made.version) else None,
            pods=pods,
            now=now,
            owing=memo.owing,
        )
        decision = rollout.step(inputs)
        memo.owing = decision.owing
        writes = _writes(own, decision, made, nginx, following, epoch=epoch, definition=trust.trusted or recorded)
    return BalancerPlan(
        node=node,
        desired=made.version if made is not None else NOTHING,
        obstacle=obstacle,
        held=trust.explain() if trust.knows(recorded) else trust.explain_freeze(),
        decision=decision,
        writes=writes,
        agents=Write(generated.wanted_agents(own), agents),
        gone=_gone(agents, own, snapshot),
        pods=pods,
        before=(in_force, trial),
    )


def _ours(known: ConfigMap | None, balancer: Key) -> ConfigMap | None:
    """A ConfigMap, if it bears the label of this balancer."""
    return known if known is not None and known.labels.get(names.BALANCER_LABEL) == balancer.name else None


def _make(
    node: BalancerNode, said: Mapping[str, Acknowledgement], memo: BalancerMemo, parts: Memo
) -> tuple[Made | None, str]:
    """The file for the present routes, or why there is none."""
    if node.spec is None:
        return None, ""  # its conditions say why
    # Nearly all nodes have IPv6. A pod that has none refuses the first version, says so, and gets another.
    ipv6 = all(acknowledgement.ipv6 for acknowledgement in said.values())
    if memo.made is not None and memo.made.node is node and memo.made.configuration.ipv6 is ipv6:
        return memo.made, ""
    configuration = build_configuration(node, ipv6=ipv6, memo=parts)
    if memo.made is not None and memo.made.configuration == configuration:
        memo.made = replace(memo.made, node=node)
        return memo.made, ""
    try:
        rendered = render(configuration, POD_PATHS, options=POD_OPTIONS, memo=memo.rendered)
        file = generated.make_file(rendered, configuration)
    except (EmitError, BundleError) as error:
        return None, f"The nginx.conf can't be made, and the pods serve what they served before: {error}"
    memo.made = Made(node, configuration, rendered.version, file)
    memo.versions.add(rendered.version, configuration)
    return memo.made, ""


def _is_whole(following: ConfigMap | None, desired: str) -> bool:
    """Whether the trial's file can be put in force: it is the desired one, or intact."""
    trial = generated.read_trial(following)
    if following is None or trial is None or trial.version == desired:
        return True
    bundle = generated.read_file(following).bundle
    try:
        unpack(bundle.data, bundle.binary_data, expected_digest=bundle.digest)
    except BundleError:
        return False
    return True


def _writes(
    own: Key,
    decision: Decision,
    made: Made,
    nginx: ConfigMap | None,
    following: ConfigMap | None,
    *,
    epoch: int,
    definition: str,
) -> tuple[Write, ...]:
    """The version in force comes first: a canary is released only when it finds its version there."""
    files = {}
    for known in (nginx, following):
        if known is not None:
            files[known.annotations.get(names.VERSION_ANNOTATION, "")] = generated.read_file(known)
    files[made.version] = made.file
    writes = []
    if decision.in_force is not None:
        file = files[decision.in_force.version]
        wanted = generated.wanted_in_force(own, decision.in_force, file, epoch=epoch, definition=definition)
        writes.append(Write(wanted, nginx))
    if decision.trial is not None:
        file = files[decision.trial.version]
        writes.append(Write(generated.wanted_trial(own, decision.trial, file, epoch=epoch), following))
    elif following is not None:
        writes.append(Write(generated.wanted_no_trial(own, epoch=epoch), following))
    return _differing(writes)


def _restamped(
    own: Key, nginx: ConfigMap | None, following: ConfigMap | None, *, epoch: int, definition: str
) -> tuple[Write, ...]:
    """What stands, as it is, with this leader's epoch: what an older leader has under way must fail, also while there
    is nothing of our own to write."""
    writes = []
    in_force, trial = generated.read_in_force(nginx), generated.read_trial(following)
    if nginx is not None and in_force is not None:
        file = generated.read_file(nginx)
        wanted = generated.wanted_in_force(own, in_force, file, epoch=epoch, definition=definition)
        writes.append(Write(wanted, nginx))
    if following is not None and trial is not None:
        file = generated.read_file(following)
        writes.append(Write(generated.wanted_trial(own, trial, file, epoch=epoch), following))
    elif following is not None:
        writes.append(Write(generated.wanted_no_trial(own, epoch=epoch), following))
    return _differing(writes)


def _differing(writes: Sequence[Write]) -> tuple[Write, ...]:
    return tuple(write for write in writes if write.known is None or not generated.stands(write.wanted, write.known))


def _gone(agents: ConfigMap | None, balancer: Key, snapshot: Snapshot) -> frozenset[str]:
    if agents is None:
        return frozenset()
    return frozenset(name for name in agents.data if Key(balancer.namespace, name) not in snapshot.pods)


# --- how far the pods are ---


class Progress:
    """How far a balancer's pods are with the present state of the balancer and of each route.

    A ready pod is current with a route when the version that it acknowledged serves the route as the desired one does.
    Endpoints that it has yet to learn of don't count against it, unless it has fallen silent.
    """

    def __init__(self, plan: BalancerPlan, versions: Versions, memo: Memo) -> None:
        self._versions = versions
        self._memo = memo
        self._desired = versions.get(plan.desired) if plan.desired else None
        self._akin = versions.akin(plan.desired) if plan.desired else frozenset()
        self._total = len(plan.pods)
        failure = plan.decision.failure if plan.decision is not None else None
        self._failure = failure.message if failure is not None else None
        owing = plan.decision.owing if plan.decision is not None else {}
        self._runs: list[str] = []
        """For each ready pod the version that counts for it, empty when none does."""
        for pod in plan.pods:
            if pod.ready:
                version = pod.said.version if pod.said is not None else ""
                silent = pod.name in owing and owing[pod.name].is_silent
                self._runs.append("" if silent and version != plan.desired else version)
        # What differs in endpoints only has the same fingerprints.
        self._all_akin = bool(plan.desired) and all(version in self._akin for version in self._runs)
        self._all = RolloutView(len(self._runs), len(self._runs), self._total, self._failure)

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for two passes over one graph in which nothing else is to be said of any pod."""
        return (self._runs, self._desired, self._total, self._failure)

    def of_balancer(self) -> RolloutView:
        """With the balancer as a whole."""
        return self._view(sum(version in self._akin for version in self._runs))

    def of_route(self, route: Key) -> RolloutView:
        """With one route."""
        if self._all_akin:
            return self._all
        if self._desired is None:
            return self._view(0)
        reference = RouteRef(*route)
        wanted = self._desired.fingerprints(self._memo).get(reference)
        current = 0
        for version in self._runs:
            known = self._versions.get(version)
            if known is not None and wanted is not None:
                current += known.fingerprints(self._memo).get(reference) == wanted
        return self._view(current)

    def _view(self, current: int) -> RolloutView:
        return RolloutView(len(self._runs), current, self._total, self._failure)
