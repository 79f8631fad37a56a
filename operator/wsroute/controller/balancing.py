"""The plan for one balancer: its nginx.conf, the ConfigMaps that should stand, and how far its pods are. Pure.

What was worked out is kept from pass to pass in :class:`BalancerMemo`; a pass after a small change costs little.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from wsroute.api.conditions import Problem
from wsroute.cluster.balancer_state import BalancerState, RefusedTemplate
from wsroute.cluster.objects import ConfigMap, Key, Snapshot
from wsroute.controller import generated, rollout
from wsroute.controller.budget import Reload, Terms, describe_backlog, terms_of, to_text
from wsroute.controller.definition import Trust
from wsroute.controller.generated import File, Wanted, ours
from wsroute.controller.release import Published, Released, release
from wsroute.controller.remembering import StateMemo
from wsroute.controller.rollout import BalancerPod, Decision, InForce, Inputs, Owing, Trial
from wsroute.controller.standing import StandingMemo, compare, means, unpacked
from wsroute.controller.versions import Versions
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement
from wsroute.dataplane.build import build_configuration
from wsroute.dataplane.bundle import BundleError
from wsroute.dataplane.ir import Configuration, RouteRef
from wsroute.dataplane.main_template import (
    blamed,
    describe_refused,
    describe_unusable,
    find_main_template,
    still_refused,
)
from wsroute.graph.conditions import RolloutView
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode
from wsroute.graph.status import Reloaded, ServedView
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.quoting import EmitError
from wsroute.nginx.render import Rendered, render
from wsroute.nginx.sandbox import TemplateRefusedError

NOTHING: Final = ""
"""The version of a balancer for which nothing can be made."""


@dataclass(frozen=True, slots=True)
class Made:
    """The file that a balancer's configuration gives.

    ``asked`` is the configuration with the main template that the balancer asks for; where that can't be used,
    ``unusable`` says why, and ``configuration`` is the same with the shipped one. ``routes`` are the lines
    of the routes, below a custom main template.
    """

    node: BalancerNode
    asked: Configuration
    configuration: Configuration
    version: str
    file: File
    routes: range
    unusable: str


@dataclass(slots=True)
class BalancerMemo:
    """What is kept of one balancer between passes."""

    rendered: RenderMemo = field(default_factory=RenderMemo)
    made: Made | None = None
    versions: Versions = field(default_factory=Versions)
    state: StateMemo = field(default_factory=StateMemo)
    standing: StandingMemo = field(default_factory=StandingMemo)
    owing: Mapping[str, Owing] = field(default_factory=dict)


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
    ``writes`` go out in this order, the state first; one that fails holds back the others. ``desired`` is empty, and
    ``obstacle`` says why, when no file could be made: what stands stays. ``gone`` are keys of the agents' ConfigMap
    whose pods are not there. ``released`` is what the rollout is for, which is not the desired version while that has
    to wait for the reload budget. ``backlog`` says which pod has no room for another reload. ``now`` is seconds since
    the epoch.
    """

    node: BalancerNode
    desired: str
    obstacle: str
    template: Problem | None
    refused_template: RefusedTemplate | None
    held: str
    decision: Decision | None
    writes: tuple[Write, ...]
    agents: Write
    gone: frozenset[str]
    pods: tuple[BalancerPod, ...]
    closed: Mapping[str, int]
    """Sockets that were closed by the end of a pod's grace period, by the name of the pod."""
    before: tuple[InForce | None, Trial | None]
    in_force_since: Reload | None
    released: Released | None
    waiting: frozenset[RouteRef] | None
    """The routes that wait while a version stands that was made elsewhere, None when this does not tell."""
    backlog: str
    now: float

    @property
    def served(self) -> ServedView:
        """What the pods have, as they told it last."""
        said = [pod.said for pod in self.pods if pod.said is not None]
        in_force, since = self.before[0], self.in_force_since
        held = self.released is not None and self.released.hold is not None and in_force is not None
        return ServedView(
            version=in_force.version if held and in_force is not None else self.desired,
            sockets=sum(each.sockets for each in said),
            draining=(
                max((each.draining.generations for each in said), default=0),
                sum(each.draining.sockets for each in said),
            ),
            last_reload=None
            if in_force is None or since is None
            else Reloaded(
                time=to_text(since.time)[:19] + "Z",
                reason=since.cause,
                pods=sum(pod.ready and pod.runs(in_force.version) for pod in self.pods),
            ),
        )

    @property
    def look_again(self) -> float:
        """Seconds after which a pass would decide otherwise although nothing changed; infinite when never."""
        ahead = self.decision.look_again if self.decision is not None else None
        hold = self.released.hold if self.released is not None else None
        return min(
            math.inf if ahead is None else ahead, math.inf if hold is None else max(0.01, hold.look_at - self.now)
        )


