"""The plan for one balancer: its nginx.conf, the ConfigMaps that should stand, and how far its pods are. Pure.

What was worked out is kept from pass to pass in :class:`BalancerMemo`; a pass after a small change costs little.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from wsroute import __version__
from wsroute.cluster.balancer_state import BalancerState
from wsroute.cluster.objects import ConfigMap, Key, Snapshot
from wsroute.cluster.quarantine import Refusals
from wsroute.controller import generated, rollout
from wsroute.controller.generated import File, Wanted, ours
from wsroute.controller.judging import NOTHING_PUBLISHED, Evidence, Published
from wsroute.controller.quarantine import Settled, View, settle
from wsroute.controller.remembering import StateMemo
from wsroute.controller.rollout import BalancerPod, Decision, InForce, Inputs, Owing, Trial
from wsroute.controller.versions import Versions
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement, Failure
from wsroute.dataplane.build import build_configuration
from wsroute.dataplane.bundle import BundleError, unpack
from wsroute.dataplane.ir import Configuration, RouteRef
from wsroute.dataplane.withholding import Withheld, withhold
from wsroute.graph.conditions import RolloutView
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode
from wsroute.nginx.linemap import LineMap
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.render import render

NOTHING: Final = ""
"""The version of a balancer for which nothing can be made."""

_FILES: Final = 6
"""Files of one balancer that are kept: what is in force, what is tried, and what may be next."""


@dataclass(frozen=True, slots=True)
class Made:
    """The file that a balancer's configuration gives, and what it was made of."""

    wished: Configuration
    withheld: Withheld
    configuration: Configuration
    version: str
    file: File
    lines: LineMap

    @property
    def structure(self) -> str:
        """The name that files share which differ in endpoints only."""
        return self.file.structure


@dataclass(slots=True)
class BalancerMemo:
    """What is kept of one balancer between passes."""

    rendered: RenderMemo = field(default_factory=RenderMemo)
    wished: tuple[BalancerNode, Configuration] | None = None
    made: dict[str, Made] = field(default_factory=dict)
    """The newest files by version, the last one made at the end, and those that are published."""
    proven: Published = NOTHING_PUBLISHED
    versions: Versions = field(default_factory=Versions)
    state: StateMemo = field(default_factory=StateMemo)
    owing: Mapping[str, Owing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Write:
    """A ConfigMap as it should stand, and as it was when the plan was made."""

    wanted: Wanted
    known: ConfigMap | None


@dataclass(frozen=True, slots=True)
class BalancerPlan:
    """What to do for a balancer, and what to say about it.

    ``writes`` go out in this order, the state first; one that fails holds back the others. ``desired`` is empty, and
    ``obstacle`` says why, when no file could be made: what stands stays. ``gone`` are keys of the agents' ConfigMap
    whose pods are not there. ``refusals`` are remembered, ``withheld`` is what follows from them, and from ``blamed``
    something was concluded.
    """

    node: BalancerNode
    desired: str
    obstacle: str
    decision: Decision | None
    writes: tuple[Write, ...]
    agents: Write
    gone: frozenset[str]
    pods: tuple[BalancerPod, ...]
    before: tuple[InForce | None, Trial | None]
    refusals: Refusals
    withheld: Withheld
    blamed: tuple[Failure, ...]

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
    node: BalancerNode,
    snapshot: Snapshot,
    memo: BalancerMemo,
    parts: Memo,
    *,
    state: BalancerState,
    epoch: int,
    now: float,
) -> BalancerPlan:
    """The plan for a balancer. ``state`` is what is to be remembered of it; ``epoch`` is the writing leader's;
    ``parts`` is the memo of the pass."""
    maps = snapshot.config_maps
    own = node.key
    nginx = ours(maps.get(Key(own.namespace, names.nginx_name(own.name))), own)
    following = ours(maps.get(Key(own.namespace, names.next_name(own.name))), own)
    agents = ours(maps.get(Key(own.namespace, names.agents_name(own.name))), own)
    said = generated.read_acknowledgements(agents)
    pods = tuple(
        BalancerPod(pod.meta.key.name, pod.ready, said.get(pod.meta.key.name))
        for pod in node.pods
        if not pod.terminating
    )
    in_force, trial = generated.read_in_force(nginx), generated.read_trial(following)
    settled = Settled(state.refusals, Withheld(), ())
    made: Made | None = None
    obstacle = ""
    wished = _wish(node, said, memo, parts)
    if wished is not None:
        try:
            evidence = _evidence(nginx, following, pods, memo)
            settled = _settle(node, wished, state.refusals, evidence, nginx, memo, parts)
            made = _make(node, wished, settled.withheld, memo)
        except (EmitError, BundleError) as error:
            obstacle = f"The nginx.conf can't be made, and the pods serve what they served before: {error}"
    if settled.refusals != state.refusals:
        state = replace(state, refusals=settled.refusals)
    decision: Decision | None = None
    writes: tuple[Write, ...] = ()
    if made is not None:
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
        writes = _writes(own, decision, _files(made, nginx, following, memo), nginx, following, epoch=epoch)
        _forget(made, nginx, following, memo)
    return BalancerPlan(
        node=node,
        desired=made.version if made is not None else NOTHING,
        obstacle=obstacle,
        decision=decision,
        writes=(*_state_write(node, state, maps, memo.state, epoch=epoch), *writes),
        agents=Write(generated.wanted_agents(own), agents),
        gone=_gone(agents, own, snapshot),
        pods=pods,
        before=(in_force, trial),
        refusals=settled.refusals,
        withheld=settled.withheld,
        blamed=settled.blamed,
    )


