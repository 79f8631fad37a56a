"""The plan for one balancer: its nginx.conf, the ConfigMaps that should stand, and how far its pods are. Pure.

What was worked out is kept from pass to pass in :class:`BalancerMemo`; a pass after a small change costs little.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wsroute.api.conditions import Problem
from wsroute.cluster.balancer_state import BalancerState, RefusedTemplate
from wsroute.cluster.objects import ConfigMap, Key, Snapshot
from wsroute.cluster.quarantine import Refusals
from wsroute.controller import generated, making, restarting, rollout
from wsroute.controller.budget import Reload, Terms, describe_backlog, terms_of, to_text
from wsroute.controller.definition import Trust
from wsroute.controller.generated import File, Wanted, ours
from wsroute.controller.making import BalancerMemo, Made
from wsroute.controller.quarantine import Settled
from wsroute.controller.release import Published, Released, release
from wsroute.controller.remembering import StateMemo
from wsroute.controller.restarting import Restart, Step
from wsroute.controller.rollout import BalancerPod, Decision, InForce, Inputs, Trial
from wsroute.controller.standing import compare, means, unpacked
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.main_template import describe_unusable
from wsroute.dataplane.withholding import Withheld
from wsroute.graph.memo import Memo
from wsroute.graph.model import BalancerNode
from wsroute.graph.status import Reloaded, ServedView
from wsroute.nginx.quoting import EmitError

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
    ``writes`` go out in this order, the state first; one that fails holds back the others. ``desired`` is empty, and
    ``obstacle`` says why, when no file could be made: what stands stays. ``gone`` are keys of the agents' ConfigMap
    whose pods are not there. ``released`` is what the rollout is for, which is not the desired version while that has
    to wait for the reload budget. ``backlog`` says which pod has no room for another reload. ``refusals`` are
    remembered, ``withheld`` is what follows from them, and from ``blamed`` something was concluded. ``restart`` follows
    the writes, with strategy Restart. ``now`` is seconds since the epoch.
    """

    node: BalancerNode
    desired: str
    obstacle: str
    template: Problem | None
    refused_template: RefusedTemplate | None
    held: str
    decision: Decision | None
    writes: tuple[Write, ...]
    restart: Restart | None
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
    refusals: Refusals
    withheld: Withheld
    blamed: tuple[Failure, ...]
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
    restarts = restarting.applies(node)
    tried = None if restarts else following
    said = restarting.acknowledgements(node.pods) if restarts else generated.read_acknowledgements(agents)
    pods = tuple(
        BalancerPod(pod.meta.key.name, pod.ready, said.get(pod.meta.key.name))
        for pod in node.pods
        if not pod.terminating
    )
    in_force, trial = generated.read_in_force(nginx), generated.read_trial(tried)
    recorded = generated.read_definition(nginx)
    known = trust.knows(recorded)
    asked, problem, state = making.main_template(node, maps, state)
    settled = Settled(state.refusals, Withheld(), ())
    made: Made | None = None
    obstacle = ""
    wished = making.wish(node, said, asked, memo, parts) if known else None
    if wished is not None:
        try:
            evidence = making.evidence_of(nginx, tried, pods, memo)
            settled = making.settle_refusals(node, wished, state.refusals, evidence, nginx, memo, parts)
            made = making.make(node, wished, settled.withheld, memo)
        except EmitError as error:
            obstacle = f"The nginx.conf can't be made, and the pods serve what they served before: {error}"
        refused = making.refused_template(pods, asked, memo)
        if refused is not None:
            # Once more with the shipped template. What was concluded of the routes meanwhile does not count.
            state = replace(state, refused_template=refused)
            return plan_balancer(node, snapshot, memo, parts, state=state, epoch=epoch, now=now, wall=wall, trust=trust)
    if settled.refusals != state.refusals:
        state = replace(state, refusals=settled.refusals)
    decision: Decision | None = None
    step: Step | None = None
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
        if released.full is not None and not released.full.coming:
            backlog = describe_backlog(released.full, terms, waiting=released.hold is not None)
        if restarts:
            step = restarting.step(
                restarting.Inputs(
                    wanted=made.version,
                    released=released.version,
                    in_force=in_force,
                    good=restarting.read_good(following),
                    refused=restarting.read_refused(nginx),
                    deployment=node.deployment,
                    pods=node.pods,
                )
            )
            decision = step.decision
            if step.refused is not None:
                released = replace(released, version=step.in_force.version)
        else:
            decision = rollout.step(
                Inputs(
                    desired=released.version,
                    akin=memo.versions.akin(released.version),
                    in_force=in_force,
                    trial=whole,
                    pods=pods,
                    now=now,
                    owing=memo.owing,
                )
            )
        waiting = compare(memo.standing, memo.versions, released, made.version, made.file, (nginx, following))
        if made.unusable:
            problem = describe_unusable(made.unusable)
        memo.owing = decision.owing
        writes = _writes(
            own,
            decision,
            _files(made, nginx, following, memo),
            (nginx, following),
            published,
            released.since,
            epoch=epoch,
            terms=terms,
            definition=trust.trusted or recorded,
            step=step,
        )
        making.forget(made, nginx, following, memo)
        standing = {each.version for each in (decision.in_force, decision.trial) if each is not None}
        standing |= {step.good} if step is not None and step.good is not None else set()
        memo.standing.files = {version: file for version, file in memo.standing.files.items() if version in standing}
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
        restart=restarting.restart(node, step) if step is not None else None,
        agents=Write(generated.wanted_agents(own), agents),
        gone=_gone(agents, own, snapshot),
        pods=pods,
        closed={pod: each.closed for pod, each in sorted(said.items()) if each.closed},
        before=(in_force, trial),
        in_force_since=published.in_force_since,
        released=released,
        waiting=waiting,
        backlog=backlog,
        refusals=settled.refusals,
        withheld=settled.withheld,
        blamed=settled.blamed,
        now=wall,
    )


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


def _files(made: Made, nginx: ConfigMap | None, following: ConfigMap | None, memo: BalancerMemo) -> Mapping[str, File]:
    """The files of all versions that may stand next, as we would make them now where we did."""
    files = {
        generated.read_published(known).version: generated.read_file(known) for known in (nginx, following) if known
    }
    made_for = made.file.made_for
    now = {version: each.file for version, each in memo.made.items() if each.file.made_for == made_for}
    return files | memo.standing.files | now


def _writes(
    own: Key,
    decision: Decision,
    files: Mapping[str, File],
    maps: tuple[ConfigMap | None, ConfigMap | None],
    published: Published,
    since: Reload,
    *,
    epoch: int,
    terms: Terms,
    definition: str,
    step: Step | None,
) -> tuple[Write, ...]:
    """The version in force comes first: a canary is released only when it finds its version there. With strategy
    Restart it is the last good one. ``since`` goes with what was not published before."""
    nginx, following = maps
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
        if step is not None:
            remembered = restarting.refused_annotation(step.refused)
            wanted = replace(wanted, annotations={**wanted.annotations, **remembered})
        writes.append(Write(wanted, nginx))
    if step is not None and step.good is not None:
        good = generated.wanted_good(own, step.good, files[step.good], epoch=epoch)
        writes.insert(0, Write(good, following))
    elif trial is not None:
        again = published.trial is not None and published.trial.version == trial.version
        when = published.trial_since if again else since
        writes.append(
            Write(generated.wanted_trial(own, trial, files[trial.version], epoch=epoch, since=when), following)
        )
    elif following is not None:
        writes.append(Write(generated.wanted_no_trial(own, epoch=epoch), following))
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