def plan_balancer(
    node: BalancerNode,
    snapshot: Snapshot,
    memo: BalancerMemo,
    parts: Memo,
    *,
    state: BalancerState,
    epoch: int,
    now: float,
    wall: float,
    trust: Trust,
) -> BalancerPlan:
    """The plan for a balancer. ``state`` is what is to be remembered of it; ``epoch`` is the writing leader's;
    ``parts`` is the memo of the pass; ``now`` is monotonic, ``wall`` since the epoch; ``trust`` is that in the routes'
    definition."""
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
    recorded = generated.read_definition(nginx)
    known = trust.knows(recorded)
    asked, problem, state = _main_template(node, maps, state)
    made, obstacle = _make(node, said, asked, memo, parts) if known else (None, "")
    decision: Decision | None = None
    published = Published(in_force, generated.read_since(nginx), trial, generated.read_since(following))
    released: Released | None = None
    waiting: frozenset[RouteRef] | None = None
    backlog = ""
    if made is None or node.spec is None:
        writes = _restamped(own, nginx, following, epoch=epoch)
    else:
        memo.standing.files[made.version] = made.file
        whole = trial if _is_whole(following, made.version) else None
        terms = terms_of(node.spec)
        released = release(
            made.version,
            made.configuration,
            replace(published, trial=whole),
            pods,
            terms,
            means(memo.standing, memo.versions, memo.rendered, (nginx, following)),
            now=wall,
        )
        waiting = compare(memo.standing, memo.versions, released, made.version, made.file, (nginx, following))
        if released.full is not None and not released.full.coming:
            backlog = describe_backlog(released.full, terms, waiting=released.hold is not None)
        inputs = Inputs(
            desired=released.version,
            akin=memo.versions.akin(released.version),
            in_force=in_force,
            trial=whole,
            pods=pods,
            now=now,
            owing=memo.owing,
        )
        decision = rollout.step(inputs)
        # A version that is held, and so not tried, says nothing of its template.
        failure = decision.failure if released.version == made.version else None
        refused = blamed(failure, made.configuration.main_template, made.routes)
        if refused is not None:
            state = replace(state, refused_template=refused)
            # With the shipped one.
            return plan_balancer(node, snapshot, memo, parts, state=state, epoch=epoch, now=now, wall=wall, trust=trust)
        if made.unusable:
            problem = describe_unusable(made.unusable)
        memo.owing = decision.owing
        writes = _writes(
            own,
            decision,
            memo,
            (nginx, following),
            published,
            released.since,
            epoch=epoch,
            terms=terms,
            definition=trust.trusted or recorded,
        )
    return BalancerPlan(
        node=node,
        desired=made.version if made is not None else NOTHING,
        obstacle=obstacle,
        template=problem,
        refused_template=state.refused_template,
        held=trust.explain() if known else trust.explain_freeze(),
        decision=decision,
        # While it is not known which routes there are, no host counts as given up.
        writes=(*_state_write(node, state if known and node.spec else None, maps, memo.state, epoch=epoch), *writes),
        agents=Write(generated.wanted_agents(own), agents),
        gone=_gone(agents, own, snapshot),
        pods=pods,
        closed={pod: each.closed for pod, each in sorted(said.items()) if each.closed},
        before=(in_force, trial),
        in_force_since=published.in_force_since,
        released=released,
        waiting=waiting,
        backlog=backlog,
        now=wall,
    )


def _main_template(
    node: BalancerNode, maps: Mapping[Key, ConfigMap], state: BalancerState
) -> tuple[str | None, Problem | None, BalancerState]:
    """The custom main template to use, None for the shipped one; why it is that although another is asked for; and what
    is to be remembered."""
    found = find_main_template(node, maps)
    text = found if isinstance(found, str) else None
    refused = still_refused(state.refused_template, text)
    if refused is not None:
        return None, describe_refused(refused), state
    if state.refused_template is not None:
        state = replace(state, refused_template=None)
    return text, found if isinstance(found, Problem) else None, state


def _make(
    node: BalancerNode, said: Mapping[str, Acknowledgement], template: str | None, memo: BalancerMemo, parts: Memo
) -> tuple[Made | None, str]:
    """The file for the present routes, or why there is none. ``template`` is a custom main template."""
    if node.spec is None:
        return None, ""  # its conditions say why
    # Nearly all nodes have IPv6. A pod that has none refuses the first version, says so, and gets another.
    ipv6 = all(acknowledgement.ipv6 for acknowledgement in said.values())
    last = memo.made
    if last is not None and last.node is node and (last.asked.ipv6, last.asked.main_template) == (ipv6, template):
        return last, ""
    asked = build_configuration(node, ipv6=ipv6, main_template=template, memo=parts)
    if last is not None and last.asked == asked:
        memo.made = replace(last, node=node)
        return memo.made, ""
    try:
        configuration, rendered, unusable = _render(asked, memo)
        file = generated.make_file(rendered, configuration)
    except (EmitError, BundleError) as error:
        return None, f"The nginx.conf can't be made, and the pods serve what they served before: {error}"
    routes = rendered.routes if configuration.main_template is not None else range(0)  # counting takes its time
    memo.made = Made(node, asked, configuration, rendered.version, file, routes, unusable)
    memo.versions.add(rendered.version, configuration)
    return memo.made, ""