def _wish(
    node: BalancerNode, said: Mapping[str, Acknowledgement], memo: BalancerMemo, parts: Memo
) -> Configuration | None:
    """The configuration that all routes together wish for; None when there can be none."""
    if node.spec is None:
        return None  # its conditions say why
    # Nearly all nodes have IPv6. A pod that has none refuses the first version, says so, and gets another.
    ipv6 = all(acknowledgement.ipv6 for acknowledgement in said.values())
    if memo.wished is not None:
        before, wished = memo.wished
        if before is node and wished.ipv6 is ipv6:
            return wished
        configuration = build_configuration(node, ipv6=ipv6, memo=parts)
        memo.wished = (node, wished if wished == configuration else configuration)
    else:
        memo.wished = (node, build_configuration(node, ipv6=ipv6, memo=parts))
    return memo.wished[1]


def _made_for(node: BalancerNode) -> str:
    """What the balancer itself is (``dataplane.names.MADE_FOR_ANNOTATION``)."""
    return f"{node.uid}/{node.generation}/{__version__}"


def _make(node: BalancerNode, wished: Configuration, withheld: Withheld, memo: BalancerMemo) -> Made:
    """The file without what is withheld. Raises EmitError and BundleError."""
    made_for = _made_for(node)
    for made in memo.made.values():
        same = made.withheld == withheld and made.withheld.base is withheld.base
        if same and made.wished is wished and made.file.made_for == made_for:
            return made
    configuration = withhold(wished, withheld)
    rendered = render(configuration, POD_PATHS, options=POD_OPTIONS, memo=memo.rendered)
    file = generated.make_file(rendered, configuration, made_for=made_for)
    memo.made.pop(rendered.version, None)
    made = Made(wished, withheld, configuration, rendered.version, file, rendered.lines)
    memo.made[made.version] = made
    memo.versions.add(made.version, configuration)
    return made


def _forget(made: Made, nginx: ConfigMap | None, following: ConfigMap | None, memo: BalancerMemo) -> None:
    """Drop the files that nobody may ask for again."""
    published = {generated.read_published(known).version for known in (nginx, following)}
    kept = {version: each for version, each in memo.made.items() if version in published or each.wished is made.wished}
    memo.made = dict([*kept.items()][-_FILES:])