def _render(asked: Configuration, memo: BalancerMemo) -> tuple[Configuration, Rendered, str]:
    """What is rendered: as asked for, or with the shipped main template, and then why."""
    try:
        return asked, render(asked, POD_PATHS, options=POD_OPTIONS, memo=memo.rendered), ""
    except TemplateRefusedError as error:
        backup = replace(asked, main_template=None)
        return backup, render(backup, POD_PATHS, options=POD_OPTIONS, memo=memo.rendered), str(error)


def _state_write(
    node: BalancerNode,
    state: BalancerState | None,
    maps: Mapping[Key, ConfigMap],
    memo: StateMemo,
    *,
    epoch: int,
) -> tuple[Write, ...]:
    """The state comes before what follows from it: a host is served only once it is on record whose it is. ``state`` is
    None where it must stay as it is."""
    known = ours(maps.get(Key(node.key.namespace, names.state_name(node.key.name))), node.key)
    if state is not None:
        return _differing([Write(generated.wanted_state(node.key, memo.data(state), known, epoch=epoch), known)])
    if known is None:
        return ()
    return _differing([Write(generated.restamped(known, node.key, role=names.ROLE_STATE, epoch=epoch), known)])


def _is_whole(following: ConfigMap | None, desired: str) -> bool:
    """Whether the trial's file can be put in force: it is the desired one, or intact."""
    trial = generated.read_trial(following)
    if following is None or trial is None or trial.version == desired:
        return True
    return unpacked(generated.read_file(following)) is not None


def _writes(
    own: Key,
    decision: Decision,
    memo: BalancerMemo,
    maps: tuple[ConfigMap | None, ConfigMap | None],
    published: Published,
    since: Reload,
    *,
    epoch: int,
    terms: Terms,
    definition: str,
) -> tuple[Write, ...]:
    """The version in force comes first: a canary is released only when it finds its version there. ``since`` goes with
    what was not published before."""
    nginx, following = maps
    files = {}
    for known in maps:
        if known is not None:
            files[known.annotations.get(names.VERSION_ANNOTATION, "")] = generated.read_file(known)
    files |= memo.standing.files
    writes = []
    in_force, trial = decision.in_force, decision.trial
    when: Reload | None
    if in_force is not None:
        file, when = files[in_force.version], since
        if published.in_force is not None and published.in_force.version == in_force.version:
            when = published.in_force_since
        elif published.trial is not None and published.trial.version == in_force.version and published.trial_since:
            when = replace(published.trial_since, time=since.time, interval_from=since.time)
        wanted = generated.wanted_in_force(
            own, in_force, file, epoch=epoch, since=when, terms=terms, definition=definition
        )
        writes.append(Write(wanted, nginx))
    if trial is not None:
        again = published.trial is not None and published.trial.version == trial.version
        when = published.trial_since if again else since
        writes.append(
            Write(generated.wanted_trial(own, trial, files[trial.version], epoch=epoch, since=when), following)
        )
    elif following is not None:
        writes.append(Write(generated.wanted_no_trial(own, epoch=epoch), following))
    standing = {each.version for each in (in_force, trial) if each is not None}
    memo.standing.files = {version: file for version, file in memo.standing.files.items() if version in standing}
    return _differing(writes)


def _restamped(own: Key, nginx: ConfigMap | None, following: ConfigMap | None, *, epoch: int) -> tuple[Write, ...]:
    """What stands, as it is, with this leader's epoch: what an older leader has under way must fail, also while there
    is nothing of our own to write."""
    standing = ((nginx, names.ROLE_NGINX), (following, names.ROLE_NEXT))
    return _differing(
        [
            Write(generated.restamped(known, own, role=role, epoch=epoch), known)
            for known, role in standing
            if known is not None
        ]
    )


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
        released = plan.released
        self._hold = released.hold.message if released is not None and released.hold is not None else ""
        self._released = versions.get(released.version) if released is not None else None
        self._standing = released.version if released is not None else ""
        self._waiting = plan.waiting
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
        return (self._runs, self._desired, self._total, self._failure, self._hold, self._standing, self._waiting)

    def of_balancer(self) -> RolloutView:
        """With the balancer as a whole."""
        return self._view(sum(version in self._akin for version in self._runs), self._hold)

    def of_route(self, route: Key) -> RolloutView:
        """With one route."""
        if self._all_akin:
            return self._all
        if self._desired is None:
            return self._view(0)
        reference = RouteRef(*route)
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
        return self._view(current, "" if stands else self._hold)

    def _stands(self, reference: RouteRef, wanted: str | None) -> bool:
        """Whether the version that the rollout is for serves a route as the desired one does."""
        if self._released is not None:
            return wanted is not None and self._released.fingerprints(self._memo).get(reference) == wanted
        return self._waiting is not None and reference not in self._waiting

    def _view(self, current: int, hold: str = "") -> RolloutView:
        return RolloutView(len(self._runs), current, self._total, self._failure, hold)