def _evidence(
    nginx: ConfigMap | None, following: ConfigMap | None, pods: tuple[BalancerPod, ...], memo: BalancerMemo
) -> Evidence:
    evidence = Evidence(
        in_force=generated.read_published(nginx),
        trial=generated.read_published(following),
        pods=pods,
        silent=frozenset(name for name, debt in memo.owing.items() if debt.is_silent),
        proven=memo.proven,
        lines={version: made.lines for version, made in memo.made.items()},
    )
    memo.versions.get(evidence.in_force.version)  # however long it is in force, it stays remembered
    if evidence.in_force_is_run:
        memo.proven = evidence.in_force
    return evidence


def _settle(
    node: BalancerNode,
    wished: Configuration,
    refusals: Refusals,
    evidence: Evidence,
    nginx: ConfigMap | None,
    memo: BalancerMemo,
    parts: Memo,
) -> Settled:
    """What follows from all refusals so far. Raises EmitError and BundleError."""
    view = View(
        node=node,
        wished=wished,
        standing_now=lambda: evidence.standing(memo.versions, partial(generated.read_text, nginx)),
        own_is_taken=evidence.takes(_made_for(node)),
        known=memo.versions.get,
        memo=parts,
        make=lambda withheld: _make(node, wished, withheld, memo),
        verdict=evidence.verdict,
    )
    return settle(refusals, view)


def _state_write(
    node: BalancerNode, state: BalancerState, maps: Mapping[Key, ConfigMap], memo: StateMemo, *, epoch: int
) -> tuple[Write, ...]:
    """The state comes before what follows from it: a host is served only once it is on record whose it is."""
    if node.spec is None:
        return ()
    known = ours(maps.get(Key(node.key.namespace, names.state_name(node.key.name))), node.key)
    wanted = generated.wanted_state(node.key, memo.data(state), known, epoch=epoch)
    return () if known is not None and generated.stands(wanted, known) else (Write(wanted, known),)


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


def _files(made: Made, nginx: ConfigMap | None, following: ConfigMap | None, memo: BalancerMemo) -> Mapping[str, File]:
    """The files of all versions that may stand next, as we would make them now where we did."""
    files = {
        generated.read_published(known).version: generated.read_file(known) for known in (nginx, following) if known
    }
    made_for = made.file.made_for
    return files | {version: each.file for version, each in memo.made.items() if each.file.made_for == made_for}


def _writes(
    own: Key,
    decision: Decision,
    files: Mapping[str, File],
    nginx: ConfigMap | None,
    following: ConfigMap | None,
    *,
    epoch: int,
) -> tuple[Write, ...]:
    """The version in force comes first: a canary is released only when it finds its version there."""
    writes = []
    if decision.in_force is not None:
        file = files[decision.in_force.version]
        writes.append(Write(generated.wanted_in_force(own, decision.in_force, file, epoch=epoch), nginx))
    if decision.trial is not None:
        file = files[decision.trial.version]
        writes.append(Write(generated.wanted_trial(own, decision.trial, file, epoch=epoch), following))
    elif following is not None:
        writes.append(Write(generated.wanted_no_trial(own, epoch=epoch), following))
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
        self._quarantined = plan.refusals.quarantined
        self._held = plan.withheld.held
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
        return (self._runs, self._desired, self._total, self._failure, self._quarantined, self._held)

    def of_balancer(self) -> RolloutView:
        """With the balancer as a whole."""
        return self._view(sum(version in self._akin for version in self._runs))

    def of_route(self, route: Key) -> RolloutView:
        """With one route."""
        reference = RouteRef(*route)
        if route in self._quarantined:
            return replace(self._view(0), quarantined=self._quarantined[route])
        if reference in self._held:
            return replace(self._view(0), is_held=True)
        if self._all_akin:
            return self._all
        if self._desired is None:
            return self._view(0)
        wanted = self._desired.fingerprints(self._memo).get(reference)
        current = 0
        for version in self._runs:
            known = self._versions.get(version)
            if known is not None and wanted is not None:
                current += known.fingerprints(self._memo).get(reference) == wanted
        return self._view(current)

    def _view(self, current: int) -> RolloutView:
        return RolloutView(len(self._runs), current, self._total, self._failure)
